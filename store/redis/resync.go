package redis

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hark-push/hark/backoff"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/redis/link"
	"github.com/hark-push/hark/stream"
)

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

// resync notifies the listener of the newest message of channels in which messages were missed.
func (s *Store) resync(ctx context.Context) {
	for {
		select {
		case <-s.stale.wake:
		case <-ctx.Done():
			return
		}
		for failures := 0; ; {
			channels := s.stale.take(resyncBatch)
			if len(channels) == 0 {
				break
			}
			err := s.compare(ctx, channels)
			if err == nil {
				failures = 0
				continue
			}
			for key, before := range channels {
				s.stale.add(key, before)
			}
			s.log.LogAttrs(ctx, slog.LevelWarn, "channels may be behind", slog.Int("channels", len(channels)), slog.Any("error", err))
			failures++
			if backoff.Wait(ctx, backoff.Exponential(failures, 50*time.Millisecond, 5*time.Second)) != nil {
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
		s.taken.age()
		s.streams.age()
		var watching []knowing
		for _, subscriber := range s.subscribers {
			for _, h := range subscriber.Subscribed() {
				if w, ok := h.(knowing); ok {
					watching = append(watching, w)
				}
			}
		}
		batches := (len(watching) + resyncBatch - 1) / resyncBatch
		pace := interval / 2 / time.Duration(max(batches, 1)) // spread over the other half
		for range max(batches, 1) {
			n := min(resyncBatch, len(watching))
			if n > 0 {
				known := make(map[string]seen, n)
				for _, w := range watching[:n] {
					known[w.channel()] = w.known()
				}
				if err := s.compare(ctx, known); err != nil && ctx.Err() == nil {
					s.log.LogAttrs(ctx, slog.LevelDebug, "watched channels could not be checked", slog.Any("error", err))
				}
				watching = watching[n:]
			}
			if backoff.Wait(ctx, pace) != nil {
				return
			}
		}
	}
}

// compare notifies the listener of the newest message of each channel of which less was received,
// and of those that have lost their end.
func (s *Store) compare(ctx context.Context, channels map[string]seen) error {
	type asked struct {
		w       *watched
		channel lifecycle.Channel
	}
	parts := make(map[int][]asked)
	args := make(map[int][]any)
	for key, before := range channels {
		if n, ok := stream.ParseKey(key); ok {
			if err := s.compareStream(ctx, n, before); err != nil {
				return err
			}
			continue
		}
		c, err := lifecycle.ParseKey(key)
		if err != nil {
			continue
		}
		w := s.watchedAs(c)
		if w == nil {
			continue
		}
		partition, _ := s.home(c)
		parts[partition] = append(parts[partition], asked{w, c})
		args[partition] = append(args[partition], key, before.received, before.mark.offset, before.mark.token)
	}
	for partition, part := range parts {
		bound, cancel := s.bounded(ctx)
		answer, err := s.run(bound, scripts.newest, partition, args[partition]...)
		cancel()
		if err != nil {
			return err
		}
		for n := 0; n+3 < len(answer); n += 4 {
			i, err := answer.Number(n)
			if err != nil || int(i) >= len(part) {
				return link.ErrAnswer
			}
			to := part[i]
			newest, err := newestOf(to.channel, answer.Text(n+1), answer.Text(n+2))
			switch {
			case err != nil:
				return err
			case answer.Text(n+3) == "1":
				to.w.replaced(markOf(newest))
			default:
				to.w.received(newest, true)
			}
		}
	}
	return nil
}

// newestOf reads the newest event of a channel. If it has aged away, what tells of the loss is in
// its place.
func newestOf(c lifecycle.Channel, id, value string) (event, error) {
	if value != "" {
		return channelEvent(c, id, value)
	}
	offset, err := offsetOf(id)
	return event{Event: lifecycle.FeedReset(c, offset), offset: offset}, err
}
