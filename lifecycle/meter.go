package lifecycle

import (
	"context"
	"errors"
	"time"
)

// Meter is told of what this process does to requests, and how its store and its queue do at that.
// It is called for each of them, by many goroutines at once, also by those that others wait for: it
// must not block, and should not allocate.
type Meter interface {
	StepMeter
	CallMeter
	QueueMeter
}

// CallMeter is told of calls to a store. It is called as a [Meter] is.
type CallMeter interface {
	// Stored is told of each call to the store, and how long it took. failed says that the store
	// did not do what it should; a refusal, or that something is not there, is an answer.
	Stored(o Operation, took time.Duration, failed bool)
}

// QueueMeter is told of the work that is handed to a queue. It is called as a [Meter] is.
type QueueMeter interface {
	// Queued is told of each hand-over of work to the queue.
	Queued(took time.Duration, failed bool)
}

// StepMeter is told of what this process does to requests. It is called as a [Meter] is.
type StepMeter interface {
	// Stepped is told of a step of a request when it is stored, once. Of a step whose outcome this
	// process never got to know nobody is told.
	Stepped(s Step)
}

// Step is what a step of a request says to who counts: where it led to, and how long that took.
type Step struct {
	Route   string // "" of a batch
	At      time.Time
	To      Status
	Created bool // there was no request before
	Began   bool // an attempt has begun, the first one or another
	// An attempt is over, and the request waits again: it is to be tried again, or was handed back.
	Returned bool
	Ended    bool // it has ended with this step
	// It was never accepted, because its work could not be queued; it has ended as canceled.
	Withdrawn bool
	// Of the first start: since the request might have started, see [Submission.Delay], or since it
	// was redriven. Else negative.
	Waited time.Duration
	// Of an end: since the request was submitted. Negative of what has not ended, and of what was
	// redriven, which lay still after its first end for as long as somebody pleased.
	Took time.Duration
}

// StepOf returns what the step from was, nil for none, to is says; false if that is nothing.
func StepOf(was, is *Request) (Step, bool) {
	s := Step{Route: is.Route, At: is.UpdatedAt, To: is.Status, Created: was == nil, Waited: -1, Took: -1}
	if is.Batch != nil {
		s.Route = ""
	}
	if was == nil {
		return s, true
	}
	if was.StartedAt.IsZero() && !is.StartedAt.IsZero() {
		s.Waited = max(is.StartedAt.Sub(later(was.UpdatedAt, was.NotBefore)), 0)
	}
	switch {
	case was.Status == is.Status && was.Attempt == is.Attempt: // progress
	case is.Status == Processing:
		s.Began = true
	case is.Status == Pending:
		s.Returned = was.Status == Processing
	}
	if s.Ended = !was.Status.Terminal() && is.Status.Terminal(); s.Ended {
		s.Withdrawn = is.withdrawn()
		if is.Redriven == 0 {
			s.Took = max(is.EndedAt.Sub(is.CreatedAt), 0)
		}
	}
	return s, s.Began || s.Returned || s.Ended
}

// Operation is a kind of call to a store.
type Operation uint8

// The operations, by the methods of [Store], [Source] and [Housekeeping].
const (
	OpCreate Operation = iota
	OpApply
	OpBegin
	OpGet
	OpContent
	OpList
	OpDelete
	OpReply
	OpHistory
	OpSweep
	Operations // how many there are
)

var operationNames = [Operations]string{"create", "apply", "begin", "get", "content", "list", "delete", "reply", "history", "sweep"}

// String returns the name of an operation, one word.
func (o Operation) String() string { return operationNames[o] }

// StoreFailed reports whether an error says that a store did not do what it should. Whoever
// gave up waiting says nothing of it.
func StoreFailed(err error) bool {
	if _, damaged := errors.AsType[*DamageError](err); damaged {
		return true
	}
	return errors.Is(err, ErrUnavailable) && !errors.Is(err, context.Canceled)
}

// Told tells a meter, nil for none, of a call to a store that began then. A store defers it in what
// it is asked for by its interface, so that nobody stands between it and who calls.
func Told(m CallMeter, o Operation, began time.Time, err *error) {
	if m != nil {
		m.Stored(o, time.Since(began), *err != nil && StoreFailed(*err))
	}
}

// meteredQueue is a queue of which each hand-over is told to a meter.
type meteredQueue struct {
	Queue
	meter QueueMeter
}

// Enqueue implements Queue.
func (m meteredQueue) Enqueue(ctx context.Context, r Request) error {
	began := time.Now()
	err := m.Queue.Enqueue(ctx, r)
	m.meter.Queued(time.Since(began), err != nil && !errors.Is(err, context.Canceled))
	return err
}
