package dispatch

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/hark-push/hark/egress"
)

// maxURL bounds a URL, in bytes.
const maxURL = 2048

// resolveTime bounds the look at where a URL leads when an endpoint is made.
const resolveTime = 5 * time.Second

// urlRefused is what an owner learns of a URL whose host is not there or not public:
// the same in both cases, so that nobody learns of hosts inside.
const urlRefused = "its host must be on the public internet, or in a network that the gateway's --webhook-allow-cidrs names"

// plainRefused is what an owner learns of an http URL.
const plainRefused = "want https; http is possible if the gateway runs with --webhook-allow-http, and hosts that are not public with --webhook-allow-cidrs"

// checkURL refuses a URL that deliveries must not go to. What it resolves to is checked again at
// every connection, so this is a courtesy to whoever mistypes it.
func (s *sender) checkURL(ctx context.Context, text string) *InvalidError {
	refuse := func(detail string) *InvalidError { return &InvalidError{Field: "url", Detail: detail} }
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		return refuse("want an absolute URL")
	case len(text) > maxURL:
		return refuse("it is longer than 2048 bytes")
	case u.Scheme != "https" && (u.Scheme != "http" || !s.options.AllowHTTP):
		if u.Scheme == "http" {
			return refuse(plainRefused)
		}
		return refuse("want https, not " + cmp.Or(u.Scheme, "a URL without a scheme"))
	case u.User != nil:
		return refuse("it must not have a user name or password")
	case !validPort(u):
		return refuse("its port must be from 1 to 65535")
	case strings.Contains(text, "#"):
		return refuse("it must not have a fragment; a # in it is written as %23")
	case !plainQuery(u.RawQuery):
		return refuse("its query has a space, a control character, a character that is not ASCII, or a % without two hexadecimal digits: write those with % and two hexadecimal digits for each byte")
	case u.Hostname() == "" || egress.Numeric(u.Hostname()):
		return refuse(urlRefused)
	}
	if !s.resolves(ctx, u.Hostname()) {
		return refuse(urlRefused)
	}
	return nil
}

// plainURL returns a URL as it may be logged, and told to others than its owner: without a query
// and a user, which may hold what opens it.
func plainURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "(no URL)"
	}
	u.User, u.RawQuery, u.ForceQuery, u.Fragment = nil, "", false, ""
	return u.String()
}

// quietError is an error of net/http or net/url, whose text has the URL in it, and of a redirect
// that of the answer: only the plain ones are shown.
type quietError struct {
	error
	text string
}

func (e *quietError) Error() string { return e.text }
func (e *quietError) Unwrap() error { return e.error }

// urls are those in the text of an error: up to a quote, a space, or the end.
var urls = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://[^\s"]*`)

// quiet returns an error about a call to a URL as it may be logged.
func quiet(err error, to string) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	plain := urls.ReplaceAllStringFunc(text, func(u string) string {
		rest := strings.TrimRight(u, ":,.;") // of the sentence
		return plainURL(rest) + u[len(rest):]
	})
	if u, e := url.Parse(to); e == nil && u.RawQuery != "" {
		plain = strings.ReplaceAll(plain, u.RawQuery, "…") // wherever else it may stand
	}
	if plain == text {
		return err
	}
	return &quietError{err, plain}
}

// plainQuery reports whether a query may stand in the request line as it is, where net/http puts it
// (RFC 3986, section 3.4).
func plainQuery(query string) bool {
	_, err := url.QueryUnescape(query)
	return err == nil && !strings.ContainsFunc(query, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

// validPort reports whether a URL has a port that there can be, or none.
func validPort(u *url.URL) bool {
	if u.Port() == "" {
		return true // that of its scheme
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	return err == nil && port > 0
}

// resolves reports whether a host leads to addresses that may be reached, and no others.
func (s *sender) resolves(ctx context.Context, host string) bool {
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if addr, e := netip.ParseAddr(host); e == nil {
		addresses, err = []netip.Addr{addr}, nil
	}
	if err != nil || len(addresses) == 0 {
		return false
	}
	for _, addr := range addresses {
		if s.guard.Check(addr.Unmap()) != nil {
			return false
		}
	}
	return true
}
