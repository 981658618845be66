package blackbox_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestSubmitAsync(t *testing.T) {
	s := start(t)
	a := s.call("POST", "/v1/requests", `{"content":{"a":1},"topic":"order-42"}`, async).want(202)
	doc := a.json()
	self := "/v1/requests/" + doc["id"].(string)
	for name, want := range map[string]string{
		"Location": self, "Operation-Location": self, "Retry-After": "1", "Preference-Applied": "respond-async", "Vary": "Prefer",
	} {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for key, want := range map[string]any{"status": "pending", "route": "default", "topic": "order-42", "sequence": 1.0, "attempt": 0.0, "position": 0.0} {
		if doc[key] != want {
			t.Errorf("%s: %v, want %v", key, doc[key], want)
		}
	}
	got := s.call("GET", self, nil).want(200)
	if got.json()["id"] != doc["id"] || got.header.Get("ETag") == "" || got.header.Get("Retry-After") == "" {
		t.Errorf("GET: %v %s", got.header, got.body)
	}
}

func TestPrefer(t *testing.T) {
	s := start(t, "--max-wait=300ms")
	submit := func(route, content string, headers ...string) answer {
		return s.call("POST", "/v1/requests", fmt.Sprintf(`{"route":%q,"content":%s}`, route, content), headers...)
	}
	quick := `{"steps":1,"duration":"1ms","result":{"ok":true}}`
	for _, headers := range [][]string{nil, {"Prefer: respond-async, wait=10"}, {"Prefer: wait=10"}, {"Prefer: Respond-Async", "Prefer: WAIT=\"5\""}, {"Prefer: foo; bar=\"a,b\", wait=1"}} {
		a := submit("sleep", quick, headers...).want(200)
		if string(a.body) != `{"ok":true}` || a.header.Get("Content-Type") != "application/json" || !strings.HasPrefix(a.header.Get("Operation-Location"), "/v1/requests/") {
			t.Errorf("%v: %v %s", headers, a.header, a.body)
		}
		if headers != nil && !strings.Contains(a.header.Get("Preference-Applied"), "wait=") {
			t.Errorf("%v: applied %q", headers, a.header.Get("Preference-Applied"))
		}
	}
	// What is said to be applied is what was granted.
	long := start(t, "--max-wait=2s")
	if a := long.call("POST", "/v1/requests", `{"route":"sleep","content":`+quick+`}`, "Prefer: wait=600").want(200); a.header.Get("Preference-Applied") != "wait=2" {
		t.Errorf("applied %q", a.header.Get("Preference-Applied"))
	}
	// Nobody processes the default route: the limit passes.
	for _, headers := range [][]string{nil, {"Prefer: wait=0"}, {"Prefer: handling=lenient"}, {"Prefer: wait=nonsense"}, {async}, {"Prefer: RESPOND-ASYNC; x=1"}, {`Prefer: foo="respond-async, wait=1"`}} {
		submit("default", "1", headers...).want(202)
	}
	// A failure and nothing as outcomes.
	a := submit("sleep", `{"steps":1,"duration":"1ms","fail":true}`)
	if p := a.problem(500, "request-failed"); p["code"] == nil || p["requestId"] == nil {
		t.Errorf("failure: %s", a.body)
	}
	// A server option makes async the default.
	s = start(t, "--async")
	s.call("POST", "/v1/requests", `{"route":"sleep","content":`+quick+`}`).want(202)
	s.call("POST", "/v1/requests", `{"route":"sleep","content":`+quick+`}`, "Prefer: wait=10").want(200)
}

func TestBadSubmissions(t *testing.T) {
	s := start(t, "--max-body=65536")
	for _, c := range []struct {
		name, body, contentType string
		status                  int
		problem, pointer        string
	}{
		{"no JSON", `{"content":`, "", 400, "malformed-request", ""},
		{"empty", ``, "application/json", 400, "malformed-request", ""},
		{"array", `[]`, "", 400, "malformed-request", ""},
		{"null", `null`, "", 400, "malformed-request", ""},
		{"trailing", `{"content":1} x`, "", 400, "malformed-request", ""},
		{"not UTF-8", "{\"content\":\"\xff\"}", "", 400, "malformed-request", ""},
		{"no content", `{}`, "", 422, "invalid-request", "/content"},
		{"unknown field", `{"content":1,"a/b":1}`, "", 422, "invalid-request", "/a~1b"},
		{"unknown route", `{"content":1,"route":"nowhere"}`, "", 422, "invalid-request", "/route"},
		{"bad id", `{"content":1,"id":"a b"}`, "", 422, "invalid-request", "/id"},
		{"empty id", `{"content":1,"id":""}`, "", 422, "invalid-request", "/id"},
		{"long id", `{"content":1,"id":"` + strings.Repeat("x", 129) + `"}`, "", 422, "invalid-request", "/id"},
		{"number as id", `{"content":1,"id":7}`, "", 422, "invalid-request", "/id"},
		{"bad topic", `{"content":1,"topic":"a b"}`, "", 422, "invalid-request", "/topic"},
		{"priority", `{"content":1,"priority":10}`, "", 422, "invalid-request", "/priority"},
		{"fraction", `{"content":1,"priority":1.5}`, "", 422, "invalid-request", "/priority"},
		{"attempts", `{"content":1,"maxAttempts":0}`, "", 422, "invalid-request", "/maxAttempts"},
		{"duration", `{"content":1,"timeout":"soon"}`, "", 422, "invalid-request", "/timeout"},
		{"negative", `{"content":1,"delay":"-1s"}`, "", 422, "invalid-request", "/delay"},
		{"beyond the limit", `{"content":1,"retention":"P1000D"}`, "", 422, "invalid-request", "/retention"},
		{"delay beyond timeout", `{"content":1,"delay":"2s","timeout":"1s"}`, "", 422, "invalid-request", "/delay"},
		{"webhook", `{"content":1,"webhook":{"url":"https://10.0.0.1"}}`, "", 422, "invalid-request", "/webhook/url"},
		{"media type", `x`, "nonsense", 415, "unsupported-media-type", ""},
		{"charset", `{"content":1}`, "application/json; charset=utf-16", 415, "unsupported-media-type", ""},
		{"empty bytes", ``, "image/png", 422, "invalid-request", ""},
		{"too large", strings.Repeat("x", 65537), "text/plain", 413, "content-too-large", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			contentType := "Content-Type: application/json"
			if c.contentType != "" {
				contentType = "Content-Type: " + c.contentType
			}
			p := s.call("POST", "/v1/requests", []byte(c.body), contentType, async).problem(c.status, c.problem)
			if c.status == 422 {
				if got := p["errors"].([]any)[0].(map[string]any)["pointer"]; got != c.pointer {
					t.Errorf("pointer %v, want %q", got, c.pointer)
				}
			}
		})
	}
	if l := s.call("GET", "/v1/requests", nil).want(200).json()["requests"].([]any); len(l) != 0 {
		t.Errorf("bad submissions left %d requests", len(l))
	}
	// All that is wrong is told at once.
	p := s.call("POST", "/v1/requests", `{"id":"?","priority":99,"nope":1}`, async).problem(422, "invalid-request")
	if n := len(p["errors"].([]any)); n != 4 {
		t.Errorf("%d errors, want 4: %v", n, p["errors"])
	}
	// A name that was mistyped is told as that, whatever its value.
	a := s.call("POST", "/v1/requests", `{"content":1,"topik":1}`, async)
	if a.problem(422, "invalid-request"); !bytes.Contains(a.body, []byte("is not a field of a request")) {
		t.Errorf("%s", a.body)
	}
	s.call("POST", "/v1/requests", []byte("x"), "Content-Type: text/plain", "Content-Encoding: gzip", async).problem(415, "unsupported-media-type")
}

func TestGoodSubmissions(t *testing.T) {
	s := start(t)
	for _, body := range []string{
		`{"content":null}`, `{"content":false}`, `{"content":"x","id":"mine-1_A"}`, `{"content":[1,2],"timeout":"PT1H30M","retention":"P1D","delay":"1s","priority":9,"maxAttempts":20}`,
		`{"content":1,"topic":null,"id":null,"priority":null}`, `{"content":1,"priority":5.0,"maxAttempts":2e0}`,
	} {
		s.call("POST", "/v1/requests", body, async, "Content-Type: application/json; charset=UTF-8").want(202)
	}
	// Opaque bytes with options in the query, byte for byte to the processor.
	blob := []byte{0, 1, 2, 0xff, 0xfe, '\n'}
	id := s.call("POST", "/v1/requests?route=default&topic=t1&id=blob", blob, "Content-Type: application/x-thing", async).want(202).json()["id"]
	if id != "blob" {
		t.Errorf("id %v", id)
	}
	work := s.call("POST", "/v1/work/blob/start", nil).want(200).json()
	if work["contentBase64"] != "AAEC//4K" || work["contentType"] != "application/x-thing" || work["topic"] != "t1" {
		t.Errorf("start: %v", work)
	}
	s.call("POST", "/v1/requests?route=nowhere", blob, "Content-Type: image/png", async).problem(422, "invalid-request")
}

func TestSameIDIsSameRequest(t *testing.T) {
	s := start(t)
	body := `{"content":{"a":1},"id":"one"}`
	s.call("POST", "/v1/requests", body, async).want(202)
	s.call("POST", "/v1/requests", `{ "content": {"a": 1}, "id": "one" }`, async).want(202)
	s.call("POST", "/v1/requests", `{"content":{"a":2},"id":"one"}`, async).problem(409, "id-taken")
	s.call("POST", "/v1/requests", `{"content":{"a":1},"id":"one","topic":"x"}`, async).problem(409, "id-taken")
	s.call("POST", "/v1/work/one/start", nil).want(200)
	s.call("PUT", "/v1/work/one/result", `"done"`).want(200)
	s.call("POST", "/v1/requests", body, async).want(202)
	if a := s.call("POST", "/v1/requests", body).want(200); string(a.body) != `"done"` {
		t.Errorf("repeat: %s", a.body)
	}
	if doc := s.call("GET", "/v1/requests/one", nil).want(200).json(); doc["attempt"] != 1.0 || doc["status"] != "succeeded" {
		t.Errorf("run again: %v", doc)
	}
}

func TestIdempotencyKey(t *testing.T) {
	s := start(t)
	body := `{"content":1}`
	// Warnings are of the moment, as tickets are, so somebody is to work on the route from the
	// beginning.
	s.call("POST", "/v1/work/lease", `{"routes":["default"],"wait":0}`).want(200)
	first := s.call("POST", "/v1/requests", body, async, "Idempotency-Key: k1").want(202)
	s.call("POST", "/v1/work/"+first.json()["id"].(string)+"/start", nil).want(200)
	again := s.call("POST", "/v1/requests", body, async, `Idempotency-Key: "k1"`).want(202)
	if !bytes.Equal(first.body, again.body) || first.header.Get("Location") != again.header.Get("Location") {
		t.Errorf("replay differs:\n%s\n%s", first.body, again.body)
	}
	if again.header.Get("Idempotency-Replayed") != "true" {
		t.Error("a replay does not say so")
	}
	s.call("POST", "/v1/requests", `{"content":2}`, async, "Idempotency-Key: k1").problem(422, "idempotency-key-reused")
	s.call("POST", "/v1/requests", body, async, "Idempotency-Key: ").problem(400, "malformed-request")
	s.call("POST", "/v1/requests", body, async, "Idempotency-Key: "+strings.Repeat("k", 256)).problem(400, "malformed-request")

	// The first still in progress: it waits for a result that we hold back.
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if a, err := s.try("POST", "/v1/requests", `{"content":3,"id":"slow"}`, "Idempotency-Key: k2"); err != nil || a.status != 200 || string(a.body) != `{"r":1}` {
			t.Errorf("first: %v %d %s", err, a.status, a.body)
		}
	})
	s.eventually(func() bool { return s.call("GET", "/v1/requests/slow", nil).status == 200 })
	s.call("POST", "/v1/requests", `{"content":3,"id":"slow"}`, "Idempotency-Key: k2").problem(409, "idempotency-key-in-progress")
	s.call("POST", "/v1/work/slow/start", nil).want(200)
	s.call("PUT", "/v1/work/slow/result", `{"r":1}`).want(200)
	waiting.Wait()
	if a := s.call("POST", "/v1/requests", `{"content":3,"id":"slow"}`, "Idempotency-Key: k2").want(200); string(a.body) != `{"r":1}` {
		t.Errorf("replay: %s", a.body)
	}

	// Of many at once, one creates and the others are told.
	ids := make(map[string]bool)
	var mu sync.Mutex
	for range 20 {
		waiting.Go(func() {
			a, err := s.try("POST", "/v1/requests", `{"content":4}`, async, "Idempotency-Key: k3")
			if err != nil || (a.status != 202 && a.status != 409) {
				t.Errorf("%v %d", err, a.status)
				return
			}
			if a.status == 202 {
				mu.Lock()
				ids[a.header.Get("Location")] = true
				mu.Unlock()
			}
		})
	}
	waiting.Wait()
	if len(ids) != 1 {
		t.Errorf("one key made %d requests", len(ids))
	}
}

// patience is how long a test waits for what has to happen before it says that it never did: long,
// because a machine may be busy.
const patience = 3 * time.Minute

// eventually waits until a condition holds, asking over and over.
func (s *server) eventually(holds func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !holds(); {
		if time.Now().After(deadline) {
			s.t.Fatal("condition never held")
		}
		time.Sleep(2 * time.Millisecond) // a poll, not a wait: the condition decides
	}
}

func TestCall(t *testing.T) {
	s := start(t)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		r, _ := http.NewRequest("PATCH", s.url+"/v1/call/default/a/b%20c?x=1&y=2", strings.NewReader("body"))
		r.Header.Set("Content-Type", "text/plain")
		r.Header.Set("Authorization", "Bearer secret")
		r.Header.Set("Cookie", "c=1")
		r.Header.Set("X-Request-Id", "rid")
		res, err := s.http.Do(r)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = res.Body.Close() }()
		if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/csv" {
			t.Errorf("call: %d %v", res.StatusCode, res.Header)
		}
	})
	id := s.onlyPending()
	work := s.call("POST", "/v1/work/"+id+"/start", nil).want(200)
	call := work.json()["call"].(map[string]any)
	if call["method"] != "PATCH" || call["path"] != "/a/b c" || call["query"] != "x=1&y=2" || work.json()["contentBase64"] != "Ym9keQ==" {
		t.Errorf("call: %s", work.body)
	}
	if bytes.Contains(work.body, []byte("secret")) || bytes.Contains(work.body, []byte("c=1")) || !bytes.Contains(work.body, []byte("rid")) {
		t.Errorf("headers: %s", work.body)
	}
	s.call("PUT", "/v1/work/"+id+"/result", []byte("1,2"), "Content-Type: text/csv").want(200)
	waiting.Wait()
	s.call("GET", "/v1/call/nowhere/x", nil).problem(404, "not-found")
	s.call("GET", "/v1/call/default", nil, async).want(202)
}

// TestCallPath: the path of a call reaches its processor as it was sent, and decoded.
func TestCallPath(t *testing.T) {
	s := start(t, "--samples=false")
	for target, want := range map[string]map[string]any{
		"":                   {"path": "/", "rawPath": "/", "query": nil},
		"/":                  {"path": "/", "rawPath": "/", "query": nil},
		"/a/b":               {"path": "/a/b", "rawPath": "/a/b", "query": nil},
		"/a%2Fb%3Fc":         {"path": "/a/b?c", "rawPath": "/a%2Fb%3Fc", "query": nil},
		"/a%2fb?c%2fd":       {"path": "/a/b", "rawPath": "/a%2fb", "query": "c%2fd"},
		"//a//b":             {"path": "//a//b", "rawPath": "//a//b", "query": nil},
		"/a/./b/../c":        {"path": "/a/./b/../c", "rawPath": "/a/./b/../c", "query": nil},
		"/../../requests":    {"path": "/../../requests", "rawPath": "/../../requests", "query": nil},
		"/%2e%2e/x":          {"path": "/../x", "rawPath": "/%2e%2e/x", "query": nil},
		"/a%00b":             {"path": "/a\x00b", "rawPath": "/a%00b", "query": nil},
		"/a%FFb":             {"path": "/a\ufffdb", "rawPath": "/a%FFb", "query": nil},
		"/a+b%2Bc":           {"path": "/a+b+c", "rawPath": "/a+b%2Bc", "query": nil},
		"/a/":                {"path": "/a/", "rawPath": "/a/", "query": nil},
		"/a//":               {"path": "/a//", "rawPath": "/a//", "query": nil},
		"/A;b=1,c/@:$&'()*!": {"path": "/A;b=1,c/@:$&'()*!", "rawPath": "/A;b=1,c/@:$&'()*!", "query": nil},
		"/a?":                {"path": "/a", "rawPath": "/a", "query": nil},
		"?":                  {"path": "/", "rawPath": "/", "query": nil},
		"/a?x=1&x=%zz+;":     {"path": "/a", "rawPath": "/a", "query": "x=1&x=%zz+;"},
		"/a?b?c/d":           {"path": "/a", "rawPath": "/a", "query": "b?c/d"},
		"/caf%C3%A9":         {"path": "/caf\u00e9", "rawPath": "/caf%C3%A9", "query": nil},
	} {
		l := s.line()
		l.send("PUT /v1/call/default"+target+" HTTP/1.1\nHost: localhost\nPrefer: respond-async\nContent-Length: 1", "x")
		location := l.want(202).Header.Get("Location")
		id := strings.TrimPrefix(location, "/v1/requests/")
		// The store returns it, too.
		for _, path := range []string{"/start", "/start?attempt=1"} {
			call := s.call("POST", "/v1/work/"+id+path, nil).want(200).json()["call"].(map[string]any)
			for _, name := range []string{"path", "rawPath", "query"} {
				if call[name] != want[name] {
					t.Errorf("%s: %s %q, want %q", target, name, call[name], want[name])
				}
			}
		}
	}
	for _, target := range []string{"/a%", "/a%4", "/%zz"} {
		l := s.line()
		l.send("PUT /v1/call/default"+target+" HTTP/1.1\nHost: localhost\nContent-Length: 1", "x")
		l.want(400)
	}
	// What is encoded differently is another call.
	s.call("PUT", "/v1/call/default/a%2Fb", []byte("x"), async, "Idempotency-Key: k").want(202)
	s.call("PUT", "/v1/call/default/a/b", []byte("x"), async, "Idempotency-Key: k").problem(422, "idempotency-key-reused")
	s.call("PUT", "/v1/call/default/a%2Fb", []byte("x"), async, "Idempotency-Key: k").want(202)
}

// TestSegments: %2F is no slash in any path, and no target says under which name a gateway is
// called.
func TestSegments(t *testing.T) {
	s := start(t)
	id := s.submit("default", 1)
	s.call("GET", "/v1/requests/"+id, nil).want(200)
	for _, path := range []string{"/v1/requests/" + id + "%2Fresult", "/v1/requests%2F" + id, "/v1%2Fcall/default/x", "/v1/call%2Fdefault/x"} {
		s.call("GET", path, nil).want(404)
	}
	escaped := "%" + fmt.Sprintf("%X", id[0]) + id[1:]
	if got := s.call("GET", "/v1/requests/"+escaped, nil).want(200).json()["id"]; got != id {
		t.Errorf("%s is %v", escaped, got)
	}
	for _, target := range []string{"//localhost/v1/requests", "//127.0.0.1:80/v1/requests", "///localhost/v1/requests", "//localhost/v1/requests?x=://"} {
		for host, status := range map[string]int{"rebound.example": 403, "localhost": 404} {
			l := s.line()
			l.send("GET "+target+" HTTP/1.1\nHost: "+host, "")
			l.want(status)
		}
	}
}

// A form is opaque: neither is it refused for its content, nor do its parts change their order.
func TestFormsAreOpaque(t *testing.T) {
	s := start(t)
	for _, form := range []string{
		"no form at all",
		"preamble\r\n--x\r\nContent-Disposition: form-data; name=\"b\"\r\n\r\n1\r\n--x\r\nContent-Disposition: form-data; name=\"a\"; filename=\"f\"\r\nX-Y: z\r\n\r\n2\r\n--x--\r\n",
	} {
		doc := s.call("POST", "/v1/requests", []byte(form), "Content-Type: multipart/form-data; boundary=x", async).want(202).json()
		work := s.call("POST", "/v1/work/"+doc["id"].(string)+"/start", nil).want(200).json()
		if got, err := base64.StdEncoding.DecodeString(work["contentBase64"].(string)); err != nil || string(got) != form {
			t.Errorf("%v: %q, want %q", err, got, form)
		}
	}
}

// Caches have to know both what an answer depends on and whose page it was for.
func TestVary(t *testing.T) {
	s := start(t, "--origins=https://app.example")
	for path, want := range map[string]string{"/v1/requests/" + s.submit("default", 1): "Origin, Prefer", "/v1/events": "Origin, Accept"} {
		a := s.call("GET", path, nil, "Origin: https://app.example", "Accept: application/json").want(200)
		if got := a.header.Get("Vary"); got != want {
			t.Errorf("%s: Vary %q, want %q", path, got, want)
		}
	}
}

// onlyPending returns the id of the request that waits, once there is exactly one.
func (s *server) onlyPending() (id string) {
	s.t.Helper()
	s.eventually(func() bool {
		l := s.call("GET", "/v1/requests?status=pending", nil).want(200).json()["requests"].([]any)
		if len(l) == 1 {
			id = l[0].(map[string]any)["id"].(string)
		}
		return len(l) == 1
	})
	return id
}

// What a call is conditional on, or a part of what it wants, is for its processor to know: a 304
// would lose the result.
func TestCallIsAnsweredWhole(t *testing.T) {
	s := start(t)
	for _, header := range []string{"If-None-Match: *", "Range: bytes=0-0", `If-Match: "x"`} {
		var waiting sync.WaitGroup
		waiting.Go(func() {
			if a, err := s.try("GET", "/v1/call/default/x", nil, header); err != nil || a.status != 200 || string(a.body) != "1,2" {
				t.Errorf("%s: %v %d %q", header, err, a.status, a.body)
			}
		})
		id := s.onlyPending()
		s.call("POST", "/v1/work/"+id+"/start", nil).want(200)
		s.call("PUT", "/v1/work/"+id+"/result", []byte("1,2"), "Content-Type: text/csv").want(200)
		waiting.Wait()
	}
}

func TestPointerToDelay(t *testing.T) {
	s := start(t)
	p := s.call("POST", "/v1/requests?delay=2m&timeout=1m", []byte("x"), "Content-Type: text/plain").problem(422, "invalid-request")
	if at := p["errors"].([]any)[0].(map[string]any)["pointer"]; at != "?delay" {
		t.Errorf("pointer %v", at)
	}
}

// TestIDHeader: with --id-header the field is the id of a request, a batch or a call without one of
// its own, as good and as bad as any id; without the option it is a header like any other.
func TestIDHeader(t *testing.T) {
	s := start(t, "--id-header=X-Request-Id", "--routes=default,sleep")
	const as = "X-Request-Id: "
	for _, c := range []struct{ id, path, body, other, kind string }{
		{"json", "/v1/requests", `{"content":1}`, `{"content":2}`, "application/json"},
		{"opaque", "/v1/requests", "x", "y", "text/x"},
		{"call_1", "/v1/call/default/a/b", "x", "y", "text/x"},
		{"batch-1", "/v1/batches", `{"requests":[{"content":1}]}`, `{"requests":[{"content":2}]}`, "application/json"},
	} {
		for range 2 { // the same again is the same request
			a := s.call("POST", c.path, []byte(c.body), async, as+c.id, "Content-Type: "+c.kind).want(202)
			if a.json()["id"] != c.id {
				t.Errorf("%s: %s", c.path, a.body)
			}
		}
		s.call("POST", c.path, []byte(c.other), async, as+c.id, "Content-Type: "+c.kind).problem(409, "id-taken")
		s.call("POST", c.path, []byte(c.body), async, as+"no id", "Content-Type: "+c.kind).pointers(t, "X-Request-Id")
		s.call("POST", c.path, []byte(c.body), async, as+"a", as+"b", "Content-Type: "+c.kind).pointers(t, "X-Request-Id")
	}
	if a := s.call("POST", "/v1/requests", `{"id":"own","content":1}`, async, as+"no id").want(202); a.json()["id"] != "own" {
		t.Errorf("an id of its own: %s", a.body)
	}
	if a := s.call("POST", "/v1/requests", `{"content":1}`, async).want(202); a.json()["id"] == "" || a.json()["life"] != nil {
		t.Errorf("without the field: %s", a.body)
	}
	s = start(t)
	if a := s.call("POST", "/v1/requests", `{"content":1}`, async, as+"json").want(202); a.json()["id"] == "json" {
		t.Errorf("without the option: %s", a.body)
	}
}
