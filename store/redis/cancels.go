package redis

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
)

// cancels is who wants to hear of cancellations.
type cancels struct {
	mu   sync.Mutex
	list []*canceler
}

type canceler struct {
	f       func(id string)
	stopped atomic.Bool
}

// cancelChannel carries the ids of all requests whose cancellation is asked for.
func (s *Store) cancelChannel() string { return s.options.Prefix + ":cancel" }

// OnCancel implements lifecycle.Cancellations. It waits for the subscription up to
// the store's timeout; if Redis is not there, the subscription follows when it is. f runs on a
// goroutine that reads from Redis. A call that is running when stop is called goes on.
func (s *Store) OnCancel(f func(id string)) (stop func()) {
	c := &canceler{f: f}
	s.cancels.mu.Lock()
	s.cancels.list = append(slices.Clip(s.cancels.list), c)
	s.cancels.mu.Unlock()
	ctx, cancel := s.bounded(context.Background())
	defer cancel()
	name := s.cancelChannel()
	if err := s.plain.watch(ctx, name, "", s.cancels.tell); err != nil {
		s.log.LogAttrs(ctx, slog.LevelWarn, "cancellations are not heard yet", slog.Any("error", err))
		s.plain.want(name, "", s.cancels.tell)
	}
	return func() {
		c.stopped.Store(true)
		s.cancels.mu.Lock()
		defer s.cancels.mu.Unlock()
		s.cancels.list = slices.DeleteFunc(slices.Clone(s.cancels.list), func(other *canceler) bool { return other == c })
	}
}

func (c *cancels) tell(id string) {
	c.mu.Lock()
	all := c.list // never changed in place below its length
	c.mu.Unlock()
	for _, canceler := range all {
		if !canceler.stopped.Load() {
			canceler.f(id)
		}
	}
}
