package redis

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/redis/link"
	"github.com/hark-push/hark/stream"
)

// subscriber is what subscribes to the channels of a partition.
func (s *Store) subscriber(partition int) *link.Subscriber {
	return s.subscribers[partition%len(s.subscribers)]
}

// subscription returns what subscribes to a channel, and what the channel is called in Redis.
func (s *Store) subscription(c lifecycle.Channel) (*link.Subscriber, string) {
	partition, _ := s.home(c)
	return s.subscriber(partition), s.tags[partition] + "b:" + c.Key()
}

// Watch implements lifecycle.Source. It returns once the server has confirmed the
// subscription.
func (s *Store) Watch(ctx context.Context, channel string) error {
	if n, ok := stream.ParseKey(channel); ok {
		return s.watchStream(ctx, n)
	}
	c, err := lifecycle.ParseKey(channel)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	subscriber, name := s.subscription(c)
	return failed(ctx, subscriber.SubscribeNow(bound, name, &watched{store: s, key: channel, feed: c.Feed()}))
}

// Unwatch implements lifecycle.Source. Messages may come for about a second more.
func (s *Store) Unwatch(channel string) {
	if n, ok := stream.ParseKey(channel); ok {
		s.unwatchStream(n)
		return
	}
	if c, err := lifecycle.ParseKey(channel); err == nil {
		subscriber, name := s.subscription(c)
		subscriber.Unsubscribe(name)
	}
}

// Listen implements lifecycle.Source. f runs on the goroutine that reads from Redis.
func (s *Store) Listen(f func(channel string, m lifecycle.Message)) { s.listener.Store(&f) }

// watched is a channel that is watched, the handler of its subscription.
type watched struct {
	store *Store
	key   string // of the channel
	feed  bool   // whether it is a feed

	// mu is held while the listener runs, so that it is notified in order; before that of the
	// subscriber.
	mu   sync.Mutex
	seen seen
}

// knowing is a watched channel of either kind.
type knowing interface {
	channel() string
	known() seen
}

func (w *watched) channel() string { return w.key }

// seen is what was known of a channel at some time.
type seen struct {
	received uint64 // offset of the newest message that the listener was given
	mark     mark
}

// mark is a message that was seen in a channel. Looking for it later tells whether the
// channel has lost its end meanwhile: a replica that takes over may lack what its
// server acknowledged last, and gives the same offsets to other messages then.
type mark struct {
	offset uint64 // 0: none was seen
	token  string // of the write that stored it; "" if only the offset is known
}

func markOf(e event) mark { return mark{e.offset, e.token} }

// known is what is known of the channel now.
func (w *watched) known() seen {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen
}

// Message implements link.Handler.
func (w *watched) Message(payload string) {
	e, err := published(payload, w.feed)
	if err != nil {
		w.store.log.LogAttrs(context.Background(), slog.LevelWarn, "what is published is not understood", slog.String("channel", w.key), slog.Any("error", err))
		return
	}
	w.received(e, false)
}

// Missed implements link.Handler.
func (w *watched) Missed() { w.store.stale.add(w.key, w.known()) }

// published reads what is published in a channel: in that of a request the event alone, which says
// what it is; in a feed the event has another offset, which stands before it.
func published(payload string, feed bool) (event, error) {
	if !feed {
		return decodeEvent(payload)
	}
	offset, value, ok := strings.Cut(payload, ":")
	n, err := strconv.ParseUint(offset, 10, 64)
	if !ok || err != nil {
		return event{}, errDamaged
	}
	e, err := decodeEvent(value)
	e.offset, e.last = n, false
	return e, err
}

// received notifies the listener. What was published is passed on whatever was received
// before, because the offsets of a request begin again when it is forgotten and
// its id used again; what was read from the store only if it is news.
func (w *watched) received(e event, read bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if read && e.offset <= w.seen.received {
		return
	}
	w.notify(markOf(e), e.message())
}

// replaced notifies the listener that the channel has lost its end; at is what it has now.
func (w *watched) replaced(at mark) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notify(at, lifecycle.Message{Offset: at.offset})
}

func (w *watched) notify(at mark, m lifecycle.Message) {
	w.seen = seen{at.offset, at}
	if f := w.store.listener.Load(); f != nil {
		(*f)(w.key, m)
	}
}

// noteRead compares what was read of a channel with what was seen before, and remembers
// its top: followers have seen that although it was not published to them. What was
// read is not known to belong with what was seen unless it holds that message.
func (s *Store) noteRead(c lifecycle.Channel, top uint64, events []event) {
	w := s.watchedAs(c)
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	newest, known := mark{offset: top}, &w.seen.mark
	n := len(events)
	if n > 0 && events[n-1].offset == top {
		newest = markOf(events[n-1])
	}
	same := known.offset == 0
	if n > 0 && known.token != "" && events[0].offset <= known.offset && known.offset <= events[n-1].offset {
		i, found := slices.BinarySearchFunc(events, known.offset, func(e event, offset uint64) int { return cmp.Compare(e.offset, offset) })
		same = found && markOf(events[i]) == *known
	}
	if same && newest.offset > known.offset {
		*known = newest
	}
}

// watchedAs returns a channel that is watched, nil if nobody watches it.
func (s *Store) watchedAs(c lifecycle.Channel) *watched {
	subscriber, name := s.subscription(c)
	w, _ := subscriber.Handler(name).(*watched)
	return w
}
