package redis

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/lifecycle"
)

// bellOf returns the bell of a channel, and what the channel is called in Redis.
func (s *Store) bellOf(c lifecycle.Channel) (*bell, string) {
	partition, _ := s.home(c)
	return s.bells[partition%len(s.bells)], s.tags[partition] + "b:" + c.Key()
}

// Watch implements hub.Source. It returns once the server has confirmed the
// subscription.
func (s *Store) Watch(ctx context.Context, channel string) error {
	c, err := lifecycle.ParseKey(channel)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	b, name := s.bellOf(c)
	return failed(ctx, b.watch(bound, name, channel, nil))
}

// Unwatch implements hub.Source. Messages may come for about a second more.
func (s *Store) Unwatch(channel string) {
	if c, err := lifecycle.ParseKey(channel); err == nil {
		b, name := s.bellOf(c)
		b.unwatch(name)
	}
}

// stale is the channels in which messages may have been missed.
type stale struct {
	mu   sync.Mutex
	keys map[string]struct{}
	wake chan struct{}
}

func (x *stale) add(key string) {
	x.mu.Lock()
	if x.keys == nil {
		x.keys = make(map[string]struct{})
	}
	x.keys[key] = struct{}{}
	x.mu.Unlock()
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// take returns up to n of them.
func (x *stale) take(n int) []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	taken := make([]string, 0, min(n, len(x.keys)))
	for key := range x.keys {
		if len(taken) == n {
			break
		}
		taken = append(taken, key)
		delete(x.keys, key)
	}
	return taken
}

// resyncBatch is how many channels are compared with the store at a time.
const resyncBatch = 64

// resync rings with the newest message of channels in which messages were missed.
func (s *Store) resync(ctx context.Context) {
	for {
		select {
		case <-s.stale.wake:
		case <-ctx.Done():
			return
		}
		for wait := 50 * time.Millisecond; ; {
			keys := s.stale.take(resyncBatch)
			if len(keys) == 0 {
				break
			}
			err := s.compare(ctx, keys)
			if err == nil {
				continue
			}
			for _, key := range keys {
				s.stale.add(key)
			}
			s.log.LogAttrs(ctx, slog.LevelWarn, "channels may be behind", slog.Int("channels", len(keys)), slog.Any("error", err))
			select {
			case <-time.After(wait):
				wait = min(2*wait, 5*time.Second)
			case <-ctx.Done():
				return
			}
		}
	}
}

// check compares every watched channel with the store now and then, so that the loss of
// the last message in a channel is found without any sign of it.
func (s *Store) check(ctx context.Context) {
	for {
		interval := s.options.Check*3/4 + rand.N(s.options.Check/2+1)
		select {
		case <-time.After(interval / 2):
		case <-ctx.Done():
			return
		}
		var keys []string
		for _, b := range s.bells {
			keys = b.watchedKeys(keys)
		}
		batches := (len(keys) + resyncBatch - 1) / resyncBatch
		pace := interval / 2 / time.Duration(max(batches, 1)) // spread over the other half
		for range max(batches, 1) {
			n := min(resyncBatch, len(keys))
			if n > 0 {
				if err := s.compare(ctx, keys[:n]); err != nil && ctx.Err() == nil {
					s.log.LogAttrs(ctx, slog.LevelDebug, "watched channels could not be checked", slog.Any("error", err))
				}
				keys = keys[n:]
			}
			select {
			case <-time.After(pace):
			case <-ctx.Done():
				return
			}
		}
	}
}

func (b *bell) watchedKeys(keys []string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, w := range b.channels {
		if w.key != "" && w.want && w.state == subscribed {
			keys = append(keys, w.key)
		}
	}
	return keys
}

// compare rings with the newest message of each channel of which less was heard.
func (s *Store) compare(ctx context.Context, keys []string) error {
	type asked struct {
		b       *bell
		w       *watched
		channel lifecycle.Channel
	}
	parts := make(map[int][]asked)
	args := make(map[int][]any)
	for _, key := range keys {
		c, err := lifecycle.ParseKey(key)
		if err != nil {
			continue
		}
		b, name := s.bellOf(c)
		b.mu.Lock()
		w := b.channels[name]
		b.mu.Unlock()
		if w == nil {
			continue
		}
		b.ringing.Lock()
		heard := w.heard
		b.ringing.Unlock()
		partition, _ := s.home(c)
		parts[partition] = append(parts[partition], asked{b, w, c})
		args[partition] = append(args[partition], key, heard)
	}
	for partition, part := range parts {
		bound, cancel := s.bounded(ctx)
		answer, err := s.run(bound, scripts.newest, partition, args[partition]...)
		cancel()
		if err != nil {
			return err
		}
		for n := 0; n+3 < len(answer); n += 4 {
			i, err := number(answer, n)
			if err != nil || int(i) >= len(part) {
				return errAnswer
			}
			offset, err := offsetOf(text(answer, n+1))
			if err != nil {
				return err
			}
			m := hub.Message{Offset: offset, Last: text(answer, n+2) == "1", Event: []byte(text(answer, n+3))}
			if len(m.Event) == 0 { // it has aged away: tell of the loss
				m = feedReset(part[i].channel, offset)
			}
			part[i].b.rung(part[i].w, m, true)
		}
	}
	return nil
}
