package redis

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
)

// listeners is who wants to hear what a channel of the store's own carries.
type listeners struct {
	mu   sync.Mutex
	list []*listener
}

type listener struct {
	f       func(data string)
	stopped atomic.Bool
}

// add has f called until stop is. A call that is running then goes on.
func (l *listeners) add(f func(data string)) (stop func()) {
	added := &listener{f: f}
	l.mu.Lock()
	l.list = append(slices.Clip(l.list), added)
	l.mu.Unlock()
	return func() {
		added.stopped.Store(true)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.list = slices.DeleteFunc(slices.Clone(l.list), func(other *listener) bool { return other == added })
	}
}

// tell calls all of them.
func (l *listeners) tell(data string) {
	l.mu.Lock()
	all := l.list // never changed in place below its length
	l.mu.Unlock()
	for _, each := range all {
		if !each.stopped.Load() {
			each.f(data)
		}
	}
}

// await waits up to the store's timeout for subscriptions, as want returned them. If Redis is not
// there, they follow when it is.
func (s *Store) await(what string, subscribed ...<-chan struct{}) {
	ctx, cancel := s.bounded(context.Background())
	defer cancel()
	for _, done := range subscribed {
		if done == nil {
			continue
		}
		select {
		case <-done:
		case <-ctx.Done():
			s.log.LogAttrs(ctx, slog.LevelWarn, what+" are not heard yet", slog.Any("error", ctx.Err()))
			return
		}
	}
}
