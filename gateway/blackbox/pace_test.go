package blackbox_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// TestEstimates: as soon as a route has ended something, whatever is pending on it says when it
// will end: where it is submitted, looked up and listed, never before now and not after its time
// runs out, later the more is before it. Events say nothing of that.
func TestEstimates(t *testing.T) {
	s := start(t, "--samples=false")
	eta := func(doc map[string]any) time.Time {
		t.Helper()
		text, ok := doc["eta"].(string)
		if !ok {
			return time.Time{}
		}
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Error(err)
		}
		return at
	}
	get := func(id string) map[string]any { return s.call("GET", "/v1/requests/"+id, nil).want(200).json() }
	if first := get(s.submit("default", 1)); first["eta"] != nil || first["position"] != 0.0 {
		t.Errorf("nothing is known: %v", first)
	}
	for range 4 {
		w := s.leaseOne("")
		time.Sleep(50 * time.Millisecond) // the work itself
		s.call("PUT", w.path("result"), "1").want(200)
		s.submit("default", 1)
	}
	id := s.submit("default", 1) // one waits already
	s.eventually(func() bool { return get(id)["eta"] != nil })
	before := time.Now().Add(-time.Millisecond) // documents have milliseconds
	doc := s.call("POST", "/v1/requests", map[string]any{"route": "default", "content": 1, "timeout": "1h"}, async).want(202).json()
	if at := eta(doc); at.Before(before) || at.After(before.Add(time.Minute)) || doc["position"] != 2.0 {
		t.Errorf("at %v: %v", before, doc)
	}
	var page struct{ Requests []map[string]any }
	if err := json.Unmarshal(s.call("GET", "/v1/requests?status=pending", nil).want(200).body, &page); err != nil || len(page.Requests) != 3 {
		t.Fatalf("%v %v", err, page)
	}
	for i, r := range page.Requests { // the newest first
		if eta(r).Before(before) || r["position"] != float64(2-i) || i > 0 && eta(r).After(eta(page.Requests[i-1])) {
			t.Errorf("%v", page.Requests)
		}
	}
	delayed := s.submit("default", 1, "delay=30m")
	if at := eta(get(delayed)); at.Before(before.Add(30*time.Minute)) || at.After(before.Add(31*time.Minute)) {
		t.Errorf("delayed by half an hour: %v", get(delayed))
	}
	for _, e := range s.events(id) {
		var event struct{ Data struct{ Eta any } }
		if err := json.Unmarshal(e, &event); err != nil || event.Data.Eta != nil {
			t.Errorf("%v: %s", err, e)
		}
	}
	// What waits behind its key is not before what it waits for.
	first := get(s.submit("default", 1, "timeout=12h", "concurrencyKey=k"))
	behind := get(s.submit("default", 1, "timeout=12h", "concurrencyKey=k"))
	if eta(first).Before(before) || eta(behind).Before(eta(first)) {
		t.Errorf("behind its key: %v, then %v", first, behind)
	}
	// Another route has ended nothing.
	if doc := get(s.submit("images", 1)); doc["eta"] != nil {
		t.Errorf("%v", doc)
	}
}

// TestWaitingPerCaller: who has as many waiting as it may is answered with 429 until one of them
// has begun; a batch counts whole, nothing of what is refused stays, and others do not notice.
func TestWaitingPerCaller(t *testing.T) {
	s, _ := startKeyed(t, "--samples=false", "--max-waiting-per-caller=3", "--routes=default,images")
	alice, bob, worker := s.as(aliceKey), s.as(bobKey), s.as(workerKey)
	request := func(route string) map[string]any { return map[string]any{"route": route, "content": 1} }
	full := func(a answer) {
		t.Helper()
		p := a.problem(429, "too-many-waiting-requests")
		if fmt.Sprint(p["violated-policies"]) != "[waiting-requests-per-caller]" || a.header.Get("Retry-After") == "" {
			t.Errorf("%v %v", p, a.header)
		}
	}
	batch := func(requests ...any) answer {
		return alice.call("POST", "/v1/batches", map[string]any{"requests": requests}, async)
	}
	alice.call("POST", "/v1/requests", request("default"), async).want(202)
	full(batch(request("images"), request("default"), request("default")))
	if n := len(alice.call("GET", "/v1/requests", nil).want(200).json()["requests"].([]any)); n != 1 {
		t.Errorf("%d requests are stored", n)
	}
	neverFits(t, batch(request("images"), request("default"), request("default"), request("default")),
		"violated-policies", "[waiting-requests-per-caller]", "--max-waiting-per-caller")
	batch(request("images"), request("default")).want(202)
	full(alice.call("POST", "/v1/requests", request("default"), async))
	full(alice.call("PUT", "/v1/call/images/x", "1", async))
	bob.call("POST", "/v1/requests", request("default"), async).want(202)
	for range 2 { // each that begins leaves a place, which is taken
		alice.eventually(func() bool {
			w := worker.leaseOne("")
			doc := worker.call("PUT", w.path("result"), "1").want(200).json()
			return doc["status"] == "succeeded" && alice.call("GET", "/v1/requests/"+w.ID, nil).status == 200
		})
		alice.call("POST", "/v1/requests", request("default"), async).want(202)
		full(alice.call("POST", "/v1/requests", request("default"), async))
	}
}

// TestStanding: what nobody is to work on now is told by route.
func TestStanding(t *testing.T) {
	s := start(t, "--samples=false")
	standing := func(parked, asking int) {
		t.Helper()
		s.eventually(func() bool {
			return s.metric(`hark_requests_parked{route="default"}`) == parked && s.metric(`hark_requests_asking{route="default"}`) == asking
		})
	}
	for n := range 3 {
		s.call("POST", "/v1/requests", keyed(fmt.Sprint("r", n), "k", 1), async).want(202)
	}
	standing(2, 0)
	w := s.leaseOne("")
	s.call("PUT", w.path("question"), `{"message":"Shall it?"}`).want(200)
	standing(2, 1) // its place is kept
	s.call("POST", "/v1/requests/"+w.ID+"/input", `{"answer":true}`).want(200)
	standing(2, 0)
	w = s.leaseOne("")
	s.call("PUT", w.path("result"), "1").want(200)
	standing(1, 0)
	s.call("POST", "/v1/requests/r1/cancel", nil).want(200)
	s.call("POST", "/v1/requests/r2/cancel", nil).want(200)
	standing(0, 0)
}
