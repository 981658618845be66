// Package scene has the kinds of load: each makes channels, follows and publishes in its own way,
// checks that everything arrives once and in order, and says what that took. Their exported fields
// are flags.
package scene

import (
	"sync/atomic"
	"time"

	"github.com/hark-push/hark/loadtest/client"
	"github.com/hark-push/hark/loadtest/measure"
	"github.com/hark-push/hark/loadtest/peer"
)

// Broadcast has many followers of one channel and publishes into it at a rate.
type Broadcast struct {
	Followers int           `default:"5000" help:"How many."`
	Wire      string        `default:"sse" enum:"sse,ws" help:"sse or ws."`
	Rate      int           `default:"10" help:"Messages per second."`
	Duration  time.Duration `default:"10s" help:"How long."`
	Warmup    time.Duration `default:"2s" help:"How long before that, without measuring."`
}

// Run puts the load on a target and returns what was measured.
func (s *Broadcast) Run(t *peer.Target) (measure.Results, error) {
	const channel = "broadcast"
	if err := t.Peer.Create(channel); err != nil {
		return measure.Results{}, err
	}
	c, m, err := s.measure(t, channel)
	if err != nil {
		return measure.Results{}, err
	}
	return c.deliveries(m), nil
}

// measure does it in a channel that is there.
func (s *Broadcast) measure(t *peer.Target, channel string) (*counted, cost, error) {
	c := newCounted(s.Followers)
	defer c.close()
	warmup, messages := s.messages(s.Warmup), s.messages(s.Duration)
	// By the number of the message, zero while warming up.
	due := make([]atomic.Int64, warmup+messages+1)
	t.Phase("connecting", s.Followers)
	if err := c.follow(
		func(int) (*client.Follower, error) { return t.Follow(s.Wire, channel) },
		func(_, n int) time.Time { return unixNano(due[n].Load()) },
	); err != nil {
		return nil, cost{}, err
	}
	t.Settle(settle)
	publish := func(from, to int, counts bool) error {
		t.Phase("load", to-from)
		began := time.Now()
		for n := from + 1; n <= to; n++ {
			// The time when it should be sent counts, whenever it could be
			// (no coordinated omission).
			at := began.Add(time.Duration(n-from-1) * time.Second / time.Duration(s.Rate))
			time.Sleep(time.Until(at))
			if counts {
				due[n].Store(at.UnixNano())
			}
			if err := t.Peer.Publish(channel, n); err != nil {
				return err
			}
			t.Step()
		}
		t.Phase("checking", 0)
		return c.arrived(int64(to * s.Followers))
	}
	if err := publish(0, warmup, false); err != nil {
		return nil, cost{}, err
	}
	m, err := costOf(t, func() error { return publish(warmup, warmup+messages, true) })
	if err != nil {
		return nil, cost{}, err
	}
	m.delivered = int64(messages * s.Followers)
	c.close()
	return c, m, nil
}

// messages returns how many are published in a time.
func (s *Broadcast) messages(d time.Duration) int { return int(float64(s.Rate) * d.Seconds()) }

// unixNano returns the time that Time.UnixNano made a number of, zero for zero.
func unixNano(n int64) (t time.Time) {
	if n != 0 {
		t = time.Unix(0, n)
	}
	return t
}
