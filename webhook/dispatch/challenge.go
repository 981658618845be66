package dispatch

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Challenge is how an endpoint proves that its owner may have deliveries sent there.
type Challenge string

// The challenges.
const (
	ChallengeNone Challenge = "none"
	// ChallengeHandshake is the abuse protection of the CloudEvents specification "HTTP 1.1 Web
	// Hooks for Event Delivery", section 4: OPTIONS with our origin, which the answer has to allow.
	ChallengeHandshake Challenge = "handshake"
	// ChallengeEcho sends a signed event of type webhook.challenge; the answer has to
	// hold its challenge as JSON: {"challenge": "…"}.
	ChallengeEcho Challenge = "echo"
)

// EventChallenge is the type of the event of a ChallengeEcho.
const EventChallenge = "webhook.challenge"

// The fields of the handshake. What was allowed has the origin in every delivery, too (CloudEvents
// HTTP 1.1 Web Hooks 1.0.2, section 2.1).
const (
	headerOrigin        = "WebHook-Request-Origin"
	headerRate          = "WebHook-Request-Rate" // a minute
	headerAllowedOrigin = "WebHook-Allowed-Origin"
	headerAllowedRate   = "WebHook-Allowed-Rate" // a minute; or *
)

// ParseChallenge reads the name of a challenge; "" is none.
func ParseChallenge(name string) (Challenge, bool) {
	if name == "" {
		return ChallengeNone, true
	}
	c := Challenge(name)
	return c, c == ChallengeNone || c == ChallengeHandshake || c == ChallengeEcho
}

// strictest returns c, or what the server asks for if c is none.
func (c Challenge) strictest(server Challenge) Challenge {
	if c == ChallengeNone || c == "" {
		return server
	}
	return c
}

// UnprovenError is the error of an endpoint that did not pass its challenge.
type UnprovenError struct{ Detail string }

func (e *UnprovenError) Error() string {
	return "the endpoint did not prove that it may be used: " + e.Detail
}

// Verify puts an endpoint that is Pending to its challenge, and makes it Active if it
// passes. The error is an [*UnprovenError] if it does not.
func (s *Service) Verify(ctx context.Context, owner, id string) (Endpoint, error) {
	e, _, err := s.store.Endpoint(ctx, owner, id)
	if err != nil || e.Status != Pending {
		return e, err
	}
	if err := s.sender.checkURL(ctx, e.URL); err != nil {
		return e, &UnprovenError{err.Error()}
	}
	var allowed float64
	if Challenge(e.Challenge) == ChallengeHandshake {
		allowed, err = s.handshake(ctx, &e)
	} else {
		err = s.echo(ctx, &e)
	}
	if err != nil {
		return e, err
	}
	return s.updateAny(ctx, owner, id, func(next *Endpoint) bool {
		proven := next.Status == Pending && next.URL == e.URL
		next.Status, next.Allowed = Active, allowed
		if next.exceeds() {
			next.Rate = allowed
		}
		return proven
	})
}

// exceeds reports whether an endpoint may be sent more than its receiver has allowed.
func (e *Endpoint) exceeds() bool { return e.Allowed > 0 && (e.Rate == 0 || e.Rate > e.Allowed) }

// handshake asks for leave to deliver, and returns how many deliveries a second are allowed, 0 for
// any number.
func (s *Service) handshake(ctx context.Context, e *Endpoint) (rate float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, e.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodOptions, e.URL, http.NoBody)
	if err != nil {
		return 0, quiet(err, e.URL)
	}
	r.Header.Set("User-Agent", "Hark-Webhooks/1.0")
	r.Header.Set(headerOrigin, s.options.Origin)
	if e.Rate > 0 {
		r.Header.Set(headerRate, strconv.FormatFloat(max(math.Floor(e.Rate*60), 1), 'f', 0, 64))
	}
	a := s.sender.do(ctx, r)
	if a.status < 200 || a.status > 299 {
		return 0, unanswered(a)
	}
	allowed := a.header.Values(headerAllowedOrigin)
	if !slices.ContainsFunc(allowed, func(v string) bool { return v == "*" || strings.EqualFold(v, s.options.Origin) }) {
		return 0, &UnprovenError{"the answer to OPTIONS has no " + headerAllowedOrigin + " of " + s.options.Origin + " or *"}
	}
	// What is no number allows any rate: a receiver that has too much to do says so by 429.
	if perMinute, err := strconv.ParseUint(a.header.Get(headerAllowedRate), 10, 32); err == nil && perMinute > 0 {
		rate = min(float64(perMinute)/60, maxRate)
	}
	return rate, nil
}

func (s *Service) echo(ctx context.Context, e *Endpoint) error {
	secret := newName()
	m := s.message(e, EventChallenge, map[string]any{"endpoint": e.ID, "challenge": secret})
	now := time.Now()
	keys, err := s.keysOf(e, now)
	if err != nil {
		return err
	}
	a := s.sender.post(ctx, e, m, now, keys)
	if a.status < 200 || a.status > 299 {
		return unanswered(a)
	}
	var said struct {
		Challenge string `json:"challenge"`
	}
	if json.Unmarshal(a.body, &said) != nil || subtle.ConstantTimeCompare([]byte(said.Challenge), []byte(secret)) != 1 {
		return &UnprovenError{"the answer does not hold the challenge"}
	}
	return nil
}

func unanswered(a answer) error {
	if a.status > 0 {
		return &UnprovenError{fmt.Sprintf("it answered %d", a.status)}
	}
	return &UnprovenError{"no answer: " + a.class}
}

// message makes an event about an endpoint, as CloudEvents 1.0 JSON.
func (s *Service) message(e *Endpoint, eventType string, data map[string]any) Message {
	id := "wh_" + newName()
	body, err := json.Marshal(map[string]any{
		"specversion": "1.0", "id": id, "source": "/v1/webhooks/" + e.ID, "type": eventType,
		"time": time.Now().UTC().Format("2006-01-02T15:04:05.000Z07:00"), "datacontenttype": "application/json", "data": data,
	})
	if err != nil {
		panic(err) // strings only
	}
	return Message{ID: id, Lane: id, Type: eventType, Body: body}
}
