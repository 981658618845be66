package samples

import (
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"

	"code.dny.dev/ssrf"

	"github.com/hark-push/hark/processor"
)

// errBlocked is what a user learns of an address that must not be reached: that
// and nothing else, whether or not somebody is there.
var errBlocked = processor.Fail("blocked-address", "This address is not on the public internet.", nil)

func badURL(message string) error { return processor.Fail("bad-url", message, nil) }

// urlError carries a failure through net/http, which wraps errors of redirects.
type urlError struct{ failure error }

func (e *urlError) Error() string { return e.failure.Error() }

// checkURL refuses a URL by its form. Where it leads is checked by the guard, once
// the name has been resolved.
func checkURL(u *url.URL) error {
	host := u.Hostname()
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return &urlError{badURL("Only http and https URLs can be fetched.")}
	case u.User != nil:
		return &urlError{badURL("A URL with a user name or password is not fetched.")}
	case host == "":
		return &urlError{badURL("The URL names no host.")}
	case numeric(host):
		return &urlError{errBlocked}
	}
	return nil
}

// numeric reports whether a host is an IPv4 address in a form that some resolvers
// know and netip does not: decimal, octal, hexadecimal, shortened. There is no
// honest use for them.
func numeric(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return false
	}
	host = strings.TrimSuffix(host, ".")
	last := host[strings.LastIndexByte(host, '.')+1:]
	if last == "" {
		return true
	}
	if hex, ok := strings.CutPrefix(strings.ToLower(last), "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(last, "0123456789") == ""
}

// guard decides which addresses may be connected to.
type guard struct {
	allow  []netip.Prefix
	public *ssrf.Guardian
}

// The networks that FetchOptions.AllowPrivate opens.
var privateNetworks = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("::1/128"),
	netip.MustParsePrefix("fc00::/7"),
}

func newGuard(o FetchOptions) *guard {
	g := &guard{allow: o.Allow, public: ssrf.New()}
	if o.AllowPrivate {
		g.allow = append(slices.Clip(g.allow), privateNetworks...)
	}
	return g
}

// control is the Control of a net.Dialer: it sees the address that is really
// connected to, so a name that resolves differently the second time is no way in.
func (g *guard) control(network, address string, conn syscall.RawConn) error {
	if at, err := netip.ParseAddrPort(address); err == nil {
		for _, prefix := range g.allow {
			if prefix.Contains(at.Addr().Unmap().WithZone("")) {
				return nil
			}
		}
	}
	return g.public.Safe(network, address, conn)
}

// blocked reports whether a guard refused the connection.
func blocked(err error) bool {
	return errors.Is(err, ssrf.ErrProhibitedIP) || errors.Is(err, ssrf.ErrProhibitedPort) ||
		errors.Is(err, ssrf.ErrProhibitedNetwork) || errors.Is(err, ssrf.ErrInvalidHostPort)
}
