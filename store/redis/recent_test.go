package redis_test

import (
	"errors"
	"testing"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/servertest"
	"github.com/hark-push/hark/store/redis"
)

// TestReportsOfOthers: a process that knows a request from its own reports learns of what others
// did to it.
func TestReportsOfOthers(t *testing.T) {
	server := servertest.Redis(t)
	mine, other := open(t, server.URL, redis.Options{}), open(t, server.URL, redis.Options{})
	create(t, mine, "r")
	apply(t, mine, "r", lifecycle.Start{})
	was, err := mine.Apply(t.Context(), lifecycle.Named("r"), lifecycle.Progress{Attempt: 1})
	if err != nil {
		t.Fatal(err)
	}
	apply(t, other, "r", lifecycle.Cancel{})
	r, err := mine.Apply(t.Context(), lifecycle.Named("r"), lifecycle.Progress{Attempt: 1})
	if err != nil || !r.CancelRequested || r.Sequence != was.Sequence+1 || r.UpdatedAt.Before(was.UpdatedAt) {
		t.Fatalf("progress after a cancellation: %+v, %v", r, err)
	}
	apply(t, other, "r", lifecycle.Release{Attempt: 1})

	create(t, mine, "s")
	apply(t, mine, "s", lifecycle.Start{})
	apply(t, other, "s", lifecycle.Start{Redelivered: true})
	var refusal *lifecycle.TransitionError
	if _, err := mine.Apply(t.Context(), lifecycle.Named("s"), lifecycle.Succeed{Attempt: 1}); !errors.As(err, &refusal) || refusal.Reason != lifecycle.ReasonStale || refusal.Current != 2 {
		t.Errorf("report of an attempt that was superseded: %v", err)
	}
	apply(t, mine, "s", lifecycle.Progress{Attempt: 2}) // what mine knew would have refused it
	apply(t, other, "s", lifecycle.Succeed{Attempt: 2})
	if _, err := mine.Apply(t.Context(), lifecycle.Named("s"), lifecycle.Progress{Attempt: 2}); !errors.As(err, &refusal) || refusal.Reason != lifecycle.ReasonEnded {
		t.Errorf("report after the end: %v", err)
	}
	if err := other.Delete(t.Context(), lifecycle.Named("s")); err != nil {
		t.Fatal(err)
	}
	if _, err := mine.Apply(t.Context(), lifecycle.Named("s"), lifecycle.Progress{Attempt: 2}); !errors.Is(err, lifecycle.ErrNotFound) {
		t.Errorf("report of a request that is forgotten: %v", err)
	}
}

// TestRepeatedReport: a report of what is known takes one script.
func TestRepeatedReport(t *testing.T) {
	server := servertest.Redis(t)
	s := open(t, server.URL, redis.Options{})
	create(t, s, "r")
	apply(t, s, "r", lifecycle.Start{})
	apply(t, s, "r", lifecycle.Progress{})
	if scripts, _ := executed(t, server, func() {
		for range 10 {
			apply(t, s, "r", lifecycle.Progress{})
		}
	}); scripts != 10 {
		t.Errorf("%d scripts for 10 reports", scripts)
	}
}
