package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"sync"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/lifecycle"
)

// routeCounts counts requests of each route. The writer changes it, who reads may look at it.
type routeCounts struct {
	mu sync.RWMutex
	of map[string]int64
}

func (c *routeCounts) add(route string, n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = make(map[string]int64)
	}
	if c.of[route] += n; c.of[route] == 0 {
		delete(c.of, route)
	}
}

func (c *routeCounts) get(route string) int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.of[route]
}

// countStatus counts n more requests like one among those of its route that are worked on, or wait
// for an answer, if it does.
func (b *batch) countStatus(r *lifecycle.Request, n int64) {
	all := b.s.countsOf(r)
	if all == nil {
		return
	}
	route := r.Route
	all.add(route, n)
	b.undo = append(b.undo, func() { all.add(route, -n) })
}

// countsOf returns where a request is counted; nil if nowhere.
func (s *Store) countsOf(r *lifecycle.Request) *routeCounts {
	switch {
	case r.Status == lifecycle.Waiting:
		return &s.asking
	case r.Status == lifecycle.Processing && r.Batch == nil:
		return &s.working
	}
	return nil
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

// Depths implements lifecycle.Depths.
func (s *Store) Depths(ctx context.Context, routes []string) (map[string]lifecycle.Depth, error) {
	all := make(map[string]lifecycle.Depth, len(routes))
	err := s.view(ctx, func(tx *bolt.Tx) error {
		for _, route := range routes {
			d := lifecycle.Depth{Pending: s.queue.waiting(route), Processing: s.working.get(route)}
			if id := oldestPending(tx, route); id != "" {
				// What is damaged was told.
				if r, err := s.record(tx, id); err == nil {
					d.Oldest = r.UpdatedAt
				}
			}
			all[route] = d
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// oldestPending returns which of the pending requests of a route got there first, "" if there are
// none. Each priority has a line of its own, by tickets that rise over all of them.
func oldestPending(tx *bolt.Tx, route string) (id string) {
	cursor, oldest := tx.Bucket(pendingBucket).Cursor(), uint64(math.MaxUint64)
	for priority := range levels {
		prefix := pendingPrefix(route, priority)
		key, value := cursor.Seek(prefix)
		if !bytes.HasPrefix(key, prefix) {
			continue
		}
		if ticket := binary.BigEndian.Uint64(key[len(prefix):]); ticket < oldest {
			oldest, id = ticket, string(value)
		}
	}
	return id
}
