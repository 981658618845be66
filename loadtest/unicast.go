package main

import (
	"sync/atomic"
	"time"
)

// unicast has many channels with a follower each, and publishers that publish to
// them over HTTP as fast as they can.
type unicast struct {
	Channels   int           `default:"5000" help:"How many, each with a follower."`
	Wire       string        `default:"sse" enum:"sse,ws" help:"sse or ws."`
	Publishers int           `default:"32" help:"Calls at the same time."`
	Duration   time.Duration `default:"10s" help:"How long."`
	Warmup     time.Duration `default:"2s" help:"How long before that, without measuring."`
}

func (s *unicast) run(t *target) (results, error) {
	c := newCounted(s.Channels)
	defer c.close()
	channels := newLane("unicast", s.Channels)
	if err := channels.create(t); err != nil {
		return results{}, err
	}
	sent := make([]atomic.Int64, s.Channels) // when the newest message of each was begun, zero while warming up
	t.phase("connecting", s.Channels)
	if err := c.follow(
		func(n int) (*follower, error) { return t.follow(s.Wire, channels.name(n)) },
		func(n, _ int) time.Time { return unixNano(sent[n].Load()) },
	); err != nil {
		return results{}, err
	}
	t.settle(settle)
	var next atomic.Int64
	publish := func(duration time.Duration, counts bool) error {
		t.timed("load", duration)
		end := time.Now().Add(duration)
		if err := together(s.Publishers, func(int) error {
			for time.Now().Before(end) {
				turn := int(next.Add(1) - 1)
				if err := channels.next(t, turn, func() {
					if counts {
						sent[turn%s.Channels].Store(time.Now().UnixNano())
					}
				}); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
		t.phase("checking", 0)
		return c.arrived(channels.published.Load())
	}
	if err := publish(s.Warmup, false); err != nil {
		return results{}, err
	}
	before := channels.published.Load()
	m, err := costOf(t, func() error { return publish(s.Duration, true) })
	if err != nil {
		return results{}, err
	}
	m.delivered = channels.published.Load() - before
	c.close()
	return c.deliveries(m), nil
}
