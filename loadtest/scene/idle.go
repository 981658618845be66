package scene

import (
	"fmt"
	"time"

	"github.com/hark-push/hark/loadtest/bench"
	"github.com/hark-push/hark/loadtest/client"
	"github.com/hark-push/hark/loadtest/measure"
	"github.com/hark-push/hark/loadtest/peer"
)

// Idle opens connections that wait, each on a channel of its own, and measures
// what each adds to the server's memory.
type Idle struct {
	Connections int           `default:"10000" help:"How many."`
	Wire        string        `default:"sse" enum:"sse,ws" help:"sse or ws."`
	Settle      time.Duration `default:"10s" help:"How long to let the memory come to rest before measuring."`
}

// Run puts the load on a target and returns what was measured.
func (s *Idle) Run(t *peer.Target) (measure.Results, error) {
	channel := func(n int) string { return fmt.Sprint("idle", n) }
	t.Phase("making channels", s.Connections)
	if err := each(s.Connections, func(n int) error {
		defer t.Step()
		return t.Peer.Create(channel(n))
	}); err != nil {
		return measure.Results{}, err
	}
	t.Peer.Rest()
	t.Settle(s.Settle)
	before, err := t.Memory()
	if err != nil {
		return measure.Results{}, err
	}
	t.Phase("connecting", s.Connections)
	c := newCounted(s.Connections) // they are read, because servers want answers to their pings
	defer c.close()
	if err := c.follow(
		func(n int) (*client.Follower, error) { return t.Follow(s.Wire, channel(n)) },
		func(int, int) time.Time { return time.Time{} },
	); err != nil {
		return measure.Results{}, err
	}
	t.Settle(s.Settle)
	after, err := t.Memory()
	if n := c.ended.Load(); n > 0 && err == nil {
		err = fmt.Errorf("%d connections have ended", n)
	}
	return measure.Results{Figures: []bench.Figure{
		measure.Figure("connections "+s.Wire, float64(s.Connections), ""),
		measure.Figure("memory before", before/1024, "KB"),
		measure.Figure("memory with them", after/1024, "KB"),
		measure.Figure("memory per connection", (after-before)/1024/float64(s.Connections), "KB"),
	}}, err
}
