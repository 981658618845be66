package main

import (
	"fmt"
	"sync"
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
	channel := func(n int) string { return fmt.Sprint("unicast", n) }
	sent := make([]atomic.Int64, s.Channels) // when the newest message of each was begun, zero while warming up
	if err := c.follow(func(n int) (*follower, error) {
		if err := t.peer.create(channel(n)); err != nil {
			return nil, err
		}
		return t.peer.follow(s.Wire, channel(n))
	}, func(n, _ int) time.Time { return unixNano(sent[n].Load()) }); err != nil {
		return results{}, err
	}
	time.Sleep(settle)
	channels := make([]struct {
		sync.Mutex
		published int
	}, s.Channels)
	var next, published atomic.Int64
	publish := func(duration time.Duration, counts bool) error {
		end := time.Now().Add(duration)
		if err := each(s.Publishers, func(int) error {
			for time.Now().Before(end) {
				n := int(next.Add(1)-1) % s.Channels
				channels[n].Lock() // numbers are published in order, with few channels too
				channels[n].published++
				if counts {
					sent[n].Store(time.Now().UnixNano())
				}
				err := t.peer.publish(channel(n), channels[n].published)
				channels[n].Unlock()
				if err != nil {
					return err
				}
				published.Add(1)
			}
			return nil
		}); err != nil {
			return err
		}
		return c.arrived(published.Load())
	}
	if err := publish(s.Warmup, false); err != nil {
		return results{}, err
	}
	before := published.Load()
	m, err := t.measured(func() error { return publish(s.Duration, true) })
	if err != nil {
		return results{}, err
	}
	m.delivered = published.Load() - before
	c.close()
	return c.deliveries(m), nil
}
