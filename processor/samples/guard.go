package samples

import (
	"net/netip"
	"net/url"
	"slices"

	"github.com/hark-push/hark/egress"
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
	case egress.Numeric(host):
		return &urlError{errBlocked}
	}
	return nil
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

func newGuard(o FetchOptions) *egress.Guard {
	allow := o.Allow
	if o.AllowPrivate {
		allow = append(slices.Clip(allow), privateNetworks...)
	}
	return egress.New(allow, 80, 443)
}
