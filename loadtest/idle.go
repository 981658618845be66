package main

import (
	"fmt"
	"time"

	"github.com/hark-push/hark/loadtest/bench"
)

// idle opens connections that wait, each on a channel of its own, and measures
// what each adds to the server's memory.
type idle struct {
	Connections int           `default:"10000" help:"How many."`
	Wire        string        `default:"sse" enum:"sse,ws" help:"sse or ws."`
	Settle      time.Duration `default:"10s" help:"How long to let the memory come to rest before measuring."`
}

func (s *idle) run(t *target) (results, error) {
	channel := func(n int) string { return fmt.Sprint("idle", n) }
	t.phase("making channels", s.Connections)
	if err := each(s.Connections, func(n int) error {
		defer t.step()
		return t.peer.create(channel(n))
	}); err != nil {
		return results{}, err
	}
	t.peer.rest()
	t.settle(s.Settle)
	before, err := t.memory()
	if err != nil {
		return results{}, err
	}
	t.phase("connecting", s.Connections)
	c := newCounted(s.Connections) // they are read, because servers want answers to their pings
	defer c.close()
	if err := c.follow(
		func(n int) (*follower, error) { return t.follow(s.Wire, channel(n)) },
		func(int, int) time.Time { return time.Time{} },
	); err != nil {
		return results{}, err
	}
	t.settle(s.Settle)
	after, err := t.memory()
	if n := c.ended.Load(); n > 0 && err == nil {
		err = fmt.Errorf("%d connections have ended", n)
	}
	return results{Figures: []bench.Figure{
		figure("connections "+s.Wire, float64(s.Connections), ""),
		figure("memory before", before/1024, "KB"),
		figure("memory with them", after/1024, "KB"),
		figure("memory per connection", (after-before)/1024/float64(s.Connections), "KB"),
	}}, err
}
