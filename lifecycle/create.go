package lifecycle

import (
	"maps"
	"time"
)

// NewRequest returns the request that a submission becomes at a time, with its first event.
func NewRequest(sub *Submission, now time.Time) Effect {
	r := Request{
		ID: sub.ID, Life: sub.Life, Owner: sub.Owner, Route: sub.Route, Topic: sub.Topic, Priority: sub.Priority,
		Counted: true,
		Status:  Pending, MaxAttempts: sub.MaxAttempts, Sequence: 1,
		CreatedAt: now, UpdatedAt: now, ExpiresAt: now.Add(sub.Timeout), Retention: sub.Retention,
		Input:   ContentInfo{Type: sub.Content.Type, Size: int64(len(sub.Content.Data))},
		Headers: maps.Clone(sub.Headers), Webhook: sub.Webhook, Fingerprint: sub.Fingerprint, Key: sub.Key,
		Batch: sub.Batch, BatchID: sub.BatchID, BatchLife: sub.BatchLife, Member: sub.Member,
	}
	if sub.Call != nil {
		r.Call = new(*sub.Call)
	}
	if sub.Delay > 0 {
		r.NotBefore = now.Add(sub.Delay)
	}
	return Effect{Request: r, Event: EventAccepted, Changed: true}
}
