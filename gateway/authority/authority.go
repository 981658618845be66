// Package authority says what may stand behind the scheme of an http or https URL (RFC 3986,
// section 3.2; RFC 9110, section 4.2).
package authority

import (
	"net/url"
	"strconv"
	"strings"
)

// Valid reports whether text is a host, with a port or without, as clients find it in a URL: a name
// in ASCII, an IPv4 address, or an IPv6 address in brackets. What is not, a client refuses, or
// takes for something else.
func Valid(text string) bool {
	if text == "" || strings.ContainsAny(text, "/?#@\\%, <>\"") || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return false
	}
	u, err := url.Parse("//" + text)
	if err != nil || u.Host != text || u.Hostname() == "" {
		return false
	}
	if strings.Contains(u.Hostname(), ":") && !strings.HasPrefix(text, "[") {
		return false
	}
	if u.Port() == "" {
		return !strings.HasSuffix(text, ":")
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	return err == nil && port > 0
}

// Plain returns a host without the port that its scheme has anyway (RFC 3986, section 6.2.3): who
// compares two has to leave it out of both.
func Plain(scheme, host string) string {
	switch scheme {
	case "http":
		return strings.TrimSuffix(host, ":80")
	case "https":
		return strings.TrimSuffix(host, ":443")
	}
	return host
}
