package blackbox_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// TestNothingIsLostWhenKilled kills the gateway with SIGKILL while 1,000 requests
// are in flight, each with a follower that reconnects with its cursor, and starts it
// again on the same data: all end, none succeeds twice, no follower sees a gap.
func TestNothingIsLostWhenKilled(t *testing.T) {
	t.Parallel()
	const requests = 1000
	data := t.TempDir()
	var current atomic.Pointer[process]
	args := []string{"--concurrency=100", "--max-timeout=10m", "--timeout=5m"}
	current.Store(spawn(t, data, args...))

	var mu sync.Mutex
	accepted := make(map[string]bool)
	var submitting, following sync.WaitGroup
	var ended, resumed atomic.Int64
	for w := range 8 {
		submitting.Go(func() {
			for n := range requests / 8 {
				id := fmt.Sprintf("r-%d-%d", w, n)
				body := fmt.Sprintf(`{"id":%q,"route":"sleep","content":{"steps":4,"duration":"200ms","result":{"n":%d}}}`, id, n)
				for { // the same id again is the same request: repeating is safe
					a, err := current.Load().try("POST", "/v1/requests", body, async)
					if err == nil && a.status == 202 {
						break
					}
					if err == nil && a.status != 503 {
						t.Errorf("submit: %d %s", a.status, a.body)
						return
					}
					time.Sleep(5 * time.Millisecond) // the gateway is down: as a client would
				}
				mu.Lock()
				accepted[id] = true
				mu.Unlock()
				following.Go(func() {
					follow(t, &current, id, &resumed)
					ended.Add(1)
				})
			}
		})
	}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(accepted)
	}
	for n, due := range []func() bool{
		func() bool { return count() >= requests/3 },        // while they are submitted
		func() bool { return count() == requests },          // all accepted, few done
		func() bool { return ended.Load() >= 2*requests/3 }, // towards the end
	} {
		for deadline := time.Now().Add(patience); !due(); {
			if time.Now().After(deadline) {
				t.Fatalf("before kill %d: only %d accepted, %d ended", n, count(), ended.Load())
			}
			time.Sleep(time.Millisecond) // a poll
		}
		t.Logf("kill %d: %d accepted, %d ended", n, count(), ended.Load())
		current.Load().kill()
		current.Store(spawn(t, data, args...))
	}
	submitting.Wait()
	following.Wait()

	s := current.Load()
	again := 0
	for id := range accepted {
		var doc struct {
			Status  lifecycle.Status
			Attempt int
		}
		if err := json.Unmarshal(s.call("GET", "/v1/requests/"+id, nil).want(200).body, &doc); err != nil {
			t.Fatal(err)
		}
		if doc.Status != lifecycle.Succeeded {
			t.Errorf("%s is %s", id, doc.Status)
		}
		if doc.Attempt > 1 {
			again++
		}
	}
	t.Logf("%d accepted, %d ended, %d of them in a second attempt %d streams resumed", len(accepted), ended.Load(), again, resumed.Load())
	if len(accepted) != requests || resumed.Load() == 0 {
		t.Errorf("%d accepted, %d resumed", len(accepted), resumed.Load())
	}
}

// follow reads a request's events to the end, over as many connections as it
// takes, and holds them against: every offset once, in order, one start of each
// attempt, one success.
func follow(t *testing.T, current *atomic.Pointer[process], id string, resumed *atomic.Int64) {
	at, successes := 0, 0
	for {
		s := current.Load()
		r, _ := http.NewRequest("GET", s.url+"/v1/requests/"+id+"/events", nil)
		r.Header.Set("Accept", "text/event-stream")
		if at > 0 {
			r.Header.Set("Last-Event-ID", strconv.Itoa(at))
		}
		res, err := s.http.Do(r)
		if err != nil {
			time.Sleep(5 * time.Millisecond) // the gateway is down: as a client would
			continue
		}
		if res.StatusCode == http.StatusNoContent {
			_ = res.Body.Close()
			break
		}
		if res.StatusCode != http.StatusOK {
			_ = res.Body.Close()
			t.Errorf("%s: %d", id, res.StatusCode)
			return
		}
		if at > 0 {
			resumed.Add(1)
		}
		done, err := readEvents(res, func(e sseEvent) error {
			if n, err := strconv.Atoi(offsetOf(e.id)); err != nil || n != at+1 {
				return fmt.Errorf("offset %q after %d", e.id, at)
			}
			at++
			if strings.Contains(e.data, `"type":"request.succeeded"`) {
				successes++
			}
			return nil
		})
		if err != nil {
			t.Errorf("%s: %v", id, err)
			return
		}
		if done {
			break
		}
	}
	if successes != 1 {
		t.Errorf("%s: %d successes", id, successes)
	}
}

// readEvents hands the events of a stream's channel to f and reports whether it came to its
// end; a stream that breaks off is no error.
func readEvents(res *http.Response, f func(sseEvent) error) (ended bool, err error) {
	defer func() { _ = res.Body.Close() }()
	s := newStream(res)
	for {
		e, err := s.block()
		switch {
		case err != nil:
			return false, nil
		case e.name == "end":
			return true, nil
		case e.data != "" && e.name == "":
			if err := f(e); err != nil {
				return false, err
			}
		}
	}
}
