package redis

import (
	"context"
	"crypto/rand"
	"sync"
)

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
