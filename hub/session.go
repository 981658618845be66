package hub

import (
	"context"
	"errors"
	"time"
)

// Session is what the client of a WebSocket may do. The methods are called by one goroutine at
// a time, until the connection ends.
type Session interface {
	// Resolve returns the channel that the client means by a name, or an error
	// if it may not read it.
	Resolve(ctx context.Context, name string) (Channel, error)
	// Authenticate returns who the client is by a token that it sent, and the session in force from
	// then on. An error that wraps [ErrUnproven], [ErrExpired] or [ErrForbidden] says that the
	// token is not taken.
	Authenticate(token string) (Identity, error)
	// Problem returns an error as problem details (RFC 9457), one line of JSON.
	Problem(err error) []byte
}

// Identity is who a client is by its token.
type Identity struct {
	Session    Session
	Caller     string
	Credential *Credential
	Subscribe  []Subscribe // to make at once
}

// authenticate takes a token: the first one of a client that has yet to say who it is, or a
// newer one, with which the connection may stay for longer.
func (s *socket) authenticate(token string) {
	identity, err := s.session.Authenticate(token)
	if err != nil {
		s.refuse("", err)
		switch {
		case !s.unproven: // it may stay with the token that it has
		case errors.Is(err, ErrUnproven), errors.Is(err, ErrExpired), errors.Is(err, ErrForbidden):
			s.dismiss(refusal(err))
		default:
			s.dismiss(&farewell{why: reasonShed, code: CloseTryLater, text: "the token cannot be checked, try later"})
		}
		return
	}
	if s.unproven && !s.belongs(identity.Caller) {
		s.dismiss(s.hub.stats.meets(limitCaller))
		return
	}
	s.session, s.unproven = identity.Session, false
	s.credential.Store(identity.Credential)
	s.hub.wheel.move(&s.outbox)
	expires := []byte("null")
	if ends := identity.Credential.Ends(); !ends.IsZero() {
		expires = appendJSONString(nil, ends.UTC().Format(time.RFC3339))
	}
	s.reply(append(append([]byte(`{"op":"authenticated","expires":`), expires...), '}'))
	for _, sub := range identity.Subscribe {
		s.subscribe(s.hub.ctx, sub)
	}
}

// belongs counts the connection as one of a caller, and reports false if that are too many.
func (s *socket) belongs(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == outboxClosed { // which has given back what it had
		return true
	}
	p := s.place()
	ok := s.hub.admission.prove(&p, name)
	s.keep(p)
	return ok
}
