package api

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/gateway/authority"
	"github.com/hark-push/hark/lifecycle"
)

// address returns a path of this gateway as Location fields have it: absolute where it is known under which address the client
// calls, because some that poll take nothing else, Azure's SDK for Go among them; else as it is, which is right too (RFC 9110, section 10.2.2).
func (a *API) address(c *fiber.Ctx, path string) string {
	if a.PublicURL != "" {
		return a.PublicURL + path
	}
	return a.forwarded(c) + path
}

// forwarded returns scheme and host that a call was made to, as the proxy in front says; "" if it says nothing, or is not to be believed. Of a chain
// of proxies the first counts, which stands first; one that the client has made up stands in its own answer only.
func (a *API) forwarded(c *fiber.Ctx) string {
	if !a.trusts(c.Context().RemoteAddr()) {
		return ""
	}
	scheme, host := first(c.Get(fiber.HeaderXForwardedProto)), first(c.Get(fiber.HeaderXForwardedHost))
	if element := splitUnquoted(c.Get("Forwarded"), ',')[0]; scheme == "" { // RFC 7239, section 4
		for _, pair := range splitUnquoted(element, ';') {
			switch name, value, _ := strings.Cut(strings.TrimSpace(pair), "="); strings.ToLower(name) {
			case "proto":
				scheme = unquote(value)
			case "host":
				host = unquote(value)
			}
		}
	}
	if host == "" {
		host = string(c.Request().Host())
	}
	scheme = strings.ToLower(scheme)
	if scheme != "http" && scheme != "https" || !authority.Valid(host) {
		return ""
	}
	return scheme + "://" + host
}

// trusts reports whether a call comes from a proxy whose word on where it was made to is taken.
func (a *API) trusts(peer net.Addr) bool {
	if len(a.TrustedProxies) == 0 {
		return false
	}
	from, err := netip.ParseAddrPort(peer.String())
	return err == nil && slices.ContainsFunc(a.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(from.Addr().Unmap().WithZone("")) })
}

// first returns the first element of a list.
func first(list string) string {
	element, _, _ := strings.Cut(list, ",")
	return strings.TrimSpace(element)
}

// poll is how a client looks at a request, by the query of its call. Who submits gets it back in where to look.
type poll struct {
	ticket bool // put one into the links
	failed bool // call it failed when it has expired
}

// pollOf reads ?ticket= and ?expired=.
func pollOf(c *fiber.Ctx) (poll, error) {
	ticket, err := wantsTicket(c)
	if err != nil {
		return poll{}, err
	}
	p := poll{ticket: ticket}
	switch c.Query("expired") {
	case "", string(lifecycle.Expired):
	case string(lifecycle.Failed):
		p.failed = true
	default:
		return p, invalid(fieldError{"?expired", "must be failed, for clients that do not know the status expired, or expired"})
	}
	return p, nil
}

// operation says where a request is to be looked at, as it is looked at by this call, and returns that.
func (a *API) operation(c *fiber.Ctx, of string, p poll) string {
	self := a.address(c, "/v1/requests/"+of)
	if p.failed {
		self += "?expired=" + string(lifecycle.Failed)
	}
	c.Set("Operation-Location", self)
	return self
}

// view is how much of a request a caller may see, and how.
func (p poll) view(caller auth.Caller) lifecycle.View {
	v := view(caller)
	v.ExpiredFails = p.failed
	return v
}
