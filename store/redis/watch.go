package redis

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

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

// seen is what was known of a channel at some time.
type seen struct {
	heard uint64
	mark  mark
}

// stale is the channels in which messages may have been missed, with what was known of
// them before.
type stale struct {
	mu       sync.Mutex
	channels map[string]seen
	wake     chan struct{}
}

// add keeps what was known first.
func (x *stale) add(key string, before seen) {
	x.mu.Lock()
	if x.channels == nil {
		x.channels = make(map[string]seen)
	}
	if _, ok := x.channels[key]; !ok {
		x.channels[key] = before
	}
	x.mu.Unlock()
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// take returns up to n of them.
func (x *stale) take(n int) map[string]seen {
	x.mu.Lock()
	defer x.mu.Unlock()
	taken := make(map[string]seen, min(n, len(x.channels)))
	for key, before := range x.channels {
		if len(taken) == n {
			break
		}
		taken[key] = before
		delete(x.channels, key)
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
			channels := s.stale.take(resyncBatch)
			if len(channels) == 0 {
				break
			}
			err := s.compare(ctx, channels)
			if err == nil {
				continue
			}
			for key, before := range channels {
				s.stale.add(key, before)
			}
			s.log.LogAttrs(ctx, slog.LevelWarn, "channels may be behind", slog.Int("channels", len(channels)), slog.Any("error", err))
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
		s.recent.age()
		var keys []string
		for _, b := range s.bells {
			keys = b.watchedKeys(keys)
		}
		batches := (len(keys) + resyncBatch - 1) / resyncBatch
		pace := interval / 2 / time.Duration(max(batches, 1)) // spread over the other half
		for range max(batches, 1) {
			n := min(resyncBatch, len(keys))
			if n > 0 {
				if err := s.compare(ctx, s.seen(keys[:n])); err != nil && ctx.Err() == nil {
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

// seen returns what is known of watched channels now.
func (s *Store) seen(keys []string) map[string]seen {
	known := make(map[string]seen, len(keys))
	for _, key := range keys {
		if b, w, _ := s.watchedAs(key); w != nil {
			b.ringing.Lock()
			known[key] = seen{w.heard, w.mark}
			b.ringing.Unlock()
		}
	}
	return known
}

// watchedAs returns who watches a channel, and as what; nil if nobody does.
func (s *Store) watchedAs(key string) (*bell, *watched, lifecycle.Channel) {
	c, err := lifecycle.ParseKey(key)
	if err != nil {
		return nil, nil, c
	}
	b, name := s.bellOf(c)
	b.mu.Lock()
	defer b.mu.Unlock()
	return b, b.channels[name], c
}

// compare rings with the newest message of each channel of which less was heard, and
// tells of those that have lost their end.
func (s *Store) compare(ctx context.Context, channels map[string]seen) error {
	type asked struct {
		b       *bell
		w       *watched
		channel lifecycle.Channel
	}
	parts := make(map[int][]asked)
	args := make(map[int][]any)
	for key, before := range channels {
		b, w, c := s.watchedAs(key)
		if w == nil {
			continue
		}
		partition, _ := s.home(c)
		parts[partition] = append(parts[partition], asked{b, w, c})
		args[partition] = append(args[partition], key, before.heard, before.mark.offset, before.mark.token)
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
			to := part[i]
			newest, err := newestOf(to.channel, text(answer, n+1), text(answer, n+2))
			switch {
			case err != nil:
				return err
			case text(answer, n+3) == "1":
				to.b.replaced(to.w, markOf(newest))
			default:
				to.b.rung(to.w, newest, true)
			}
		}
	}
	return nil
}

// newestOf reads the newest event of a channel. If it has aged away, what tells of the loss is in its place.
func newestOf(c lifecycle.Channel, id, value string) (event, error) {
	if value != "" {
		return channelEvent(c, id, value)
	}
	offset, err := offsetOf(id)
	return event{Event: lifecycle.FeedReset(c, offset), offset: offset}, err
}
