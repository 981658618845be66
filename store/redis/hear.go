package redis

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/hub"
)

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
		// As of before the first message of the new connection, which is read after this.
		b.ringing.Lock()
		before := seen{w.heard, w.mark}
		b.ringing.Unlock()
		b.store.stale.add(w.key, before)
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
		if e, err := published(m.Payload, w.feed); err == nil {
			b.rung(w, e, false)
		} else {
			b.store.log.LogAttrs(context.Background(), slog.LevelWarn, "what is published is not understood", slog.String("channel", w.key), slog.Any("error", err))
		}
	}
}

// published reads what is published in a channel: in that of a request the event alone, which says what it is;
// in a feed the event has another offset, which stands before it.
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

// rung calls the listener. What the bell brought is passed on whatever was heard
// before, because the offsets of a request begin again when it is forgotten and
// its id used again; what was read from the store only if it is news.
func (b *bell) rung(w *watched, e event, read bool) {
	b.ringing.Lock()
	defer b.ringing.Unlock()
	if read && e.offset <= w.heard {
		return
	}
	w.heard, w.mark = e.offset, markOf(e)
	b.store.ring(w.key, e.message())
}

// replaced tells the listener that a channel has lost its end; at is what it has now.
func (b *bell) replaced(w *watched, at mark) {
	b.ringing.Lock()
	defer b.ringing.Unlock()
	w.heard, w.mark = at.offset, at
	b.store.ring(w.key, hub.Message{Offset: at.offset})
}

// noteRead compares what was read of a channel with what was seen before, and remembers
// its top: followers have seen that although the bell has not brought it. What was
// read is not known to belong with what was seen unless it holds that message.
func (b *bell) noteRead(name string, top uint64, events []event) {
	b.mu.Lock()
	w := b.channels[name]
	b.mu.Unlock()
	if w == nil {
		return
	}
	b.ringing.Lock()
	defer b.ringing.Unlock()
	newest := mark{offset: top}
	n := len(events)
	if n > 0 && events[n-1].offset == top {
		newest = markOf(events[n-1])
	}
	same := w.mark.offset == 0
	if n > 0 && w.mark.token != "" && events[0].offset <= w.mark.offset && w.mark.offset <= events[n-1].offset {
		i, found := slices.BinarySearchFunc(events, w.mark.offset, func(e event, offset uint64) int { return cmp.Compare(e.offset, offset) })
		same = found && markOf(events[i]) == w.mark
	}
	if same && newest.offset > w.mark.offset {
		w.mark = newest
	}
}
