package blackbox_test

import (
	"strings"
	"testing"
	"time"
)

// TestRetryDelay: the pause before the next attempt is what the report says, else what the request
// asked for, in a batch too, else the gateway's, of which one is far away here.
func TestRetryDelay(t *testing.T) {
	s := start(t, "--samples=false", "--retry-delay=1h")
	again := func(what string, w leased, report string) {
		t.Helper()
		if doc := s.call("PUT", w.path("error"), report).want(200).json(); doc["status"] != "pending" {
			t.Fatalf("%s: %v", what, doc)
		}
		next := s.leaseOne("")
		if next.ID != w.ID || next.Attempt != w.Attempt+1 {
			t.Fatalf("%s: %+v, after %+v", what, next, w)
		}
		s.call("POST", next.path("complete"), nil).want(200)
	}
	s.submit("default", 1, "retryDelay=50ms")
	again("what the request asked for", s.leaseOne(""), `{"message":"m","retry":true}`)

	s.submit("default", 1, "retryDelay=PT1H")
	again("what the report says", s.leaseOne(""), `{"message":"m","retry":true,"retryAfter":"50ms"}`)

	s.submit("default", 1)
	again("what the report says, which means retry", s.leaseOne(""), `{"message":"m","retryAfter":"PT0.05S"}`)

	s.call("POST", "/v1/requests?retryDelay=50ms", []byte("bytes"), "Content-Type: text/plain", async).want(202)
	again("as an option of the query", s.leaseOne(""), `{"message":"m","retry":true}`)

	s.call("POST", "/v1/batches", `{"requests":[{"content":1,"retryDelay":"50ms"}]}`, async).want(202)
	again("of a batch's request", s.leaseOne(""), `{"message":"m","retry":true}`)

	// The gateway's own: nobody gets it before that.
	id := s.submit("default", 1, "timeout=3h")
	s.call("PUT", s.leaseOne("").path("error"), `{"message":"m","retry":true}`).want(200)
	if work := s.lease(`,"wait":"300ms"`); len(work) != 0 {
		t.Errorf("%v came, long before an hour had passed", work)
	}
	s.call("POST", "/v1/requests/"+id+"/cancel", nil).want(200)

	// An attempt that would come too late is none: the request ends, with its error.
	for _, report := range []string{`{"code":"busy","message":"m","retry":true}`, `{"code":"busy","message":"m","retryAfter":"1h"}`} {
		id = s.submit("default", 1, "timeout=30m")
		began := time.Now()
		doc := s.call("PUT", s.leaseOne("").path("error"), report).want(200).json()
		if doc["status"] != "failed" || doc["error"].(map[string]any)["code"] != "busy" || doc["id"] != id || time.Since(began) > 10*time.Minute {
			t.Errorf("%v", doc)
		}
	}
}

// TestRelease: work that is handed back waits for its next attempt, at once or when it is said to,
// and as often as that happens it is no failure. Whoever has handed it back has it no more.
func TestRelease(t *testing.T) {
	s := start(t, "--samples=false")
	id := s.submit("default", 1, "id=put-off", "timeout=3h")
	one := s.submitOnce("default", 2)
	for n := 1; n <= 3; n++ {
		for range 2 {
			w := s.leaseOne(`,"lease":"1h"`)
			if w.Attempt != n {
				t.Fatalf("round %d: %+v", n, w)
			}
			for range 2 { // which may be said twice
				doc := s.call("POST", w.path("release"), nil).want(200).json()
				if doc["id"] != w.ID || doc["status"] != "pending" || doc["error"] != nil {
					t.Fatalf("%v", doc)
				}
			}
			s.call("POST", w.path("progress"), nil).problem(409, "invalid-transition")
		}
	}
	for range 2 {
		w := s.leaseOne(`,"lease":"1h"`)
		if w.ID == one {
			s.call("POST", w.path("complete"), nil).want(200)
			continue
		}
		doc := s.call("POST", "/v1/work/"+id+"/release", map[string]any{"attempt": w.Attempt, "life": w.Life, "retryAfter": "1h"}).want(200).json()
		if doc["status"] != "pending" {
			t.Errorf("%v", doc)
		}
	}
	if work := s.lease(`,"wait":"300ms"`); len(work) != 0 {
		t.Errorf("%v came, long before an hour had passed", work)
	}
	s.call("POST", "/v1/requests/"+id+"/cancel", nil).want(200)

	// What was canceled meanwhile ends.
	id = s.submit("default", 1)
	w := s.leaseOne("")
	for _, bad := range []string{`{"retryAfter":"x"}`, `{"retryAfter":"0"}`, `{"retryAfter":"25h"}`, `{"retryAfter":5}`, `{"attempt":0}`, `{"message":"m"}`} {
		s.call("POST", "/v1/work/"+id+"/release", bad).problem(422, "invalid-request")
	}
	s.call("POST", "/v1/requests/"+id+"/cancel", nil).want(202)
	if doc := s.call("POST", w.path("release"), nil).want(200).json(); doc["status"] != "canceled" {
		t.Errorf("%v", doc)
	}
	s.eventually(func() bool { return s.metric("hark_leases") == 0 })
	if n := s.metric("hark_leases_expired_total"); n != 0 {
		t.Errorf("%d leases ran out", n)
	}
}

// submitOnce submits what may be tried once.
func (s *server) submitOnce(route string, content any) string {
	s.t.Helper()
	return s.call("POST", "/v1/requests", map[string]any{"route": route, "content": content, "maxAttempts": 1}, async).want(202).json()["id"].(string)
}

// TestBadRetryDelay: what is no duration, or out of bounds, is refused with what is allowed, and
// changes nothing; two submissions with the same id are not the same with another delay.
func TestBadRetryDelay(t *testing.T) {
	s := start(t, "--samples=false")
	for _, bad := range []string{"x", "0", "-1s", "25h", "10us"} {
		s.call("POST", "/v1/requests", map[string]any{"content": 1, "retryDelay": bad}).problem(422, "invalid-request")
	}
	s.call("POST", "/v1/requests", `{"content":1,"retryDelay":5}`).problem(422, "invalid-request")

	id := s.submit("default", 1, "id=r", "retryDelay=1m")
	s.call("POST", "/v1/requests", `{"id":"r","route":"default","content":1,"retryDelay":"60s"}`, async).want(202)
	s.call("POST", "/v1/requests", `{"id":"r","route":"default","content":1,"retryDelay":"2m"}`, async).problem(409, "id-taken")
	s.call("POST", "/v1/requests", `{"id":"r","route":"default","content":1}`, async).problem(409, "id-taken")

	w := s.leaseOne("")
	for _, bad := range []string{`"x"`, `"0"`, `"-1s"`, `"25h"`, `5`} {
		s.call("PUT", w.path("error"), `{"message":"m","retryAfter":`+bad+`}`).problem(422, "invalid-request")
	}
	a := s.call("PUT", w.path("error"), `{"message":"m","retry":false,"retryAfter":"1s"}`)
	a.problem(422, "invalid-request")
	if !strings.Contains(string(a.body), "/retryAfter") {
		t.Errorf("%s", a.body)
	}
	if doc := s.call("GET", "/v1/requests/"+id, nil).want(200).json(); doc["status"] != "processing" || doc["error"] != nil {
		t.Errorf("%v", doc)
	}
}
