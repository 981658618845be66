package redis

import (
	"context"
	"slices"
	"sync"
)

// turns lets the callers of one process change a request one after the other, in the order in which they came. Redis
// would refuse all but one of those that begin with the same record, and who then waits a moment, so as not to be
// in the way, finds that another one was faster, again and again. What is left are the other processes.
type turns struct {
	mu    sync.Mutex
	queue map[string][]chan struct{} // by id, while somebody has the turn: who waits
}

// take waits for the turn at a request. If ctx does not end before, give must be called.
func (t *turns) take(ctx context.Context, id string) error {
	t.mu.Lock()
	waiting, taken := t.queue[id]
	if !taken {
		if t.queue == nil {
			t.queue = make(map[string][]chan struct{})
		}
		t.queue[id] = nil
		t.mu.Unlock()
		return nil
	}
	mine := make(chan struct{})
	t.queue[id] = append(waiting, mine)
	t.mu.Unlock()
	select {
	case <-mine:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	if i := slices.Index(t.queue[id], mine); i >= 0 {
		t.queue[id] = slices.Delete(t.queue[id], i, i+1)
		t.mu.Unlock()
		return ctx.Err()
	}
	t.mu.Unlock() // it came at the same time
	t.give(id)
	return ctx.Err()
}

// give passes the turn on.
func (t *turns) give(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	waiting := t.queue[id]
	if len(waiting) == 0 {
		delete(t.queue, id)
		return
	}
	t.queue[id] = waiting[1:]
	close(waiting[0])
}
