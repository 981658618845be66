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
	pending, first, second := at(lifecycle.Pending, 0), at(lifecycle.Processing, 1), at(lifecycle.Processing, 2)
	traffic.Add(nil, pending)
	traffic.Add(pending, first)
	traffic.Add(first, first)                      // progress
	traffic.Add(first, second)                     // its processor was lost
	traffic.Add(second, at(lifecycle.Pending, 2))  // to be tried again
	traffic.Add(second, at(lifecycle.Waiting, 2))  // it asks
	traffic.Add(at(lifecycle.Waiting, 2), pending) // it was answered
	traffic.Add(at(lifecycle.Failed, 2), pending)  // it was redriven
	traffic.Add(second, at(lifecycle.Succeeded, 2))
	traffic.Add(second, at(lifecycle.Failed, 2))
	traffic.Add(pending, at(lifecycle.Canceled, 0))
	traffic.Add(pending, at(lifecycle.Expired, 0))
	traffic.Add(nil, &lifecycle.Request{UpdatedAt: now, Batch: new(lifecycle.Batch)})
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
	traffic.Add(nil, at(lifecycle.Pending, 0))
	expect("what comes in the place of what is over", now, map[string]lifecycle.Steps{"r": {Accepted: 1}})
}
