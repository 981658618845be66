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

// stepOf returns the count that a step from was to is belongs to; nil if to none. was is nil when a
// request is stored.
func (s *Steps) stepOf(was, is *Request) *int64 {
	switch {
	case was == nil:
		return &s.Accepted
	case was.Status == is.Status && was.Attempt == is.Attempt:
		return nil
	}
	switch is.Status {
	case Processing:
		return &s.Started
	case Pending:
		if was.Status == Processing {
			return &s.Returned
		}
	case Succeeded:
		return &s.Succeeded
	case Failed:
		return &s.Failed
	case Canceled:
		return &s.Canceled
	case Expired:
		return &s.Expired
	}
	return nil
}

// TrafficSpan is over how long [Traffic] counts.
const TrafficSpan = time.Minute

const trafficSlots = int64(TrafficSpan / time.Second)

// Traffic counts what one process does of each route, over the last minute. The zero value has
// counted nothing. It may be used by many goroutines. What is counted and then not made durable
// stays counted: it is a rate, and no account.
type Traffic struct {
	mu sync.Mutex
	of map[string]*[trafficSlots]trafficSlot
}

// trafficSlot is one second.
type trafficSlot struct {
	second int64 // Unix time
	Steps
}

// Add counts a step from was to is; was is nil for a request that is stored.
func (t *Traffic) Add(was, is *Request) {
	if is.Batch != nil {
		return
	}
	second := is.UpdatedAt.Unix()
	t.mu.Lock()
	defer t.mu.Unlock()
	slots := t.of[is.Route]
	if slots == nil {
		if t.of == nil || len(t.of) >= PaceMost { // of more routes than anybody has
			t.of = make(map[string]*[trafficSlots]trafficSlot)
		}
		slots = new([trafficSlots]trafficSlot)
		t.of[is.Route] = slots
	}
	slot := &slots[uint64(second)%uint64(trafficSlots)]
	if slot.second != second {
		*slot = trafficSlot{second: second}
	}
	if count := slot.stepOf(was, is); count != nil {
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

// Busy is a store that counts what is done with it.
type Busy interface {
	// Traffic returns what this process does.
	Traffic() *Traffic
}
