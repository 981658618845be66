package main

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// counted is what followers saw.
type counted struct {
	mu        sync.Mutex
	latency   *hdrhistogram.Histogram // µs
	delivered atomic.Int64
	wrong     atomic.Pointer[error]

	followers []*follower
	reading   sync.WaitGroup
}

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, 60_000_000, 3) }

func newCounted(followers int) *counted {
	return &counted{latency: newHistogram(), followers: make([]*follower, followers)}
}

// read counts a follower's messages until its connection ends. due returns when a
// message should have been sent, zero if it is not known.
func (c *counted) read(f *follower, due func(n int) time.Time) {
	c.reading.Go(func() {
		local := newHistogram()
		defer func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.latency.Merge(local)
		}()
		for at := 0; ; at++ {
			n, err := f.next()
			if err != nil {
				return
			}
			if n != at+1 {
				err := fmt.Errorf("message %d after %d", n, at)
				c.wrong.CompareAndSwap(nil, &err)
				return
			}
			if at := due(n); !at.IsZero() {
				_ = local.RecordValue(max(1, time.Since(at).Microseconds())) // capped by the range
			}
			c.delivered.Add(1)
		}
	})
}

// arrived waits until as many messages have arrived as were sent, within reason.
func (c *counted) arrived(want int64) error {
	for deadline := time.Now().Add(30 * time.Second); c.delivered.Load() < want && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
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
			_ = f.conn.Close()
		}
	}
	c.reading.Wait()
}

// millis returns a quantile of the latency, once close has been called.
func (c *counted) millis(quantile float64) float64 {
	return float64(c.latency.ValueAtQuantile(quantile)) / 1000
}

// each calls f for 0 to n-1, some of them at a time, and returns the first error.
func each(n int, f func(int) error) error {
	const atATime = 64
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

// measured runs f and returns the CPU that the target used for it and how long it took.
func (t *target) measured(f func() error) (cpu usage, took time.Duration, err error) {
	before, err := t.usage()
	if err != nil {
		return nil, 0, err
	}
	began := time.Now()
	err = f()
	took = time.Since(began)
	after, e := t.usage()
	if err = errors.Join(err, e); err != nil {
		return nil, 0, err
	}
	return after.less(before), took, nil
}
