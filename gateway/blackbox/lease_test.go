package blackbox_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// leased is work that a call was given.
type leased struct {
	ID, Life     string
	Attempt      int
	Route        string
	Content      any
	LeaseExpires time.Time
}

// lease takes work of the route default, with further fields of the body.
func (s *server) lease(more string) []leased {
	s.t.Helper()
	var answer struct{ Work []leased }
	a := s.call("POST", "/v1/work/lease", `{"routes":["default"]`+more+`}`).want(200)
	if err := json.Unmarshal(a.body, &answer); err != nil || answer.Work == nil {
		s.t.Fatalf("%v: %s", err, a.body)
	}
	return answer.Work
}

// leaseOne takes one piece of work, which has to come.
func (s *server) leaseOne(more string) leased {
	s.t.Helper()
	work := s.lease(`,"wait":"30s"` + more)
	if len(work) != 1 {
		s.t.Fatalf("%d were leased: %v", len(work), work)
	}
	return work[0]
}

func (w leased) path(rest string) string {
	return fmt.Sprintf("/v1/work/%s/%s?attempt=%d", w.ID, rest, w.Attempt)
}

func TestLease(t *testing.T) {
	s := start(t, "--samples=false")
	if work := s.lease(`,"wait":0`); len(work) != 0 {
		t.Errorf("there is nothing, and %v came", work)
	}
	ids := []string{s.submit("default", 1), s.submit("default", 2), s.submit("default", 3)}
	first := s.lease(`,"max":2,"wait":"30s","lease":"PT2M"`)
	for len(first) < 2 { // the broker may have had one only at hand
		first = append(first, s.lease(`,"wait":"30s","lease":120`)...)
	}
	last := s.leaseOne(`,"max":100`)
	got := []string{first[0].ID, first[1].ID, last.ID}
	slices.Sort(got)
	slices.Sort(ids)
	if !slices.Equal(got, ids) {
		t.Fatalf("%v came, want %v", got, ids)
	}
	s.eventually(func() bool { return s.metric("hark_leases") == 3 })
	for i, w := range append(first, last) {
		doc := s.call("GET", "/v1/requests/"+w.ID, nil).want(200).json()
		began, err := time.Parse(time.RFC3339, doc["updatedAt"].(string))
		lease := []time.Duration{2 * time.Minute, 2 * time.Minute, time.Minute}[i]
		if w.Attempt != 1 || w.Route != "default" || doc["status"] != "processing" || err != nil || !w.LeaseExpires.Equal(began.Add(lease)) {
			t.Errorf("%+v of %v", w, doc)
		}
		// What was answered in parts can be read again; nothing is changed by that.
		again := s.call("POST", w.path("start"), nil).want(200).json()
		if again["attempt"] != 1.0 || again["content"] != w.Content || again["leaseExpires"] != nil {
			t.Errorf("again: %v", again)
		}
		if now := s.call("GET", "/v1/requests/"+w.ID, nil).want(200).json(); now["sequence"] != doc["sequence"] {
			t.Errorf("sequence %v, was %v", now["sequence"], doc["sequence"])
		}
		s.call("POST", "/v1/work/"+w.ID+"/start?attempt=2", nil).problem(409, "attempt-superseded")
		s.call("POST", "/v1/work/"+w.ID+"/start", nil).problem(409, "invalid-transition")
		s.call("PUT", w.path("result"), "true").want(200)
		s.call("POST", w.path("start"), nil).problem(409, "invalid-transition")
	}
	s.eventually(func() bool { return s.metric("hark_leases") == 0 })
	if n := s.metric("hark_leases_expired_total"); n != 0 || s.metric("hark_leases_total") != 3 || s.metric("hark_lease_calls") != 0 {
		t.Errorf("%s", s.call("GET", "/metrics", nil).body)
	}
	pending := s.submit("default", 4)
	s.call("POST", "/v1/work/"+pending+"/start?attempt=1", nil).problem(409, "attempt-superseded")
	s.call("POST", "/v1/work/"+pending+"/start?attempt=0", nil).problem(422, "invalid-request")
}

func TestLeaseBody(t *testing.T) {
	s := start(t, "--samples=false")
	for body, pointers := range map[string]string{
		``:                                                   "/routes",
		`{}`:                                                 "/routes",
		`{"routes":[]}`:                                      "/routes",
		`{"routes":null}`:                                    "/routes",
		`{"routes":"default"}`:                               "/routes",
		`{"routes":[1]}`:                                     "/routes",
		`{"routes":["default","no"]}`:                        "/routes/1",
		`{"routes":["",null]}`:                               "/routes/0 /routes/1",
		`{"routes":["default"],"max":0}`:                     "/max",
		`{"routes":["default"],"max":101}`:                   "/max",
		`{"routes":["default"],"max":1.5}`:                   "/max",
		`{"routes":["default"],"max":"1"}`:                   "/max",
		`{"routes":["default"],"wait":-1}`:                   "/wait",
		`{"routes":["default"],"wait":1.5}`:                  "/wait",
		`{"routes":["default"],"wait":"x"}`:                  "/wait",
		`{"routes":["default"],"wait":true}`:                 "/wait",
		`{"routes":["default"],"lease":0}`:                   "/lease",
		`{"routes":["default"],"lease":3601}`:                "/lease",
		`{"routes":["default"],"lease":"P1D"}`:               "/lease",
		`{"routes":["default"],"lease":9223372036854775807}`: "/lease",
		`{"routes":["default"],"other":1}`:                   "/other",
		`{"routes":["default"],"worker":""}`:                 "/worker",
		`{"routes":["default"],"worker":1}`:                  "/worker",
		`{"routes":["default"],"worker":"a b"}`:              "/worker",
		`{"routes":["default"],"worker":"w","session":"*"}`:  "/session",
		`{"routes":["default"],"session":"s"}`:               "/session",
		`{"routes":["default"],"session":"s","worker":null}`: "/session",
		`{"routes":["default"],"Max":1}`:                     "/Max",
	} {
		var got []string
		for _, e := range s.call("POST", "/v1/work/lease", body).problem(422, "invalid-request")["errors"].([]any) {
			got = append(got, e.(map[string]any)["pointer"].(string))
		}
		if slices.Sort(got); strings.Join(got, " ") != pointers {
			t.Errorf("%s: %v, want %s", body, got, pointers)
		}
	}
	for _, bad := range []string{`{`, `[]`, `{} x`} {
		s.call("POST", "/v1/work/lease", bad).problem(400, "malformed-request")
	}
	s.call("POST", "/v1/work/lease", []byte(`{"routes":["default"]}`), "Content-Type: text/plain").problem(415, "unsupported-media-type")
	for _, fine := range []string{`"max":1.0,"wait":0.0`, `"max":null,"wait":"0","lease":null`, `"wait":0,"lease":"1h"`, `"wait":0,"worker":"a.B_1:2@~-"`, `"wait":0,"worker":"w","session":null`} {
		if a := s.call("POST", "/v1/work/lease", `{"routes":["default","default"],`+fine+`}`).want(200); string(a.body) != "{\"work\":[]}\n" || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v %s", fine, a.header, a.body)
		}
	}
	if a := s.call("GET", "/v1/work/lease", nil); a.status != 405 {
		t.Errorf("GET: %d", a.status)
	}
}

// TestLeaseWaits: many workers wait, and each request goes to one of them, once.
func TestLeaseWaits(t *testing.T) {
	const workers, requests = 8, 100
	s := start(t, "--samples=false")
	var mu sync.Mutex
	done := make(map[string]bool)
	all := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(done) == requests
	}
	var working sync.WaitGroup
	for n := range workers {
		working.Go(func() {
			for !all() {
				var answer struct{ Work []leased }
				a, err := s.try("POST", "/v1/work/lease", fmt.Sprintf(`{"routes":["default","sleep"],"max":%d,"wait":1}`, n+1))
				if err != nil || a.status != 200 || json.Unmarshal(a.body, &answer) != nil || len(answer.Work) > n+1 {
					t.Errorf("lease: %v %d %s", err, a.status, a.body)
					return
				}
				for _, w := range answer.Work {
					if a, err := s.try("PUT", w.path("result"), "1"); err != nil || a.status != 200 || w.Attempt != 1 {
						t.Errorf("attempt %d: %v %d %s", w.Attempt, err, a.status, a.body)
					}
					mu.Lock()
					if done[w.ID] {
						t.Errorf("%s was handed out twice", w.ID)
					}
					done[w.ID] = true
					mu.Unlock()
				}
			}
		})
	}
	s.eventually(func() bool { return s.metric("hark_lease_calls") == workers })
	for n := range requests {
		s.submit([]string{"default", "sleep"}[n%2], n)
	}
	working.Wait()
	s.eventually(func() bool { return s.metric("hark_leases") == 0 })
	if n := s.metric("hark_leases_total"); n != requests {
		t.Errorf("%d leases", n)
	}
}

// TestLeaseOfASilentWorker: the work of a worker that falls silent goes to another one, and the
// first is fenced off; one that reports in time keeps it.
func TestLeaseOfASilentWorker(t *testing.T) {
	s := start(t, "--samples=false")
	id := s.submit("default", 1)
	silent := s.leaseOne(`,"lease":"1s"`)
	began := time.Now()
	second := s.leaseOne(`,"lease":"1s"`)
	if took := time.Since(began); second.ID != id || second.Attempt != 2 || took < 900*time.Millisecond {
		t.Errorf("%+v after %v", second, took)
	}
	s.call("POST", silent.path("progress"), nil).problem(409, "attempt-superseded")
	s.call("PUT", silent.path("result"), "1").problem(409, "attempt-superseded")
	s.call("POST", silent.path("start"), nil).problem(409, "attempt-superseded")

	for began = time.Now(); time.Since(began) < 3*time.Second; {
		s.call("POST", second.path("progress"), nil).want(200)
		if work := s.lease(`,"wait":"400ms"`); len(work) != 0 { // which is also what paces this
			t.Fatalf("%+v, although it was reported on", work)
		}
	}
	s.call("PUT", second.path("result"), "2").want(200)
	s.eventually(func() bool { return s.metric("hark_leases") == 0 })
	if n := s.metric("hark_leases_expired_total"); n != 1 {
		t.Errorf("%d leases ran out", n)
	}
}

// TestLeaseEnds: a lease ends with its attempt, however that ends, and what needs nobody is not
// handed out.
func TestLeaseEnds(t *testing.T) {
	s := start(t, "--samples=false", "--retry-delay=1ms")
	ended := func(what string) {
		t.Helper()
		s.eventually(func() bool { return s.metric("hark_leases") == 0 })
		if n := s.metric("hark_leases_expired_total"); n != 0 {
			t.Fatalf("%s: %d leases ran out", what, n)
		}
	}
	s.submit("default", 1)
	w := s.leaseOne("")
	s.call("PUT", w.path("error"), `{"message":"later","retry":true}`).want(200)
	ended("retried")
	w = s.leaseOne("")
	if w.Attempt != 2 {
		t.Errorf("retried: %+v", w)
	}
	s.call("PUT", w.path("error"), `{"message":"no"}`).want(200)
	ended("failed")

	s.submit("default", 1, "timeout=1s")
	w = s.leaseOne("")
	ended("expired")
	s.call("POST", w.path("progress"), nil).problem(409, "invalid-transition")

	s.submit("default", 1)
	w = s.leaseOne("")
	s.call("POST", "/v1/requests/"+w.ID+"/cancel", nil).want(202)
	if a := s.call("POST", w.path("progress"), nil).want(200); string(a.body) != `{"cancel":true}` {
		t.Errorf("%s", a.body)
	}
	s.call("PUT", w.path("error"), `{"message":"stopped"}`).want(200)
	ended("canceled")

	s.submit("default", 1)
	w = s.leaseOne("")
	s.call("POST", "/v1/work/"+w.ID+"/start?redelivered=true", nil).want(200)
	ended("superseded")

	canceled, after := s.submit("default", 1), s.submit("default", 1)
	s.call("POST", "/v1/requests/"+canceled+"/cancel", nil).want(200)
	if w = s.leaseOne(""); w.ID != after {
		t.Errorf("%s was handed out, want %s", w.ID, after)
	}
	s.call("POST", w.path("complete"), nil).want(200)
	ended("completed")
	if work := s.lease(`,"wait":0`); len(work) != 0 {
		t.Errorf("left: %v", work)
	}
}

// TestLeaseOfACallerThatHungUp: its call ends at once, and what comes then is for others.
func TestLeaseOfACallerThatHungUp(t *testing.T) {
	s := start(t, "--samples=false")
	ctx, hangUp := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	waiting.Go(func() {
		r, _ := http.NewRequestWithContext(ctx, "POST", s.url+"/v1/work/lease", strings.NewReader(`{"routes":["default"],"lease":"1s"}`))
		r.Header.Set("Content-Type", "application/json")
		if res, err := s.http.Do(r); err == nil {
			_ = res.Body.Close()
			t.Error("it was answered")
		}
	})
	s.eventually(func() bool { return s.metric("hark_lease_calls") == 1 })
	hangUp()
	waiting.Wait()
	s.eventually(func() bool { return s.metric("hark_lease_calls") == 0 })
	id := s.submit("default", 1)
	if w := s.leaseOne(""); w.ID != id || w.Attempt != 1 {
		t.Errorf("%+v", w)
	}
}

// leaseHead is that of a call for work by the line.
func leaseHead(body string) string {
	return fmt.Sprintf("POST /v1/work/lease HTTP/1.1\nHost: localhost\nContent-Type: application/json\nContent-Length: %d", len(body))
}

// TestLeaseWhoseCallerLeft: work whose caller hung up before it was answered waits for somebody
// else at once, and that costs no attempt.
func TestLeaseWhoseCallerLeft(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a hang-up is not noticed there")
	}
	s := start(t, "--samples=false")
	const order, rounds = `{"routes":["default"],"lease":"1h"}`, 20
	late := 0
	for range rounds {
		id := s.call("POST", "/v1/requests", `{"content":1,"route":"default","maxAttempts":1}`, async).want(202).json()["id"].(string)
		l := s.line()
		l.send(leaseHead(order), order)
		if err := l.Conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		answer, _ := io.ReadAll(l)
		_ = l.Close()
		w := leased{ID: id, Attempt: 1}
		if strings.Contains(string(answer), id) {
			late++ // this process was slow to hang up
		} else if w = s.leaseOne(`,"lease":"1h"`); w.ID != id {
			t.Errorf("%+v", w)
		}
		s.call("PUT", w.path("result"), "1").want(200)
	}
	if late == rounds {
		t.Error("no hang-up was noticed")
	}
	s.eventually(func() bool { return s.metric("hark_leases") == 0 && s.metric("hark_lease_calls") == 0 })
	if n := s.metric("hark_leases_expired_total"); n != 0 {
		t.Errorf("%d leases ran out", n)
	}
	t.Logf("%d of %d were handed back when they had begun, %d were delivered", s.metric("hark_leases_undelivered_total"), rounds, late)
}

// TestLeaseWhoseAnswerWasCut: work of which the caller took a part only, because its connection
// broke, waits for somebody else at once, and that costs no attempt.
func TestLeaseWhoseAnswerWasCut(t *testing.T) {
	s := start(t, "--samples=false")
	id := s.call("POST", "/v1/requests", `{"content":"`+strings.Repeat("x", 16<<20)+`","route":"default","maxAttempts":1}`, async).want(202).json()["id"].(string)
	const order = `{"routes":["default"],"wait":"30s","lease":"1h"}`
	l := s.line()
	// So that the answer stands still.
	if err := l.Conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	l.send(leaseHead(order), order)
	if _, err := io.ReadFull(l, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if n := s.metric("hark_leases"); n != 1 {
		t.Fatalf("%d are leased", n)
	}
	_ = l.Close()
	w := s.leaseOne(`,"lease":"1h"`)
	if w.ID != id || w.Attempt != 2 {
		t.Errorf("%s, attempt %d", w.ID, w.Attempt)
	}
	if doc := s.call("GET", "/v1/requests/"+id, nil).want(200).json(); doc["error"] != nil {
		t.Errorf("it says %v", doc["error"])
	}
	s.call("PUT", "/v1/work/"+id+"/result?attempt=1", "1").problem(409, "attempt-superseded")
	s.call("PUT", w.path("result"), "2").want(200)
	s.eventually(func() bool { return s.metric("hark_leases") == 0 })
	if n := s.metric("hark_leases_undelivered_total"); n != 1 {
		t.Errorf("%d were handed back", n)
	}
}
