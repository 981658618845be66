package dispatch

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/webhook"
)

// Service is what an owner can do with endpoints. It keeps no state of its own, so any number
// may run on one store.
type Service struct {
	store   Store
	options Options
	sender  *sender
	vault   *vault
	signing webhook.Key // signs every delivery, beside the endpoint's secret
}

// New returns a service over a store. The key that signs for all endpoints is made when a
// store is used for the first time, and kept there.
func New(ctx context.Context, store Store, o Options) (*Service, error) {
	o = o.withDefaults()
	v, err := newVault(o.Key)
	if err != nil {
		return nil, err
	}
	s := &Service{store: store, options: o, sender: newSender(o), vault: v}
	const name = "signing-key"
	kept, err := store.PutIfAbsent(ctx, name, v.seal(webhook.NewPrivateKey().String(), name))
	if err != nil {
		return nil, fmt.Errorf("webhook signing key: %w", err)
	}
	text, err := v.open(kept, name)
	if err != nil {
		return nil, err
	}
	s.signing, err = webhook.ParseKey(text)
	return s, err
}

// Close closes the connections that are kept to endpoints.
func (s *Service) Close() { s.sender.close() }

// PublicKey returns what verifies the v1a signature of every delivery.
func (s *Service) PublicKey() webhook.Key { return s.signing.Public() }

// InvalidError says what is wrong with an endpoint as it was asked for.
type InvalidError struct {
	Field  string // as in the JSON of the API, a JSON pointer without its first slash
	Detail string
}

func (e *InvalidError) Error() string { return e.Field + ": " + e.Detail }

// Create makes an endpoint and returns it with its secret, which is shown only now. e's Owner and
// URL must be set; zero options take the defaults. Without a secret one is made. An endpoint that
// is to prove its ownership is Pending until it has. The error is an [*InvalidError] if e is not
// allowed.
func (s *Service) Create(ctx context.Context, e Endpoint, secret string, challenge Challenge) (Endpoint, string, error) {
	if err := s.check(ctx, &e); err != nil {
		return Endpoint{}, "", err
	}
	if secret == "" {
		secret = webhook.NewSecret().String()
	} else if err := checkSecret(secret); err != nil {
		return Endpoint{}, "", err
	}
	e.ID = "ep_" + newName()
	return s.create(ctx, e, secret, challenge)
}

// CreateOnce is Create for calls that are made again because their answer was lost: all of an owner
// with the same key and fingerprint make one endpoint, which it returns as it is now, with the
// secret that it has now, and that it existed, to all but the first. Another fingerprint with the
// key of an endpoint that is there is lifecycle.ErrKeyReused. The key is free again when the
// endpoint is deleted.
func (s *Service) CreateOnce(
	ctx context.Context, e Endpoint, secret string, challenge Challenge, key, fingerprint string,
) (made Endpoint, shown string, existed bool, err error) {
	sum := sha256.Sum256([]byte(e.Owner + "\x00" + key)) // an owner has no NUL
	e.ID = "ep_" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:15]))
	for range updates {
		made, shown, err = s.repeated(ctx, e.Owner, e.ID, fingerprint)
		if !errors.Is(err, ErrNotFound) {
			return made, shown, err == nil, err
		}
		next := e
		if err := s.check(ctx, &next); err != nil {
			return Endpoint{}, "", false, err
		}
		if secret != "" {
			if err := checkSecret(secret); err != nil {
				return Endpoint{}, "", false, err
			}
		}
		next.Once = s.vault.seal(fingerprint, e.ID)
		made, shown, err = s.create(ctx, next, cmp.Or(secret, webhook.NewSecret().String()), challenge)
		if !errors.Is(err, ErrExists) {
			return made, shown, false, err
		}
	}
	return Endpoint{}, "", false, ErrConflict
}

// repeated returns the endpoint that a call with a key has made before, and its secret.
func (s *Service) repeated(ctx context.Context, owner, id, fingerprint string) (Endpoint, string, error) {
	e, _, err := s.store.Endpoint(ctx, owner, id)
	if err != nil {
		return Endpoint{}, "", err
	}
	was, err := s.vault.open(e.Once, id)
	if err != nil {
		return Endpoint{}, "", err
	}
	if was != fingerprint || len(e.Secrets) == 0 {
		return Endpoint{}, "", lifecycle.ErrKeyReused
	}
	secret, err := s.vault.open(e.Secrets[0].Value, id)
	return e, secret, err
}

// create makes an endpoint that has been checked and named.
func (s *Service) create(ctx context.Context, e Endpoint, secret string, challenge Challenge) (Endpoint, string, error) {
	e.Status, e.Quota = Active, s.options.PerOwner
	e.Secrets = []Secret{{Value: s.vault.seal(secret, e.ID)}}
	challenge = challenge.strictest(s.options.Challenge)
	if challenge != ChallengeNone {
		e.Status, e.Challenge = Pending, string(challenge)
	}
	created, err := s.store.CreateEndpoint(ctx, e)
	if err != nil {
		return Endpoint{}, "", err
	}
	if created.Status == Pending {
		if created, err = s.Verify(ctx, e.Owner, e.ID); err != nil {
			if _, ok := errors.AsType[*UnprovenError](err); !ok {
				return Endpoint{}, "", err
			}
			// It can be tried again.
			created, _, err = s.store.Endpoint(ctx, e.Owner, e.ID)
		}
	}
	return created, secret, err
}

func checkSecret(text string) error {
	k, err := webhook.ParseKey(text)
	if err != nil || !strings.HasPrefix(k.String(), "whsec_") {
		return &InvalidError{"secret", "want whsec_ and 24 to 64 bytes in base64"}
	}
	return nil
}

// newName returns 24 characters that nobody guesses, without a dot.
func newName() string { return strings.ToLower(rand.Text())[:24] }

// Own is what a request says of an endpoint of its own.
type Own struct {
	URL, Secret string
	// As of an [Endpoint].
	ContentType, Form string
}

// OneOff returns the endpoint of a request that names a URL of its own. Requests of one owner with
// the same URL, secret, media type and form share it, so that if it is dead it costs one slot.
// Without a secret only the v1a signature is sent. If it was disabled, to name it is to want it
// again. The error is an [*InvalidError] if the URL is not allowed, or does not pass the challenge
// that all have to, and ErrOneOffs if its owner has as many as it may.
func (s *Service) OneOff(ctx context.Context, owner string, own Own) (string, error) {
	e := Endpoint{
		Owner: owner, URL: own.URL, OneOff: true, Status: Active, ContentType: own.ContentType, Form: own.Form, Quota: s.options.OneOffPerOwner,
	}
	if s.options.Challenge != ChallengeNone {
		e.Status, e.Challenge = Pending, string(s.options.Challenge)
	}
	if err := s.check(ctx, &e); err != nil {
		return "", err
	}
	named := owner + "\x00" + own.URL + "\x00" + own.Secret
	if own.ContentType != "" && own.ContentType != TypeCloudEvent {
		named += "\x00" + own.ContentType
	}
	if own.Form == FormThin {
		named += "\x00" + own.Form
	}
	sum := sha256.Sum256([]byte(named))
	e.ID = "once_" + base64.RawURLEncoding.EncodeToString(sum[:18])
	if own.Secret != "" {
		if err := checkSecret(own.Secret); err != nil {
			return "", err
		}
		e.Secrets = []Secret{{Value: s.vault.seal(own.Secret, e.ID)}}
	}
	e, err := s.store.CreateEndpoint(ctx, e)
	if errors.Is(err, ErrQuota) {
		return "", ErrOneOffs
	}
	if err != nil {
		return "", err
	}
	switch e.Status {
	case Disabled:
		// It is named anew: nobody else could enable it again.
		_, err = s.updateAny(ctx, owner, e.ID, func(next *Endpoint) bool {
			disabled := next.Status == Disabled
			next.Status, next.Reason = Active, ""
			return disabled
		})
	case Pending:
		_, err = s.Verify(ctx, owner, e.ID)
		if unproven, ok := errors.AsType[*UnprovenError](err); ok {
			err = &InvalidError{"url", unproven.Error()}
		}
	}
	return e.ID, err
}

// Get returns an endpoint and how it fares.
func (s *Service) Get(ctx context.Context, owner, id string) (Endpoint, Health, error) {
	return s.store.Endpoint(ctx, owner, id)
}

// OwnerOf returns whose endpoint an id names. ErrNotFound.
func (s *Service) OwnerOf(ctx context.Context, id string) (string, error) {
	return s.store.EndpointOwner(ctx, id)
}

// List returns a page of an owner's endpoints, newest first.
func (s *Service) List(ctx context.Context, owner, after string, limit int) ([]Endpoint, error) {
	return s.store.ListEndpoints(ctx, owner, after, limit)
}

// ListAll returns a page of all owners' endpoints, newest first. It is for admins.
func (s *Service) ListAll(ctx context.Context, after string, limit int) ([]Endpoint, error) {
	return s.store.ListAllEndpoints(ctx, after, limit)
}

// Delete forgets an endpoint with its deliveries.
func (s *Service) Delete(ctx context.Context, owner, id string) error {
	return s.store.DeleteEndpoint(ctx, owner, id)
}

// updates is how often a change is tried that another one got in the way of.
const updates = 20

// Update changes an endpoint by f, which may be called more than once. The error is an
// [*InvalidError] if what comes out is not allowed. Only Active and Paused may be set as a Status,
// and not while it is Pending: that is ErrConflict.
func (s *Service) Update(ctx context.Context, owner, id string, f func(*Endpoint) error) (Endpoint, error) {
	for range updates {
		was, _, err := s.store.Endpoint(ctx, owner, id)
		if err != nil {
			return Endpoint{}, err
		}
		next := was
		if err := f(&next); err != nil {
			return Endpoint{}, err
		}
		if err := s.checkChange(ctx, &was, &next); err != nil {
			return Endpoint{}, err
		}
		next, err = s.store.UpdateEndpoint(ctx, next)
		if !errors.Is(err, ErrConflict) {
			return next, err
		}
	}
	return Endpoint{}, ErrConflict
}

func (s *Service) checkChange(ctx context.Context, was, next *Endpoint) error {
	switch {
	case was.OneOff:
		return ErrNotFound
	case was.Status == Pending && next.Status != Pending && next.Challenge != "":
		return ErrConflict // it has to prove first that it may be used
	case next.Status != Disabled:
		next.Reason = ""
	}
	if was.URL == next.URL {
		return s.checkOptions(next)
	}
	if was.Challenge != "" || s.options.Challenge != ChallengeNone {
		return &InvalidError{"url", "the URL of an endpoint that proves its ownership cannot change: make a new one"}
	}
	return s.check(ctx, next)
}

// disable ends deliveries to an endpoint that is dead, and tells the others of its owner.
func (s *Service) disable(ctx context.Context, e *Endpoint, reason, detail string) error {
	changed := false
	_, err := s.updateAny(ctx, e.Owner, e.ID, func(next *Endpoint) bool {
		changed = next.Status == Active
		next.Status, next.Reason = Disabled, reason
		return changed
	})
	if err != nil || !changed {
		return err
	}
	s.options.Logger.Warn("webhook endpoint is disabled", slog.String("endpoint", e.ID), slog.String("owner", e.Owner), slog.Any("reason", reason))
	if e.OneOff {
		return nil
	}
	return s.announce(ctx, e, reason, detail)
}

// updateAny changes an endpoint as Update does, without asking whether an owner may.
func (s *Service) updateAny(ctx context.Context, owner, id string, f func(*Endpoint) bool) (Endpoint, error) {
	for range updates {
		e, _, err := s.store.Endpoint(ctx, owner, id)
		if err != nil || !f(&e) {
			return e, err
		}
		if e, err = s.store.UpdateEndpoint(ctx, e); !errors.Is(err, ErrConflict) {
			return e, err
		}
	}
	return Endpoint{}, ErrConflict
}

// MaxOverlap is how long an old secret may sign beside the new one.
const MaxOverlap = 30 * 24 * time.Hour

// Rotate gives an endpoint a new secret and returns it; the one before signs beside it for
// an overlap. At most three sign at a time.
func (s *Service) Rotate(ctx context.Context, owner, id, secret string, overlap time.Duration) (Endpoint, string, error) {
	if overlap < 0 || overlap > MaxOverlap {
		return Endpoint{}, "", &InvalidError{"overlap", "want 0s to 720h"}
	}
	if secret == "" {
		secret = webhook.NewSecret().String()
	} else if err := checkSecret(secret); err != nil {
		return Endpoint{}, "", err
	}
	e, err := s.Update(ctx, owner, id, func(e *Endpoint) error {
		now := time.Now()
		old := slices.DeleteFunc(slices.Clone(e.Secrets), func(k Secret) bool { return !k.Until.IsZero() && !now.Before(k.Until) })
		if len(old) > 0 {
			old[0].Until = now.Add(overlap)
		}
		if overlap == 0 {
			old = nil
		}
		e.Secrets = append([]Secret{{Value: s.vault.seal(secret, e.ID)}}, old[:min(len(old), 2)]...)
		return nil
	})
	return e, secret, err
}

// The types of the events that are about endpoints themselves.
const (
	EventTest     = "webhook.test"
	EventDisabled = "webhook.disabled"
)

// Test enqueues an event of its own type to an endpoint, whatever that wants, and returns the id of
// its delivery: it takes the way that all take. ErrConflict unless the endpoint is Active.
func (s *Service) Test(ctx context.Context, owner, id string) (string, error) {
	e, _, err := s.store.Endpoint(ctx, owner, id)
	if err != nil {
		return "", err
	}
	if e.Status != Active {
		return "", ErrConflict
	}
	m := s.message(&e, EventTest, map[string]any{"endpoint": e.ID, "message": "This is a test."})
	_, err = s.store.Enqueue(ctx, owner, id, []Message{m})
	return m.ID, err
}

// announce tells an owner's other endpoints that one is disabled.
func (s *Service) announce(ctx context.Context, dead *Endpoint, reason, detail string) error {
	m := s.message(dead, EventDisabled, map[string]any{"endpoint": dead.ID, "url": plainURL(dead.URL), "reason": reason, "detail": detail})
	const page = 100
	for after := ""; ; {
		endpoints, err := s.store.ListEndpoints(ctx, dead.Owner, after, page)
		if err != nil {
			return err
		}
		for i := range endpoints {
			e := &endpoints[i]
			after = e.ID
			if e.ID == dead.ID || e.Status == Pending || e.Status == Disabled || !wants(e.Types, EventDisabled) {
				continue
			}
			if _, err := s.store.Enqueue(ctx, e.Owner, e.ID, []Message{m}); err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
		}
		if len(endpoints) < page {
			return nil
		}
	}
}

// ListDeliveries returns deliveries of an endpoint, newest first.
func (s *Service) ListDeliveries(ctx context.Context, owner, id string, q Query) (Page, error) {
	return s.store.ListDeliveries(ctx, owner, id, q)
}

// Delivery returns a delivery with its attempts.
func (s *Service) Delivery(ctx context.Context, owner, id, message string) (Delivery, error) {
	return s.store.Delivery(ctx, owner, id, message)
}

// Resend makes a delivery due at once, see [Deliveries].
func (s *Service) Resend(ctx context.Context, owner, id, message string) error {
	return s.store.Resend(ctx, owner, id, message)
}

// ValidType reports whether there are deliveries of that type.
func ValidType(t string) bool { return slices.Contains(eventTypes, t) }

// eventTypes are all that an endpoint can ask for.
var eventTypes = []string{
	string(lifecycle.EventAccepted), string(lifecycle.EventStarted), string(lifecycle.EventProgress), string(lifecycle.EventRetrying),
	string(lifecycle.EventWaiting), string(lifecycle.EventAnswered), string(lifecycle.EventRedriven),
	string(lifecycle.EventSucceeded), string(lifecycle.EventFailed), string(lifecycle.EventCanceled), string(lifecycle.EventExpired),
	EventTest, EventDisabled,
}
