package bolt_test

import (
	"context"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/bolt"
)

// TestWatchThenReadMissesNothing: whoever watches a channel and then reads it gets
// every message either from the reading or from a notification, also one that is being
// committed meanwhile.
func TestWatchThenReadMissesNothing(t *testing.T) {
	s, err := bolt.Open(filepath.Join(t.TempDir(), "hark.db"), bolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	var notified sync.Map // channel key → *atomic.Uint64, the newest offset that was notified
	s.Listen(func(channel string, m lifecycle.Message) {
		if top, ok := notified.Load(channel); ok {
			top.(*atomic.Uint64).Store(m.Offset)
		}
	})
	ctx := context.Background()
	for n := range 300 {
		id := "r" + string(rune('a'+n%26)) + time.Duration(n).String()
		created, err := s.Create(ctx, lifecycle.Submission{ID: id, Owner: "o", Route: "r", Timeout: time.Hour, Retention: time.Hour, MaxAttempts: 1})
		if err != nil {
			t.Fatal(err)
		}
		key := created.Request.Channel().Key()
		var starting sync.WaitGroup
		starting.Go(func() {
			if _, err := s.Apply(ctx, lifecycle.Named(id), lifecycle.Start{}); err != nil {
				t.Error(err)
			}
		})
		top := new(atomic.Uint64)
		notified.Store(key, top)
		if err := s.Watch(ctx, key); err != nil {
			t.Fatal(err)
		}
		history, err := s.Read(ctx, key, 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		starting.Wait()
		if history.Top < 2 && top.Load() < 2 {
			t.Fatalf("round %d: the start was neither read (top %d) nor notified (%d)", n, history.Top, top.Load())
		}
		s.Unwatch(key)
		notified.Delete(key)
	}
}
