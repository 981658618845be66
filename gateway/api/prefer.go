package api

import (
	"strconv"
	"strings"
	"time"
)

// preference is what Hark understands of a Prefer header (RFC 7240).
type preference struct {
	async bool           // respond-async
	wait  *time.Duration // wait=N
}

// parsePrefer reads the values of all Prefer header fields of a message. Names
// are compared without case, of a repeated preference the first counts (RFC 7240,
// section 2), and what is unknown or malformed is ignored, as a preference is
// never an error.
func parsePrefer(fields []string) preference {
	var p preference
	var sawWait bool
	for _, field := range fields {
		for _, item := range splitUnquoted(field, ',') {
			token := splitUnquoted(item, ';')[0] // parameters mean nothing to these two
			name, value, _ := strings.Cut(token, "=")
			value = unquote(strings.TrimSpace(value))
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "respond-async": // which has no value; one that says no is none (section 2)
				p.async = p.async || value == "" || strings.EqualFold(value, "true")
			case "wait":
				if sawWait {
					continue
				}
				sawWait = true
				const most = 24 * 3600 // seconds; keeps the product from overflowing
				if n, err := strconv.ParseUint(value, 10, 64); err == nil {
					p.wait = new(time.Duration(min(n, most)) * time.Second)
				}
			}
		}
	}
	return p
}

// splitUnquoted splits s at sep outside of quoted strings (RFC 9110, section
// 5.6.4). It returns at least one part.
func splitUnquoted(s string, sep byte) []string {
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

// unquote returns what a quoted string stands for, and anything else as it is.
func unquote(s string) string {
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

// applied returns the value of Preference-Applied for an answer that was given
// with (async) or without respond-async; "" if nothing was preferred.
func (p preference) applied(async bool) string {
	var parts []string
	if p.async && async {
		parts = append(parts, "respond-async")
	}
	if p.wait != nil {
		parts = append(parts, "wait="+strconv.Itoa(int(p.wait.Seconds())))
	}
	return strings.Join(parts, ", ")
}
