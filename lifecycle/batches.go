package lifecycle

import (
	"context"
	"errors"
	"slices"
)

// Batches submits many requests at once over a [Service], as a client of it, and goes on with them
// until all have ended. The service hands it what no queue takes, a batch that is to be begun or
// canceled or has run out of time, and tells it what becomes of its members.
type Batches struct {
	service     *Service
	store       Store
	completions completions
	// Who concludes a batch, and whose result is large, see conclude.
	concluding, joining chan struct{}
}

func newBatches(s *Service) *Batches {
	b := &Batches{service: s, store: s.store, concluding: make(chan struct{}, mostConcluding), joining: make(chan struct{}, 1), completions: completions{
		store: s.store, waiting: make(map[Ref]*waiting), closing: make(chan struct{}),
	}}
	b.completions.goOn = b.goOn
	return b
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
	ends := []MemberEnd{{int(r.Member), r.Status}}
	batch, err := b.store.Apply(ctx, r.batch(), Count{Ends: ends})
	if err == nil && leads(&batch, ends) {
		b.completions.inBackground(func() { b.goOn(batch.Ref()) })
	}
	if _, refused := errors.AsType[*TransitionError](err); refused || errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// leads reports whether it leads to something to be done that ends were counted, by [Batches.goOn].
func leads(batch *Request, ends []MemberEnd) bool {
	// Of ends that come after the first failure only further ones do, so that members which are
	// being canceled are not read again for each of them that ends.
	failed := slices.ContainsFunc(ends, func(e MemberEnd) bool { return e.Status == Failed || e.Status == Expired })
	return batch.toConclude() || batch.Status == Processing && batch.stops() && failed
}
