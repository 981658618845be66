package blackbox_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
)

// figures are those of a route, as far as they are numbers.
func (s *server) figures(route string) map[string]any {
	s.t.Helper()
	return s.call("GET", "/v1/routes/"+route, nil).want(200).json()
}

// fares waits until figures of a route are these.
func (s *server) fares(route string, want map[string]any) {
	s.t.Helper()
	var got map[string]any
	defer func() {
		if s.t.Failed() {
			s.t.Logf("%s fares %v, want %v", route, got, want)
		}
	}()
	s.eventually(func() bool {
		got = s.figures(route)
		for name, is := range want {
			if got[name] != is {
				return false
			}
		}
		return true
	})
}

// kinds counts the processes that are there by their kind.
func (s *server) kinds() map[string]int {
	s.t.Helper()
	kinds := make(map[string]int)
	for _, n := range s.call("GET", "/v1/nodes", nil).want(200).json()["nodes"].([]any) {
		kinds[n.(map[string]any)["kind"].(string)]++
	}
	return kinds
}

// minute is what was done on a route in the last minute.
func minute(figures map[string]any) map[string]any { return figures["lastMinute"].(map[string]any) }

// TestOverview: how routes fare is told over all processes, and so is who is there.
func TestOverview(t *testing.T) {
	data := t.TempDir()
	s := startOn(t, data, "--samples", "--routes=default,sleep,other")
	names := func() (names []string) {
		for _, r := range s.call("GET", "/v1/routes", nil).want(200).json()["routes"].([]any) {
			names = append(names, r.(map[string]any)["route"].(string))
		}
		return names
	}
	if got := names(); !slices.Equal(got, []string{"default", "other", "sleep"}) {
		t.Errorf("the routes are %v", got)
	}
	s.fares("default", map[string]any{"pending": 0.0, "processing": 0.0, "parked": 0.0, "asking": 0.0, "dead": 0.0, "oldestPending": nil, "processors": 0.0, "served": false})
	if n := s.figures("sleep")["processors"].(float64); n < 1 {
		t.Errorf("%v work on what the sample does", n)
	}
	for n := range 3 {
		s.call("POST", "/v1/requests", keyed(fmt.Sprint("r", n), "k", 1), async).want(202)
	}
	s.fares("default", map[string]any{"pending": 3.0, "parked": 2.0, "processing": 0.0})
	s.eventually(func() bool { return minute(s.figures("default"))["accepted"].(float64) >= 3 })
	first := s.figures("default")["oldestPending"]
	if at := s.call("GET", "/v1/requests/r0", nil).want(200).json()["createdAt"]; first != at {
		t.Errorf("the oldest waits since %v, not %v", first, at)
	}
	w := s.leaseOne("")
	s.fares("default", map[string]any{"pending": 2.0, "parked": 2.0, "processing": 1.0, "served": true})
	s.call("PUT", w.path("question"), `{"message":"Shall it?"}`).want(200)
	s.fares("default", map[string]any{"pending": 2.0, "parked": 2.0, "processing": 0.0, "asking": 1.0})
	s.call("POST", "/v1/requests/"+w.ID+"/input", `{"answer":true}`).want(200)
	w = s.leaseOne("")
	s.call("PUT", w.path("error"), `{"code":"broken","message":"It broke."}`).want(200)
	s.fares("default", map[string]any{"pending": 2.0, "parked": 1.0, "processing": 0.0, "asking": 0.0, "dead": 1.0})
	s.eventually(func() bool { return minute(s.figures("default"))["failed"].(float64) >= 1 })
	s.fares("other", map[string]any{"pending": 0.0, "dead": 0.0, "processing": 0.0})

	// Another gateway of the same servers counts what it does itself, and both tell of it.
	nodes := s.call("GET", "/v1/nodes", nil).want(200).json()["nodes"].([]any)
	self := nodes[0].(map[string]any)
	if len(nodes) != 1 || self["kind"] != "gateway" || self["host"] == "" || self["version"] == "" || self["connections"].(map[string]any)["http"].(float64) < 1 {
		t.Errorf("%v", nodes)
	}
	if works := slices.Collect(maps.Keys(self["processors"].(map[string]any))); !slices.Contains(works, "sleep") {
		t.Errorf("it works on %v", works)
	}
	if !onServers() {
		return
	}
	second := startOn(t, data, "--samples=false", "--routes=default,sleep,other")
	s.eventually(func() bool { return s.kinds()["gateway"] == 2 })
	second.submit("other", 1)
	second.fares("other", map[string]any{"pending": 1.0})
	s.eventually(func() bool { return minute(s.figures("other"))["accepted"].(float64) >= 1 })
	second.stop() // says that it leaves
	s.eventually(func() bool { return s.kinds()["gateway"] == 1 })
}

// TestSubmission: what was submitted can be read by whoever may see the request, as it came.
func TestSubmission(t *testing.T) {
	s, _ := startKeyed(t, "--samples=false")
	alice := s.as(aliceKey)
	alice.call("POST", "/v1/requests", `{"id":"json","content":{"a":[1,2.50]},"priority":3,"maxAttempts":2}`, async, "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").want(202)
	doc := alice.call("GET", "/v1/requests/json/submission", nil).want(200)
	says(t, string(doc.body), `"content":{"a":[1,2.50]}`, `"priority":3`, `"maxAttempts":2`)
	alice.call("POST", "/v1/call/default/x/y?z=1", "\x00\x01", async, "Content-Type: application/octet-stream").want(202)
	id := alice.call("GET", "/v1/requests?limit=1", nil).want(200).json()["requests"].([]any)[0].(map[string]any)["id"].(string)
	got := alice.call("GET", "/v1/requests/"+id+"/submission", nil).want(200).json()
	if got["contentBase64"] != "AAE=" || got["contentType"] != "application/octet-stream" || got["call"].(map[string]any)["query"] != "z=1" {
		t.Errorf("%v", got)
	}
	batch := alice.call("POST", "/v1/batches", `{"requests":[{"content":1}]}`).want(202).json()["id"].(string)
	if got := alice.call("GET", "/v1/requests/"+batch+"/submission", nil).want(200).json(); got["content"] != nil || got["id"] != batch {
		t.Errorf("of a batch: %v", got)
	}
	large := fmt.Sprintf(`{"id":"large","content":"%0200000d"}`, 7)
	alice.call("POST", "/v1/requests", large, async).want(202)
	if text := alice.call("GET", "/v1/requests/large/submission", nil).want(200).json()["content"].(string); len(text) != 200_000 {
		t.Errorf("%d bytes of a large one", len(text))
	}
	alice.call("GET", "/v1/requests/none/submission", nil).problem(404, "request-not-found")
}
