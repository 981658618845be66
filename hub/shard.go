package hub

import (
	"context"
	"sync"
)

// shard owns a part of the channels. One goroutine delivers all their messages, so
// that a channel's order is that of the notifications.
type shard struct {
	hub      *Hub
	mu       sync.Mutex
	channels map[string]*channel // those that somebody here follows
	ready    []*channel          // the ready queue: those with something in their inbox
	spare    []*channel          // the slice that run emptied last
	wake     chan struct{}       // holds a token while ready is not empty
}

// inboxLimit bounds the messages that wait in one channel for the shard. Beyond
// it only the newest is kept; followers see the gap and read from the source.
const inboxLimit = 1024

func (s *shard) push(key string, m Message) {
	s.mu.Lock()
	ch := s.channels[key]
	if ch == nil {
		s.mu.Unlock()
		return
	}
	if len(ch.inbox) >= inboxLimit {
		ch.inbox = ch.inbox[:0]
	}
	if m.Event == nil && m.Piece == nil {
		ch.inbox, ch.replaced = ch.inbox[:0], true // what came before may not hold either
		ch.life++
	} else {
		ch.inbox = append(ch.inbox, m)
	}
	first := !ch.ready
	if first {
		ch.ready = true
		s.ready = append(s.ready, ch)
	}
	s.mu.Unlock()
	if first {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// round is one pass of a shard over its ready queue. A socket that follows several of
// them gathers their messages and writes them together: when the round ends, or
// earlier if it is long. It belongs to the shard's goroutine.
type round struct {
	gathering []*outbox
	sends     int   // since the first of them may have begun
	first     About // of the pass, what its first message tells of
}

// roundSends bounds for how many sends a message may be held back: a millisecond or two.
const roundSends = 256

// admits reports whether so many sends, which come next, may be gathered. Messages that
// would be held back by them for too long leave first.
func (r *round) admits(sends int) bool {
	if r == nil {
		return false
	}
	if r.sends += sends; r.sends > roundSends {
		r.end()
		r.sends = sends
	}
	return sends <= roundSends
}

// end lets go of everything that is held back.
func (r *round) end() {
	for i, o := range r.gathering {
		o.endRound()
		r.gathering[i] = nil
	}
	r.gathering, r.sends = r.gathering[:0], 0
}

// What one channel may take of its shard before others have their turn.
const (
	// turnCost is about half a millisecond: each send costs sendCost and its bytes.
	turnCost = 1 << 20
	// sendCost is what a send takes besides its bytes, in bytes that could be copied meanwhile.
	sendCost = 4 << 10
	// turnBytes are sent to each follower in a turn, however many they are: less would cost more
	// sends than it saves time.
	turnBytes = 16 << 10
)

// turn returns how many of the messages a channel with so many followers sends in one turn, at
// least one.
func turn(messages []Message, followers int) int {
	bytes := 0
	for i := range messages {
		bytes += len(messages[i].Event)
		if i > 0 && bytes > turnBytes && followers*(sendCost+bytes) > turnCost {
			return i
		}
	}
	return len(messages)
}

// light reports whether messages to so many followers take less than a turn.
func light(messages []Message, followers int) bool {
	return followers*(sendCost+sizeOf(messages)) <= turnCost
}

// run delivers until ctx ends. Channels whose messages take less than a turn go first, all that
// there are; of the others one has a turn after that. So whoever follows a channel of few, a call
// that waits for its result above all, does not wait for what somebody else sends to many.
func (s *shard) run(ctx context.Context) {
	var several round
	var heavy []*channel // in the order of their turns
	for {
		if len(heavy) == 0 {
			select {
			case <-s.wake:
			case <-ctx.Done():
				return
			}
		} else if ctx.Err() != nil {
			return
		}
		s.mu.Lock()
		ready := s.ready
		s.ready, s.spare = s.spare[:0], nil
		s.mu.Unlock()
		var r *round // nobody can gather anything from one channel
		if len(ready) > 1 {
			r = &several
		}
		for i, ch := range ready {
			if !s.deliver(ch, r) {
				heavy = append(heavy, ch)
			}
			ready[i] = nil
		}
		several.end()
		if what := several.first; what != nil {
			several.first = nil
			s.hub.delivered(what)
		}
		s.spare = ready
		if len(heavy) > 0 {
			ch := heavy[0]
			heavy[0] = nil
			if heavy = heavy[1:]; !s.deliverTurn(ch) {
				heavy = append(heavy, ch)
			}
		}
	}
}

// deliver delivers what waits in a channel that is ready, if it is light; if not it waits for its
// turns, and stays ready.
func (s *shard) deliver(ch *channel, r *round) (done bool) {
	s.mu.Lock()
	messages, replaced := ch.take()
	done = light(messages, ch.refs)
	ch.ready = !done
	s.mu.Unlock()
	if replaced {
		ch.reset()
	}
	switch {
	case !done:
		ch.rest = messages
	case len(messages) > 0:
		ch.deliver(messages, r)
	}
	return done
}

// deliverTurn delivers as much of what waits in a channel as it may send in a turn, and reports
// whether that was all.
func (s *shard) deliverTurn(ch *channel) (done bool) {
	s.mu.Lock()
	replaced := ch.replaced
	if replaced || len(ch.rest) == 0 {
		ch.rest, replaced = ch.take()
	}
	followers := ch.refs
	done = len(ch.rest) == 0
	ch.ready = !done
	s.mu.Unlock()
	if replaced {
		ch.reset()
	}
	if done {
		return true
	}
	n := turn(ch.rest, followers)
	now := ch.rest[:n:n]
	if ch.rest = ch.rest[n:]; len(ch.rest) == 0 {
		ch.rest = nil
	}
	ch.deliver(now, nil)
	return false
}

// join returns the channel with two more references, making it if it is new: one of
// the subscription, which ends with remove, and one of the caller, who may still be asking the
// source to watch the channel when the subscription has ended already.
func (s *shard) join(h *Hub, c Channel) *channel {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch := s.channels[c.Key]
	if ch == nil {
		ch = &channel{hub: h, shard: s, key: c.Key, name: c.Name, epoch: c.Epoch, life: 1}
		s.channels[c.Key] = ch
	}
	ch.refs += 2
	return ch
}

// lifeOf returns how often the channel's end was replaced, whether or not the followers
// were told yet: the goroutine that does that may be behind.
func (s *shard) lifeOf(ch *channel) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return ch.life
}

// leave gives a reference back and forgets the channel with the last one.
func (s *shard) leave(ch *channel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ch.refs--; ch.refs == 0 {
		delete(s.channels, ch.key)
		if ch.watched {
			ch.hub.source.Unwatch(ch.key)
		}
	}
}
