package main

import (
	"sync/atomic"
	"time"
)

// broadcast has many followers of one channel and publishes into it at a rate.
type broadcast struct {
	Followers int           `default:"5000" help:"How many."`
	Wire      string        `default:"sse" enum:"sse,ws" help:"sse or ws."`
	Rate      int           `default:"10" help:"Messages per second."`
	Duration  time.Duration `default:"10s" help:"How long."`
}

func (s *broadcast) run(t *target) ([]figure, error) {
	const channel = "broadcast"
	if err := t.peer.create(channel); err != nil {
		return nil, err
	}
	c, cpu, took, err := s.measure(t, channel)
	if err != nil {
		return nil, err
	}
	return deliveries(c, s.messages()*s.Followers, cpu, took), nil
}

func (s *broadcast) messages() int { return s.Rate * int(s.Duration.Seconds()) }

// measure does it in a channel that is there.
func (s *broadcast) measure(t *target, channel string) (*counted, usage, time.Duration, error) {
	c := newCounted(s.Followers)
	defer c.close()
	messages := s.messages()
	due := make([]atomic.Int64, messages+1)
	if err := each(s.Followers, func(n int) (err error) {
		c.followers[n], err = t.peer.follow(s.Wire, channel)
		return err
	}); err != nil {
		return nil, nil, 0, err
	}
	for _, f := range c.followers {
		c.read(f, func(n int) time.Time { return time.Unix(0, due[n].Load()) })
	}
	time.Sleep(settle)
	want := messages * s.Followers
	cpu, took, err := t.measured(func() error {
		began := time.Now()
		for n := range messages {
			// The time when it should be sent counts, whenever it could be
			// (no coordinated omission).
			at := began.Add(time.Duration(n) * time.Second / time.Duration(s.Rate))
			time.Sleep(time.Until(at))
			due[n+1].Store(at.UnixNano())
			if err := t.peer.publish(channel, n+1); err != nil {
				return err
			}
		}
		return c.arrived(int64(want))
	})
	if err != nil {
		return nil, nil, 0, err
	}
	c.close()
	return c, cpu, took, nil
}

func deliveries(c *counted, want int, cpu usage, took time.Duration) []figure {
	return []figure{
		{"delivered", float64(want), ""},
		{"delivered per second", float64(want) / took.Seconds(), "/s"},
		{"server CPU per delivery", cpu.total() * 1e6 / float64(want), "µs"},
		{"latency p50", c.millis(50), "ms"},
		{"latency p99", c.millis(99), "ms"},
	}
}
