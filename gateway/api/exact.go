package api

import (
	"bytes"
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/gateway/authority"
)

// What can be read in more than one way is refused, because whoever stands in front of the gateway
// (a proxy with rules, a log, another library) may read it in the other one. A path is the bytes
// that were sent: nothing is unescaped, joined or folded before a route is looked for.

// onceFields are the header fields that the gateway reads and that have one value (RFC 9110,
// section 5.3), and manyFields those that are lists or are passed on.
var (
	onceFields = []string{
		"authorization", "content-type", "hark-attempt", "hark-life", "idempotency-key", "last-event-id", "origin", "range",
		"producer-epoch", "producer-id", "producer-seq", "sec-fetch-site", "sec-websocket-key", "stream-closed", "stream-expires-at", "stream-fork-offset",
		"stream-fork-sub-offset", "stream-forked-from", "stream-seq", "stream-ttl",
	}
	manyFields = []string{
		"accept", "accept-language", "baggage", "content-disposition", "content-encoding", "content-language", "forwarded", "if-match", "if-none-match",
		"if-range", "prefer", "referer", "sec-websocket-protocol", "sec-websocket-version", "traceparent", "tracestate", "upgrade", "user-agent",
		"x-correlation-id", "x-forwarded-host", "x-forwarded-proto", "x-request-id",
	}
	fieldsRead = func() map[string]bool { // by name: whether it may stand there once only
		read := make(map[string]bool)
		for _, name := range manyFields {
			read[name] = false
		}
		for _, name := range onceFields {
			read[name] = true
		}
		return read
	}()
)

// exact refuses a call whose target or header can be read in more than one way, before anybody
// looks at it.
func (a *API) exact(c *fiber.Ctx) error {
	h := &c.Request().Header
	if p := exactTarget(h.RequestURI()); p != nil {
		return p
	}
	if p := exactHead(h.RawHeaders(), a.fields); p != nil {
		return p
	}
	if closes(h.PeekAll(fiber.HeaderConnection)) {
		c.Context().SetConnectionClose()
	}
	return c.Next()
}

// closes reports whether a client says that it sends nothing more: an option of a list in any case
// (RFC 9110, section 7.6.1), of which the server knows only the word alone.
func closes(fields [][]byte) bool {
	for _, field := range fields {
		for option := range bytes.SplitSeq(field, []byte{','}) {
			if bytes.EqualFold(bytes.TrimSpace(option), []byte("close")) {
				return true
			}
		}
	}
	return false
}

// exactTarget checks a request target (RFC 9112, section 3.2): a path, or an http or https URL,
// which is taken for its path.
func exactTarget(target []byte) *problem.Details {
	wrong := func(detail string) *problem.Details { return &problem.Details{Kind: problem.Malformed, Detail: detail} }
	if bytes.IndexByte(target, '#') >= 0 {
		return wrong("The target of the call has a #. Write it as %23: a fragment is never sent.")
	}
	if bytes.ContainsFunc(target, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return wrong("The target of the call has a control character or a space. Write it with % and two hexadecimal digits.")
	}
	path, _, _ := bytes.Cut(target, []byte{'?'})
	if len(path) == 0 || path[0] != '/' && string(path) != "*" {
		scheme, rest, _ := strings.Cut(string(path), "://")
		host, _, _ := strings.Cut(rest, "/")
		if !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") || !authority.Valid(host) {
			return wrong("The target of the call is neither a path nor an http URL with a host and without a user.")
		}
	}
	if utf8.Valid(target) {
		return nil
	}
	if !utf8.Valid(path) {
		return wrong("The path of the call is not UTF-8. Write other bytes with % and two hexadecimal digits.")
	}
	return exactQuery(target[len(path)+1:])
}

// exactQuery checks the query of a call, as it was sent.
func exactQuery(query []byte) *problem.Details {
	for pair := range bytes.SplitSeq(query, []byte{'&'}) {
		name, _, _ := bytes.Cut(pair, []byte{'='})
		if !utf8.Valid(pair) {
			return problem.MalformedAt("?"+readable(name), "is not UTF-8: write it with % and two hexadecimal digits for each byte")
		}
		if _, err := url.QueryUnescape(string(pair)); err != nil {
			return problem.MalformedAt("?"+readable(name), "has a % that is not followed by two hexadecimal digits: write it as %25")
		}
	}
	return nil
}

// readable returns the name of an option as it may stand in an answer.
func readable(raw []byte) string {
	text := string(raw)
	if name, err := url.QueryUnescape(text); err == nil {
		text = name
	}
	return strings.ToValidUTF8(text[:min(len(text), 100)], "\uFFFD")
}

// token reports whether a text is one (RFC 9110, section 5.6.2).
func token(text []byte) bool {
	for _, b := range text {
		if !tokenBytes[b] {
			return false
		}
	}
	return len(text) > 0
}

var tokenBytes = func() (is [256]bool) {
	for b := range is {
		is[b] = 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || b < 0x80 && strings.IndexByte("!#$%&'*+-.^_`|~", byte(b)) >= 0
	}
	return is
}()

// fieldsReadWith are fieldsRead, and those that are passed on because the operator wants it, once
// each.
func fieldsReadWith(forward []string) map[string]bool {
	read := maps.Clone(fieldsRead)
	for _, name := range forward {
		lower := strings.ToLower(name)
		if _, known := read[lower]; !known {
			read[lower] = true
		}
	}
	return read
}

// longestField is how long the name of a field may be that is read.
const longestField = 64

// exactHead checks a head as it was sent, whose Host the server has seen to. Fields that are not
// read may hold what they like. fields has those that are: true if they may stand there once only.
func exactHead(head []byte, fields map[string]bool) *problem.Details {
	var once [24]string // those that were seen
	seen := once[:0]
	length, coding := false, false
	for len(head) > 0 {
		var line []byte
		line, head, _ = bytes.Cut(head, []byte{'\n'})
		name, value, ok := bytes.Cut(line, []byte{':'})
		if ok && !token(name) {
			// Whoever stands in front may take it for another name, or for the line before going
			// on.
			return &problem.Details{Kind: problem.Malformed, Detail: "The head of the call has a field whose name is not one: it has a space, or another character that none may have (RFC 9110, section 5.1)."}
		}
		if !ok || len(name) > longestField {
			continue
		}
		var room [longestField]byte
		lower := room[:len(name)]
		for i, b := range name {
			if 'A' <= b && b <= 'Z' {
				b |= 0x20
			}
			lower[i] = b
		}
		switch string(lower) {
		case "content-length":
			length = true
		case "transfer-encoding":
			if coding = true; !bytes.EqualFold(bytes.TrimSpace(value), []byte("chunked")) {
				return problem.MalformedAt(string(name), "must be chunked: no other coding is understood here (RFC 9112, section 6.1)")
			}
		}
		if length && coding {
			return problem.MalformedAt("Transfer-Encoding", "stands beside a Content-Length, and they may say two things (RFC 9112, section 6.3): send one of them")
		}
		single, read := fields[string(lower)]
		if !read {
			continue
		}
		if !utf8.Valid(value) {
			return problem.MalformedAt(string(name), "is not UTF-8")
		}
		if !single {
			continue
		}
		if slices.Contains(seen, string(lower)) {
			return problem.MalformedAt(string(name), "is a field that has one value, and stands there twice")
		}
		seen = append(seen, string(lower))
	}
	return nil
}

// checkParams refuses a path whose parameters are not what they seem.
func checkParams(c *fiber.Ctx) error {
	for _, name := range c.Route().Params {
		if name == "*1" { // the rest of a call, of which call itself makes sense
			continue
		}
		raw := c.Params(name)
		if strings.IndexByte(raw, '%') < 0 {
			continue
		}
		text, err := url.PathUnescape(raw)
		switch {
		case err != nil:
			return problem.MalformedAt("{"+name+"}", "has a % that is not followed by two hexadecimal digits: write it as %25")
		case !utf8.ValidString(text):
			return problem.MalformedAt("{"+name+"}", "is not UTF-8")
		}
	}
	return nil
}
