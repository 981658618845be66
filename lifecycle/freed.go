package lifecycle

import (
	"context"
	"errors"
	"sync"
	"time"
)

// freed hands requests that have got their slots to the queue.
type freed struct {
	mu      sync.Mutex
	waiting []Ref
	running int
	stop    func() // nil: the store has no slots
}

// mostHanding is how many requests are handed over at a time, handPause how long it takes until
// that is tried again after it has failed.
const (
	mostHanding = 16
	handPause   = time.Second
)

// add takes note of a request that has its slot.
func (f *freed) add(s *Service, of Ref) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting = append(f.waiting, of)
	if f.running < mostHanding {
		f.running++
		if !s.batches.completions.inBackground(func() { f.run(s) }) {
			f.running--
		}
	}
}

// run hands over until nothing is left, or the service is closed: then whoever goes through the
// requests that have not ended finds what is left.
func (f *freed) run(s *Service) {
	for {
		f.mu.Lock()
		if len(f.waiting) == 0 {
			f.running--
			f.mu.Unlock()
			return
		}
		of := f.waiting[0]
		f.waiting = f.waiting[1:]
		f.mu.Unlock()
		err := s.handFreed(of)
		if err == nil {
			continue
		}
		s.notQueued.tell(s.log, of.ID, err)
		timer := time.NewTimer(handPause)
		select {
		case <-timer.C:
		case <-s.batches.completions.closing:
		}
		timer.Stop()
		f.mu.Lock()
		select {
		case <-s.batches.completions.closing:
			f.running--
			f.mu.Unlock()
			return
		default:
			f.waiting = append(f.waiting, of)
			f.mu.Unlock()
		}
	}
}

// handFreed queues a request, if it still waits for a processor.
func (s *Service) handFreed(of Ref) error {
	ctx, cancel := context.WithTimeout(context.Background(), enqueueTime)
	defer cancel()
	r, err := s.store.Get(ctx, of)
	_, damaged := errors.AsType[*DamageError](err)
	switch {
	case damaged, errors.Is(err, ErrNotFound): // nobody could work on it
		return nil
	case err != nil:
		return err
	case r.Status != Pending || r.Parked:
		return nil
	}
	return s.queue.Enqueue(ctx, r)
}
