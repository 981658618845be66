package node

import (
	"testing"
	"time"

	"github.com/hark-push/hark/backends"
	"github.com/hark-push/hark/lifecycle"
)

// counts returns what is counted for each event, by what it is.
func counts() map[string]func() {
	calls, steps := newMeter(), backends.NewMeter([]string{"images"})
	return map[string]func(){
		"call": func() { calls.Called("GET", "/v1/requests/:id", "client", 200, time.Millisecond) },
		"step": func() {
			steps.Stepped(lifecycle.Step{Route: "images", To: lifecycle.Succeeded, Ended: true, Waited: -1, Took: time.Second})
		},
		"store":   func() { steps.Stored(lifecycle.OpApply, time.Millisecond, false) },
		"queue":   func() { steps.Queued(time.Millisecond, false) },
		"problem": func() { calls.Failed("not-found") },
		"limit":   func() { calls.Limited("calls-per-caller") },
		"lag":     func() { calls.lag.Observe(time.Millisecond) },
	}
}

// TestCountingAllocatesNothing: what is counted for each call, step and event costs no memory.
func TestCountingAllocatesNothing(t *testing.T) {
	for what, count := range counts() {
		count() // a resource has its series with its first call
		if allocs := testing.AllocsPerRun(1000, count); allocs != 0 {
			t.Errorf("%s: %v allocations", what, allocs)
		}
	}
}

func BenchmarkCounting(b *testing.B) {
	for what, count := range counts() {
		b.Run(what, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					count()
				}
			})
		})
	}
}
