package main

import (
	"fmt"
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
}

func (s *unicast) run(t *target) ([]figure, error) {
	c := newCounted(s.Channels)
	defer c.close()
	channel := func(n int) string { return fmt.Sprint("unicast", n) }
	if err := each(s.Channels, func(n int) (err error) {
		if err := t.peer.create(channel(n)); err != nil {
			return err
		}
		c.followers[n], err = t.peer.follow(s.Wire, channel(n))
		return err
	}); err != nil {
		return nil, err
	}
	sent := make([]atomic.Int64, s.Channels) // when the newest message of each was begun
	for n, f := range c.followers {
		c.read(f, func(int) time.Time { return time.Unix(0, sent[n].Load()) })
	}
	time.Sleep(settle)
	var next, published atomic.Int64
	cpu, took, err := t.measured(func() error {
		end := time.Now().Add(s.Duration)
		if err := each(s.Publishers, func(int) error {
			for time.Now().Before(end) {
				turn := int(next.Add(1) - 1)
				n := turn % s.Channels
				sent[n].Store(time.Now().UnixNano())
				if err := t.peer.publish(channel(n), turn/s.Channels+1); err != nil {
					return err
				}
				published.Add(1)
			}
			return nil
		}); err != nil {
			return err
		}
		return c.arrived(published.Load())
	})
	if err != nil {
		return nil, err
	}
	c.close()
	return deliveries(c, int(published.Load()), cpu, took), nil
}
