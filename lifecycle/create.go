package lifecycle

import (
	"maps"
	"time"
)

// What becomes of a submission. Stores ask here, and do what they are told in one step.

// KeyUse is what an idempotency key was used for.
type KeyUse struct {
	Request     Ref    // that was created, or is about to be
	Fingerprint string // of the submission
	// LockedUntil is until when a repeat is told that the first call is in progress, unless there
	// is a Reply.
	LockedUntil time.Time
	Reply       *Reply // nil: none was saved yet
}

// Found is what a store has under the idempotency key and the id of a submission.
type Found struct {
	Key     *KeyUse  // nil: the key was not used, or there is none
	Named   *Request // what Key names; nil: it is not there yet, or was forgotten
	Request *Request // what has the id; nil: nothing has
}

// Match is by what a submission was found to be there.
type Match uint8

// The matches.
const (
	NoMatch  Match = iota // it is to be created, and its key, if it has one, names the new request
	KeyMatch              // its key names a request
	// The same came with this id before; its key, if it has one, is to name that request, too.
	IDMatch
)

// Match says what becomes of a submission: it is created, or answered with what is there, as
// [Store.Create] promises. ErrKeyReused, ErrKeyInProgress or ErrIDTaken if it is neither. A key
// whose request is not there any more, or never came to be while its lock held, is free again.
func (s *Submission) Match(found Found, now time.Time) (Created, Match, error) {
	if k := found.Key; k != nil {
		locked := k.Reply == nil && now.Before(k.LockedUntil)
		switch {
		case found.Named == nil && !locked: // free
		case k.Fingerprint != s.Fingerprint:
			return Created{}, NoMatch, ErrKeyReused
		case found.Named == nil || locked && !s.Join:
			return Created{}, NoMatch, ErrKeyInProgress
		default:
			return Created{Request: *found.Named, Existed: true, Reply: k.Reply, Joined: locked}, KeyMatch, nil
		}
	}
	switch r := found.Request; {
	case r == nil:
		return Created{}, NoMatch, nil
	case r.Owner != s.Owner || r.Fingerprint != s.Fingerprint:
		return Created{}, NoMatch, ErrIDTaken
	default:
		return Created{Request: *r, Existed: true}, IDMatch, nil
	}
}

// NewRequest returns the request that a submission becomes at a time, with its first event.
func NewRequest(sub *Submission, now time.Time) Effect {
	r := Request{
		ID: sub.ID, Life: sub.Life, Owner: sub.Owner, Route: sub.Route, Topic: sub.Topic, Priority: sub.Priority,
		Counted: true, CountedWaiting: sub.CountWaiting,
		Status: Pending, MaxAttempts: sub.MaxAttempts, RetryDelay: sub.RetryDelay, Timeout: sub.Timeout, Sequence: 1,
		CreatedAt: now, UpdatedAt: now, ExpiresAt: now.Add(sub.Timeout), Retention: sub.Retention,
		Input:   ContentInfo{Type: sub.Content.Type, Size: int64(len(sub.Content.Data))},
		Headers: maps.Clone(sub.Headers), Webhook: sub.Webhook, Fingerprint: sub.Fingerprint, Key: sub.Key,
		Concurrency: sub.Concurrency,
		Batch:       sub.Batch, BatchID: sub.BatchID, BatchLife: sub.BatchLife, Member: sub.Member,
	}
	if sub.Call != nil {
		r.Call = new(*sub.Call)
	}
	if sub.Delay > 0 {
		r.NotBefore = now.Add(sub.Delay)
	}
	return Effect{Request: r, Event: EventAccepted, Changed: true}
}
