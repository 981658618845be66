package scene

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/hark-push/hark/loadtest/bench"
	"github.com/hark-push/hark/loadtest/client"
	"github.com/hark-push/hark/loadtest/measure"
	"github.com/hark-push/hark/loadtest/peer"
)

// counted is what followers saw.
type counted struct {
	delivered atomic.Int64
	received  atomic.Int64 // bytes, heartbeats included; complete once close has been called
	ended     atomic.Int64 // connections
	wrong     atomic.Pointer[error]

	followers []*client.Follower
	reading   sync.WaitGroup
	shares    [16]share
}

// share is the latency that some of the followers saw. A histogram for each would take more
// memory than its connection, one for all would make them wait for each other.
type share struct {
	mu      sync.Mutex
	latency *hdrhistogram.Histogram
}

func newCounted(followers int) *counted {
	c := &counted{followers: make([]*client.Follower, followers)}
	for i := range c.shares {
		c.shares[i].latency = measure.NewHistogram()
	}
	return c
}

// follow makes all the followers and has their messages counted. due returns when a message
// to a follower should have been sent, zero if its latency does not count.
func (c *counted) follow(open func(follower int) (*client.Follower, error), due func(follower, n int) time.Time) error {
	if err := each(len(c.followers), func(i int) (err error) {
		c.followers[i], err = open(i)
		return err
	}); err != nil {
		return err
	}
	for i, f := range c.followers {
		c.reading.Go(func() { c.read(i, f, due) })
	}
	return nil
}

// read counts a follower's messages until its connection ends.
func (c *counted) read(i int, f *client.Follower, due func(follower, n int) time.Time) {
	mine := &c.shares[i%len(c.shares)]
	before := f.Consumed()
	defer func() {
		c.received.Add(f.Received - before)
		c.ended.Add(1)
	}()
	for at := 0; ; at++ {
		n, err := f.Next()
		if err != nil {
			return
		}
		if n != at+1 {
			err := fmt.Errorf("message %d after %d", n, at)
			c.wrong.CompareAndSwap(nil, &err)
			return
		}
		if at := due(i, n); !at.IsZero() {
			took := time.Since(at)
			mine.mu.Lock()
			measure.Record(mine.latency, took)
			mine.mu.Unlock()
		}
		c.delivered.Add(1)
	}
}

// arrived waits until as many messages have arrived as were sent, within reason.
func (c *counted) arrived(want int64) error {
	pause := 20 * time.Microsecond // most of what is waited for is under way
	for deadline := time.Now().Add(30 * time.Second); c.delivered.Load() < want && c.wrong.Load() == nil && time.Now().Before(deadline); {
		time.Sleep(pause)
		pause = min(2*pause, 10*time.Millisecond)
	}
	if err := c.wrong.Load(); err != nil {
		return *err
	}
	if got := c.delivered.Load(); got != want {
		return fmt.Errorf("%d of %d messages arrived", got, want)
	}
	return nil
}

// close closes the connections and ends the counting.
func (c *counted) close() {
	for _, f := range c.followers {
		if f != nil {
			_ = f.Conn.Close()
		}
	}
	c.reading.Wait()
}

// latency returns that of all followers.
func (c *counted) latency() *hdrhistogram.Histogram {
	all := measure.NewHistogram()
	for i := range c.shares {
		c.shares[i].mu.Lock()
		all.Merge(c.shares[i].latency)
		c.shares[i].mu.Unlock()
	}
	return all
}

// deliveries is what is said of them, once close has been called.
func (c *counted) deliveries(m cost) measure.Results {
	n := float64(m.delivered)
	r := measure.Results{Figures: []bench.Figure{
		measure.Figure("delivered", n, ""),
		measure.Figure("delivered per second", n/m.took.Seconds(), "/s"),
		measure.Figure("server CPU per delivery", m.cpu.Total()*1e6/n, "µs"),
		measure.Figure("bytes per delivery", float64(c.received.Load())/float64(c.delivered.Load()), "B"),
	}}
	r.Add(measure.Latencies("latency", c.latency()))
	return r
}

// each calls f for 0 to n-1, some of them at a time, and returns the first error.
func each(n int, f func(int) error) error { return several(64, n, f) }

// together calls f for 0 to n-1, all at the same time, and returns the first error.
func together(n int, f func(int) error) error { return several(n, n, f) }

func several(atATime, n int, f func(int) error) error {
	var running sync.WaitGroup
	var next atomic.Int64
	var failed atomic.Pointer[error]
	for range atATime {
		running.Go(func() {
			for failed.Load() == nil {
				i := int(next.Add(1) - 1)
				if i >= n {
					return
				}
				if err := f(i); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	running.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// settle lets the connections come to rest.
const settle = time.Second

// cost is what something took.
type cost struct {
	cpu       peer.Usage
	took      time.Duration
	delivered int64 // set by whoever counts
}

// costOf runs f and returns the CPU that a target used for it and how long it took.
func costOf(t *peer.Target, f func() error) (m cost, err error) {
	before, err := t.Usage()
	if err != nil {
		return m, err
	}
	began := time.Now()
	err = f()
	m.took = time.Since(began)
	after, e := t.Usage()
	if err = errors.Join(err, e); err != nil {
		return m, err
	}
	m.cpu = after.Less(before)
	return m, nil
}
