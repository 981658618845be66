package api

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/api/field"
	"github.com/hark-push/hark/gateway/authority"
)

// address returns a path of this gateway as Location fields have it: absolute where it is known
// under which address the client calls, because some that poll take nothing else, Azure's SDK for
// Go among them; else as it is, which is right too (RFC 9110, section 10.2.2).
func (a *API) address(c *fiber.Ctx, path string) string {
	if a.PublicURL != "" {
		return a.PublicURL + path
	}
	return a.forwarded(c) + path
}

// forwarded returns scheme and host that a call was made to, as the proxy in front says; "" if it
// says nothing, or is not to be believed. Of a chain of proxies the first counts, which stands
// first; one that the client has made up stands in its own answer only.
func (a *API) forwarded(c *fiber.Ctx) string {
	if !a.trusts(c.Context().RemoteAddr()) {
		return ""
	}
	scheme, host := first(c.Get(fiber.HeaderXForwardedProto)), first(c.Get(fiber.HeaderXForwardedHost))
	// The field is that of RFC 7239, section 4.
	if element := field.SplitUnquoted(c.Get("Forwarded"), ',')[0]; scheme == "" {
		for _, pair := range field.SplitUnquoted(element, ';') {
			switch name, value, _ := strings.Cut(strings.TrimSpace(pair), "="); strings.ToLower(name) {
			case "proto":
				scheme = field.Unquote(value)
			case "host":
				host = field.Unquote(value)
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
	return err == nil && a.trustsAddress(from.Addr().Unmap().WithZone(""))
}

func (a *API) trustsAddress(from netip.Addr) bool {
	return slices.ContainsFunc(a.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(from) })
}

// first returns the first element of a list.
func first(list string) string {
	element, _, _ := strings.Cut(list, ",")
	return strings.TrimSpace(element)
}
