package redis

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// bell is one connection that subscribes to what is watched, with one goroutine
// that reads and one that writes.
//
// Locks: mu may be taken under the hub's locks, because Unwatch is called there,
// so nothing is called while it is held. ringing makes the listener hear a
// channel in order; it is held while the listener runs and before mu.
type bell struct {
	store   *Store
	sharded bool
	wake    chan struct{} // holds a token when there is something to write
	opened  chan struct{} // holds a token when there is a new connection to read from

	ringing sync.Mutex

	mu       sync.Mutex
	pubsub   *goredis.PubSub     // nil until there is something to subscribe to
	channels map[string]*watched // by name in Redis
	dirty    map[string]struct{} // those whose state is not as wanted
}

type state uint8

const (
	idle state = iota
	subscribing
	subscribed
	unsubscribing
)

// watched is one channel.
type watched struct {
	// Under bell.mu. Only one command at a time is under way for a channel, so
	// that its confirmation is known to belong to it.
	state   state
	since   time.Time // of the state
	want    bool
	again   bool            // it was subscribed before: what was published meanwhile is lost
	waiters []chan struct{} // closed once subscribed

	key  string            // the channel, "" for one of the store's own
	feed bool              // whether it is a feed
	hear func(data string) // what to do with messages of the store's own

	// Under bell.ringing.
	heard uint64 // offset of the newest message
	mark  mark
}

// mark is a message that was seen in a channel. Looking for it later tells whether the
// channel has lost its end meanwhile: a replica that takes over may lack what its
// server acknowledged last, and gives the same offsets to other messages then.
type mark struct {
	offset uint64 // 0: none was seen
	token  string // of the write that stored it; "" if only the offset is known
}

func markOf(e event) mark { return mark{e.offset, e.token} }

const (
	linger  = 500 * time.Millisecond // a channel that is not wanted any more stays subscribed this long
	overdue = 2 * time.Second        // a command without confirmation is sent again
	burst   = 512                    // channels in one command
)

func newBell(s *Store, sharded bool) *bell {
	return &bell{
		store: s, sharded: sharded, wake: make(chan struct{}, 1), opened: make(chan struct{}, 1),
		channels: make(map[string]*watched), dirty: make(map[string]struct{}),
	}
}

func (b *bell) run(ctx context.Context) {
	b.store.running.Go(func() { b.read(ctx) })
	b.store.running.Go(func() { b.write(ctx) })
}

// close ends a read that is under way.
func (b *bell) close() {
	if p := b.current(); p != nil {
		_ = p.Close()
	}
}

func (b *bell) current() *goredis.PubSub {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.pubsub
}

// watch returns once name is subscribed to.
func (b *bell) watch(ctx context.Context, name, key string, hear func(string)) error {
	confirmed := b.want(name, key, hear)
	if confirmed == nil {
		return nil
	}
	select {
	case <-confirmed:
		return nil
	case <-ctx.Done():
		b.unwatch(name)
		return ctx.Err()
	}
}

// want asks for a subscription. It returns nil if there is one, or what is closed
// when there is.
func (b *bell) want(name, key string, hear func(string)) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.channels[name]
	if w == nil {
		w = &watched{key: key, feed: !strings.HasPrefix(key, "request:"), hear: hear}
		b.channels[name] = w
	}
	w.want = true
	if w.state == subscribed {
		return nil
	}
	confirmed := make(chan struct{})
	w.waiters = append(w.waiters, confirmed)
	b.dirty[name] = struct{}{}
	b.wakeUp()
	return confirmed
}

func (b *bell) unwatch(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if w := b.channels[name]; w != nil {
		w.want = false
		w.since = time.Now()
		b.dirty[name] = struct{}{}
	}
}

func (b *bell) wakeUp() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// write brings subscriptions in line with what is wanted.
func (b *bell) write(ctx context.Context) {
	tick := time.NewTicker(linger)
	defer tick.Stop()
	for {
		select {
		case <-b.wake:
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for ctx.Err() == nil {
			on, off := b.pending(time.Now())
			if len(on)+len(off) == 0 {
				break
			}
			b.send(ctx, on, off)
		}
	}
}

// pending takes the next commands out of what is dirty.
func (b *bell) pending(now time.Time) (on, off []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name := range b.dirty {
		if len(on) >= burst || len(off) >= burst {
			break
		}
		w := b.channels[name]
		underWay := (w.state == subscribing || w.state == unsubscribing) && now.Sub(w.since) < overdue
		switch {
		case underWay, w.state == subscribed && !w.want && now.Sub(w.since) < linger:
			continue // looked at again later
		case w.state == subscribed && w.want:
			delete(b.dirty, name)
		case w.state == subscribed:
			w.state, w.since = unsubscribing, now
			off = append(off, name)
		case w.want:
			w.state, w.since = subscribing, now
			on = append(on, name)
		default: // not wanted: neither subscribed nor anything under way
			if w.state == subscribing {
				off = append(off, name)
			}
			delete(b.dirty, name)
			delete(b.channels, name)
		}
	}
	return on, off
}

func (b *bell) send(ctx context.Context, on, off []string) {
	pubsub := b.current()
	fresh := pubsub == nil
	if fresh {
		if len(on) == 0 { // the connection that had them is gone
			return
		}
		pubsub = b.store.client.Subscribe(ctx)
	}
	var err error
	// An error leaves the channels with the PubSub, which subscribes to them when
	// it has a connection again.
	if b.sharded {
		if len(off) > 0 {
			err = pubsub.SUnsubscribe(ctx, off...)
		}
		if len(on) > 0 {
			err = errors.Join(err, pubsub.SSubscribe(ctx, on...))
		}
	} else {
		if len(off) > 0 {
			err = pubsub.Unsubscribe(ctx, off...)
		}
		if len(on) > 0 {
			err = errors.Join(err, pubsub.Subscribe(ctx, on...))
		}
	}
	if fresh { // only now: a connection to a Cluster goes where its first channel lives
		b.mu.Lock()
		b.pubsub = pubsub
		b.mu.Unlock()
		select {
		case b.opened <- struct{}{}:
		default:
		}
		if ctx.Err() != nil { // Close may have come before
			_ = pubsub.Close()
		}
	}
	if err != nil && ctx.Err() == nil {
		b.store.log.LogAttrs(ctx, slog.LevelWarn, "subscription is delayed", slog.Any("error", err))
	}
}
