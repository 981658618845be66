package misuse

import (
	"fmt"
	"net/http"
	"strings"
)

// Options of [Cases].
type Options struct {
	Document []byte // openapi.yaml
	Host     string // of the gateway
	There    There
	MaxBody  int // bytes that a body may have
}

type builder struct {
	Options
	cases []Case
}

// Cases returns all bad requests.
func Cases(o Options) ([]Case, error) {
	ops, err := Operations(o.Document, o.There)
	if err != nil {
		return nil, err
	}
	b := &builder{Options: o}
	var paths []string
	byPath := make(map[string][]*Operation)
	for _, op := range ops {
		if byPath[op.Path] == nil {
			paths = append(paths, op.Path)
		}
		byPath[op.Path] = append(byPath[op.Path], op)
		if op.Path == "/v1/ws" {
			b.noHandshakes(op)
		}
		b.options(op)
		b.bodies(op)
		b.fields(op)
		b.names(op)
	}
	b.http()
	for _, path := range paths {
		b.methods(path, byPath[path])
	}
	// The last, because one that is taken may take away what others need.
	for _, op := range ops {
		b.spellings(op, paths)
	}
	return b.cases, nil
}

// raw adds a case.
func (b *builder) raw(op *Operation, kind, name, method string, raw []byte, cut bool, pointer string, wants ...Outcome) {
	id := ""
	if op != nil {
		id = op.ID + ": "
	}
	b.cases = append(b.cases, Case{Kind: kind, Name: id + name, Method: method, Raw: raw, Cut: cut, Wants: wants, Pointer: pointer, Op: op})
}

// head returns the head of a call.
func (b *builder) head(method, target string, headers []string) []byte {
	return b.headOf(method, target, b.Host, headers)
}

func (b *builder) headOf(method, target, host string, headers []string) []byte {
	out := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, target, host)
	for _, h := range headers {
		out = append(append(out, h...), "\r\n"...)
	}
	return append(out, "\r\n"...)
}

// noHandshakes are calls of the path of WebSockets that are no handshake (RFC 6455, section 4.2.1).
func (b *builder) noHandshakes(op *Operation) {
	without := func(name string) (rest []string) {
		for _, h := range handshake {
			if !strings.HasPrefix(h, name+":") {
				rest = append(rest, h)
			}
		}
		return rest
	}
	for _, name := range []string{"Connection", "Upgrade"} {
		b.plain(op, "no WebSocket handshake", "without "+name, op.Target, without(name), "", noHandshake)
	}
	for _, upgrade := range []string{"h2c", "websockets", "x", "TLS/1.0"} {
		b.plain(op, "no WebSocket handshake", "Upgrade: "+upgrade, op.Target, append(without("Upgrade"), "Upgrade: "+upgrade), "", noHandshake)
	}
	for _, connection := range []string{"close", "keep-alive", "x"} {
		b.plain(op, "no WebSocket handshake", "Connection: "+connection, op.Target, append(without("Connection"), "Connection: "+connection), "", noHandshake)
	}
	for _, version := range []string{"", "0", "8", "12", "14", "130", "x", "13, 8", "-13", "1 3"} {
		b.plain(op, "no WebSocket handshake", "version "+version, op.Target, append(without("Sec-WebSocket-Version"), "Sec-WebSocket-Version: "+version), "", malformed, noHandshake)
	}
	for _, key := range []string{"", "x", "AAAA", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25j", "dGhlIHNhbXBsZSBub25jZQA=", "dGhlIHNhbXBsZSBub25jZQ===", "!!!!!!!!!!!!!!!!!!!!!!==", "é", strings.Repeat("A", 4000)} {
		b.plain(op, "no WebSocket handshake", fmt.Sprintf("key %.40s", key), op.Target, append(without("Sec-WebSocket-Key"), "Sec-WebSocket-Key: "+key), "", malformed)
	}
	for _, foreign := range []string{"Origin: https://evil.example", "Origin: null", "Origin: http://127.0.0.1:1", "Sec-Fetch-Site: cross-site"} {
		b.plain(op, "no WebSocket handshake", foreign, op.Target, append(without("none"), foreign), "", badOrigin)
	}
	b.raw(op, "no WebSocket handshake", "with a body", op.Method, append(b.head(op.Method, op.Target, append(without("none"), "Content-Length: 1")), 'x'), false, "", malformed)
	old := strings.Replace(string(b.head(op.Method, op.Target, handshake)), "HTTP/1.1", "HTTP/1.0", 1)
	b.raw(op, "no WebSocket handshake", "HTTP/1.0", op.Method, []byte(old), true, "", malformed, noHandshake)
}

// http are requests that are no HTTP (RFC 9112), whatever they ask for.
func (b *builder) http() {
	host := "Host: " + b.Host + "\r\n"
	for name, raw := range map[string]string{
		"no version":                "GET /v1/requests\r\n" + host + "\r\n",
		"a version that is none":    "GET /v1/requests HTTP/x\r\n" + host + "\r\n",
		"no target":                 "GET HTTP/1.1\r\n" + host + "\r\n",
		"an empty target":           "GET  HTTP/1.1\r\n" + host + "\r\n",
		"a space in the target":     "GET /v1/ requests HTTP/1.1\r\n" + host + "\r\n",
		"a tab in the target":       "GET /v1/\trequests HTTP/1.1\r\n" + host + "\r\n",
		"a zero byte in the target": "GET /v1/requests\x00 HTTP/1.1\r\n" + host + "\r\n",
		"a bare byte in the target": "GET /v1/requests?x=\x01 HTTP/1.1\r\n" + host + "\r\n",
		"a method that is none":     "G@T\x00 /v1/requests HTTP/1.1\r\n" + host + "\r\n",
		"a method with brackets":    "GE(T) /v1/requests HTTP/1.1\r\n" + host + "\r\n",
		"a field without a colon":   "GET /v1/requests HTTP/1.1\r\n" + host + "X\r\n\r\n",
		"a space before the colon":  "GET /v1/requests HTTP/1.1\r\n" + host + "X : y\r\n\r\n",
		"an empty field name":       "GET /v1/requests HTTP/1.1\r\n" + host + ": z\r\n\r\n",
		"a zero byte in a field":    "GET /v1/requests HTTP/1.1\r\n" + host + "X: a\x00b\r\n\r\n",
		"a length that is none":     "POST /v1/requests HTTP/1.1\r\n" + host + "Content-Length: x\r\n\r\n",
		"a negative length":         "POST /v1/requests HTTP/1.1\r\n" + host + "Content-Length: -1\r\n\r\n",
		"a length with a sign":      "POST /v1/requests HTTP/1.1\r\n" + host + "Content-Length: +1\r\n\r\n1",
		"a length of many":          "POST /v1/requests HTTP/1.1\r\n" + host + "Content-Length: 99999999999999999999\r\n\r\n",
		"an empty length":           "POST /v1/requests HTTP/1.1\r\n" + host + "Content-Length:\r\n\r\n",
		"two lengths":               "POST /v1/requests HTTP/1.1\r\n" + host + "Content-Type: application/json\r\nContent-Length: 1\r\nContent-Length: 13\r\n\r\n{\"content\":1}",
		"a list of lengths":         "POST /v1/requests HTTP/1.1\r\n" + host + "Content-Length: 1, 2\r\n\r\n12",
		"a transfer coding":         "POST /v1/requests HTTP/1.1\r\n" + host + "Transfer-Encoding: gzip\r\n\r\n",
		"a transfer coding, twice":  "POST /v1/requests HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
		"chunked, and then more":    "POST /v1/requests HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
		"chunked that is none":      "POST /v1/requests HTTP/1.1\r\n" + host + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		"a coding that is none":     "POST /v1/requests HTTP/1.1\r\n" + host + "Transfer-Encoding: identity\r\n\r\n",
		"a length beside chunks":    "POST /v1/requests HTTP/1.1\r\n" + host + "Content-Type: application/json\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nd\r\n{\"content\":1}\r\n0\r\n\r\n",
		"chunks beside a length":    "POST /v1/requests HTTP/1.1\r\n" + host + "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nContent-Length: 13\r\n\r\nd\r\n{\"content\":1}\r\n0\r\n\r\n",
		"two hosts":                 "GET /v1/requests HTTP/1.1\r\n" + host + "Host: evil.example\r\n\r\n",
		"no host":                   "GET /v1/requests HTTP/1.1\r\nAccept: */*\r\n\r\n",
		"an empty line too few":     "GET /v1/requests HTTP/1.1\r\n" + host,
		"nothing but a line":        "x\r\n\r\n",
		"a TLS handshake":           "\x16\x03\x01\x00\xf8\x01\x00\x00\xf4\x03\x03\r\n\r\n",
		"HTTP/2":                    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		b.raw(nil, "no HTTP", name, http.MethodGet, []byte(raw), true, "", malformed, badOrigin, notFound)
	}
	for name, head := range map[string]string{
		"one long field": "X: " + strings.Repeat("a", 64<<10) + "\r\n", "many fields": strings.Repeat("X-Y: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", 2000), "a long name": strings.Repeat("X", 64<<10) + ": a\r\n",
	} {
		b.raw(nil, "a head that is too large", name, http.MethodGet, []byte("GET /v1/requests HTTP/1.1\r\n"+host+head+"\r\n"), false, "", largeHead)
	}
	b.raw(nil, "a head that is too large", "a long target", http.MethodGet, b.head("GET", "/v1/requests?"+strings.Repeat("a", 64<<10), nil), false, "", largeHead)
	for _, method := range []string{"POST", "GET"} {
		b.raw(nil, "a path that is not there", method, method, b.head(method, "/nothing/here", []string{"Content-Length: 0"}), false, "", notFound)
	}
}
