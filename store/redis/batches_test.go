package redis_test

import (
	"testing"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/servertest"
	"github.com/hark-push/hark/store/redis"
)

// TestNotesOfBatches: a batch is noted until it ends, and no longer.
func TestNotesOfBatches(t *testing.T) {
	server := servertest.Redis(t)
	admin := client(t, server)
	s := open(t, server.URL, redis.Options{})
	for _, id := range []string{"ended", "open"} {
		sub := submission(id)
		sub.Batch = &lifecycle.Batch{Total: 1}
		if _, err := s.Create(t.Context(), sub); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Apply(t.Context(), lifecycle.Named("ended"), lifecycle.Cancel{Withdrawn: true}); err != nil {
		t.Fatal(err)
	}
	if notes := admin.ZRange(t.Context(), "hark:{p0}:batches", 0, -1).Val(); len(notes) != 1 || notes[0] != "open" {
		t.Errorf("noted are %v", notes)
	}
}

// TestLead: what one process does no other does, until it stops asking.
func TestLead(t *testing.T) {
	server := servertest.Redis(t)
	a, b := open(t, server.URL, redis.Options{Partitions: 4}), open(t, server.URL, redis.Options{})
	lead := func(s *redis.Store, d time.Duration) bool {
		t.Helper()
		is, err := s.Lead(t.Context(), "batches", d)
		if err != nil {
			t.Fatal(err)
		}
		return is
	}
	if !lead(a, time.Minute) || lead(b, time.Minute) || !lead(a, time.Minute) {
		t.Error("two lead, or none")
	}
	if !lead(a, 20*time.Millisecond) {
		t.Error("who leads does not go on")
	}
	for deadline := time.Now().Add(3 * time.Minute); !lead(b, time.Minute); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody follows one who has stopped")
		}
	}
	if lead(a, time.Minute) {
		t.Error("who came back leads too")
	}
}
