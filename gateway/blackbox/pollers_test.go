package blackbox_test

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestLocations: absolute where the address is known that clients call, else paths. Links in
// documents stay paths, which no proxy breaks.
func TestLocations(t *testing.T) {
	const submission = `{"content":1,"route":"default"}`
	locations := func(s *server, want string, headers ...string) {
		t.Helper()
		a := s.call("POST", "/v1/requests?expired=failed", submission, append(headers, async)...).want(202)
		doc := a.json()
		id := doc["id"].(string)
		for _, name := range []string{"Location", "Operation-Location"} {
			if got := a.header.Get(name); got != want+"/v1/requests/"+id+"?expired=failed" {
				t.Errorf("%v: %s %q, want it to begin with %q", headers, name, got, want)
			}
		}
		if !strings.Contains(string(a.body), `"href":"/v1/requests/`+id+`"`) {
			t.Errorf("links: %s", a.body)
		}
	}
	locations(start(t), "", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil.example", "Forwarded: host=evil.example;proto=https")
	locations(start(t, "--trusted-proxies=10.0.0.0/8"), "", "X-Forwarded-Proto: https")

	public := start(t, "--public-url=https://push.example.org/", "--webhook-allow-http", "--webhook-allow-cidrs=127.0.0.0/8")
	locations(public, "https://push.example.org", "X-Forwarded-Proto: http", "X-Forwarded-Host: evil.example")
	hook := public.call("POST", "/v1/webhooks", `{"url":"http://127.0.0.1:1/x"}`).want(201)
	if got := hook.header.Get("Location"); got != "https://push.example.org/v1/webhooks/"+hook.json()["id"].(string) {
		t.Errorf("a webhook's Location is %q", got)
	}
	ended := public.call("POST", "/v1/requests", `{"route":"sleep","content":{"steps":1,"duration":"1ms"}}`, "Prefer: wait=20").want(200)
	if got := ended.header.Get("Operation-Location"); !strings.HasPrefix(got, "https://push.example.org/v1/requests/") {
		t.Errorf("Operation-Location of what has ended is %q", got)
	}
	// A page of that address is the gateway's own, although a proxy has changed Host.
	public.call("POST", "/v1/requests", submission, async, "Origin: https://push.example.org").want(202)
	public.call("POST", "/v1/requests", submission, async, "Origin: https://evil.example.org").problem(403, "origin-not-allowed")

	behind := start(t, "--trusted-proxies=127.0.0.1/32,10.0.0.0/8")
	host := strings.TrimPrefix(behind.url, "http://")
	for _, c := range []struct{ want, headers string }{
		{"https://" + host, "X-Forwarded-Proto: https"},
		{"https://push.example:8443", "X-Forwarded-Proto: https, http|X-Forwarded-Host: push.example:8443, inner:80"},
		{"https://push.example", `Forwarded: for=192.0.2.1;proto=https;host=push.example, for=10.0.0.1;proto=http;host=inner`},
		{"http://[2001:db8::1]:8080", `Forwarded: for="[2001:db8::9]";Host="[2001:db8::1]:8080";Proto=HTTP`},
		{"", "X-Forwarded-Host: push.example"}, // nobody says whether by TLS
		{"", "X-Forwarded-Proto: gopher"},
		{"", "X-Forwarded-Proto: https|X-Forwarded-Host: a/b"},
		{"", "X-Forwarded-Proto: https|X-Forwarded-Host: user@push.example"},
		{"", "X-Forwarded-Proto: https|X-Forwarded-Host: push.example?x"},
		// Clients refuse a URL of it after the work was accepted.
		{"", "X-Forwarded-Proto: https|X-Forwarded-Host: push.example:99999"},
		{"", "X-Forwarded-Proto: https|X-Forwarded-Host: 2001:db8::1"},
		{"", `Forwarded: proto=https;host="[2001:db8::1"`},
		{"", "Forwarded: nonsense"},
	} {
		locations(behind, c.want, strings.Split(c.headers, "|")...)
	}
}

// TestExpiredAsFailed: pollers that know three ends only see one of them, if they ask for it where
// they submit.
func TestExpiredAsFailed(t *testing.T) {
	s := start(t)
	s.call("POST", "/v1/requests?expired=gone", `{"content":1}`).problem(422, "invalid-request")
	s.call("GET", "/v1/requests/none?expired=true", nil).want(404)
	for _, path := range []string{"/v1/requests", "/v1/batches"} {
		body := `{"content":1,"timeout":"100ms"}`
		if path == "/v1/batches" {
			body = `{"requests":[` + body + `]}`
		}
		where := s.call("POST", path+"?expired=failed&ticket=true", body, async).want(202).header.Get("Operation-Location")
		if path == "/v1/batches" {
			s.call("GET", where, nil).want(200)
			continue // whose time is longer than that of its requests
		}
		s.eventually(func() bool { return s.call("GET", where, nil).want(200).json()["status"] != "pending" })
		doc := s.call("GET", where, nil).want(200).json()
		if doc["status"] != "failed" || doc["error"].(map[string]any)["code"] != "expired" {
			t.Errorf("%v", doc)
		}
		plain, _, _ := strings.Cut(where, "?")
		for _, as := range []string{"", "?expired=expired"} {
			if doc := s.call("GET", plain+as, nil).want(200).json(); doc["status"] != "expired" {
				t.Errorf("%s: %v", as, doc["status"])
			}
		}
		s.call("GET", plain+"?expired=no", nil).problem(422, "invalid-request")
		s.call("GET", plain+"/result", nil).problem(504, "request-expired")
	}
}

// TestRetryAfterGoesBy: what a poller is told is from now, and not beyond the time that the request
// has.
func TestRetryAfterGoesBy(t *testing.T) {
	s := start(t)
	id := s.submit("default", 1, "timeout=20s")
	s.call("POST", "/v1/work/"+id+"/start", nil).want(200)
	time.Sleep(20 * time.Millisecond) // some pace to estimate from
	s.call("POST", "/v1/work/"+id+"/progress", `{"attempt":1,"percent":0.01}`).want(200)
	poll := func() (seconds int) {
		a := s.call("GET", "/v1/requests/"+id, nil).want(200)
		if doc := a.json(); doc["eta"] != doc["expiresAt"] {
			t.Errorf("eta %v, expires at %v", doc["eta"], doc["expiresAt"])
		}
		seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
		if err != nil {
			t.Error(err)
		}
		return seconds
	}
	first := poll()
	if first > 20 {
		t.Errorf("Retry-After: %d", first)
	}
	s.eventually(func() bool { return poll() < first })
}

// TestJoinsTheFirstCall: who repeats a call because it gave up waiting, and does not want to wait,
// gets the links of what the first one made.
func TestJoinsTheFirstCall(t *testing.T) {
	s := start(t)
	const body = `{"content":3,"id":"slow"}`
	first := make(chan answer, 1)
	go func() {
		a, err := s.try("POST", "/v1/requests", body, "Idempotency-Key: k")
		if err != nil {
			t.Error(err)
		}
		first <- a
	}()
	s.eventually(func() bool { return s.call("GET", "/v1/requests/slow", nil).status == 200 })
	for range 2 {
		a := s.call("POST", "/v1/requests", body, "Idempotency-Key: k", async).want(202)
		if a.header.Get("Idempotency-Replayed") != "true" || a.header.Get("Location") != "/v1/requests/slow" || a.json()["id"] != "slow" {
			t.Errorf("%v %s", a.header, a.body)
		}
		s.call("POST", "/v1/requests", body, "Idempotency-Key: k", "Prefer: wait=5").problem(409, "idempotency-key-in-progress")
		s.call("POST", "/v1/requests", `{"content":4,"id":"slow"}`, "Idempotency-Key: k", async).problem(422, "idempotency-key-reused")
	}
	s.call("POST", "/v1/work/slow/start", nil).want(200)
	s.call("PUT", "/v1/work/slow/result?attempt=1", `"done"`).want(200)
	if a := <-first; a.status != 200 || string(a.body) != `"done"` {
		t.Errorf("the first call: %d %s", a.status, a.body)
	}
	// From then on it is its answer that is repeated.
	if a := s.call("POST", "/v1/requests", body, "Idempotency-Key: k", async).want(200); string(a.body) != `"done"` {
		t.Errorf("repeat: %s", a.body)
	}
}
