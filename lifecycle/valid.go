package lifecycle

import (
	"strings"
	"unicode/utf8"
)

const (
	maxID      = 128
	maxTopic   = 200 // bytes; a RabbitMQ routing key holds 255
	maxSubject = 256
	maxTold    = 64 // bytes of what was not valid, in an error
)

// ValidID reports whether s may be a request id: [A-Za-z0-9_-]{1,128}.
func ValidID(s string) bool {
	return fits(s, maxID, "_-")
}

// ValidTopic reports whether s may be a topic: 1 to 200 of the characters
// A-Z a-z 0-9 . _ : @ ~ and -. They need no escaping in a URL path and mean
// nothing special in an AMQP routing key, but for the dot that separates words.
func ValidTopic(s string) bool {
	return fits(s, maxTopic, "._:@~-")
}

// ValidRoute reports whether s may be the name of a route: [A-Za-z0-9._-]{1,64}.
func ValidRoute(s string) bool {
	return fits(s, 64, "._-")
}

// ValidWorker reports whether s may be the name of a processor or of a session of it: 1 to 128 of
// the characters that a topic may have.
func ValidWorker(s string) bool {
	return fits(s, 128, "._:@~-")
}

// ValidSubject reports whether s may be the name of a caller: 1 to 256 bytes without NUL.
func ValidSubject(s string) bool {
	return s != "" && len(s) <= maxSubject && !strings.ContainsRune(s, 0)
}

// fits reports whether s is 1 to most bytes of letters, digits and extra.
func fits(s string, most int, extra string) bool {
	if s == "" || len(s) > most {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' {
			continue
		}
		found := false
		for j := range len(extra) {
			found = found || extra[j] == c
		}
		if !found {
			return false
		}
	}
	return true
}

func validUTF8(b []byte) bool { return utf8.Valid(b) }

// Clip returns the first bytes of a text that is longer than so many, and an ellipsis behind them;
// any other text as it is. No character is cut in two.
func Clip(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
