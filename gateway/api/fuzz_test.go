package api

import (
	"encoding/json"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"github.com/hark-push/hark/gateway/api/httpbody"
	"github.com/hark-push/hark/gateway/api/jsonobject"
	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/gateway/authority"
	"github.com/hark-push/hark/lifecycle"
)

// called is a call with header fields, given as name and value, and a query.
func called(app *fiber.App, query string, fields ...string) (*fiber.Ctx, func()) {
	ctx := new(fasthttp.RequestCtx)
	ctx.SetRemoteAddr(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1})
	for i := 0; i < len(fields); i += 2 {
		ctx.Request.Header.Add(fields[i], fields[i+1])
	}
	ctx.Request.SetRequestURI("/v1/requests")
	ctx.URI().SetQueryString(query)
	c := app.AcquireCtx(ctx)
	return c, func() { app.ReleaseCtx(c) }
}

// FuzzForwarded: what a proxy says is an address that clients find their way to, or nothing.
func FuzzForwarded(f *testing.F) {
	f.Add("for=1.2.3.4;proto=https;host=push.example.org", "", "")
	f.Add(`proto="https";host="a\"b"`, "https, http", "push.example.org:8443")
	f.Add("", "javascript", "a/b")
	app := fiber.New()
	a := &API{Options: Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}
	f.Fuzz(func(t *testing.T, forwarded, proto, host string) {
		c, done := called(app, "", "Forwarded", forwarded, "X-Forwarded-Proto", proto, "X-Forwarded-Host", host)
		defer done()
		base := a.forwarded(c)
		if base == "" {
			return
		}
		u, err := url.Parse(base + "/v1")
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Path != "/v1" || u.User != nil || !authority.Valid(u.Host) {
			t.Errorf("%q %q %q: %q, %v", forwarded, proto, host, base, err)
		}
	})
}

// FuzzOrigin: an origin is a host's only if a browser that shows a page of that host would send it.
func FuzzOrigin(f *testing.F) {
	f.Add("https://push.example.org", "push.example.org:443", "https://push.example.org/page?x")
	f.Add("null", "null", "about:blank")
	f.Add("http://[::1]:8080", "[::1]:8080", "http://a@b/")
	f.Fuzz(func(t *testing.T, origin, host, referer string) {
		if ofHost(origin, host) {
			_, of, _ := strings.Cut(strings.ToLower(origin), "://")
			if !strings.HasPrefix(of, strings.TrimSuffix(strings.TrimSuffix(host, ":80"), ":443")) {
				t.Errorf("%q is the origin of %q", origin, host)
			}
		}
		if from := refererOrigin(referer); strings.Contains(from, "@") || strings.Contains(from, "?") {
			t.Errorf("%q is of a page of %q", referer, from)
		}
		_ = hostname(host)
	})
}

// FuzzHead: a head that is taken has in the fields that are read nothing but UTF-8, and each that
// has one value once.
func FuzzHead(f *testing.F) {
	f.Add([]byte("Host: a\r\nAuthorization: Bearer x\r\nCookie: \xff\r\n"))
	f.Add([]byte("Content-Type: a\r\ncontent-type: b\r\n"))
	f.Add([]byte("User-Agent: \xff\n:\n\nx"))
	f.Fuzz(func(t *testing.T, head []byte) {
		if exactHead(head, fieldsRead) != nil {
			return
		}
		seen := make(map[string]bool)
		for line := range strings.SplitSeq(string(head), "\n") {
			name, value, ok := strings.Cut(line, ":")
			lower := strings.ToLower(name)
			single, read := fieldsRead[lower]
			if !ok || !read || len(name) != len(lower) || strings.ContainsFunc(name, func(r rune) bool { return r >= 0x80 }) {
				continue
			}
			if !utf8.ValidString(value) || single && seen[lower] {
				t.Errorf("%q has %q", head, line)
			}
			seen[lower] = true
		}
	})
}

// FuzzTarget: a target that is taken is UTF-8 without a fragment, and its query, once that is
// looked at, can be unescaped whole.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{"/v1/requests?limit=1", "http://localhost/metrics", "//x", "*", "/a%zz?b=%c3", "/#", "http://a@b/", "\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, target []byte) {
		if exactTarget(target) != nil {
			return
		}
		if !utf8.Valid(target) || strings.ContainsAny(string(target), "# \t\r\n\x00") {
			t.Errorf("%q is taken", target)
		}
		_, query, _ := strings.Cut(string(target), "?")
		if exactQuery([]byte(query)) == nil {
			if _, err := url.QueryUnescape(query); err != nil {
				t.Errorf("%q: %v", query, err)
			}
		}
	})
}

// FuzzOptions: of a query that is taken each option is one that there is, and says something.
func FuzzOptions(f *testing.F) {
	for _, s := range []string{"limit=1&cursor=", "limit=1&limit=2", "a=b", "%ff=1", "&&=", "topic=%zz", "after=1&after=2"} {
		f.Add(s)
	}
	app := fiber.New()
	options := []string{"limit", "cursor", "topic", "lastEventId"}
	f.Fuzz(func(t *testing.T, query string) {
		c, done := called(app, query)
		defer done()
		if checkOptions(c, options) != nil {
			return
		}
		seen := make(map[string]bool)
		for key, value := range c.Context().QueryArgs().All() {
			name := string(key)
			if name == "" && len(value) == 0 {
				continue
			}
			if !slices.Contains(options, name) || !utf8.Valid(value) || len(value) == 0 && !slices.Contains(emptyOptions, name) || seen[name] && !slices.Contains(manyOptions, name) {
				t.Errorf("%q is taken with %q=%q", query, name, value)
			}
			seen[name] = true
		}
	})
}

// FuzzFields: fields of the header that are read are taken for what they are, or refused.
func FuzzFields(f *testing.F) {
	f.Add(`"key"`, "application/json; charset=utf-8", "1")
	f.Add("key\x01", `text/plain; x="`, "-0")
	f.Add("", "a/b;;", "99999999999999999999")
	app := fiber.New()
	f.Fuzz(func(t *testing.T, key, mediatype, attempt string) {
		c, done := called(app, "", "Idempotency-Key", key, "Content-Type", mediatype, "Hark-Attempt", attempt, "Hark-Life", attempt)
		defer done()
		if k, err := readKey(c); err == nil && (len(k) > 255 || strings.ContainsFunc(k, func(r rune) bool { return r < ' ' || r > '~' })) {
			t.Errorf("%q is the key %q", key, k)
		}
		if m, err := httpbody.MediaType(c); err == nil && (m == "" || len(m) > 256) {
			t.Errorf("%q is the type %q", mediatype, m)
		}
		var errs []problem.FieldError
		if n := readAttempt(c, nil, &errs); len(errs) == 0 && n < 0 {
			t.Errorf("%q is the attempt %d", attempt, n)
		}
		if life := readLife(c, nil, &errs); len(errs) == 0 && life != "" && life != lifecycle.AnyLife && !lifecycle.ValidLife(life) {
			t.Errorf("%q is the life %q", attempt, life)
		}
	})
}

// FuzzEndpointBody: the body of a webhook, or of a request's own, is read, or all that is wrong
// with it is told with pointers into it.
func FuzzEndpointBody(f *testing.F) {
	for _, s := range []string{
		`{"url":"https://a","events":["request.succeeded"],"headers":{"A":"1"},"timeout":"5s","schedule":["1s","PT1M"],"rate":1.5,"concurrency":1e0}`,
		`{"url":"","secret":"","headers":{"A":null},"routes":["x"]}`, `{"url":"a","url":"b"}`, `{"schedule":[null]}`, `null`, `[]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, into := range []any{new(endpointInput), new(oneOff)} {
			fields, errs, err := jsonobject.Read(body, "")
			if err != nil {
				return
			}
			errs = append(errs, jsonobject.Decode(fields, "/", into)...)
			if in, ok := into.(*endpointInput); ok && len(errs) == 0 {
				if errs = in.wrong(map[string]bool{"default": true}); len(errs) == 0 {
					e := endpointOf(in)
					if !utf8.ValidString(e) {
						t.Errorf("%q gave %q", body, e)
					}
				}
			}
			for _, e := range errs {
				if e.Detail == "" || !strings.HasPrefix(e.Pointer, "/") {
					t.Errorf("%q: %+v", body, e)
				}
			}
		}
	})
}

// endpointOf fills what was given into an endpoint, as text.
func endpointOf(in *endpointInput) string {
	var e struct {
		URL, Description string
		Headers          map[string]*string
	}
	set(&e.URL, in.URL)
	set(&e.Description, in.Description)
	e.Headers = in.Headers
	text, _ := json.Marshal(e)
	return string(text)
}

// FuzzSocketHeader: whether a client speaks the protocol is told from whatever it sends.
func FuzzSocketHeader(f *testing.F) {
	f.Add("hark.v1, bearer.x", "a=b&channel=request:x&after=1")
	f.Add(",,", "channel=&after=%zz")
	app := fiber.New()
	f.Fuzz(func(_ *testing.T, protocols, query string) {
		c, done := called(app, query, "Sec-WebSocket-Protocol", protocols)
		defer done()
		_, _ = readSubscriptions(c)
		_ = handshakeRequest(c).Header.Get("Sec-WebSocket-Protocol")
	})
}
