// Package auth tells who makes a call. It is the one place that knows how a caller
// proves that: by an API key, a JSON Web Token, or a ticket for one request. Everything
// behind it sees a [Caller].
package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/lifecycle"
)

// Errors of who does not prove who it is.
var (
	// ErrUnauthenticated is what they all wrap.
	ErrUnauthenticated = errors.New("not authenticated")
	// ErrNoToken: it did not try to. Else the error is a [*TokenError].
	ErrNoToken = fmt.Errorf("%w: no token", ErrUnauthenticated)
)

// ErrExpired: the proof was good, and holds no longer, because it has expired or was revoked. The
// error is a [*TokenError], too.
var ErrExpired = errors.New("the proof holds no longer")

// TokenError is the error of a token that is not taken. It wraps [ErrUnauthenticated].
type TokenError struct {
	Detail string // a sentence for whoever sent it; nothing of the token is in it
}

func (e *TokenError) Error() string { return e.Detail }

// Unwrap makes every TokenError an [ErrUnauthenticated].
func (e *TokenError) Unwrap() error { return ErrUnauthenticated }

// expiredError is a TokenError that wraps [ErrExpired].
type expiredError struct{ *TokenError }

func (e expiredError) Unwrap() []error { return []error{e.TokenError, ErrExpired} }

func expired(detail string) error { return expiredError{&TokenError{detail}} }

// Caller is who makes a call, and until when that is proven.
type Caller struct {
	lifecycle.Principal
	Expires time.Time // of the proof; zero if it does not expire

	key *key // the API key that proves it, nil if something else does
}

// Credential returns until when connections of the caller may stay, nil for ever.
func (c Caller) Credential() *hub.Credential {
	switch {
	case c.key != nil:
		return c.key.credential
	case c.Expires.IsZero():
		return nil
	}
	return hub.NewCredential(c.Expires)
}

// Until returns a context that ends with ctx, or when what proves who the caller is does: because
// it expires, or its key is revoked. Ended tells which. The function must be called.
func (c Caller) Until(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.key == nil && c.Expires.IsZero() {
		return ctx, func() {}
	}
	var cancel context.CancelFunc
	if c.Expires.IsZero() {
		ctx, cancel = context.WithCancel(ctx)
	} else {
		ctx, cancel = context.WithDeadline(ctx, c.Expires)
	}
	if c.key == nil {
		return ctx, cancel
	}
	stop := context.AfterFunc(c.key.revoked, cancel)
	return ctx, func() { stop(); cancel() }
}

// Ended returns an error that wraps [ErrExpired] if what proves who the caller is holds no longer.
func (c Caller) Ended() error {
	switch {
	case c.key != nil && c.key.revoked.Err() != nil:
		return expired("The key was revoked.")
	case !c.Expires.IsZero() && !time.Now().Before(c.Expires):
		return expired("The token has expired.")
	}
	return nil
}

// Anonymous is the subject of every caller of an open gateway.
const Anonymous = "anonymous"

// Options of a [Guard]. With neither Keys nor a way to check tokens it is open.
type Options struct {
	Keys   string // file of API keys, see [Guard.Run]; "" for none
	Tokens TokenOptions

	TicketKey  []byte        // signs tickets; the same for all nodes
	TicketLife time.Duration // how long a ticket lets somebody begin to follow; 5 minutes

	Logger *slog.Logger // default: discard
}

// Guard tells who makes a call. Its methods may be called concurrently.
type Guard struct {
	keys    *keys   // nil for none
	tokens  *tokens // nil for none
	tickets tickets
}

// New returns a Guard. It fails if the file of keys cannot be read or a key is none. Its Run keeps
// it up to date.
func New(o Options) (*Guard, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.TicketLife <= 0 {
		o.TicketLife = 5 * time.Minute
	}
	g := &Guard{tickets: tickets{key: o.TicketKey, life: o.TicketLife}}
	var err error
	if o.Keys != "" {
		if g.keys, err = openKeys(o.Keys, o.Logger); err != nil {
			return nil, err
		}
	}
	if o.Tokens.any() {
		if g.tokens, err = newTokens(o.Tokens, o.Logger); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// Run keeps what the Guard knows up to date until ctx ends: the file of keys is read again when it
// has changed, and the set of keys of a JWKS URL from time to time. Keys that are gone are revoked:
// connections that came with them are closed.
func (g *Guard) Run(ctx context.Context) {
	var running sync.WaitGroup
	if g.keys != nil {
		running.Go(func() { g.keys.watch(ctx) })
	}
	if g.tokens != nil && g.tokens.published != nil {
		running.Go(func() { g.tokens.published.run(ctx) })
	}
	running.Wait()
}

// Trouble returns why the file of keys cannot be taken, nil if it can.
func (g *Guard) Trouble() *Trouble {
	if g.keys == nil {
		return nil
	}
	return g.keys.trouble.Load()
}

// Keys returns how many API keys are in force.
func (g *Guard) Keys() int {
	if g.keys == nil {
		return 0
	}
	return len(g.keys.known.Load().byDigest)
}

// Open reports whether nobody has to prove anything: then everybody is one caller, who may
// submit and process, and the gateway must not be reachable by strangers. What only an admin may
// see, such as stack traces, stays hidden.
func (g *Guard) Open() bool { return g.keys == nil && g.tokens == nil }

// Header returns who is behind the value of an Authorization header (RFC 6750, section 2.1), "" if
// there was none. Errors wrap [ErrUnauthenticated], or lifecycle.ErrUnavailable if it cannot be
// told now.
func (g *Guard) Header(authorization string) (Caller, error) {
	if g.Open() {
		return Caller{Principal: lifecycle.Principal{
			Subject: Anonymous, Roles: []lifecycle.Role{lifecycle.RoleClient, lifecycle.RoleProcessor},
		}}, nil
	}
	if authorization == "" {
		return Caller{}, ErrNoToken
	}
	scheme, token, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return Caller{}, &TokenError{"The Authorization must be a Bearer token."}
	}
	return g.Token(strings.Trim(token, " "))
}

// Token returns who is behind an API key or a JSON Web Token, as Header does. An open gateway takes
// none.
func (g *Guard) Token(token string) (Caller, error) {
	if !validToken(token) { // base64 would overlook some of what it could hold
		return Caller{}, &TokenError{"The token is malformed."}
	}
	if g.keys != nil {
		if caller, ok, err := g.keys.caller(token); ok {
			return caller, err
		}
	}
	if g.tokens != nil && strings.Count(token, ".") == 2 {
		return g.tokens.caller(token)
	}
	return Caller{}, &TokenError{"The token is not one that this gateway knows."}
}

// NewTicket returns a ticket, with which whoever has it may follow one request in the name of the
// caller. It is good for a URL: it lets somebody begin for a short time only, and no connection
// outlives what the caller's own would.
func (g *Guard) NewTicket(c Caller, request lifecycle.Ref) (string, error) {
	if c.Request.ID != "" && c.Request != request {
		return "", fmt.Errorf("ticket for %s from one for %s", request, c.Request)
	}
	return g.tickets.sign(c, request)
}

// Ticket returns who is behind a ticket: a caller who may follow [lifecycle.Principal.Request] and
// nothing else. A ticket that is too old to begin with lets its holder come back, because an
// EventSource that was cut off does so by itself, to the URL that it has: resumes tells whether the
// call goes on with following a request, after an offset that is known. It may be nil: the call
// does not.
func (g *Guard) Ticket(ticket string, resumes func(request string) bool) (Caller, error) {
	if !validToken(ticket) {
		return Caller{}, &TokenError{"The ticket is malformed."}
	}
	caller, keyID, err := g.tickets.caller(ticket, resumes)
	if err != nil || keyID == "" {
		return caller, err
	}
	if g.keys != nil {
		caller.key = g.keys.byID(keyID)
	}
	if caller.key == nil {
		return Caller{}, expired("The key behind the ticket was revoked.")
	}
	return caller, nil
}

// validSubject reports whether a subject may own requests.
func validSubject(s string) bool {
	const most = 256 // bytes; as the owner's channel takes
	return s != "" && len(s) <= most && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		// RuneError stands for what could not be read: two subjects would be one.
		return unicode.IsControl(r) || r == utf8.RuneError
	})
}

// validToken reports whether a text may be a Bearer token (RFC 6750, section 2.1).
func validToken(s string) bool {
	const characters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/="
	return s != "" && strings.TrimLeft(s, characters) == ""
}

// role returns the role of a name, false if there is none.
func role(name string) (lifecycle.Role, bool) {
	switch r := lifecycle.Role(name); r {
	case lifecycle.RoleClient, lifecycle.RoleProcessor, lifecycle.RoleAdmin:
		return r, true
	}
	return "", false
}
