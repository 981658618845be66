package redis

import (
	"context"
	"slices"
	"sync"
)

// keyedMutex lets the callers of one process change a request one after the other, in the order in
// which they came. Redis would refuse all but one of those that begin with the same record, and who
// then waits a moment, so as not to be in the way, finds that another one was faster, again and
// again. What is left are the other processes.
type keyedMutex struct {
	mu    sync.Mutex
	queue map[string][]chan struct{} // by key, while it is locked: who waits
}

// lock waits until nobody else has the key locked. It returns the error of ctx if that ends before;
// else unlock must be called.
func (m *keyedMutex) lock(ctx context.Context, key string) error {
	m.mu.Lock()
	waiting, taken := m.queue[key]
	if !taken {
		if m.queue == nil {
			m.queue = make(map[string][]chan struct{})
		}
		m.queue[key] = nil
		m.mu.Unlock()
		return nil
	}
	mine := make(chan struct{})
	m.queue[key] = append(waiting, mine)
	m.mu.Unlock()
	select {
	case <-mine:
		return nil
	case <-ctx.Done():
	}
	m.mu.Lock()
	if i := slices.Index(m.queue[key], mine); i >= 0 {
		m.queue[key] = slices.Delete(m.queue[key], i, i+1)
		m.mu.Unlock()
		return ctx.Err()
	}
	m.mu.Unlock() // it came at the same time
	m.unlock(key)
	return ctx.Err()
}

// unlock passes the lock on to who has waited longest.
func (m *keyedMutex) unlock(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	waiting := m.queue[key]
	if len(waiting) == 0 {
		delete(m.queue, key)
		return
	}
	m.queue[key] = waiting[1:]
	close(waiting[0])
}
