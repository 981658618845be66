package lifecycle

import (
	"sync"
	"time"
)

// Steps counts steps of requests of one route.
type Steps struct {
	Accepted int64 `json:"accepted"` // submissions that were stored, those of a batch included
	Started  int64 `json:"started"`  // attempts that began
	// Returned are attempts after which the request waits again: failed ones that are tried again,
	// and what was handed back.
	Returned  int64 `json:"returned"`
	Succeeded int64 `json:"succeeded"`
	Failed    int64 `json:"failed"` // for good
	Canceled  int64 `json:"canceled"`
	Expired   int64 `json:"expired"`
}

// Plus returns both together.
func (s Steps) Plus(o Steps) Steps {
	return Steps{
		s.Accepted + o.Accepted, s.Started + o.Started, s.Returned + o.Returned,
		s.Succeeded + o.Succeeded, s.Failed + o.Failed, s.Canceled + o.Canceled, s.Expired + o.Expired,
	}
}

// of returns the count that a step belongs to; nil if to none.
func (s *Steps) of(step Step) *int64 {
	switch {
	case step.Created:
		return &s.Accepted
	case step.Began:
		return &s.Started
	case step.Returned:
		return &s.Returned
	case !step.Ended:
		return nil
	}
	switch step.To {
	case Succeeded:
		return &s.Succeeded
	case Failed:
		return &s.Failed
	case Canceled:
		return &s.Canceled
	case Expired:
		return &s.Expired
	default:
		return nil
	}
}

// TrafficSpan is over how long [Traffic] counts.
const TrafficSpan = time.Minute

const trafficSlots = int64(TrafficSpan / time.Second)

// Traffic is a [StepMeter] that counts what one process does of each route, over the last minute.
// The zero value has counted nothing. It may be used by many goroutines.
type Traffic struct {
	mu sync.Mutex
	of map[string]*[trafficSlots]trafficSlot
}

// trafficSlot is one second.
type trafficSlot struct {
	second int64 // Unix time
	Steps
}

// Stepped implements [StepMeter]. Batches are not counted.
func (t *Traffic) Stepped(step Step) {
	if step.Route == "" {
		return
	}
	second := step.At.Unix()
	t.mu.Lock()
	defer t.mu.Unlock()
	slots := t.of[step.Route]
	if slots == nil {
		if t.of == nil || len(t.of) >= PaceMost { // of more routes than anybody has
			t.of = make(map[string]*[trafficSlots]trafficSlot)
		}
		slots = new([trafficSlots]trafficSlot)
		t.of[step.Route] = slots
	}
	slot := &slots[uint64(second)%uint64(trafficSlots)]
	if slot.second != second {
		*slot = trafficSlot{second: second}
	}
	if count := slot.of(step); count != nil {
		*count++
	}
}

// LastMinute returns what was counted in the minute before now, by route. A route of which nothing
// was is left out.
func (t *Traffic) LastMinute(now time.Time) map[string]Steps {
	to := now.Unix()
	all := make(map[string]Steps)
	t.mu.Lock()
	defer t.mu.Unlock()
	for route, slots := range t.of {
		var sum Steps
		for i := range slots {
			// A clock that has stepped back leaves seconds that are to come.
			if s := &slots[i]; s.second > to-trafficSlots && s.second <= to {
				sum = sum.Plus(s.Steps)
			}
		}
		if sum != (Steps{}) {
			all[route] = sum
		}
	}
	return all
}
