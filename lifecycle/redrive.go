package lifecycle

import (
	"cmp"
	"time"
)

// Redrive lets a request that has failed be worked on once more: failed → pending, as the same
// request in the same life. How often it may fail is counted anew, and its time begins anew.
//
// What it was submitted with and was answered stays, and so does what names its attempts: the next
// one has the next number. A processor that was taken for dead may come back after days, and its
// report of attempt 1 must not be taken for that of somebody who works on it now.
//
// Who has followed it has been told of its end. Whoever comes back with the cursor of that is told
// what has come since. A batch has counted the failure of its member, and keeps its counts.
//
// To redrive a request that was redriven, and was not begun since, changes nothing: the answer to
// the first time may be lost.
type Redrive struct {
	// How long it may take, if it does not say so itself: it was stored by an older version.
	Timeout time.Duration
}

func (Redrive) name() string { return "redrive" }

func (c Redrive) apply(r *Request, now time.Time) (EventType, error) {
	switch {
	case r.Batch != nil: // its members may be redriven
		return "", refuseFor(ReasonBatch, r, c, 0)
	case r.Status == Pending && r.Redriven > 0 && r.Attempt == r.Past:
		return unchanged, nil
	case r.Status != Failed:
		return "", refuseFor(ReasonNotFailed, r, c, 0)
	}
	r.Status = Pending
	r.Redriven++
	r.Past, r.Failures = r.Attempt, 0
	r.Error, r.Result = nil, nil
	r.Step, r.Message, r.Percent = "", "", nil
	r.StartedAt, r.EndedAt, r.NotBefore = time.Time{}, time.Time{}, time.Time{}
	r.ExpiresAt = now.Add(cmp.Or(r.Timeout, c.Timeout))
	return EventRedriven, nil
}
