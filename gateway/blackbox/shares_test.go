package blackbox_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// waiters makes so many calls that wait, each on a connection of its own, and returns when the
// gateway has them.
func (s *server) waiters(n int, call func(i int) string) []net.Conn {
	s.t.Helper()
	var all []net.Conn
	for i := range n {
		all = append(all, hold(s.t, "127.0.0.1", s.url, 1, call(i))...)
	}
	return all
}

// holdAll makes calls that wait, until they have all places. Whoever asks whether they have takes
// one for a moment, too, so that one of them may be refused; then all are made again.
func (s *server) holdAll(hold func() []net.Conn, taken func() bool) (held []net.Conn) {
	s.t.Helper()
	s.eventually(func() bool {
		held = hold()
		for range 50 {
			if taken() {
				return true
			}
		}
		for _, c := range held {
			_ = c.Close()
		}
		return false
	})
	return held
}

// post is a POST of JSON as it goes over the wire.
func post(path, key, body string, fields ...string) string {
	for _, f := range append(fields, "Authorization: Bearer "+key, "Content-Type: application/json") {
		path += "\x00" + f
	}
	head := strings.Split(path, "\x00")
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\n%s\r\nContent-Length: %d\r\n\r\n%s", head[0], strings.Join(head[1:], "\r\n"), len(body), body)
}

const waited = `{"route":"default","content":1}`

// TestCallShares: calls that wait take a share of a caller, and of an address, and no more; what is
// left says the field RateLimit; health and metrics are answered whatever waits; and a hang-up
// gives back what its call took at once.
func TestCallShares(t *testing.T) {
	s, _ := startKeyed(t, "--samples=false", "--max-calls=8", "--ratelimit-fields")
	alice, bob := s.as(aliceKey), s.as(bobKey)
	answer := alice.call("GET", "/v1/requests", nil).want(200)
	if got := answer.header.Values("RateLimit-Policy"); strings.Join(got, ", ") != `"calls-per-address";q=6;qu="concurrent-requests", "calls-per-caller";q=4;qu="concurrent-requests"` {
		t.Errorf("%q", got)
	}
	if got := answer.header.Values("RateLimit"); strings.Join(got, ", ") != `"calls-per-address";r=5, "calls-per-caller";r=3` {
		t.Errorf("%q", got)
	}
	kinds := map[string]func(int) string{
		"POST":  func(int) string { return post("/v1/requests", aliceKey, waited, "Prefer: wait=25") },
		"lease": func(int) string { return post("/v1/work/lease", workerKey, `{"routes":["images"],"wait":"25s"}`) },
		"GET": func(int) string {
			id := alice.submit("default", 1)
			return "GET /v1/requests/" + id + " HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=25\r\nAuthorization: Bearer " + aliceKey + "\r\n\r\n"
		},
	}
	// So many calls are under way beside the one that asks, who takes nobody's share.
	waiting := func(n int) func() bool {
		return func() bool {
			return strings.HasPrefix(s.as(adminKey).call("GET", "/v1/requests", nil).header.Get("RateLimit"), fmt.Sprintf(`"calls-per-address";r=%d`, 5-n))
		}
	}
	for kind, call := range kinds {
		who := alice
		if kind == "lease" {
			who = s.as(workerKey)
		}
		refused := func() (refused bool) {
			a := who.call("POST", "/v1/work/lease", `{"routes":["images"],"wait":"0s"}`)
			if who == alice {
				a = who.call("GET", "/v1/requests", nil)
			}
			return a.status == http.StatusTooManyRequests
		}
		held := s.waiters(4, call)
		s.eventually(waiting(4))
		s.eventually(refused)
		p := who.call("POST", "/v1/batches", nil)
		if kind != "lease" {
			if got := p.problem(429, "too-many-calls")["violated-policies"]; fmt.Sprint(got) != "[calls-per-caller]" || p.header.Get("Retry-After") == "" {
				t.Errorf("%s: %v %v", kind, got, p.header)
			}
		}
		bob.call("POST", "/v1/requests", map[string]any{"route": "default", "content": 1}, async).want(202)
		for _, c := range held {
			_ = c.Close()
		}
		s.eventually(waiting(0))
	}
	// Behind what waits there may be another call: the hang-up is seen all the same.
	held := s.waiters(4, func(int) string { return kinds["POST"](0) + "GET /v1/requests HTTP/1.1\r\nHost: localhost\r\n\r\n" })
	s.eventually(waiting(4))
	for _, c := range held {
		_ = c.Close()
	}
	s.eventually(waiting(0))

	// All of what there is, by several callers from several addresses.
	root := s.as(adminKey)
	all := s.holdAll(func() (all []net.Conn) {
		for i, key := range []string{aliceKey, bobKey} {
			all = append(all, hold(t, fmt.Sprint("127.0.0.", 2+i), s.url, 4, post("/v1/requests", key, waited, "Prefer: wait=25"))...)
		}
		return all
	}, func() bool { return root.call("GET", "/v1/requests", nil).status == 503 })
	for _, path := range []string{"/metrics", "/health/live", "/health/ready"} {
		s.call("GET", path, nil).want(200)
	}
	for _, c := range all {
		_ = c.Close()
	}
	s.eventually(func() bool { return root.call("GET", "/v1/requests", nil).status == 200 })
}

// TestCallShareOfAnAddress: an address takes no more than its share, with whatever keys; who comes
// through a trusted proxy has the client's, and of IPv6 a whole /64 is one.
func TestCallShareOfAnAddress(t *testing.T) {
	s := start(t, "--samples=false", "--max-calls=40", "--max-calls-per-address=2", "--trusted-proxies=127.0.0.9/32")
	call := func(from string) string { return post("/v1/requests", "none", waited, "Prefer: wait=25", from) }
	status := func(local string, fields ...string) int {
		t.Helper()
		dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}}
		transport := &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}
		r, _ := http.NewRequest("GET", s.url+"/v1/requests", nil)
		for _, f := range fields {
			name, value, _ := strings.Cut(f, ": ")
			r.Header.Add(name, value)
		}
		answer, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
		return answer.StatusCode
	}
	for _, c := range []struct {
		local, field, same, other string
	}{
		// What somebody says whom nobody trusts does not count.
		{"127.0.0.2", "X-Nothing: 1", "X-Forwarded-For: 192.0.2.77", ""},
		{"127.0.0.9", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 203.0.113.5, 192.0.2.1", "X-Forwarded-For: 192.0.2.2"},
		{"127.0.0.9", "X-Forwarded-For: 2001:db8:1:2:3::4", "X-Forwarded-For: 2001:db8:1:2::9", "X-Forwarded-For: 2001:db8:1:3::4"},
		{"127.0.0.9", `Forwarded: for="[2001:db8:5::1]:1234";proto=https`, `Forwarded: for=unknown, for="[2001:db8:5::2]"`, "Forwarded: for=192.0.2.9"},
	} {
		held := s.holdAll(func() []net.Conn { return hold(t, c.local, s.url, 2, call(c.field)) }, func() bool { return status(c.local, c.same) == 429 })
		if c.other != "" && status(c.local, c.other) != 200 {
			t.Errorf("%s takes the place of %s", c.field, c.other)
		}
		if status("127.0.0.3") != 200 {
			t.Errorf("%s takes the place of another address", c.field)
		}
		for _, h := range held {
			_ = h.Close()
		}
		s.eventually(func() bool { return status(c.local, c.same) == 200 })
	}
	var together sync.WaitGroup
	for range 8 { // only the proxy is known: nobody's share
		together.Go(func() {
			if got := status("127.0.0.9"); got != 200 {
				t.Errorf("of the proxy itself: %d", got)
			}
		})
	}
	together.Wait()
}

// TestQuotas: what is stored for a caller is bounded, each limit with a problem of its own, and
// others do not notice.
func TestQuotas(t *testing.T) {
	s, _ := startKeyed(t, "--samples=false", "--max-open-per-caller=4", "--max-stored-per-caller=3000", "--max-endpoints-per-caller=1", "--max-batch=3",
		"--webhook-allow-http", "--webhook-allow-cidrs=127.0.0.0/8")
	alice, bob, worker := s.as(aliceKey), s.as(bobKey), s.as(workerKey)
	submit := func(content any) answer {
		return alice.call("POST", "/v1/requests", map[string]any{"route": "default", "content": content}, async)
	}
	policy := func(a answer, name, policy string) {
		t.Helper()
		if p := a.problem(429, name); fmt.Sprint(p["violated-policies"]) != "["+policy+"]" || a.header.Get("Retry-After") == "" {
			t.Errorf("%v %v", p, a.header)
		}
	}
	batch := func(n int) answer {
		requests := make([]map[string]any, n)
		for i := range requests {
			requests[i] = map[string]any{"route": "default", "content": 1}
		}
		return alice.call("POST", "/v1/batches", map[string]any{"requests": requests}, async)
	}
	batch(4).problem(422, "invalid-request")
	id, _ := submit(strings.Repeat("x", 1000)).want(202).json()["id"].(string)
	policy(submit(strings.Repeat("x", 2000)), "storage-quota-exceeded", "stored-bytes-per-caller")
	second, _ := submit(2).want(202).json()["id"].(string)
	policy(batch(2), "too-many-open-requests", "open-requests-per-caller") // the batch is one, too
	submit(3).want(202)
	submit(4).want(202)
	policy(submit(5), "too-many-open-requests", "open-requests-per-caller")
	policy(alice.call("PUT", "/v1/call/default/x", "1"), "too-many-open-requests", "open-requests-per-caller")
	// What there is never room for does not get better by waiting, whether there is room or not.
	one := map[string]any{"route": "default", "content": 1}
	for _, who := range []*server{alice, bob} {
		neverFits(t, who.call("POST", "/v1/batches", map[string]any{"requests": []any{one, one, one}, "then": one}, async),
			"violated-policies", "[open-requests-per-caller]", "--max-open-per-caller")
		for _, path := range []string{"/v1/requests?route=default", "/v1/call/default/x"} {
			a := who.call("POST", path, strings.Repeat("x", 4000), async, "Content-Type: text/plain")
			if p := a.problem(413, "content-too-large"); a.header.Get("Retry-After") != "" || !strings.Contains(fmt.Sprint(p["detail"]), "--max-stored-per-caller") {
				t.Errorf("%v %v", p, a.header)
			}
		}
	}
	bob.call("POST", "/v1/requests", map[string]any{"route": "default", "content": 1}, async).want(202)

	// What ends leaves room, a result takes some, and what is deleted gives it back.
	alice.call("POST", "/v1/requests/"+second+"/cancel", nil).want(200)
	w := worker.leaseOne("")
	worker.call("PUT", w.path("result"), []byte(strings.Repeat("y", 2500)), "Content-Type: text/plain").want(200)
	policy(submit(6), "storage-quota-exceeded", "stored-bytes-per-caller")
	alice.call("DELETE", "/v1/requests/"+w.ID, nil).want(204)
	if w.ID != id {
		t.Fatalf("%s was leased", w.ID)
	}
	submit(strings.Repeat("x", 2000)).want(202)

	alice.call("POST", "/v1/webhooks", map[string]any{"url": "http://127.0.0.1:1/"}).want(201)
	policy(alice.call("POST", "/v1/webhooks", map[string]any{"url": "http://127.0.0.1:2/"}), "too-many-webhooks", "webhooks-per-caller")
	bob.call("POST", "/v1/webhooks", map[string]any{"url": "http://127.0.0.1:2/"}).want(201)
}

// neverFits checks the refusal of a batch that is larger than a limit lets any be: it names the
// limit, and nobody is told to try again.
func neverFits(t *testing.T, a answer, member, is, flag string) {
	t.Helper()
	p := a.problem(422, "invalid-request")
	if errs := fmt.Sprint(p["errors"]); fmt.Sprint(p[member]) != is || a.header.Get("Retry-After") != "" ||
		!strings.Contains(errs, flag) || !strings.Contains(errs, "pointer:/requests") {
		t.Errorf("%v %v", p, a.header)
	}
}

// TestOneOffShare: a caller names no more URLs for requests alone than it may, in whichever way it
// submits; what it has named it may name again, and others have their own.
func TestOneOffShare(t *testing.T) {
	s, _ := startKeyed(t, "--samples=false", "--max-one-offs-per-caller=2", "--webhook-allow-http", "--webhook-allow-cidrs=127.0.0.0/8")
	alice, bob := s.as(aliceKey), s.as(bobKey)
	url := func(n int) string { return fmt.Sprintf("http://127.0.0.1:1/%d", n) }
	body := func(n int) map[string]any {
		return map[string]any{"route": "default", "content": 1, "webhook": map[string]any{"url": url(n)}}
	}
	refused := func(a answer) {
		t.Helper()
		p := a.problem(429, "too-many-webhooks")
		if fmt.Sprint(p["violated-policies"]) != "[one-off-webhooks-per-caller]" || a.header.Get("Retry-After") == "" {
			t.Errorf("%v %v", p, a.header)
		}
	}
	alice.call("POST", "/v1/requests", body(1), async).want(202)
	alice.call("POST", "/v1/requests?route=default&webhook="+url(2), "x", async, "Content-Type: text/plain").want(202)
	refused(alice.call("POST", "/v1/requests", body(3), async))
	refused(alice.call("POST", "/v1/requests?route=default&webhook="+url(3), "x", async, "Content-Type: text/plain"))
	refused(alice.call("POST", "/v1/batches", map[string]any{"requests": []any{body(1), body(3)}}, async))
	if n := len(alice.call("GET", "/v1/requests", nil).want(200).json()["requests"].([]any)); n != 2 {
		t.Errorf("%d requests are stored", n)
	}
	alice.call("POST", "/v1/requests", body(2), async).want(202)
	// This one lasts, and is another kind.
	alice.call("POST", "/v1/webhooks", map[string]any{"url": url(3)}).want(201)
	bob.call("POST", "/v1/requests", body(3), async).want(202)
}
