package blackbox_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// keyed is a submission with a concurrency key.
func keyed(id, key string, limit int) map[string]any {
	return map[string]any{"id": id, "route": "default", "content": 1, "concurrencyKey": key, "concurrencyLimit": limit}
}

// TestKeys: of one key so many are handed out as may be, the others when one ends, however that is;
// other keys, other callers and what has none are not held up. What they said is in the document.
func TestKeys(t *testing.T) {
	s, _ := startKeyed(t, "--samples=false", "--retry-delay=1ms")
	alice, bob, worker := s.as(aliceKey), s.as(bobKey), s.as(workerKey)
	for _, id := range []string{"a", "b", "c", "d"} {
		doc := alice.call("POST", "/v1/requests", keyed(id, "customer-7", 2), async).want(202).json()
		if doc["concurrencyKey"] != "customer-7" {
			t.Errorf("%v", doc)
		}
	}
	alice.call("POST", "/v1/requests", keyed("other", "customer-8", 1), async).want(202)
	bob.call("POST", "/v1/requests", keyed("bobs", "customer-7", 1), async).want(202)
	alice.call("POST", "/v1/requests?route=default&id=query&concurrencyKey=customer-9&concurrencyLimit=1", "x", async, "Content-Type: text/plain").want(202)
	leased := make(map[string]leased)
	take := func(ids ...string) {
		t.Helper()
		for range ids {
			w := worker.leaseOne("")
			leased[w.ID] = w
		}
		for _, id := range ids {
			if leased[id].ID == "" {
				t.Fatalf("%s was not handed out: %v", id, leased)
			}
		}
	}
	take("a", "b", "other", "bobs", "query")
	none := func() {
		t.Helper()
		if work := worker.call("POST", "/v1/work/lease", `{"routes":["default"],"wait":"1ms"}`); work.status != 200 || strings.Contains(string(work.body), `"id"`) {
			t.Errorf("%d %s", work.status, work.body)
		}
	}
	none()
	p := worker.call("POST", "/v1/work/c/start", nil).problem(409, "invalid-transition")
	if p["requestStatus"] != "pending" || !strings.Contains(fmt.Sprint(p["detail"]), "concurrencyKey") {
		t.Errorf("%v", p)
	}
	worker.call("PUT", leased["a"].path("result"), "1", "Content-Type: application/json").want(200)
	take("c")
	none()
	worker.call("PUT", leased["b"].path("error"), `{"code":"x","message":"It broke.","retry":true}`).want(200)
	take("d") // b waits for its time
	alice.call("POST", "/v1/requests/c/cancel", nil).want(202)
	worker.call("PUT", leased["c"].path("error"), `{"code":"x","message":"It broke."}`).want(200)
	delete(leased, "b")
	take("b")
	worker.call("PUT", leased["d"].path("result"), "1", "Content-Type: application/json").want(200)
	worker.call("PUT", leased["b"].path("result"), "1", "Content-Type: application/json").want(200)
	none()

	// The same key and limit are the same request, another limit is another one.
	alice.call("POST", "/v1/requests", keyed("a", "customer-7", 2), async).want(202)
	alice.call("POST", "/v1/requests", keyed("a", "customer-7", 1), async).problem(409, "id-taken")
}

// TestBadKeys: what is no key, or no limit of one, is refused with what is allowed.
func TestBadKeys(t *testing.T) {
	s := start(t, "--samples=false", "--key-concurrency=default=3")
	wrong := func(body, pointer string) {
		t.Helper()
		p := s.call("POST", "/v1/requests", body, async).problem(422, "invalid-request")
		if errs := fmt.Sprint(p["errors"]); !strings.Contains(errs, "pointer:"+pointer) {
			t.Errorf("%s: %s", body, errs)
		}
	}
	wrong(`{"content":1,"concurrencyKey":""}`, "/concurrencyKey")
	wrong(`{"content":1,"concurrencyKey":"a b"}`, "/concurrencyKey")
	wrong(`{"content":1,"concurrencyKey":7}`, "/concurrencyKey")
	wrong(`{"content":1,"concurrencyLimit":2}`, "/concurrencyLimit")
	wrong(`{"content":1,"concurrencyKey":"k","concurrencyLimit":0}`, "/concurrencyLimit")
	wrong(`{"content":1,"concurrencyKey":"k","concurrencyLimit":4}`, "/concurrencyLimit")
	wrong(`{"content":1,"concurrencyKey":"k","concurrencyLimit":"2"}`, "/concurrencyLimit")
	s.call("POST", "/v1/batches", `{"requests":[{"content":1,"concurrencyLimit":2}]}`, async).problem(422, "invalid-request")
	if n := len(s.call("GET", "/v1/requests", nil).want(200).json()["requests"].([]any)); n != 0 {
		t.Errorf("%d requests are stored", n)
	}
	// What the route says is what a request has that says nothing.
	for n := range 4 {
		s.call("POST", "/v1/requests", map[string]any{"id": fmt.Sprint("r", n), "content": 1, "concurrencyKey": "k"}, async).want(202)
	}
	for n := range 3 {
		s.call("POST", fmt.Sprintf("/v1/work/r%d/start", n), nil).want(200)
	}
	s.call("POST", "/v1/work/r3/start", nil).problem(409, "invalid-transition")
}

// TestRouteConcurrency: of a route that is limited no more are handed out at a time, and callers
// and keys take turns for the places.
func TestRouteConcurrency(t *testing.T) {
	s, _ := startKeyed(t, "--samples=false", "--route-concurrency=default=1")
	alice, bob, worker := s.as(aliceKey), s.as(bobKey), s.as(workerKey)
	for n := range 3 {
		alice.call("POST", "/v1/requests", map[string]any{"id": fmt.Sprint("alice", n), "route": "default", "content": 1}, async).want(202)
	}
	alice.call("POST", "/v1/batches", map[string]any{"requests": []any{keyed("keyed", "k", 1)}}, async).want(202)
	bob.call("POST", "/v1/requests", map[string]any{"id": "bob", "route": "default", "content": 1}, async).want(202)
	for _, id := range []string{"alice0", "alice1", "keyed", "bob", "alice2"} {
		w := worker.leaseOne("")
		if w.ID != id {
			t.Fatalf("%s was handed out, want %s", w.ID, id)
		}
		if work := worker.call("POST", "/v1/work/lease", `{"routes":["default"],"wait":"1ms"}`); strings.Contains(string(work.body), `"id"`) {
			t.Fatalf("a second one was handed out: %s", work.body)
		}
		worker.call("PUT", w.path("result"), "1", "Content-Type: application/json").want(200)
	}
}

// TestRouteFull: a route on which as many wait as may takes no more until one has begun; a batch
// counts whole, and nothing of what is refused stays.
func TestRouteFull(t *testing.T) {
	s, _ := startKeyed(t, "--samples=false", "--max-waiting-per-route=3", "--routes=default,images")
	alice, bob, worker := s.as(aliceKey), s.as(bobKey), s.as(workerKey)
	request := func(route string) map[string]any { return map[string]any{"route": route, "content": 1} }
	full := func(a answer) {
		t.Helper()
		if p := a.problem(503, "route-full"); p["route"] != "default" || a.header.Get("Retry-After") == "" {
			t.Errorf("%v %v", p, a.header)
		}
	}
	batch := func(requests ...any) answer {
		return alice.call("POST", "/v1/batches", map[string]any{"requests": requests}, async)
	}
	alice.call("POST", "/v1/requests", request("default"), async).want(202)
	full(batch(request("images"), request("default"), request("default"), request("default")))
	if n := len(alice.call("GET", "/v1/requests", nil).want(200).json()["requests"].([]any)); n != 1 {
		t.Errorf("%d requests are stored", n)
	}
	neverFits(t, batch(request("images"), request("default"), request("default"), request("default"), request("default")),
		"route", "default", "--max-waiting-per-route")
	batch(request("images"), request("default"), request("default")).want(202)
	full(alice.call("POST", "/v1/requests", request("default"), async))
	full(bob.call("PUT", "/v1/call/default/x", "1", async))
	bob.call("POST", "/v1/requests", request("images"), async).want(202)
	worker.leaseOne("")
	bob.call("POST", "/v1/requests", request("default"), async).want(202)
	full(bob.call("POST", "/v1/requests", request("default"), async))
}

// neverMore replays the events of all requests, in the order in which the store made them, and
// checks that no key was ever worked on more often at a time than it may, and how all ended. It
// returns how many attempts followed one whose processor had died.
func neverMore(t *testing.T, s *process, requests, limit int) (again int) {
	t.Helper()
	running, ended, most := make(map[string]string), 0, 0
	by := make(map[string]int)
	for after := 0; ; {
		page := s.call("GET", fmt.Sprintf("/v1/history?after=%d&limit=1000", after), nil).want(200)
		var doc struct {
			Events []struct {
				Type string
				Data struct {
					ID, Status, ConcurrencyKey string
				}
			}
			Top int
		}
		if err := json.Unmarshal(page.body, &doc); err != nil {
			t.Fatal(err)
		}
		for _, e := range doc.Events {
			key := e.Data.ConcurrencyKey
			if key == "" { // a batch
				continue
			}
			if running[e.Data.ID] != "" && e.Type == "request.started" {
				again++
				continue
			}
			switch {
			case e.Data.Status == "processing" && running[e.Data.ID] == "":
				running[e.Data.ID] = key
				by[key]++
				most = max(most, by[key])
				if by[key] > limit {
					t.Errorf("%d of %s are worked on at once", by[key], key)
				}
			case e.Data.Status != "processing" && e.Data.Status != "waiting" && running[e.Data.ID] != "":
				delete(running, e.Data.ID)
				by[key]--
			}
			if e.Type == "request.succeeded" {
				ended++
			}
		}
		after += len(doc.Events)
		if len(doc.Events) == 0 {
			break
		}
	}
	t.Logf("%d have succeeded, at most %d of a key at once, %d attempts were made again", ended, most, again)
	if ended != requests || most != limit || len(running) != 0 {
		t.Errorf("%d of %d have succeeded, at most %d of %d at once, %v run", ended, requests, most, limit, running)
	}
	return again
}

// TestKeysSurviveKills kills a gateway, with the processors in it, again and again while many
// requests of some keys are worked on: no key is ever worked on more often at a time than it may,
// and all end. On shared servers a second gateway goes on meanwhile.
func TestKeysSurviveKills(t *testing.T) {
	t.Parallel()
	const requests, keys, limit = 400, 8, 2
	data := t.TempDir()
	args := []string{"--concurrency=20", "--requeue=1s", "--feed-history=100000", "--max-wait=1s"}
	p := spawn(t, data, args...)
	var second *process
	if backendsOf(t, data) != nil {
		second = spawn(t, data, args...)
	}
	body := make([]any, requests)
	for i := range body {
		body[i] = map[string]any{
			"id": fmt.Sprint("r", i), "route": "sleep", "maxAttempts": 20, "content": map[string]any{"steps": 1, "duration": "20ms"},
			"concurrencyKey": fmt.Sprint("k", i%keys), "concurrencyLimit": limit,
		}
	}
	p.call("POST", "/v1/batches", map[string]any{"id": "all", "requests": body}, async).want(202)
	done := func() int {
		c := counts(p.call("GET", "/v1/batches/all", nil).want(200).json())
		return c[0] - c[1]
	}
	for n := range 4 {
		due := (n + 1) * requests / 6
		until(t, "ended in part", func() bool { return done() >= due })
		if n%2 == 1 && second != nil {
			second.kill()
			second = spawn(t, data, args...)
			continue
		}
		p.kill()
		p = spawn(t, data, args...)
	}
	if doc := p.ended("all"); doc["status"] != "succeeded" {
		t.Errorf("%v", doc)
	}
	neverMore(t, p, requests, limit)
}

// TestKeysInCluster kills gateways and workers of several nodes likewise, while requests are
// submitted one by one at all of them.
func TestKeysInCluster(t *testing.T) {
	t.Parallel()
	const requests, keys, limit = 600, 6, 3
	c := newCluster(t, 2, 2, "--feed-history=100000")
	var submitting sync.WaitGroup
	for n := range 8 {
		submitting.Go(func() {
			for i := n; i < requests; i += 8 {
				id := fmt.Sprint("r", i)
				c.submit(i, id, fmt.Sprintf(`{"id":%q,"route":"sleep","maxAttempts":20,"concurrencyKey":"k%d","concurrencyLimit":%d,"content":{"steps":1,"duration":"600ms"}}`, id, i%keys, limit))
			}
		})
	}
	defer submitting.Wait()
	count := func(status string) (n int) { // 200 at most
		a, err := c.node(0).try("GET", "/v1/requests?limit=200&status="+status, nil)
		if err != nil || a.status != http.StatusOK {
			return 0
		}
		requests, _ := a.json()["requests"].([]any)
		return len(requests)
	}
	for _, fault := range append([]func(){
		func() { c.replaceWorker(0) }, func() { c.replaceGateway(1) }, func() { c.replaceWorker(1) }, func() { c.replaceGateway(0) }, c.redis.Restart,
	}, c.queueFaults()...) {
		c.await("most are worked on that may be", func() bool { return count("processing") > keys*limit/2 })
		fault()
	}
	submitting.Wait()
	ended := 0 // as far as they have ended one after the other
	c.await("all have ended", func() bool {
		a, err := c.node(0).try("GET", fmt.Sprint("/v1/requests/r", ended), nil)
		for err == nil && a.status == http.StatusOK && a.json()["status"] == "succeeded" {
			if ended++; ended == requests {
				return true
			}
			a, err = c.node(0).try("GET", fmt.Sprint("/v1/requests/r", ended), nil)
		}
		return false
	})
	if neverMore(t, c.node(0), requests, limit) == 0 {
		t.Error("nobody was killed in mid-work")
	}
}
