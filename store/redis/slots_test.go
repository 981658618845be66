package redis_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/servertest"
	"github.com/hark-push/hark/store/redis"
)

func limited(id string, limit int) lifecycle.Submission {
	return lifecycle.Submission{
		ID: id, Owner: "alice", Route: "default", MaxAttempts: 1, Timeout: time.Hour, Retention: time.Hour, Fingerprint: id,
		Content: lifecycle.Content{Type: "text/plain", Data: []byte("x")}, Concurrency: lifecycle.Concurrency{Key: "k", Limit: limit},
	}
}

// TestSlotsOverNodes: nodes that store, start and end requests of one key at the same time never
// have more at once than may be, and each request is told to one of them when it is its turn.
func TestSlotsOverNodes(t *testing.T) {
	server := servertest.Redis(t)
	nodes := []*redis.Store{open(t, server.URL, redis.Options{}), open(t, server.URL, redis.Options{}), open(t, server.URL, redis.Options{})}
	const requests, limit = 300, 4
	ready := make(chan lifecycle.Ref, requests)
	for _, s := range nodes {
		defer s.OnSlot(func(of lifecycle.Ref) { ready <- of })()
	}
	var running, most atomic.Int64
	var working sync.WaitGroup
	var left sync.WaitGroup
	left.Add(requests)
	for n := range 12 {
		working.Go(func() {
			s := nodes[n%len(nodes)]
			for of := range ready {
				r, err := s.Apply(t.Context(), of, lifecycle.Start{})
				if err != nil {
					t.Errorf("start of %s: %v", of.ID, err)
					left.Done()
					continue
				}
				now := running.Add(1)
				for high := most.Load(); now > high && !most.CompareAndSwap(high, now); high = most.Load() {
				}
				running.Add(-1) // before the next one may begin
				if _, err := s.Apply(t.Context(), of, lifecycle.Succeed{Attempt: r.Attempt}); err != nil {
					t.Errorf("end of %s: %v", of.ID, err)
				}
				left.Done()
			}
		})
	}
	for n := range 6 {
		working.Go(func() {
			for i := n; i < requests; i += 6 {
				created, err := nodes[i%len(nodes)].Create(t.Context(), limited(fmt.Sprint("r", i), limit))
				if err != nil {
					t.Error(err)
					left.Done()
					continue
				}
				if !created.Request.Parked {
					ready <- created.Request.Ref()
				}
			}
		})
	}
	left.Wait()
	close(ready)
	working.Wait()
	if most.Load() > limit {
		t.Errorf("%d were worked on at once", most.Load())
	}
	if keys := client(t, server).Keys(t.Context(), "hark:*c:*").Val(); len(slotKeys(keys)) != 0 {
		t.Errorf("something stays of slots: %v", keys)
	}
}

// slotKeys are those of keys that slots have.
func slotKeys(keys []string) (found []string) {
	for _, key := range keys {
		if strings.HasPrefix(key, "hark:{p0}:c:") {
			found = append(found, key)
		}
	}
	return found
}

// TestReviewSlots: a slot of a request that was deleted because its record was damaged goes to the
// next one when those that wait are gone through.
func TestReviewSlots(t *testing.T) {
	server := servertest.Redis(t)
	s, admin := open(t, server.URL, redis.Options{}), client(t, server)
	var freed []string
	defer s.OnSlot(func(of lifecycle.Ref) { freed = append(freed, of.ID) })()
	for _, id := range []string{"held", "waits"} {
		if _, err := s.Create(t.Context(), limited(id, 1)); err != nil {
			t.Fatal(err)
		}
	}
	r, err := s.Get(t.Context(), lifecycle.Named("waits"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.ReviewSlots(t.Context(), &r); err != nil || len(freed) != 0 {
		t.Errorf("%v have a slot, %v", freed, err)
	}
	if err := admin.Append(t.Context(), "hark:{p0}:r:held", "damage").Err(); err != nil {
		t.Fatal(err)
	}
	if err := s.ReviewSlots(t.Context(), &r); err != nil || len(freed) != 0 {
		t.Errorf("%v have a slot, %v", freed, err) // it is there, and may run
	}
	if _, err := s.DeleteDamaged(t.Context(), "held"); err != nil {
		t.Fatal(err)
	}
	if err := s.ReviewSlots(t.Context(), &r); err != nil || len(freed) != 1 || freed[0] != "waits" {
		t.Errorf("%v have a slot, %v", freed, err)
	}
	if _, err := s.Apply(t.Context(), lifecycle.Named("waits"), lifecycle.Start{}); err != nil {
		t.Error(err)
	}
	var refusal *lifecycle.TransitionError
	if _, err := s.Create(t.Context(), limited("later", 1)); err != nil {
		t.Error(err)
	}
	if _, err := s.Apply(t.Context(), lifecycle.Named("later"), lifecycle.Start{}); !errors.As(err, &refusal) || refusal.Reason != lifecycle.ReasonSlot {
		t.Errorf("later: %v", err)
	}
}
