package redis

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/hub"
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
	hear func(data string) // what to do with messages of the store's own

	heard uint64 // offset of the newest message; under bell.ringing
}

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
		w = &watched{key: key, hear: hear}
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

// read takes what comes from Redis and hands it on at once. After as long without a
// message as a call may take, the connection is tried, and after twice that it is given up.
func (b *bell) read(ctx context.Context) {
	silence := b.store.options.Timeout
	quiet, wait := 0, 50*time.Millisecond
	for ctx.Err() == nil {
		pubsub := b.current()
		if pubsub == nil {
			select {
			case <-b.opened:
			case <-ctx.Done():
			}
			continue
		}
		m, err := pubsub.ReceiveTimeout(ctx, silence)
		if err == nil {
			quiet, wait = 0, 50*time.Millisecond
			switch m := m.(type) {
			case *goredis.Message:
				b.message(m)
			case *goredis.Subscription:
				b.confirmed(ctx, m)
			}
			continue
		}
		if ctx.Err() != nil {
			return
		}
		timeout, isTimeout := errors.AsType[interface {
			error
			Timeout() bool
		}](err)
		answer, isAnswer := errors.AsType[goredis.Error](err)
		switch {
		case isTimeout && timeout.Timeout() && quiet == 0:
			quiet++
			_ = pubsub.Ping(ctx)
			continue
		case quiet > 0, isAnswer && goredis.HasErrorPrefix(answer, "MOVED"):
			quiet = 0
			b.renew(ctx)
		default: // the PubSub connects again by itself
			b.store.log.LogAttrs(ctx, slog.LevelDebug, "bell is interrupted", slog.Any("error", err))
		}
		select {
		case <-time.After(wait):
			wait = min(2*wait, time.Second)
		case <-ctx.Done():
		}
	}
}

// renew replaces a connection that is dead, or that a Cluster has moved away from.
func (b *bell) renew(ctx context.Context) {
	if cluster, ok := b.store.client.(*goredis.ClusterClient); ok {
		cluster.ReloadState(ctx)
	}
	b.mu.Lock()
	old := b.pubsub
	b.pubsub = nil
	for name, w := range b.channels {
		w.again = w.again || w.state == subscribed
		w.state = idle
		b.dirty[name] = struct{}{}
	}
	b.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
	b.wakeUp()
}

// confirmed notes that a command has been carried out. That nobody had sent one
// means that the connection was lost and made again.
func (b *bell) confirmed(ctx context.Context, c *goredis.Subscription) {
	b.mu.Lock()
	w := b.channels[c.Channel]
	if w == nil {
		b.mu.Unlock()
		return
	}
	var missed, moved bool
	switch c.Kind {
	case "subscribe", "ssubscribe":
		missed = w.again || w.state == subscribed
		w.state, w.since, w.again = subscribed, time.Now(), false
		for _, waiter := range w.waiters {
			close(waiter)
		}
		w.waiters = nil
	case "unsubscribe", "sunsubscribe":
		moved = w.state == subscribed // the slot has gone to another node
		w.state = idle
	}
	b.mu.Unlock()
	switch {
	case moved:
		b.renew(ctx)
	case missed && w.key != "":
		b.store.stale.add(w.key)
	case !missed:
		b.wakeUp()
	}
}

// message hands a message on.
func (b *bell) message(m *goredis.Message) {
	b.mu.Lock()
	w := b.channels[m.Channel]
	b.mu.Unlock()
	switch {
	case w == nil:
	case w.hear != nil:
		w.hear(m.Payload)
	default:
		offset, rest, ok := strings.Cut(m.Payload, ":")
		n, err := strconv.ParseUint(offset, 10, 64)
		if !ok || err != nil || rest == "" {
			return
		}
		b.rung(w, hub.Message{Offset: n, Last: rest[0] == '1', Event: []byte(rest[1:])}, false)
	}
}

// rung calls the listener. What the bell brought is passed on whatever was heard
// before, because the offsets of a request begin again when it is forgotten and
// its id used again; what was read from the store only if it is news.
func (b *bell) rung(w *watched, m hub.Message, read bool) {
	b.ringing.Lock()
	defer b.ringing.Unlock()
	if read && m.Offset <= w.heard {
		return
	}
	w.heard = m.Offset
	b.store.ring(w.key, m)
}
