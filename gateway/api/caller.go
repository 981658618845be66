package api

import (
	"errors"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/api/httpbody"
	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/lifecycle"
)

// handler answers a call of a caller who may make it.
type handler func(c *fiber.Ctx, caller auth.Caller) error

// as lets only callers with a role through to a handler. who tells who calls.
func (a *API) as(role lifecycle.Role, who func(*fiber.Ctx) (auth.Caller, error)) func(handler) fiber.Handler {
	return func(h handler) fiber.Handler {
		return func(c *fiber.Ctx) error {
			caller, err := who(c)
			if err == nil {
				err = may(caller, role)
			}
			if err != nil {
				return a.challenge(c, err)
			}
			if !a.Guard.Open() { // else all are the same
				httpbody.ConnOf(c.Context()).Caller = "caller " + caller.Subject
			}
			if a.Meter != nil {
				httpbody.ConnOf(c.Context()).Role = a.roleOf(caller)
			}
			err = a.byCaller(c, caller, h)
			if errors.Is(err, auth.ErrUnauthenticated) { // what proved it has ended meanwhile
				return a.challenge(c, err)
			}
			return err
		}
	}
}

// admins lets only admins through to a handler; where nobody has a key nobody is more than the
// others, and all may.
func (a *API) admins(h handler) fiber.Handler {
	keyed, open := a.as(lifecycle.RoleAdmin, a.caller)(h), a.as(lifecycle.RoleClient, a.caller)(h)
	return func(c *fiber.Ctx) error {
		if a.Guard.Open() {
			return open(c)
		}
		return keyed(c)
	}
}

// caller tells who calls by the Authorization.
func (a *API) caller(c *fiber.Ctx) (auth.Caller, error) {
	return a.Guard.Header(c.Get(fiber.HeaderAuthorization))
}

// follower is caller for who wants to follow: a browser cannot set a header for that, but may have
// a ticket. The ticket counts if there is one, because an open gateway would ask for nothing else.
func (a *API) follower(c *fiber.Ctx) (auth.Caller, error) {
	return a.followerWho(c, func(string) bool {
		text, _, _ := cursorText(c)
		return text != ""
	})
}

// followerWho is follower with what tells whether the call goes on with following a request, see
// [auth.Guard.Ticket].
func (a *API) followerWho(c *fiber.Ctx, resumes func(request string) bool) (auth.Caller, error) {
	if ticket := c.Query("ticket"); ticket != "" && c.Get(fiber.HeaderAuthorization) == "" {
		return a.Guard.Ticket(strings.Clone(ticket), resumes)
	}
	return a.caller(c)
}

// may returns an error unless a caller has a role. Whoever has a ticket may follow what it is for:
// only the resources that ask for a follower take tickets, and only for that request.
func may(caller auth.Caller, role lifecycle.Role) error {
	if !caller.Is(role) && caller.Request.ID == "" {
		return &problem.Details{Kind: problem.Forbidden, Detail: "This call needs the role " + string(role) + "."}
	}
	return nil
}

// challenge says with an error how to prove who one is (RFC 6750, section 3).
func (a *API) challenge(c *fiber.Ctx, err error) error {
	const scheme = `Bearer realm="hark"`
	p, _ := errors.AsType[*problem.Details](err)
	token, _ := errors.AsType[*auth.TokenError](err)
	switch {
	case token != nil:
		c.Set(fiber.HeaderWWWAuthenticate, scheme+`, error="invalid_token", error_description="`+token.Detail+`"`)
	case errors.Is(err, auth.ErrUnauthenticated):
		c.Set(fiber.HeaderWWWAuthenticate, scheme)
	case p != nil && p.Kind.Name == problem.Forbidden.Name && !a.Guard.Open():
		c.Set(fiber.HeaderWWWAuthenticate, scheme+`, error="insufficient_scope"`)
	}
	return err
}

// withTicket puts a ticket into the links of a status document that lead to the request's events.
func (a *API) withTicket(document []byte, caller auth.Caller, of lifecycle.Ref) ([]byte, error) {
	id := of.ID
	ticket, err := a.Guard.NewTicket(caller, of)
	if err != nil {
		return nil, err
	}
	text := string(document)
	for _, link := range []struct{ href, query string }{
		{"/v1/requests/" + id + "/events", "?ticket="},
		{"/v1/ws?channel=request:" + id, "&ticket="},
	} {
		// The last place, because the links stand at the end; no quote stands by itself in a JSON
		// string.
		at := strings.LastIndex(text, `"href":"`+link.href+`"`)
		if at < 0 {
			return nil, errors.New("a status document without a link to " + link.href)
		}
		at += len(`"href":"` + link.href)
		text = text[:at] + link.query + ticket + text[at:]
	}
	return []byte(text), nil
}
