package blackbox_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// submit submits a request at one node until it is accepted, as a client does: with
// its own id a repetition is safe.
func (c *cluster) submit(n int, id, body string) bool {
	began := time.Now()
	for try := n; ; try++ {
		a, err := c.node(try).try("POST", "/v1/requests", body, async)
		switch {
		case err == nil && a.status == 202:
			c.outage(time.Since(began))
			return true
		case err == nil && a.status == 503:
			c.refused.Add(1)
		case err == nil:
			c.t.Errorf("%s: %d %s", id, a.status, a.body)
			return false
		}
		if time.Since(began) > 3*time.Minute {
			c.t.Errorf("%s was never accepted: %v %d %s", id, err, a.status, a.body)
			return false
		}
		time.Sleep(time.Duration(20+rand.IntN(80)) * time.Millisecond) // as a client would
	}
}

func (c *cluster) outage(d time.Duration) {
	for {
		longest := c.longest.Load()
		if int64(d) <= longest || c.longest.CompareAndSwap(longest, int64(d)) {
			return
		}
	}
}

// follow reads a request's events to the end, from any node but the one that took it,
// over as many connections as it takes: every offset once and in order, or a loss told
// in-band, and one end.
func (c *cluster) follow(n int, id string) {
	at, ends := 0, map[string]bool{}
	began := time.Now()
	for try := n + 1; time.Since(began) < 5*time.Minute; try++ {
		if try%len(c.nodes) == n%len(c.nodes) && len(c.nodes) > 1 {
			continue
		}
		r, _ := http.NewRequest("GET", c.node(try).url+"/v1/requests/"+id+"/events", nil)
		r.Header.Set("Accept", "text/event-stream")
		if at > 0 {
			r.Header.Set("Last-Event-ID", strconv.Itoa(at))
		}
		res, err := followClient.Do(r)
		if err != nil {
			time.Sleep(time.Duration(20+rand.IntN(80)) * time.Millisecond) // as a client would
			continue
		}
		if res.StatusCode == http.StatusNoContent {
			_ = res.Body.Close()
			break
		}
		if res.StatusCode == http.StatusNotFound && c.failover {
			_ = res.Body.Close()
			c.lost.Add(1)
			return
		}
		if res.StatusCode != http.StatusOK {
			_ = res.Body.Close()
			if res.StatusCode != http.StatusServiceUnavailable {
				c.t.Errorf("%s: %d", id, res.StatusCode)
				return
			}
			c.refused.Add(1)
			time.Sleep(time.Duration(50+rand.IntN(100)) * time.Millisecond) // as a client would
			continue
		}
		if at > 0 {
			c.resumed.Add(1)
		}
		done, err := readEvents(res, func(e sseEvent) error {
			var event struct {
				Type string
				Data struct{ Status lifecycle.Status }
			}
			if err := json.Unmarshal([]byte(e.data), &event); err != nil {
				return err
			}
			n, err := strconv.Atoi(offsetOf(e.id))
			switch {
			case err != nil:
				return err
			case event.Type == "request.reset":
				c.resets.Add(1)
			case n != at+1:
				return fmt.Errorf("offset %d after %d", n, at)
			}
			at = n
			if event.Data.Status.Terminal() {
				ends[string(event.Data.Status)] = true
			}
			return nil
		})
		if err != nil {
			c.t.Errorf("%s: %v", id, err)
			return
		}
		if done {
			break
		}
	}
	if len(ends) != 1 || !ends["succeeded"] {
		c.t.Errorf("%s ended as %v at %d", id, ends, at)
	}
}

var followClient = &http.Client{Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: -1}}

// load submits requests over all nodes, each with a follower, at least so many and on
// until enough is closed. It returns when all have ended, with their number.
func (c *cluster) load(requests, steps int, each string, progress *atomic.Int64, enough <-chan struct{}) int {
	var next atomic.Int64
	more := func(n int) bool {
		select {
		case <-enough:
			return n < requests
		default:
			return true
		}
	}
	var working, following sync.WaitGroup
	const submitters = 16
	slots := make(chan struct{}, 2000) // followers at a time
	for range submitters {
		working.Go(func() {
			for {
				n := int(next.Load())
				if !more(n) {
					return
				}
				if !next.CompareAndSwap(int64(n), int64(n+1)) {
					continue
				}
				id := fmt.Sprintf("load-%d", n)
				topic := ""
				if c.topics > 0 && n%4 != 3 {
					topic = fmt.Sprintf(`"topic":%q,`, c.topic(n))
				}
				body := fmt.Sprintf(`{"id":%q,"route":"sleep",%s"maxAttempts":20,"content":{"steps":%d,"duration":%q,"result":%d}}`, id, topic, steps, each, n)
				if !c.submit(n, id, body) {
					return
				}
				slots <- struct{}{}
				following.Go(func() {
					defer func() { <-slots }()
					c.follow(n, id)
					progress.Add(1)
				})
			}
		})
	}
	working.Wait()
	following.Wait()
	return int(next.Load())
}

// atOnce is an enough for a load of a given size.
var atOnce = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

func chaosSize(t testing.TB, least int) int {
	t.Helper()
	if n, err := strconv.Atoi(os.Getenv("HARK_CHAOS")); err == nil && n > 0 {
		return n
	}
	return least
}

func (c *cluster) report(requests int, ended *atomic.Int64, began time.Time) {
	for n := range requests {
		var doc struct{ Attempt int }
		a := c.node(n).call("GET", fmt.Sprintf("/v1/requests/load-%d", n), nil)
		if a.status == http.StatusNotFound && c.failover {
			continue // counted by its follower
		}
		if err := json.Unmarshal(a.want(200).body, &doc); err != nil {
			c.t.Fatal(err)
		}
		if doc.Attempt > 1 {
			c.again.Add(1)
		}
	}
	c.t.Logf("accepted %d, ended %d, re-delivered %d, resumed streams %d, resets %d, refused with 503 %d, longest outage seen by a client %v, took %v",
		requests, ended.Load(), c.again.Load(), c.resumed.Load(), c.resets.Load(), c.refused.Load(), time.Duration(c.longest.Load()).Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
}

// offsetOf is the offset in the id of a server-sent event, of a request whose id was chosen in
// front of its life.
func offsetOf(id string) string {
	offset, _, _ := strings.Cut(id, "-")
	return offset
}
