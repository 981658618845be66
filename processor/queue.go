package processor

import (
	"context"

	"github.com/hark-push/hark/broker"
	"github.com/hark-push/hark/lifecycle"
)

// Queue is a broker as a [lifecycle.Service] hands work to it, for processors that
// consume from the same broker.
func Queue(b broker.Broker) lifecycle.Queue {
	if q, ok := b.(interface{ QueuedByStore() bool }); ok && q.QueuedByStore() {
		return stored{}
	}
	return queue{b}
}

// stored is the queue of a broker that has its work from the store: what is stored is queued.
type stored struct{}

func (stored) Ready(context.Context) error                      { return nil }
func (stored) Enqueue(context.Context, lifecycle.Request) error { return nil }
func (stored) Discard(lifecycle.Request)                        {}

type queue struct{ broker broker.Broker }

func (q queue) Ready(ctx context.Context) error {
	if b, ok := q.broker.(interface{ Ready(context.Context) error }); ok {
		return b.Ready(ctx)
	}
	return nil
}

func (q queue) Enqueue(ctx context.Context, r lifecycle.Request) error {
	return q.broker.Publish(ctx, BrokerJob(r))
}

func (q queue) Discard(r lifecycle.Request) { q.broker.Discard(jobOf(&r)) }

// BrokerJob returns the note by which a broker carries a request: a new message, or, for one that
// is being processed, that which began its attempt, as if it came back.
func BrokerJob(r lifecycle.Request) broker.Job {
	j := jobOf(&r)
	if j.Message = r.StartedBy; r.Status == lifecycle.Pending {
		j.Message = broker.NewMessage()
	}
	return j
}

func jobOf(r *lifecycle.Request) broker.Job {
	return broker.Job{
		ID: r.ID, Life: r.Life, Owner: r.Owner,
		Route: r.Route, Priority: r.Priority, NotBefore: r.NotBefore, Sequence: r.Sequence,
	}
}

// refOf names the request that a job is of.
func refOf(j broker.Job) lifecycle.Ref { return lifecycle.Ref{ID: j.ID, Life: j.Life} }
