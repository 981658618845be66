package main

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// broadcast has many followers of one topic and publishes into it at a rate.
type broadcast struct {
	Followers int           `default:"5000" help:"How many."`
	Wire      string        `default:"sse" enum:"sse,ws" help:"sse or ws."`
	Rate      int           `default:"10" help:"Events per second."`
	Duration  time.Duration `default:"10s" help:"How long."`
}

// unicast has many requests with a follower each, and publishers that report progress
// on them over HTTP as fast as they can.
type unicast struct {
	Requests   int           `default:"5000" help:"How many, each with a follower."`
	Wire       string        `default:"sse" enum:"sse,ws" help:"sse or ws."`
	Publishers int           `default:"32" help:"Calls at the same time."`
	Duration   time.Duration `default:"10s" help:"How long."`
}

// counted is what followers saw. A message's time is known by its channel and offset.
type counted struct {
	mu        sync.Mutex
	latency   *hdrhistogram.Histogram // µs
	delivered atomic.Int64
	wrong     atomic.Pointer[error]
}

func newCounted() *counted { return &counted{latency: hdrhistogram.New(1, 60_000_000, 3)} }

// read counts a follower's events until its connection ends. sent returns when the
// event with an offset was due, zero if it is not of the measured ones.
func (c *counted) read(f *follower, at uint64, sent func(offset uint64) time.Time) {
	local := hdrhistogram.New(1, 60_000_000, 3)
	for {
		offset, err := f.next()
		if err != nil {
			break
		}
		if at != 0 && offset != at+1 {
			err := fmt.Errorf("offset %d after %d", offset, at)
			c.wrong.CompareAndSwap(nil, &err)
			break
		}
		at = offset
		if due := sent(offset); !due.IsZero() {
			_ = local.RecordValue(max(1, time.Since(due).Microseconds())) // capped by the range
			c.delivered.Add(1)
		}
	}
	c.mu.Lock()
	c.latency.Merge(local)
	c.mu.Unlock()
}

func (c *counted) figures(cpu float64, took time.Duration) []figure {
	n := float64(c.delivered.Load())
	return []figure{
		{"delivered", n, ""},
		{"delivered per second", n / took.Seconds(), "/s"},
		{"gateway CPU per delivery", cpu * 1e6 / n, "µs"},
		{"latency p50", float64(c.latency.ValueAtQuantile(50)) / 1000, "ms"},
		{"latency p99", float64(c.latency.ValueAtQuantile(99)) / 1000, "ms"},
	}
}

func (s *broadcast) run(g *gateway) ([]figure, error) {
	c := newCounted()
	id, err := g.submit("broadcast")
	if err != nil {
		return nil, err
	}
	if _, err := g.post("/v1/work/"+id+"/start", nil); err != nil {
		return nil, err
	}
	events := s.Rate * int(s.Duration.Seconds())
	due := make([]atomic.Int64, events+3) // by offset: 1 accepted, 2 started
	followers := make([]*follower, s.Followers)
	if err := each(s.Followers, func(n int) (err error) {
		followers[n], err = g.follow(s.Wire, "/v1/topics/broadcast/events", "topic:broadcast")
		return err
	}); err != nil {
		return nil, err
	}
	var reading sync.WaitGroup
	for _, f := range followers {
		reading.Go(func() {
			c.read(f, 2, func(offset uint64) time.Time {
				if n := due[offset].Load(); n > 0 {
					return time.Unix(0, n)
				}
				return time.Time{}
			})
		})
	}
	time.Sleep(time.Second) // lets the connections come to rest
	before, err := g.cpu()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	for n := range events {
		// The time when it should be sent counts, whenever it could be
		// (no coordinated omission).
		at := began.Add(time.Duration(n) * time.Second / time.Duration(s.Rate))
		time.Sleep(time.Until(at))
		due[n+3].Store(at.UnixNano())
		if _, err := g.post("/v1/work/"+id+"/progress", map[string]any{"percent": n % 100}); err != nil {
			return nil, err
		}
	}
	want := int64(events) * int64(s.Followers)
	for deadline := time.Now().Add(30 * time.Second); c.delivered.Load() < want && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	took := time.Since(began)
	after, err := g.cpu()
	if err != nil {
		return nil, err
	}
	return c.finish(followers, &reading, want, after-before, took)
}

func (s *unicast) run(g *gateway) ([]figure, error) {
	c := newCounted()
	ids := make([]string, s.Requests)
	followers := make([]*follower, s.Requests)
	sent := make([]atomic.Int64, s.Requests) // when the newest report on each was begun
	if err := each(s.Requests, func(n int) (err error) {
		if ids[n], err = g.submit(""); err != nil {
			return err
		}
		if _, err = g.post("/v1/work/"+ids[n]+"/start", nil); err != nil {
			return err
		}
		followers[n], err = g.follow(s.Wire, "/v1/requests/"+ids[n]+"/events", "request:"+ids[n])
		return err
	}); err != nil {
		return nil, err
	}
	var reading sync.WaitGroup
	for n, f := range followers {
		reading.Go(func() {
			c.read(f, 0, func(offset uint64) time.Time {
				if at := sent[n].Load(); offset > 2 && at > 0 {
					return time.Unix(0, at)
				}
				return time.Time{}
			})
		})
	}
	time.Sleep(time.Second) // lets the connections come to rest
	before, err := g.cpu()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	var next, published atomic.Int64
	var publishing sync.WaitGroup
	var failed atomic.Pointer[error]
	for range s.Publishers {
		publishing.Go(func() {
			for time.Since(began) < s.Duration && failed.Load() == nil {
				n := int(next.Add(1)-1) % s.Requests
				sent[n].Store(time.Now().UnixNano())
				if _, err := g.post("/v1/work/"+ids[n]+"/progress", map[string]any{"percent": n % 100, "message": "as many bytes as a message has, more or less, for a fair comparison"}); err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
				published.Add(1)
			}
		})
	}
	publishing.Wait()
	if err := failed.Load(); err != nil {
		return nil, *err
	}
	took := time.Since(began)
	for deadline := time.Now().Add(30 * time.Second); c.delivered.Load() < published.Load() && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	after, err := g.cpu()
	if err != nil {
		return nil, err
	}
	return c.finish(followers, &reading, published.Load(), after-before, took)
}

// finish closes the connections and returns the figures, or what was wrong.
func (c *counted) finish(followers []*follower, reading *sync.WaitGroup, want int64, cpu float64, took time.Duration) ([]figure, error) {
	for _, f := range followers {
		_ = f.conn.Close()
	}
	reading.Wait()
	if err := c.wrong.Load(); err != nil {
		return nil, *err
	}
	if got := c.delivered.Load(); got != want {
		return nil, fmt.Errorf("%d of %d events arrived", got, want)
	}
	return c.figures(cpu, took), nil
}
