package scene

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hark-push/hark/loadtest/peer"
)

// lane is channels that are published to in turn, by several callers at once.
type lane struct {
	prefix    string
	channels  []laneChannel
	published atomic.Int64
}

// laneChannel is how much was published to a channel. Unless the server numbers messages itself,
// one has to be there before the next one is sent.
type laneChannel struct {
	mu sync.Mutex
	n  atomic.Int64
}

func newLane(prefix string, channels int) *lane {
	return &lane{prefix: prefix, channels: make([]laneChannel, channels)}
}

// name returns the channel of a turn.
func (l *lane) name(turn int) string { return fmt.Sprint(l.prefix, turn%len(l.channels)) }

func (l *lane) create(t *peer.Target) error {
	t.Phase("making channels", len(l.channels))
	return each(len(l.channels), func(i int) error {
		defer t.Step()
		return t.Peer.Create(l.name(i))
	})
}

// next publishes the next message to a turn's channel; before is called when that begins.
func (l *lane) next(t *peer.Target, turn int, before func()) error {
	c := &l.channels[turn%len(l.channels)]
	if !t.Peer.Numbers() {
		c.mu.Lock()
		defer c.mu.Unlock()
	}
	before()
	if err := t.Peer.Publish(l.name(turn), int(c.n.Add(1))); err != nil {
		return err
	}
	l.published.Add(1)
	return nil
}

// pace publishes so many messages, one after each gap.
func (l *lane) pace(t *peer.Target, publishers, publications int, gap time.Duration) error {
	began, first := time.Now(), int(l.published.Load())
	var next atomic.Int64
	return together(publishers, func(int) error {
		for {
			i := int(next.Add(1) - 1)
			if i >= publications {
				return nil
			}
			time.Sleep(time.Until(began.Add(time.Duration(i) * gap)))
			if err := l.next(t, first+i, func() {}); err != nil {
				return err
			}
		}
	})
}
