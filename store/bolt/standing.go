package bolt

import (
	"context"
	"sync"

	"github.com/hark-push/hark/lifecycle"
)

// asking is how many requests of each route wait for an answer. The writer changes it, who reads
// may look at it.
type asking struct {
	mu sync.RWMutex
	of map[string]int64
}

func (a *asking) add(route string, n int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.of == nil {
		a.of = make(map[string]int64)
	}
	if a.of[route] += n; a.of[route] == 0 {
		delete(a.of, route)
	}
}

// ask counts n more requests of a route that wait for an answer.
func (b *batch) ask(route string, n int64) {
	all := &b.s.asking
	all.add(route, n)
	b.undo = append(b.undo, func() { all.add(route, -n) })
}

// Standing implements lifecycle.Standings.
func (s *Store) Standing(ctx context.Context) (map[string]lifecycle.Standing, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	all := make(map[string]lifecycle.Standing)
	s.slots.mu.RLock()
	for route, n := range s.slots.parked {
		all[route] = lifecycle.Standing{Parked: int64(n)}
	}
	s.slots.mu.RUnlock()
	s.asking.mu.RLock()
	defer s.asking.mu.RUnlock()
	for route, n := range s.asking.of {
		standing := all[route]
		standing.Waiting = n
		all[route] = standing
	}
	return all, nil
}
