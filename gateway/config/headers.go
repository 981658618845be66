package config

import (
	"cmp"
	"regexp"
	"strconv"
	"strings"

	"github.com/hark-push/hark/settings"
)

const mostForwardHeaders = 16

var (
	fieldName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$") // RFC 9110, section 5.1

	// credentialField finds what proves who somebody is: what the standards have for it, and what
	// others name after what it is.
	credentialField = regexp.MustCompile(`(?i)^(proxy-|sec-)|(^|[-_.])auth([-_.]|$|ori[sz]ation|enticat)|cookie|token|secret|passw|credential|session|signature|api-?key|access-?key|jwt|assertion|client-cert`)

	// callField finds what is about the connection or about the body, which is not the same any
	// more where a processor sees it (RFC 9110, section 7.6.1), and what Hark itself says beside
	// it.
	callField = regexp.MustCompile(`(?i)^(connection|keep-alive|te|trailer|transfer-encoding|upgrade|host|expect|range|if-.*|content-length|content-type|content-encoding|hark-.*)$`)
)

// checkForwardHeaders refuses what must not be passed on: what is passed on is stored, and who
// works on a request is not to be able to act as whoever submitted it.
func (c *Config) checkForwardHeaders() error {
	if n := len(c.ForwardHeaders); n > mostForwardHeaders {
		return settings.NotAllowed("forward-headers", strconv.Itoa(n)+" names", "at most "+strconv.Itoa(mostForwardHeaders))
	}
	for _, name := range c.ForwardHeaders {
		switch {
		case !fieldName.MatchString(name):
			return settings.NotAllowed("forward-headers", cmp.Or(name, strings.Join(c.ForwardHeaders, ",")), "names of header fields of at most 64 characters, like X-Tenant")
		case credentialField.MatchString(name):
			return settings.NotAllowed("forward-headers", name, "no field that may prove who the caller is, because it would be stored and could be used by who works on the request: "+
				"Authorization, Cookie, Proxy-…, Sec-…, and what is named after an API key, a token, a secret, a session or the like. Have a proxy in front say under another name what processors need to know")
		case callField.MatchString(name):
			return settings.NotAllowed("forward-headers", name, "no field that is about the connection or the body, whose media type processors get anyway")
		}
	}
	return nil
}
