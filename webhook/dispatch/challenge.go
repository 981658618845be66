package dispatch

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Challenge is how an endpoint proves that its owner may have deliveries sent there.
type Challenge string

// The challenges.
const (
	ChallengeNone Challenge = "none"
	// ChallengeHandshake is the abuse protection of the CloudEvents specification "HTTP 1.1 Web Hooks for Event
	// Delivery", section 4: OPTIONS with our origin, which the answer has to allow.
	ChallengeHandshake Challenge = "handshake"
	// ChallengeEcho sends a signed event of type webhook.challenge; the answer has to
	// hold its challenge as JSON: {"challenge": "…"}.
	ChallengeEcho Challenge = "echo"
)

// EventChallenge is the type of the event of a ChallengeEcho.
const EventChallenge = "webhook.challenge"

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
	if Challenge(e.Challenge) == ChallengeHandshake {
		err = s.handshake(ctx, &e)
	} else {
		err = s.echo(ctx, &e)
	}
	if err != nil {
		return e, err
	}
	return s.updateAny(ctx, owner, id, func(next *Endpoint) bool {
		proven := next.Status == Pending && next.URL == e.URL
		next.Status = Active
		return proven
	})
}

func (s *Service) handshake(ctx context.Context, e *Endpoint) error {
	ctx, cancel := context.WithTimeout(ctx, e.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodOptions, e.URL, http.NoBody)
	if err != nil {
		return err
	}
	r.Header.Set("User-Agent", "Hark-Webhooks/1.0")
	r.Header.Set("WebHook-Request-Origin", s.options.Origin)
	a := s.sender.do(ctx, r)
	if a.status < 200 || a.status > 299 {
		return unanswered(a)
	}
	allowed := a.header.Values("WebHook-Allowed-Origin")
	if !slices.ContainsFunc(allowed, func(v string) bool { return v == "*" || strings.EqualFold(v, s.options.Origin) }) {
		return &UnprovenError{"the answer to OPTIONS has no WebHook-Allowed-Origin of " + s.options.Origin + " or *"}
	}
	return nil
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
