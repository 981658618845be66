package field

import (
	"strconv"
	"strings"
	"time"
)

// Preference is what Hark understands of a Prefer header (RFC 7240).
type Preference struct {
	Async bool           // respond-async
	Wait  *time.Duration // wait=N
}

// ParsePrefer reads the values of all Prefer header fields of a message. Names
// are compared without case, of a repeated preference the first counts (RFC 7240,
// section 2), and what is unknown or malformed is ignored, as a preference is
// never an error.
func ParsePrefer(fields []string) Preference {
	var p Preference
	var sawWait bool
	for _, field := range fields {
		for _, item := range SplitUnquoted(field, ',') {
			token := SplitUnquoted(item, ';')[0] // parameters mean nothing to these two
			name, value, _ := strings.Cut(token, "=")
			value = Unquote(strings.TrimSpace(value))
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "respond-async": // which has no value; one that says no is none (section 2)
				p.Async = p.Async || value == "" || strings.EqualFold(value, "true")
			case "wait":
				if sawWait {
					continue
				}
				sawWait = true
				const most = 24 * 3600 // seconds; keeps the product from overflowing
				if n, err := strconv.ParseUint(value, 10, 64); err == nil {
					p.Wait = new(time.Duration(min(n, most)) * time.Second)
				}
			}
		}
	}
	return p
}

// SplitUnquoted splits s at sep outside of quoted strings (RFC 9110, section
// 5.6.4). It returns at least one part.
func SplitUnquoted(s string, sep byte) []string {
	var parts []string
	quoted, start := false, 0
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case !quoted && s[i] == sep:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:])
}

// Unquote returns what a quoted string stands for, and anything else as it is.
func Unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	var b strings.Builder
	for i := 1; i < len(s)-1; i++ {
		if s[i] == '\\' && i+1 < len(s)-1 {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// Applied returns the value of Preference-Applied for an answer that was given
// with (async) or without respond-async; "" if nothing was preferred.
func (p Preference) Applied(async bool) string {
	var parts []string
	if p.Async && async {
		parts = append(parts, "respond-async")
	}
	if p.Wait != nil {
		parts = append(parts, "wait="+strconv.Itoa(int(p.Wait.Seconds())))
	}
	return strings.Join(parts, ", ")
}
