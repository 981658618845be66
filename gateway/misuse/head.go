package misuse

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// options are what is wrong with the query of an operation.
func (b *builder) options(op *Operation) {
	if !op.ofAPI() {
		return
	}
	var known []string
	for _, p := range op.query() {
		known = append(known, p.Name)
		b.option(op, p)
	}
	if slices.ContainsFunc(op.parameters, func(p *openapi3.Parameter) bool { return p.Name == "ticket" }) || op.ticketed() {
		known = append(known, "ticket")
	}
	for _, name := range unknownMembers(known) {
		if name == "" {
			continue // an empty pair is none
		}
		for _, query := range []string{url.QueryEscape(name) + "=1", url.QueryEscape(name), url.QueryEscape(name) + "="} {
			b.plain(op, "an option that is not known", query, op.with(query), nil, "?"+name, invalid)
		}
	}
	for _, bad := range notUTF8 {
		b.plain(op, "an option that is not UTF-8", fmt.Sprintf("%q", bad), op.with(percent(bad)+"=1"), nil, "", invalid, malformed)
	}
	for _, bad := range []string{"%zz=1", "%=1", "%4=1", "x%=1", "%u0031=1", "%%=1"} {
		b.plain(op, "percent-encoding that is none", bad, op.with(bad), nil, "", invalid, malformed)
	}
}

// ticketed reports whether it takes a ticket, which is a way to say who calls and so no parameter
// in the document.
func (o *Operation) ticketed() bool {
	return o.Path == "/v1/ws" || strings.HasPrefix(o.Path, "/v1/requests/{id}/") && (strings.HasSuffix(o.Path, "/events") || strings.HasSuffix(o.Path, "/history"))
}

// option are values of one option.
func (b *builder) option(op *Operation, p *openapi3.Parameter) {
	headers := op.acceptFor(p.Name)
	s := p.Schema.Value
	var wrong []string
	switch {
	case s.Type.Is("integer"):
		wrong = append(numbers(s, true), "x", "0x1", "1,000", "1 0", "١", "1_0", "--1", "1;2", "true", "null", "[]", "1e999")
	case s.Type.Is("boolean"):
		wrong = []string{"yes", "no", "1", "0", "on", "off", "True", "TRUE", "t", "f", "tru", "truee", "false ", " true", "null", "x", "[]", "2", "-1", "é"}
	default:
		wrong = texts(p.Name, s)
	}
	for _, v := range wrong {
		if op.Method == http.MethodGet && p.Name == "route" && regexp.MustCompile(s.Pattern).MatchString(v) {
			continue // there may be requests of a route that there was
		}
		if v == "" || strings.TrimSpace(v) == "" && mayBeEmpty(p.Name) {
			continue
		}
		b.plain(op, "an option's value", fmt.Sprintf("%s=%.60q", p.Name, v), op.replacing(p.Name, url.QueryEscape(v)), headers, "?"+p.Name, invalid)
	}
	if len(wrong) > 0 {
		if !mayBeEmpty(p.Name) && p.Name != "channel" {
			for _, query := range []string{p.Name, p.Name + "="} {
				b.plain(op, "an option that is empty", query, op.replacing(query, ""), headers, "?"+p.Name, invalid)
			}
			right := url.QueryEscape(strings.Trim(string(example(p.Name, s)), `"`))
			if p.Name == "since" {
				right = "2026-01-01T00:00:00Z"
			}
			for _, other := range []string{right, "x"} {
				b.plain(op, "an option twice", p.Name+", "+other, op.replacing(p.Name, right)+"&"+p.Name+"="+other, headers, "?"+p.Name, invalid)
			}
		}
		for _, bad := range notUTF8 {
			b.plain(op, "an option that is not UTF-8", fmt.Sprintf("%s=%q", p.Name, bad), op.replacing(p.Name, percent(bad)), headers, "?"+p.Name, invalid, malformed)
		}
		for _, bad := range []string{"%zz", "%", "%4", "1%", "%u0031", "%%31", "%-1"} {
			b.plain(op, "percent-encoding that is none", p.Name+"="+bad, op.replacing(p.Name, bad), headers, "?"+p.Name, invalid, malformed)
		}
	}
}

// replacing returns the target with a value of an option instead of that which it has.
func (o *Operation) replacing(name, value string) string {
	path, _, _ := strings.Cut(o.Target, "?")
	if value == "" {
		return path + "?" + name
	}
	return path + "?" + name + "=" + value
}

// mayBeEmpty are options that clients write always, and leave empty to begin with the first page
// or event.
func mayBeEmpty(name string) bool {
	return slices.Contains([]string{"after", "lastEventId", "last_event_id", "cursor"}, name)
}

// acceptFor returns the fields with which an option of a feed is looked at: some are those of a
// stream, some those of JSON.
func (o *Operation) acceptFor(name string) []string {
	switch {
	case o.Path == "/v1/ws":
		return handshake
	case !strings.HasSuffix(o.Path, "/events"):
		return nil
	case name == "heartbeat":
		return []string{"Accept: text/event-stream"}
	}
	return []string{"Accept: application/json"}
}

var handshake = []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: hark.v1"}

// fields are those of the head.
func (b *builder) fields(op *Operation) {
	for _, p := range op.parameters {
		if p.In != openapi3.ParameterInHeader {
			continue
		}
		for _, v := range fieldValues(p, strings.HasSuffix(op.Path, "/history")) {
			b.call(op, "a field's value", fmt.Sprintf("%s: %.60q", p.Name, v), op.Target, append(op.contentType(), p.Name+": "+v), op.text, "", wantsOf(p.Name)...)
		}
	}
	for _, twice := range []string{"Host: " + b.Host, "Content-Type: application/json", "Hark-Attempt: 1", "Hark-Life: none", "Idempotency-Key: k", "Last-Event-ID: 1", "Authorization: Bearer x", "Origin: http://" + b.Host} {
		if op.ofAPI() && op.Path != "/v1/ws" {
			b.plain(op, "a field twice", twice, op.Target, []string{twice, twice}, "", malformed)
		}
	}
	if strings.HasSuffix(op.Path, "/events") {
		for _, accept := range []string{"text/plain", "text/html", "application/xml", "image/*", "text/event-stream;q=0, application/json;q=0", "application/jsonl", "*/*;q=0", "x", "application/cloudevents+json"} {
			b.plain(op, "a field's value", "Accept: "+accept, op.Target, []string{"Accept: " + accept}, "", unlikedType)
		}
	}
	if op.Method != http.MethodGet && op.Method != http.MethodHead {
		for _, foreign := range []string{"Origin: https://evil.example", "Origin: null", "Origin: http://localhost.evil.example", "Origin: http://127.0.0.1:1", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Origin: file://", "Origin: x"} {
			b.call(op, "another origin", foreign, op.Target, append(op.contentType(), foreign), op.text, "", badOrigin)
		}
	}
	for _, host := range []string{"evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", "xn--e1afmkfd", "[::2]", "10.0.0.1"} {
		b.raw(op, "another host", host, op.Method, b.headOf(op.Method, op.Target, host, op.lengths()), false, "", badOrigin)
	}
}

// contentType returns the field that says so, if there is a body.
func (o *Operation) contentType() []string {
	if o.text == nil {
		return nil
	}
	return []string{"Content-Type: application/json"}
}

// lengths returns the field that says that no body comes, where one may.
func (o *Operation) lengths() []string {
	if o.Method == http.MethodGet || o.Method == http.MethodHead || o.Method == http.MethodDelete {
		return nil
	}
	return []string{"Content-Length: 0"}
}

// fieldValues returns values of a parameter of the head that are not allowed.
func fieldValues(p *openapi3.Parameter, history bool) []string {
	switch p.Name {
	case "Idempotency-Key":
		return []string{"", `""`, strings.Repeat("k", 256), strings.Repeat("k", 4000), "é", "\xff", "a\tb", "日本", `"` + strings.Repeat("k", 256) + `"`, "a\x7fb"}
	case "Hark-Attempt":
		return []string{"0", "-1", "1.5", "x", "1 2", "1,2", "9223372036854775808", "0x1", "true", "é", "\xff"}
	case "Hark-Life":
		return []string{"x", "K3M9P2Q4RZ", "k3m9p2q4rzz", "None", "k3m9p2q4r!", "é", "\xff", "k3m9p2q4rz, none"}
	case "Last-Event-ID":
		if history {
			return []string{"x", "-1", "1.5", "1-", "+1", "18446744073709551616", "é", "\xff", "1,2"}
		}
	case "Stream-TTL":
		return []string{"", "-1", "+1", "01", "1.5", "1e3", "x", "9000000001", "99999999999999999999", "é", "\xff"}
	case "Stream-Expires-At":
		return []string{"", "x", "2030", "2030-01-31", "2030-13-01T00:00:00Z", "1893456000", "é", "\xff"}
	case "Stream-Forked-From":
		return []string{"", "x", "/x", "/v1/stream/", "/v1/stream/a//b", "/v1/stream/..", "/v1/stream/%zz", "https://example.org/v1/stream/x", "\xff"}
	case "Stream-Fork-Offset", "Stream-Fork-Sub-Offset": // without a source
		return []string{"0", "1", "x"}
	case "Producer-Id", "Producer-Epoch", "Producer-Seq": // each without the others
		return []string{"", "0", "1", "x", "\xff"}
	case "Stream-Seq":
		return []string{"", "\xff"}
	case "Range":
		return []string{"bytes=x", "bytes=5-2", "bytes=-", "bytes=", "bytes=a-b", "bytes=1-2-3", "bytes=-0", "bytes=99999999-", "bytes=0x1-2", "bytes=1.5-2", "bytes=--1", "bytes=99999999999999999999-"}
	}
	return nil
}

// wantsOf is how a field of the head is refused whose value is not allowed.
func wantsOf(name string) []Outcome {
	switch name {
	case "Idempotency-Key", "Stream-TTL", "Stream-Expires-At", "Stream-Forked-From", "Stream-Fork-Offset", "Stream-Fork-Sub-Offset", "Producer-Id", "Producer-Epoch", "Producer-Seq",
		"Stream-Seq":
		return []Outcome{malformed}
	case "Range":
		return []Outcome{badRange}
	}
	return []Outcome{invalid, malformed}
}

// plain adds a case with the body of the example, if there is one.
func (b *builder) plain(op *Operation, kind, name, target string, headers []string, pointer string, wants ...Outcome) {
	b.call(op, kind, name, target, append(op.contentType(), headers...), op.text, pointer, wants...)
}

// percent encodes each byte.
func percent(s string) string {
	var out strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&out, "%%%02X", s[i])
	}
	return out.String()
}
