package lifecycle

import (
	"errors"
	"fmt"
)

// Errors that a [Store] and the [Service] return, wrapped or as they are; test
// for them with [errors.Is].
var (
	// ErrNotFound: no such request, or it was forgotten, or it belongs to
	// somebody else (which must look the same from outside).
	ErrNotFound = errors.New("request not found")

	// ErrIDTaken: the id of a submission names another request already.
	ErrIDTaken = errors.New("request id is taken by another request")

	// ErrKeyReused: the idempotency key was used with another body before.
	ErrKeyReused = errors.New("idempotency key was used with another request")

	// ErrKeyInProgress: the first call with this idempotency key has not been
	// answered yet.
	ErrKeyInProgress = errors.New("the first request with this idempotency key is still in progress")

	// ErrNotEnded: only a request that has ended can be forgotten.
	ErrNotEnded = errors.New("request has not ended")

	// ErrUnavailable: the store or the queue cannot be reached or cannot take
	// more; nothing was changed and the call may be repeated later.
	ErrUnavailable = errors.New("temporarily unavailable")

	// ErrFull: the store has no space left. It comes with ErrUnavailable.
	ErrFull = errors.New("no space is left")
)

// DamageError is something that was stored and is not any more what it was, by its checksum. It is
// never handed out; nothing was changed, and what else is stored is not concerned.
type DamageError struct {
	ID   string // the request that it is of, "" if it is of none
	What string // "the record", "the content", "the result", …
	// Request is that request, without what is damaged, if Get cannot read it and its record itself
	// can be read; nil: nobody knows whose it is.
	Request *Request
	Err     error
}

func (e *DamageError) Error() string {
	if e.ID == "" {
		return e.What + " is damaged: " + e.Err.Error()
	}
	return "request " + e.ID + ": " + e.What + " is damaged: " + e.Err.Error()
}

func (e *DamageError) Unwrap() error { return e.Err }

// Reason says why the state machine refused a change.
type Reason string

// The reasons of a [TransitionError].
const (
	ReasonStatus Reason = "status" // not from this status
	ReasonEnded  Reason = "ended"  // the request has ended: terminal is terminal
	ReasonStale  Reason = "stale"  // the report comes from a superseded attempt
	ReasonEarly  Reason = "early"  // the request's time has not run out yet
	ReasonBatch  Reason = "batch"  // the request is a batch, which no processor works on
	// A start: the request waits for another message of the queue, or another one began its
	// attempt.
	ReasonMessage Reason = "message"
	// The question was answered already.
	ReasonAnswered Reason = "answered"
	// The answer is to another question than the one that the request asks, or it asks none.
	ReasonQuestion Reason = "question"
	// Somebody took the attempt for dead: it has reported within its lease.
	ReasonAlive Reason = "alive"
	// A redrive of a request that has not failed.
	ReasonNotFailed Reason = "not-failed"
	// A start: as many are worked on as may be at the same time, see [Concurrency].
	ReasonSlot Reason = "slot"
)

// TransitionError is a change that the state machine refused. Nothing was
// changed.
type TransitionError struct {
	ID      string
	Change  string // "start", "progress", …
	From    Status // where the request stands
	Reason  Reason
	Attempt int // the attempt that reported, 0 if it did not say
	Current int // the attempt that counts
}

func (e *TransitionError) Error() string {
	switch e.Reason {
	case ReasonStale:
		return fmt.Sprintf("request %s: %s refused: attempt %d was superseded by attempt %d", e.ID, e.Change, e.Attempt, e.Current)
	case ReasonEnded:
		return fmt.Sprintf("request %s: %s refused: it has ended (%s)", e.ID, e.Change, e.From)
	case ReasonBatch:
		return fmt.Sprintf("request %s: %s refused: it is a batch", e.ID, e.Change)
	case ReasonMessage:
		return fmt.Sprintf("request %s: %s refused: it is %s by another message", e.ID, e.Change, e.From)
	case ReasonAlive:
		return fmt.Sprintf("request %s: %s refused: attempt %d has reported within its lease", e.ID, e.Change, e.Current)
	case ReasonAnswered:
		return fmt.Sprintf("request %s: %s refused: the question was answered already", e.ID, e.Change)
	case ReasonQuestion:
		return fmt.Sprintf("request %s: %s refused: it is not the question that the request asks", e.ID, e.Change)
	case ReasonNotFailed:
		return fmt.Sprintf("request %s: %s refused: it is %s, and only what has failed can be redriven", e.ID, e.Change, e.From)
	case ReasonSlot:
		return fmt.Sprintf("request %s: %s refused: as many as may be are worked on, so it waits for one to end", e.ID, e.Change)
	case ReasonEarly:
		return fmt.Sprintf("request %s: %s refused: its time has not run out", e.ID, e.Change)
	default:
		return fmt.Sprintf("request %s: %s refused: it is %s", e.ID, e.Change, e.From)
	}
}
