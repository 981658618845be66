package blackbox_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hark-push/hark/servertest"
)

// fault is something that goes wrong; do returns when it is over or replaced.
type fault struct {
	name string
	do   func()
}

// TestChaos breaks one thing after the other under load, in random order. Nothing that
// was answered with 202 is lost, no request ends in two ways, no follower has a gap that
// it is not told of, and what was not answered may be submitted again.
func TestChaos(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3)
	requests, silence, pause := chaosSize(t, 600), 7*time.Second, 7*time.Second
	if requests >= 10_000 {
		silence, pause = 30*time.Second, 10*time.Second
	}
	faults := []fault{
		{"a worker is killed in mid-work", func() { c.killInWork(rand.IntN(3)) }},
		{"a gateway is killed in mid-publish", func() { c.killInBurst(1 + rand.IntN(2)) }},
		{"one gateway's connections to Redis are silent", func() {
			c.proxy.Drop(servertest.ToServer | servertest.ToClient)
			time.Sleep(silence) // the fault itself
			c.proxy.Restore()
		}},
		{"Redis is paused", func() {
			c.redis.Pause()
			time.Sleep(pause) // the fault itself: longer than the store's timeout
			c.redis.Resume()
		}},
		{"Redis is killed and started again", c.redis.Restart},
	}
	if c.rabbit != nil {
		c.rabbit.Sync()
		faults = append(faults, fault{"RabbitMQ is killed and started again", c.rabbit.Restart})
	}
	c.chaos(requests, faults)
}

// chaos runs the load with the faults spread over it, in an order that HARK_SEED repeats.
// The load goes on until they are over.
func (c *cluster) chaos(requests int, faults []fault) {
	c.t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("HARK_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			c.t.Fatalf("HARK_SEED: %v", err)
		}
	}
	c.t.Logf("HARK_SEED=%d", seed)
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })

	var ended atomic.Int64
	began := time.Now()
	var loading sync.WaitGroup
	over := make(chan struct{})
	finish := sync.OnceFunc(func() { close(over); loading.Wait() })
	defer finish()
	total := 0
	loading.Go(func() { total = c.load(requests, 3, "300ms", &ended, over) })
	for n, fault := range faults {
		due := int64((n + 1) * requests / (len(faults) + 2))
		for ended.Load() < due {
			time.Sleep(time.Millisecond) // a poll
			if time.Since(began) > 8*time.Minute {
				c.t.Fatalf("stuck before %q: %d ended", fault.name, ended.Load())
			}
		}
		c.t.Logf("%v: %s after %d", time.Since(began).Round(time.Millisecond), fault.name, ended.Load())
		fault.do()
	}
	finish()
	c.report(total, &ended, began)
}

// killInBurst kills a gateway while submissions to it are in flight, some of which are
// stored and not yet queued. All end once: those that were answered by themselves, the
// others when they are submitted again, at another node.
func (c *cluster) killInBurst(n int) {
	const burst = 100
	name := func(i int) string { return fmt.Sprintf("burst-%d-%d", n, i) }
	body := func(i int) string {
		return fmt.Sprintf(`{"id":%q,"route":"sleep","maxAttempts":20,"content":{"steps":1,"duration":"10ms"}}`, name(i))
	}
	var submitting sync.WaitGroup
	defer submitting.Wait()
	var accepted [burst]atomic.Bool
	var answers atomic.Int64
	first := c.node(n)
	submit := func(from, to int) {
		for i := from; i < to; i++ {
			submitting.Go(func() {
				if a, err := first.try("POST", "/v1/requests", body(i), async); err == nil && a.status == 202 {
					accepted[i].Store(true)
				}
				answers.Add(1)
			})
		}
	}
	ready := func() { // what went wrong before may last, at the one that is asked below too
		for _, s := range []*process{first, c.node(n + 1)} {
			c.await("the gateway is ready", func() bool {
				a, err := s.try("GET", "/health/ready", nil)
				return err == nil && a.status == 200
			})
		}
	}
	ready()
	submit(0, burst/2)
	c.await("half a burst is answered", func() bool { return answers.Load() >= burst/4 })
	stuck := c.rabbit == nil
	if c.rabbit != nil {
		defer c.rabbit.Resume()
	}
	for sent := int64(burst / 2); !stuck; {
		if sent > 3*burst {
			c.t.Fatal("no submission is seen that is stored and not queued")
		}
		c.rabbit.Pause()
		submit(burst/2, burst)
		sent += burst / 2
		// They are taken back after a while; whoever is asked may have been too slow to see them.
		c.await("a submission is stored that is not queued, or all are answered", func() bool {
			for i := burst / 2; i < burst && !stuck; i++ {
				a, err := c.node(n+1).try("GET", "/v1/requests/"+name(i), nil)
				stuck = err == nil && a.status == 200 && !accepted[i].Load()
			}
			return stuck || answers.Load() == sent
		})
		if !stuck {
			c.rabbit.Resume()
			ready()
		}
	}
	first.kill()
	if c.rabbit != nil {
		c.rabbit.Resume()
	}
	submitting.Wait()
	c.replaceGateway(n)

	var answered, stored atomic.Int64
	var following sync.WaitGroup
	for i := range burst {
		following.Go(func() {
			if accepted[i].Load() {
				answered.Add(1)
			} else {
				if a, err := c.node(n+1).try("GET", "/v1/requests/"+name(i), nil); err == nil && a.status == 200 {
					stored.Add(1)
				}
				c.submit(n+1, name(i), body(i))
			}
			c.follow(n, name(i))
		})
	}
	following.Wait()
	c.t.Logf("of %d submissions to it %d were answered; of the others %d were stored, and all were submitted again", burst, answered.Load(), stored.Load())
	if c.rabbit != nil && (answered.Load() == burst || stored.Load() == 0) {
		c.t.Error("none was in flight")
	}
}

// killInWork kills a worker once the workers have begun several things that take a
// while, which are handed out in turn.
func (c *cluster) killInWork(n int) {
	const requests = 12
	name := func(round, i int) string { return fmt.Sprintf("long-%d-%d", round, i) }
	var following sync.WaitGroup
	defer following.Wait()
	// In one call, and without holding it against the document: on a slow machine a call for each
	// takes longer than they do.
	running := func(round int) (n int) {
		res, err := followClient.Get(c.node(1).url + "/v1/requests?status=processing&limit=200")
		if err != nil {
			return 0
		}
		defer func() { _ = res.Body.Close() }()
		var page struct{ Requests []struct{ ID string } }
		if json.NewDecoder(res.Body).Decode(&page) != nil {
			return 0
		}
		for _, r := range page.Requests {
			if strings.HasPrefix(r.ID, fmt.Sprintf("long-%d-", round)) {
				n++
			}
		}
		return n
	}
	for round := 0; ; round++ {
		var ended atomic.Int64
		for i := range requests {
			following.Go(func() {
				c.submit(i, name(round, i), fmt.Sprintf(`{"id":%q,"route":"sleep","maxAttempts":20,"content":{"steps":1,"duration":"4s"}}`, name(round, i)))
				c.follow(i, name(round, i))
				ended.Add(1)
			})
		}
		most := false
		c.await("most are worked on at a time, or all have ended", func() bool {
			most = running(round) >= 3*requests/4
			return most || ended.Load() == requests
		})
		if !most {
			if round >= 20 {
				c.t.Error("most are never worked on at a time")
				return
			}
			continue // a node that came back late from the fault before took some
		}
		c.replaceWorker(n)
		following.Wait()
		for i := range requests {
			if c.node(1).call("GET", "/v1/requests/"+name(round, i), nil).want(200).json()["attempt"] != 1.0 {
				c.again.Add(1)
			}
		}
		if c.again.Load() > 0 {
			return
		}
		// The worker itself may have been away since the fault before: its connections come back
		// within seconds, and meanwhile the others took everything. Now a fresh one is there.
		if round >= 4 {
			c.t.Error("whoever was killed worked on nothing")
			return
		}
	}
}

// await waits for a condition as long as a fault may last.
func (c *cluster) await(what string, condition func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("not within a minute: %s", what)
		}
	}
}
