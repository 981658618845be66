package redis

import (
	"context"
	"crypto/rand"
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
		s.plain.want(name)
	}
	return func() {
		c.stopped.Store(true)
		s.cancels.mu.Lock()
		defer s.cancels.mu.Unlock()
		s.cancels.list = slices.DeleteFunc(slices.Clone(s.cancels.list), func(other *canceler) bool { return other == c })
	}
}

// want keeps a channel wanted without waiting for it.
func (b *bell) want(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if w := b.channels[name]; w != nil {
		w.want = true
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

// probes is who waits for a message to itself.
type probes struct {
	once sync.Once
	name string // of this store object

	mu      sync.Mutex
	waiting map[string]chan struct{}
}

// Probe publishes a message to this process on every connection of the bell and
// returns once it has come back: then live events reach this process.
// lifecycle.ErrUnavailable if it does not within the store's timeout.
func (s *Store) Probe(ctx context.Context) error {
	bound, cancel := s.bounded(ctx)
	defer cancel()
	s.probe.once.Do(func() {
		s.probe.name = "b:probe:" + newToken()
		s.probe.waiting = make(map[string]chan struct{})
	})
	for i, b := range s.bells {
		if err := s.probeBell(bound, b, s.tags[i]+s.probe.name); err != nil {
			return failed(ctx, err)
		}
	}
	return nil
}

func (s *Store) probeBell(ctx context.Context, b *bell, name string) error {
	if err := b.watch(ctx, name, "", s.probe.heard); err != nil {
		return err
	}
	nonce, back := rand.Text(), make(chan struct{})
	s.probe.mu.Lock()
	s.probe.waiting[nonce] = back
	s.probe.mu.Unlock()
	defer func() {
		s.probe.mu.Lock()
		delete(s.probe.waiting, nonce)
		s.probe.mu.Unlock()
	}()
	if err := s.client.Do(ctx, s.publish, name, nonce).Err(); err != nil {
		return err
	}
	select {
	case <-back:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *probes) heard(nonce string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if back, ok := p.waiting[nonce]; ok {
		close(back)
		delete(p.waiting, nonce)
	}
}
