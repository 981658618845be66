package wire

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/stream"
)

// Source returns the events and the streams of a store as the hub passes them on. What nobody
// follows is not written.
func Source(from lifecycle.Source) hub.Source {
	return &source{from: from, watched: make(map[string]*cutter)}
}

type source struct {
	from lifecycle.Source

	mu      sync.RWMutex
	watched map[string]*cutter // nil for a channel of events

	// The event that was written last: it often comes again at once, in its feeds.
	last atomic.Pointer[written]
}

// written is an event with its bytes.
type written struct {
	event *lifecycle.Event
	json  []byte
	about hub.About
}

func write(e *lifecycle.Event) *written {
	made := e.Time
	if e.State != nil { // which has it more exactly
		made = e.State.UpdatedAt
	}
	return &written{e, JSON(e), about{e.Request, e.Type == lifecycle.EventProgress, made}}
}

// about is what the hub may ask about an event. It outlives the event, which is larger, in what
// waits for a slow client.
type about struct {
	request  lifecycle.Ref
	progress bool
	made     time.Time
}

// Subject names the request that the event tells of, "" if it tells of none. Its whole document is
// in each event, so progress is worth nothing once there is a newer one.
func (a about) Subject() (request string, progress bool) { return a.request.String(), a.progress }

// Made is by the clock of the store.
func (a about) Made() time.Time { return a.made }

// message returns a message with the bytes of its event.
func message(m lifecycle.Message, w *written) hub.Message {
	return hub.Message{Offset: m.Offset, Event: w.json, Last: m.Last, About: w.about, Thin: Thinner(m.Event)}
}

// Read implements hub.Source.
func (s *source) Read(ctx context.Context, channel string, after uint64, limit int) (hub.History, error) {
	if _, ok := stream.ParseKey(channel); ok {
		return s.readStream(ctx, channel, after, limit)
	}
	h, err := s.from.Read(ctx, channel, after, limit)
	if err != nil {
		return hub.History{}, err
	}
	out := hub.History{Top: h.Top, Ended: h.Ended, Begin: h.Begin}
	if len(h.Messages) > 0 {
		out.Messages = make([]hub.Message, len(h.Messages))
	}
	for i, m := range h.Messages {
		out.Messages[i] = message(m, write(m.Event))
	}
	return out, nil
}

// Reset implements hub.Source.
func (s *source) Reset(ctx context.Context, channel string) (hub.Message, error) {
	if _, ok := stream.ParseKey(channel); ok {
		return gone(), nil
	}
	m, err := s.from.Reset(ctx, channel)
	if err != nil {
		return hub.Message{}, err
	}
	return message(m, write(m.Event)), nil
}

// Watch implements hub.Source. What is stored before the channel is among the watched ones is found
// by who reads after that.
func (s *source) Watch(ctx context.Context, channel string) error {
	var cut *cutter
	if _, ok := stream.ParseKey(channel); ok {
		cut = new(cutter)
	}
	s.mu.Lock()
	s.watched[channel] = cut
	s.mu.Unlock()
	err := s.from.Watch(ctx, channel)
	if err != nil {
		s.forget(channel)
	}
	return err
}

// Unwatch implements hub.Source.
func (s *source) Unwatch(channel string) {
	s.from.Unwatch(channel)
	s.forget(channel)
}

func (s *source) forget(channel string) {
	s.mu.Lock()
	delete(s.watched, channel)
	s.mu.Unlock()
}

// Listen implements hub.Source.
func (s *source) Listen(f func(channel string, m hub.Message)) {
	s.from.Listen(func(channel string, m lifecycle.Message) {
		s.mu.RLock()
		cut, watched := s.watched[channel]
		s.mu.RUnlock()
		switch {
		case !watched:
		case cut != nil:
			cut.tell(m, func(m hub.Message) { f(channel, m) })
		case m.Event == nil:
			f(channel, hub.Message{Offset: m.Offset, Last: m.Last})
		default:
			w := s.last.Load()
			if w == nil || w.event != m.Event {
				w = write(m.Event)
				s.last.Store(w)
			}
			f(channel, message(m, w))
		}
	})
}
