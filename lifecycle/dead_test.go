package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/bolt"
)

// failed stores requests of the route r and lets them fail.
func failed(t *testing.T, store *bolt.Store, ids ...string) {
	t.Helper()
	for _, id := range ids {
		sub := lifecycle.Submission{ID: id, Owner: "me", Route: "r", Fingerprint: "f", MaxAttempts: 1, Retention: time.Hour}
		if _, err := store.Create(t.Context(), sub); err != nil {
			t.Fatal(err)
		}
		for _, c := range []lifecycle.Change{lifecycle.Start{}, lifecycle.Fail{}} {
			if _, err := store.Apply(t.Context(), lifecycle.Named(id), c); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestRedrive: while the queue is known to fail nothing is redriven; if it fails then, the request
// waits, and to redrive it again queues it. One of an older version gets the default time.
func TestRedrive(t *testing.T) {
	down := errors.New("down")
	q := &brokenQueue{ready: down}
	s, store := newService(t, q)
	failed(t, store, "a")
	if _, err := s.Redrive(t.Context(), a); !errors.Is(err, lifecycle.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	if r, err := store.Get(t.Context(), a); err != nil || r.Status != lifecycle.Failed {
		t.Errorf("%+v, %v", r, err)
	}
	*q = brokenQueue{enqueue: down}
	r, err := s.Redrive(t.Context(), a)
	if err != nil || r.Status != lifecycle.Pending || !r.ExpiresAt.Equal(r.UpdatedAt.Add(time.Hour)) || q.took != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	*q = brokenQueue{}
	again, err := s.Redrive(t.Context(), a)
	if err != nil || again.Sequence != r.Sequence || q.took != 1 {
		t.Errorf("%+v, %v, queued %d times", again, err, q.took)
	}
	// Submitted again while the queue fails, it is not withdrawn.
	*q = brokenQueue{enqueue: down}
	created, err := s.Submit(t.Context(), client, lifecycle.Submission{ID: "a", Route: "r", Fingerprint: "f"})
	if err != nil || !created.Existed || created.Request.Status != lifecycle.Pending {
		t.Errorf("%+v, %v", created, err)
	}
}

// TestRedriveAll: in steps of any size all are redriven once, or forgotten, but for what has ended
// since.
func TestRedriveAll(t *testing.T) {
	for _, limit := range []int{1, 7, 1000} {
		q := new(lockedQueue)
		s, store := newService(t, q)
		var ids []string
		for i := range 300 {
			if limit > 1 || i < 20 {
				ids = append(ids, fmt.Sprintf("r%03d", i))
			}
		}
		failed(t, store, ids...)
		before := time.Now().Add(time.Millisecond)
		for !time.Now().After(before) {
			time.Sleep(time.Millisecond) // until the clock is there
		}
		failed(t, store, "later")
		all := func(do func(q lifecycle.DeadQuery) (lifecycle.DeadDone, error)) (n int) {
			t.Helper()
			for {
				done, err := do(lifecycle.DeadQuery{Route: "r", Before: before, Limit: limit})
				if err != nil || done.Done > limit {
					t.Fatalf("%+v, %v", done, err)
				}
				if n += done.Done; !done.More {
					return n
				}
			}
		}
		redrive := func(q lifecycle.DeadQuery) (lifecycle.DeadDone, error) { return s.RedriveAll(t.Context(), q) }
		if n := all(redrive); n != len(ids) {
			t.Errorf("%d redriven, want %d", n, len(ids))
		}
		if n := all(redrive); n != 0 {
			t.Errorf("%d redriven again", n)
		}
		took := slices.Sorted(slices.Values(q.ids))
		if !slices.Equal(took, ids) {
			t.Errorf("queued are %v", took)
		}
		for _, id := range ids {
			if r, err := store.Get(t.Context(), lifecycle.Named(id)); err != nil || r.Status != lifecycle.Pending || r.Redriven != 1 {
				t.Errorf("%+v, %v", r, err)
			}
			for _, c := range []lifecycle.Change{lifecycle.Start{}, lifecycle.Fail{}} {
				if _, err := store.Apply(t.Context(), lifecycle.Named(id), c); err != nil {
					t.Fatal(err)
				}
			}
		}
		before = time.Now().Add(time.Hour)
		if n := all(func(q lifecycle.DeadQuery) (lifecycle.DeadDone, error) { return s.PurgeAll(t.Context(), q) }); n != len(ids)+1 {
			t.Errorf("%d purged, want %d", n, len(ids)+1)
		}
		if page, err := store.DeadRequests(t.Context(), lifecycle.DeadQuery{Route: "r", Limit: 1}); err != nil || len(page.Requests) != 0 {
			t.Errorf("%+v, %v", page, err)
		}
	}
}

// lockedQueue notes what it takes, from many goroutines.
type lockedQueue struct {
	mu  sync.Mutex
	ids []string
}

func (q *lockedQueue) Ready(context.Context) error { return nil }
func (q *lockedQueue) Discard(lifecycle.Request)   {}

func (q *lockedQueue) Enqueue(_ context.Context, r lifecycle.Request) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ids = append(q.ids, r.ID)
	return nil
}
