package api

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/gateway/authority"
)

// guardHost refuses, where Hosts are set, every call under another host name (DNS rebinding).
func (a *API) guardHost(c *fiber.Ctx) error {
	host := strings.ToLower(string(c.Request().Host()))
	// Browsers always say the host; who speaks HTTP/1.0 need not, as the probes of some proxies.
	if len(a.Hosts) > 0 && host != "" && !slices.Contains(a.Hosts, hostname(host)) {
		return &problem.Details{Kind: problem.Origin, Detail: "This gateway does not go by the host name " + quoted(host) + ". It runs without keys and therefore answers to loopback names only."}
	}
	return c.Next()
}

// ownPages is the access to what a page from elsewhere may not do (cross-site request forgery):
// what changes something, and WebSockets, over which a page would read. What only reads needs none,
// because the browser keeps the answer from the page. It goes by what a route does: a call is work
// whatever its method is.
func (a *API) ownPages(access func(handler) fiber.Handler) func(handler) fiber.Handler {
	return func(h handler) fiber.Handler {
		guarded := access(h)
		return func(c *fiber.Ctx) error {
			if err := a.elsewhere(c); err != nil {
				return err
			}
			return guarded(c)
		}
	}
}

// elsewhere returns an error if a browser sent a call on behalf of a page from another origin.
// Browsers say that by Origin or Sec-Fetch-Site, or, where they send neither (a GET over http to
// another host than localhost, or an old browser), by Referer.
func (a *API) elsewhere(c *fiber.Ctx) error {
	host := strings.ToLower(string(c.Request().Host()))
	origin, site := c.Get(fiber.HeaderOrigin), c.Get("Sec-Fetch-Site")
	if origin != "" && a.allowed(origin) {
		return nil
	}
	foreign := origin != "" && !ofHost(origin, host)
	switch site {
	case "":
		if from := refererOrigin(c.Get(fiber.HeaderReferer)); origin == "" && from != "" {
			origin, foreign = from, !a.allowed(from) && !ofHost(from, host)
		}
	case "same-origin", "none":
		foreign = false
	default: // cross-site, same-site, and what may come
		foreign = true
	}
	if foreign {
		return &problem.Details{Kind: problem.Origin, Detail: fmt.Sprintf("A page from another origin may not do this: Host says %s, Origin %s and Sec-Fetch-Site %s. "+
			"A proxy in front has to pass Host on as it came, with its port; pages of other origins are allowed with --origins.", quoted(host), quoted(origin), quoted(site))}
	}
	return nil
}

// allowed reports whether the operator has named an origin.
func (a *API) allowed(origin string) bool {
	return strings.EqualFold(origin, a.PublicURL) || slices.ContainsFunc(a.Origins, func(o string) bool { return strings.EqualFold(o, origin) })
}

// refererOrigin returns the origin of the page in a Referer, "" if it says none.
func refererOrigin(referer string) string {
	u, err := url.Parse(referer)
	if err != nil || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + authority.Plain(u.Scheme, u.Host)
}

// hostname returns a host without its port.
func hostname(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && strings.IndexByte(host[i:], ']') < 0 {
		host = host[:i]
	}
	return strings.Trim(host, "[]")
}

// ofHost reports whether an origin is that of a host as the field Host has it. An origin never says
// the port that its scheme has anyway (RFC 6454, section 6.2); a proxy may.
func ofHost(origin, host string) bool {
	scheme, of, _ := strings.Cut(strings.ToLower(origin), "://")
	return (scheme == "http" || scheme == "https") && authority.Plain(scheme, of) == authority.Plain(scheme, host)
}
