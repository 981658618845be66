package lifecycle_test

import (
	"maps"
	"testing"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// TestTraffic: steps are counted by what they lead to, for a minute, whatever the clock does.
func TestTraffic(t *testing.T) {
	var traffic lifecycle.Traffic
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(status lifecycle.Status, attempt int) *lifecycle.Request {
		return &lifecycle.Request{Route: "r", Status: status, Attempt: attempt, UpdatedAt: now}
	}
	add := func(was, is *lifecycle.Request) {
		if step, ok := lifecycle.StepOf(was, is); ok {
			traffic.Stepped(step)
		}
	}
	pending, first, second := at(lifecycle.Pending, 0), at(lifecycle.Processing, 1), at(lifecycle.Processing, 2)
	add(nil, pending)
	add(pending, first)
	add(first, first)                      // progress
	add(first, second)                     // its processor was lost
	add(second, at(lifecycle.Pending, 2))  // to be tried again
	add(second, at(lifecycle.Waiting, 2))  // it asks
	add(at(lifecycle.Waiting, 2), pending) // it was answered
	add(at(lifecycle.Failed, 2), pending)  // it was redriven
	add(second, at(lifecycle.Succeeded, 2))
	add(second, at(lifecycle.Failed, 2))
	add(pending, at(lifecycle.Canceled, 0))
	add(pending, at(lifecycle.Expired, 0))
	add(nil, &lifecycle.Request{UpdatedAt: now, Batch: new(lifecycle.Batch)})
	want := map[string]lifecycle.Steps{"r": {Accepted: 1, Started: 2, Returned: 1, Succeeded: 1, Failed: 1, Canceled: 1, Expired: 1}}
	expect := func(what string, at time.Time, want map[string]lifecycle.Steps) {
		t.Helper()
		if got := traffic.LastMinute(at); !maps.Equal(got, want) {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
	expect("now", now, want)
	expect("at the end of the minute", now.Add(59*time.Second), want)
	expect("a minute later", now.Add(time.Minute), map[string]lifecycle.Steps{})
	expect("when the clock has stepped back", now.Add(-time.Second), map[string]lifecycle.Steps{})
	now = now.Add(time.Minute)
	add(nil, at(lifecycle.Pending, 0))
	expect("what comes in the place of what is over", now, map[string]lifecycle.Steps{"r": {Accepted: 1}})
}
