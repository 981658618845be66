package lifecycle

import (
	"errors"
	"fmt"
	"time"
)

// Usage is what an owner takes of a store.
type Usage struct {
	Open    int64 // requests that have not ended
	Bytes   int64 // of contents and results that are kept
	Waiting int64 // requests that wait for a processor, as far as that is counted
}

// Usage returns what a request counts for as it stands. A batch whose requests are not stored yet
// counts for them, too, so that there is room for them when they are; likewise for the request that
// follows, until the batch ends. What was stored by a version
// that did not count counts for nothing.
func (r *Request) Usage() Usage {
	if !r.Counted {
		return Usage{}
	}
	u := Usage{Bytes: r.Input.Size + r.AnswersSize}
	if r.Result != nil {
		u.Bytes += r.Result.Size
	}
	if r.Status.Terminal() {
		return u
	}
	u.Open = 1
	if r.CountedWaiting && r.Status == Pending {
		u.Waiting = 1
	}
	if r.Batch != nil && r.Batch.Then != "" {
		u.Open++
	}
	if r.Batch != nil && r.Status == Pending {
		u.Open += int64(r.Batch.Total)
		u.Bytes += r.Input.Size
		u.Waiting *= int64(r.Batch.Total)
	}
	return u
}

// Minus returns what is more in u than in v.
func (u Usage) Minus(v Usage) Usage {
	return Usage{u.Open - v.Open, u.Bytes - v.Bytes, u.Waiting - v.Waiting}
}

// Plus returns both together.
func (u Usage) Plus(v Usage) Usage {
	return Usage{u.Open + v.Open, u.Bytes + v.Bytes, u.Waiting + v.Waiting}
}

// Quota is what an owner may take of a store when something is submitted. What is zero has no
// limit. Waiting requests are counted of what was submitted while they have one.
type Quota Usage

// Admit returns a [*QuotaError] unless an owner who takes so much may take more.
func (q Quota) Admit(used, more Usage) error {
	for _, n := range []struct {
		policy      string
		most, after int64
	}{
		{PolicyOpen, q.Open, used.Open + more.Open},
		{PolicyStored, q.Bytes, used.Bytes + more.Bytes},
		{PolicyWaiting, q.Waiting, used.Waiting + more.Waiting},
	} {
		if n.most > 0 && n.after > n.most {
			return &QuotaError{Policy: n.policy, Most: n.most, Wanted: n.after}
		}
	}
	return nil
}

// Room is what a submission needs of the routes on which its work is to wait.
type Room struct {
	Most int64 // requests that may wait on a route with it; 0: any number
	// Of a batch, how many requests it brings to each route; nil: one, to the route of the
	// submission.
	Routes map[string]int64
}

// Admit returns a [*FullError] unless every route has room. waiting says how many requests wait on
// one.
func (n Room) Admit(route string, waiting func(route string) int64) error {
	if n.Most <= 0 {
		return nil
	}
	if n.Routes == nil {
		if route == "" {
			return nil
		}
		return n.admit(route, waiting(route)+1)
	}
	for route, more := range n.Routes {
		if err := n.admit(route, waiting(route)+more); err != nil {
			return err
		}
	}
	return nil
}

func (n Room) admit(route string, wanted int64) error {
	if wanted > n.Most {
		return &FullError{Route: route, Most: n.Most, Wanted: wanted}
	}
	return nil
}

// FullError is why a submission was not stored: too many requests wait on a route of it. Nothing
// was changed.
type FullError struct {
	Route string
	Most  int64 // that may wait
	// Wanted is how many would wait with it; 0: the store does not say. If Alone, how many it
	// brings.
	Wanted int64
	Alone  bool // it brings more than may wait, so that there is never room for it
}

func (e *FullError) Error() string {
	return fmt.Sprintf("route %s: more than %d requests would wait", e.Route, e.Most)
}

// The policies of a [Quota].
const (
	PolicyOpen    = "open-requests-per-caller"
	PolicyStored  = "stored-bytes-per-caller"
	PolicyWaiting = "waiting-requests-per-caller"
)

// QuotaError is why a submission was not stored: its owner would take more than it may. Nothing was
// changed.
type QuotaError struct {
	Owner        string // as [Service.Submit] says
	Policy       string
	Most, Wanted int64 // what is allowed, and what it would be; requests or bytes
	// It is more than what is allowed, whatever else there is, so that there is never room for it;
	// then Wanted is what it takes.
	Alone bool
}

func (e *QuotaError) Error() string {
	return fmt.Sprintf("%s: %d would be more than %d", e.Policy, e.Wanted, e.Most)
}

// alone returns why a submission that was refused for want of room would be refused if nothing else
// took any: then waiting does not help. Else it returns refused.
func alone(sub *Submission, refused error) error {
	_, isFull := errors.AsType[*FullError](refused)
	_, isQuota := errors.AsType[*QuotaError](refused)
	if !isFull && !isQuota {
		return refused
	}
	r := NewRequest(sub, time.Now()).Request
	err := sub.Quota.Admit(Usage{}, r.Usage())
	if err == nil {
		err = sub.Room.Admit(sub.Route, func(string) int64 { return 0 })
	}
	if err == nil {
		return refused
	}
	if full, ok := errors.AsType[*FullError](err); ok {
		full.Alone = true
	}
	if quota, ok := errors.AsType[*QuotaError](err); ok {
		quota.Alone = true
	}
	return err
}
