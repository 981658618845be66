package blackbox_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestWorkSurvivesKills kills gateways and workers of several nodes, and lets processors over HTTP
// die in mid-work and come back under their name, while requests of some keys are submitted that
// are tried again, ask questions, and fail for good and are redriven. Each succeeds once, with the
// answer that it was given; no key is ever worked on more often at a time than it may; nothing
// sticks.
func TestWorkSurvivesKills(t *testing.T) {
	const keys, limit = 4, 3
	requests := chaosSize(t, 200)
	// Of gateways and workers, since whoever makes a step keeps the feed as long as it knows.
	t.Setenv("HARK_FEED_HISTORY", "10000000")
	c := newCluster(t, 2, 2, "--history=64", "--retry-delay=50ms")
	began := time.Now()
	var running sync.WaitGroup
	over := make(chan struct{})
	finish := sync.OnceFunc(func() { close(over); running.Wait() })
	defer finish()
	done := func() bool {
		select {
		case <-over:
			return true
		default:
			return false
		}
	}
	tally := &torture{}
	for n := range 4 {
		running.Go(func() { c.leaseUntil(done, fmt.Sprint("torture-", n), tally) })
	}
	running.Go(func() { c.answerUntil(done, tally) })
	running.Go(func() { c.redriveUntil(done, tally) })

	var submitting sync.WaitGroup
	submit := func(from, to int) {
		for n := range 8 {
			submitting.Go(func() {
				for i := from + n; i < to; i += 8 {
					id := fmt.Sprint("r", i)
					c.submit(i, id, tortured(id, i, keys, limit))
				}
			})
		}
	}
	defer submitting.Wait()
	ended := 0 // as far as they have ended one after the other
	allOf := func(most int) func() bool {
		return func() bool {
			for ended < most {
				a, err := c.node(ended).try("GET", fmt.Sprint("/v1/requests/r", ended), nil)
				if err != nil || a.status != http.StatusOK {
					return false
				}
				if doc := a.json(); doc["status"] != "succeeded" {
					failure, _ := doc["error"].(map[string]any)
					if doc["endedAt"] != nil && failure["code"] != "for-good" {
						t.Fatalf("%s", a.body)
					}
					return false
				}
				ended++
			}
			return true
		}
	}
	rounds := max(4, requests/500)
	for n := range rounds {
		submit(n*requests/rounds, (n+1)*requests/rounds)
		c.await("workers are at work", func() bool {
			a, err := c.node(n).try("GET", "/v1/requests?status=processing&route=sleep", nil)
			var page struct{ Requests []any }
			return err == nil && json.Unmarshal(a.body, &page) == nil && len(page.Requests) > 1
		})
		switch n % 4 {
		case 0:
			c.replaceWorker(0)
		case 1:
			c.replaceGateway(1)
		case 2:
			c.replaceWorker(1)
		default:
			c.replaceGateway(0)
		}
		submitting.Wait()
		c.await("most have ended", allOf(n*requests/rounds))
	}
	c.await("all have ended", allOf(requests))
	finish()
	for i := range requests { // those who asked have got their answer
		id := fmt.Sprint("r", i)
		a := c.node(i).call("GET", "/v1/requests/"+id+"/result", nil).want(200)
		if asks := strings.Contains(tortured(id, i, keys, limit), "ask"); asks && !strings.Contains(string(a.body), `"for `+id+`"`) {
			t.Errorf("%s has %s", id, a.body)
		}
	}
	c.await("nothing stands still", func() bool {
		for _, route := range []string{"default", "sleep"} {
			for _, name := range []string{"hark_requests_parked", "hark_requests_asking"} {
				if c.node(0).metric(name+`{route="`+route+`"}`) != 0 {
					return false
				}
			}
		}
		return true
	})
	again := neverMore(t, c.node(0), requests, limit)
	endOnce(t, c.node(0), requests)
	t.Logf("%d requests, %d kills, %d deaths of processors over HTTP, %d attempts that failed, %d questions answered, %d redriven, %d started again, %v",
		requests, rounds, tally.deaths.Load(), tally.failed.Load(), tally.answered.Load(), tally.redriven.Load(), again, time.Since(began).Round(time.Second))
	if again == 0 || tally.deaths.Load() == 0 || tally.failed.Load() == 0 || tally.answered.Load() < int64(requests/3) || tally.redriven.Load() == 0 {
		t.Error("it was no torture")
	}
}

// torture counts what happened.
type torture struct{ deaths, failed, answered, redriven atomic.Int64 }

// tortured is the i-th request: on the route of the workers or of who leases, and every second one
// of each asks something.
func tortured(id string, i, keys, limit int) string {
	route, content := "sleep", `{"steps":1,"duration":"1s"}`
	if i%4 == 1 {
		content = `{"steps":1,"duration":"1s","ask":"Go on?"}`
	}
	if i%4 >= 2 {
		route, content = "default", `{}`
	}
	if i%4 == 3 {
		content = `{"ask":true}`
	}
	return fmt.Sprintf(`{"id":%q,"route":%q,"maxAttempts":20,"concurrencyKey":"%s-%d","concurrencyLimit":%d,"content":%s}`, id, route, route, i/4%keys, limit, content)
}

// leaseUntil works on what the route default has, as a processor that dies now and then with what
// it has in hands, and comes back under its name. What fails because a gateway is gone is left to
// the others.
func (c *cluster) leaseUntil(done func() bool, name string, tally *torture) {
	session := rand.Text()
	for n := 0; !done(); n++ {
		a, err := c.node(n).try("POST", "/v1/work/lease", fmt.Sprintf(`{"routes":["default"],"max":2,"wait":"500ms","lease":"5s","worker":%q,"session":%q}`, name, session))
		var answer struct {
			Work []struct {
				leased
				Content struct{ Ask bool }
				Answers struct{ Question string }
			}
		}
		if err != nil || a.status != http.StatusOK || json.Unmarshal(a.body, &answer) != nil {
			time.Sleep(20 * time.Millisecond) // as a processor would
			continue
		}
		if len(answer.Work) > 0 && mathrand.IntN(8) == 0 {
			tally.deaths.Add(1)
			session = rand.Text()
			continue
		}
		for _, w := range answer.Work {
			method, rest, body := "PUT", "result", any(map[string]any{"answer": w.Answers.Question})
			switch {
			case mathrand.IntN(6) == 0:
				rest, body = "error", `{"code":"again","message":"Again.","retry":true}`
				tally.failed.Add(1)
			case mathrand.IntN(8) == 0:
				rest, body = "error", `{"code":"for-good","message":"It cannot be done."}`
			case w.Content.Ask && w.Answers.Question == "":
				rest, body = "question", `{"message":"Go on?","timeout":"5m"}`
			}
			_, _ = c.node(n).try(method, w.path(rest), body)
		}
	}
}

// answerUntil answers whatever is asked, each question with the name of its request.
func (c *cluster) answerUntil(done func() bool, tally *torture) {
	for n := 0; !done(); n++ {
		var page struct{ Requests []struct{ ID string } }
		a, err := c.node(n).try("GET", "/v1/requests?status=waiting&limit=200", nil)
		if err != nil || a.status != http.StatusOK || json.Unmarshal(a.body, &page) != nil {
			time.Sleep(20 * time.Millisecond) // as a client would
			continue
		}
		for _, r := range page.Requests {
			if a, err := c.node(n).try("POST", "/v1/requests/"+r.ID+"/input", map[string]any{"answer": "for " + r.ID}); err == nil && a.status == http.StatusOK {
				tally.answered.Add(1)
			}
		}
		time.Sleep(20 * time.Millisecond) // as a client would
	}
}

// redriveUntil has whatever failed for good worked on once more.
func (c *cluster) redriveUntil(done func() bool, tally *torture) {
	for n := 0; !done(); n++ {
		var answer struct{ Redriven int64 }
		a, err := c.node(n).try("POST", "/v1/dead/default/redrive", nil)
		if err == nil && a.status == http.StatusOK && json.Unmarshal(a.body, &answer) == nil {
			tally.redriven.Add(answer.Redriven)
		}
		time.Sleep(100 * time.Millisecond) // as an operator would, who is fast
	}
}

// endOnce replays the events of all requests: each has one end for which it was not redriven, and
// nothing after it.
func endOnce(t *testing.T, s *process, requests int) {
	t.Helper()
	ended := make(map[string]string) // by what
	for after := 0; ; {
		var doc struct {
			Events []struct {
				Type string
				Data struct{ ID, EndedAt string }
			}
		}
		if err := json.Unmarshal(s.call("GET", fmt.Sprintf("/v1/history?after=%d&limit=1000", after), nil).want(200).body, &doc); err != nil {
			t.Fatal(err)
		}
		for _, e := range doc.Events {
			end := ended[e.Data.ID]
			if redriven := e.Type == "request.redriven"; redriven != (end == "request.failed") || !redriven && end != "" {
				t.Errorf("%s is told of %s after its end, %q", e.Data.ID, e.Type, end)
			}
			delete(ended, e.Data.ID)
			if e.Data.EndedAt != "" {
				ended[e.Data.ID] = e.Type
			}
		}
		if after += len(doc.Events); len(doc.Events) == 0 {
			break
		}
	}
	if len(ended) != requests {
		t.Errorf("%d have ended", len(ended))
	}
}
