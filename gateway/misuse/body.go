package misuse

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// bodies are what is wrong with the body of an operation.
func (b *builder) bodies(op *Operation) {
	if op.body != nil {
		b.members(op)
		b.texts(op)
	}
	if op.body != nil || op.anyBody {
		b.media(op)
		b.sizes(op)
	}
}

// members are values of members, those that are not known, and those that are missing or there
// twice.
func (b *builder) members(op *Operation) {
	s := op.body
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		required := slices.Contains(s.Required, name)
		for _, v := range values(name, s.Properties[name].Value, required) {
			b.json(op, "a member's value", fmt.Sprintf("%s: %s: %.60s", name, v.what, v.json), op.member(name, v.json), "/"+name+v.at, invalid)
		}
		if required {
			b.json(op, "a member is missing", name, op.member(name, nil), "/"+name, invalid)
		}
		value := op.example[name]
		if value == nil {
			value = example(name, s.Properties[name].Value)
		}
		rest := op.member(name, value)
		for what, other := range map[string]json.RawMessage{"the same": value, "another": json.RawMessage("1"), "null": json.RawMessage("null")} {
			twice := fmt.Appendf(nil, "{%q:%s,%s", name, other, rest[1:])
			b.json(op, "a member twice", name+": "+what+" first", twice, "/"+name, invalid, malformed)
			escaped := fmt.Appendf(nil, `{"\u%04x%s":%s,%s`, name[0], name[1:], other, rest[1:])
			b.json(op, "a member twice", name+": escaped, "+what+" first", escaped, "/"+name, invalid, malformed)
		}
	}
	for _, name := range unknownMembers(slices.Collect(maps.Keys(s.Properties))) {
		for _, value := range []string{"1", "null", `"x"`} {
			b.json(op, "a member that is not known", strconv.Quote(name), op.member(name, json.RawMessage(value)), "/"+escape(name), invalid)
		}
	}
}

// noJSON are bodies that no parser of JSON may take. {} is that of an example, without braces.
var noJSON = []string{
	"{", "}", "{{}", "{{}}x", "{{}}{{}}", "{{},}", "{,{}}", "{{}}\x00", "\x00{{}}", "\ufeff{{}}", "{{},}", "{{} \"x\"}", "{{},\"x\"}", "{{},\"x\":}", "{{},\"x\":01}", "{{},\"x\":+1}", "{{},\"x\":.5}", "{{},\"x\":5.}", "{{},\"x\":1e}", "{{},\"x\":0x1}", "{{},\"x\":1_0}",
	"{{},\"x\":NaN}", "{{},\"x\":Infinity}", "{{},\"x\":-Infinity}", "{{},\"x\":undefined}", "{{},\"x\":True}", "{{},\"x\":nul}", "{{},\"x\":'x'}", "{{},x:1}", "{{},'x':1}", "{{},\"x\":\"\\x\"}", "{{},\"x\":\"\\u12\"}", "{{},\"x\":\"\\u12g4\"}", "{{},\"x\":\"\t\"}", "{{},\"x\":\"\n\"}", "{{},\"x\":\"}",
	"{{},\"x\":[1,]}", "{{},\"x\":[,1]}", "{{},\"x\":[1 2]}", "{{},\"x\":[}", "{{},\"x\":{]}", "{{}}//x", "/*x*/{{}}", "#x\n{{}}", "({{}})", "x({{}})", "[{{}}]", "\"x\"", "1", "null", "true", "[]", "\"{{}}\"", "nul", "-", "\"", "{{}}]", "{{}};",
	"<x/>", "a=1&b=2", "--- \na: 1\n", "\xff\xfe{\x00}\x00", "\x1f\x8b\x08\x00", "{{},\"x\":" + deep(20_000) + "}", deep(20_000),
}

func deep(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

// texts are bodies that are no JSON, or not UTF-8: the example cut, and with a byte too many, at
// each of its bytes.
func (b *builder) texts(op *Operation) {
	inside := string(op.text[1 : len(op.text)-1])
	for _, form := range noJSON {
		body := strings.ReplaceAll(strings.ReplaceAll(form, "{{}", "{"+inside), "{{", "{")
		if strings.Contains(form, "{{}") && inside == "" {
			continue
		}
		b.json(op, "no JSON object", fmt.Sprintf("%.40q", form), []byte(body), "", malformed)
	}
	if op.required && op.ID != "leaseWork" && op.ID != "putError" && op.ID != "putQuestion" {
		// A body of those is as {}, and lacks members.
		for _, body := range []string{"", " ", "\r\n"} {
			b.json(op, "no JSON object", fmt.Sprintf("empty: %q", body), []byte(body), "", malformed)
		}
	}
	for at := range op.text {
		if at > 0 {
			b.json(op, "JSON cut", fmt.Sprint("at byte ", at), op.text[:at], "", malformed)
		}
		if utf8.RuneStart(op.text[at]) {
			b.json(op, "JSON with a byte too many", fmt.Sprint("0x01 at byte ", at), slices.Insert(slices.Clone(op.text), at, 1), "", malformed)
			b.json(op, "JSON that is not UTF-8", fmt.Sprint("0xff at byte ", at), slices.Insert(slices.Clone(op.text), at, 0xff), "", malformed, invalid)
		}
	}
	for _, bad := range notUTF8 {
		name := fmt.Appendf(nil, `{"%s":1,%s}`, bad, inside)
		b.json(op, "JSON that is not UTF-8", fmt.Sprintf("a name %q", bad), name, "", malformed, invalid)
		value := fmt.Appendf(nil, `{"x":"%s",%s}`, bad, inside)
		b.json(op, "JSON that is not UTF-8", fmt.Sprintf("a value %q", bad), value, "", malformed, invalid)
		known := slices.Min(slices.Collect(maps.Keys(op.body.Properties)))
		b.json(op, "JSON that is not UTF-8", fmt.Sprintf("%s: %q", known, bad), op.member(known, json.RawMessage(`"`+bad+`"`)), "", malformed, invalid)
	}
}

// notUTF8 are the ways in which bytes are not UTF-8 (RFC 3629, section 4).
var notUTF8 = []string{
	"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2a", "\xe0\x80\x80", "\xe0\x9f\xbf", "\xe1\x80", "\xed\xa0\x80", "\xed\xbf\xbf", "\xed\xa0\xbd\xed\xb2\xa5", "\xef\xbf", "\xf0\x80\x80\x80", "\xf0\x8f\xbf\xbf", "\xf0\x9f\x92", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xf8\x88\x80\x80\x80", "\xfc\x84\x80\x80\x80\x80", "\xfe", "\xff", "a\xe9b",
}

// media are types and codings that an operation does not take.
func (b *builder) media(op *Operation) {
	body := op.text
	if body == nil {
		body = []byte("x")
	}
	types := []string{"json", "/", "application/", "/json", "application/json/x", "application json", "a b/c", "application/json; charset", "application/json; =", "application/json;;;x=\"", "é/x", strings.Repeat("a", 300) + "/b", "application/x; a=1; a=2"}
	if !op.anyBody {
		types = append(types, "text/plain", "text/html", "application/xml", "application/octet-stream", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/yaml", "application/jsonl", "application/jsonx", "text/plain; charset=utf-8", "*/*", "application/*")
	}
	if op.body != nil {
		types = append(types, "application/json; charset=latin1", "application/json; charset=utf-16", "application/json; charset=iso-8859-1", "application/json; charset=\"utf-7\"")
	}
	for _, t := range types {
		b.call(op, "a media type", fmt.Sprintf("%.60q", t), op.Target, []string{"Content-Type: " + t}, body, "", mediaType)
	}
	contentType := "Content-Type: application/json"
	for _, coding := range []string{"gzip", "br", "deflate", "zstd", "compress", "x", "gzip, gzip", "identity, gzip", "aes128gcm"} {
		b.call(op, "a content coding", coding, op.Target, []string{contentType, "Content-Encoding: " + coding}, body, "", mediaType)
	}
	if !op.anyBody {
		b.call(op, "a media type", "none", op.Target, nil, body, "", b.untyped(op)...)
	}
}

// untyped is what becomes of JSON that does not say that it is some: a report is taken for it all
// the same.
func (b *builder) untyped(op *Operation) []Outcome {
	if strings.HasPrefix(op.Path, "/v1/work/") {
		return nil
	}
	return []Outcome{mediaType}
}

// sizes are bodies that are larger than what the gateway takes, by the length that they announce
// or by their chunks, and those that end before they should.
func (b *builder) sizes(op *Operation) {
	head := []string{"Content-Type: application/json"}
	for _, n := range []int{b.MaxBody + 1, 2 * b.MaxBody, 1 << 30, 1 << 40, 1<<63 - 1} {
		b.raw(op, "a body that is too large", fmt.Sprint("announces ", n), op.Method, b.head(op.Method, op.Target, append(head, "Content-Length: "+strconv.Itoa(n))), false, "", tooLarge)
	}
	large := bytes.Repeat([]byte(" "), b.MaxBody+1)
	chunks := append(b.head(op.Method, op.Target, append(head, "Transfer-Encoding: chunked")), chunk(large)...)
	b.raw(op, "a body that is too large", "in chunks", op.Method, append(chunks, "0\r\n\r\n"...), false, "", tooLarge)
	b.raw(op, "a body that is too large", "in chunks without end", op.Method, chunks, false, "", tooLarge)

	body := op.text
	if body == nil {
		body = []byte("some bytes that are no JSON, and of which not all arrive")
	}
	for _, sent := range []int{0, 1, len(body) / 2, len(body) - 1} {
		part := append(b.head(op.Method, op.Target, append(head, "Content-Length: "+strconv.Itoa(len(body)))), body[:sent]...)
		b.raw(op, "a body that ends early", fmt.Sprintf("%d of %d bytes", sent, len(body)), op.Method, part, true, "", malformed)
		part = append(b.head(op.Method, op.Target, append(head, "Transfer-Encoding: chunked")), chunk(body[:sent])...)
		b.raw(op, "a body that ends early", fmt.Sprintf("%d bytes in chunks without end", sent), op.Method, part, true, "", malformed)
	}
	for _, bad := range []string{"x\r\n", "-1\r\n", "\r\n", "0x5\r\nabcde\r\n0\r\n\r\n", "5\nabcde\n0\n\n", "5\r\nabcdefgh\r\n0\r\n\r\n", "ffffffffffffffffff\r\n", " 5\r\nabcde\r\n0\r\n\r\n", "5 5\r\nabcde\r\n0\r\n\r\n"} {
		all := append(b.head(op.Method, op.Target, append(head, "Transfer-Encoding: chunked")), bad...)
		b.raw(op, "chunks that are none", strconv.Quote(bad), op.Method, all, true, "", malformed)
	}
}

// chunk frames bytes (RFC 9112, section 7.1).
func chunk(body []byte) []byte {
	if len(body) == 0 {
		return nil
	}
	return append(append(fmt.Appendf(nil, "%x\r\n", len(body)), body...), "\r\n"...)
}

// json adds a case whose body says that it is JSON.
func (b *builder) json(op *Operation, kind, name string, body []byte, pointer string, wants ...Outcome) {
	b.call(op, kind, name, op.Target, []string{"Content-Type: application/json"}, body, pointer, wants...)
}

// call adds a case with a body, if it is not nil.
func (b *builder) call(op *Operation, kind, name, target string, headers []string, body []byte, pointer string, wants ...Outcome) {
	if len(wants) == 0 {
		return
	}
	if body != nil || op.Method == http.MethodPost || op.Method == http.MethodPut || op.Method == http.MethodPatch {
		headers = append(slices.Clone(headers), "Content-Length: "+strconv.Itoa(len(body)))
	}
	b.raw(op, kind, name, op.Method, append(b.head(op.Method, target, headers), body...), false, pointer, wants...)
}
