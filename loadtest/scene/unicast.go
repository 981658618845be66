package scene

import (
	"sync/atomic"
	"time"

	"github.com/hark-push/hark/loadtest/client"
	"github.com/hark-push/hark/loadtest/measure"
	"github.com/hark-push/hark/loadtest/peer"
)

// Unicast has many channels with a follower each, and publishers that publish to
// them over HTTP as fast as they can.
type Unicast struct {
	Channels   int           `default:"5000" help:"How many, each with a follower."`
	Wire       string        `default:"sse" enum:"sse,ws" help:"sse or ws."`
	Publishers int           `default:"32" help:"Calls at the same time."`
	Duration   time.Duration `default:"10s" help:"How long."`
	Warmup     time.Duration `default:"2s" help:"How long before that, without measuring."`
}

// Run puts the load on a target and returns what was measured.
func (s *Unicast) Run(t *peer.Target) (measure.Results, error) {
	c := newCounted(s.Channels)
	defer c.close()
	channels := newLane("unicast", s.Channels)
	if err := channels.create(t); err != nil {
		return measure.Results{}, err
	}
	// When the newest message of each was begun, zero while warming up.
	sent := make([]atomic.Int64, s.Channels)
	t.Phase("connecting", s.Channels)
	if err := c.follow(
		func(n int) (*client.Follower, error) { return t.Follow(s.Wire, channels.name(n)) },
		func(n, _ int) time.Time { return unixNano(sent[n].Load()) },
	); err != nil {
		return measure.Results{}, err
	}
	t.Settle(settle)
	var next atomic.Int64
	publish := func(duration time.Duration, counts bool) error {
		t.Timed("load", duration)
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
		t.Phase("checking", 0)
		return c.arrived(channels.published.Load())
	}
	if err := publish(s.Warmup, false); err != nil {
		return measure.Results{}, err
	}
	before := channels.published.Load()
	m, err := costOf(t, func() error { return publish(s.Duration, true) })
	if err != nil {
		return measure.Results{}, err
	}
	m.delivered = channels.published.Load() - before
	c.close()
	return c.deliveries(m), nil
}
