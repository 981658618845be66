package lifecycle

import (
	"context"
	"errors"
)

// Batches submits many requests at once over a [Service], as a client of it, and goes on with them
// until all have ended. The service hands it what no queue takes, a batch that is to be begun or
// canceled or has run out of time, and tells it what becomes of its members.
type Batches struct {
	service     *Service
	store       Store
	completions completions
}

func newBatches(s *Service) *Batches {
	return &Batches{service: s, store: s.store, completions: completions{
		store: s.store, waiting: make(map[Ref]*waiting), closing: make(chan struct{}),
	}}
}

// changed tells that a request has ended, or when it will.
func (b *Batches) changed(r Request) {
	if r.BatchID != "" {
		b.completions.add(r)
	}
}

// forgets is changed for a request that has ended and is about to be forgotten: nobody would know
// then how it ended.
func (b *Batches) forgets(ctx context.Context, r Request) error {
	if r.BatchID == "" {
		return nil
	}
	_, err := b.store.Apply(ctx, r.batch(), Count{Ends: []MemberEnd{{int(r.Member), r.Status}}})
	if _, refused := errors.AsType[*TransitionError](err); refused || errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}
