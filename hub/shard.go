package hub

import (
	"context"
	"sync"
)

// shard owns a part of the channels. One goroutine delivers all their messages, so
// that a channel's order is that of the bell.
type shard struct {
	mu       sync.Mutex
	channels map[string]*channel // those that somebody here follows
	ringing  []*channel          // those with something in their inbox
	spare    []*channel          // the slice that run emptied last
	wake     chan struct{}       // holds a token while ringing is not empty
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
	if m.Event == nil {
		ch.inbox, ch.replaced = ch.inbox[:0], true // what came before may not hold either
		ch.life++
	} else {
		ch.inbox = append(ch.inbox, m)
	}
	first := !ch.ringing
	if first {
		ch.ringing = true
		s.ringing = append(s.ringing, ch)
	}
	s.mu.Unlock()
	if first {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// run delivers until ctx ends.
func (s *shard) run(ctx context.Context) {
	for {
		select {
		case <-s.wake:
		case <-ctx.Done():
			return
		}
		s.mu.Lock()
		ringing := s.ringing
		s.ringing, s.spare = s.spare[:0], nil
		s.mu.Unlock()
		for i, ch := range ringing {
			s.mu.Lock()
			messages, replaced := ch.inbox, ch.replaced
			ch.inbox, ch.replaced, ch.ringing = nil, false, false
			s.mu.Unlock()
			if replaced {
				ch.reset()
			}
			if len(messages) > 0 {
				ch.deliver(messages)
			}
			ringing[i] = nil
		}
		s.spare = ringing
	}
}

// join returns the channel with two more references, making it if it is new: one of
// the subscription, which ends with remove, and one of the caller, who may still be asking the
// source to watch the channel when the subscription has ended already.
func (s *shard) join(h *Hub, c Channel) *channel {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch := s.channels[c.Key]
	if ch == nil {
		ch = &channel{hub: h, shard: s, key: c.Key, name: c.Name, life: 1}
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
