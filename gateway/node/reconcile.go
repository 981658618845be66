package node

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// reconcile goes on with batches that others have left: whoever was storing the requests of one may
// have died, and so may whoever knew that one of them had ended. Those that are found at start have
// been left, unless there are other nodes. Any other one is looked at when it has been there for an
// age, and then every second age; that reads all of its requests that have not ended.
func (g *Node) reconcile(ctx context.Context, age time.Duration) {
	// When a batch is looked at next, by this node's clock, monotonic.
	seen := make(map[lifecycle.Ref]time.Time)
	tick := time.NewTicker(max(age/4, 100*time.Millisecond))
	defer tick.Stop()
	for first := !g.Shared; ; first = false {
		still := make(map[lifecycle.Ref]time.Time, len(seen))
		for r, err := range g.batches(ctx, age) {
			if err != nil {
				if ctx.Err() == nil {
					g.log.Warn("batches could not be gone through", slog.Any("error", err))
				}
				for of, next := range seen { // what was not looked at is remembered
					if _, ok := still[of]; !ok {
						still[of] = next
					}
				}
				break
			}
			next, ok := seen[r.Ref()]
			if !ok && !first {
				next = time.Now().Add(age)
			}
			if !time.Now().Before(next) {
				g.reconcileBatch(ctx, r)
				next = time.Now().Add(2 * age)
			}
			still[r.Ref()] = next
		}
		seen = still
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// batches are those that this node looks after. Of many nodes it is one, because each would read
// every batch that has not ended, and as long as it comes back: who has died is followed by another
// one within an age.
func (g *Node) batches(ctx context.Context, age time.Duration) iter.Seq2[lifecycle.Request, error] {
	leader, ok := g.Store.(lifecycle.Leader)
	if !ok {
		return g.Store.Batches(ctx)
	}
	return func(yield func(lifecycle.Request, error) bool) {
		switch lead, err := leader.Lead(ctx, "batches", age); {
		case err != nil:
			yield(lifecycle.Request{}, err)
		case lead:
			g.Store.Batches(ctx)(yield)
		}
	}
}

func (g *Node) reconcileBatch(ctx context.Context, batch lifecycle.Request) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err := g.service.Batches().Reconcile(ctx, batch)
	if _, changed := errors.AsType[*lifecycle.TransitionError](err); err == nil || changed || errors.Is(err, lifecycle.ErrNotFound) || ctx.Err() != nil {
		return
	}
	g.log.Warn("batch could not be gone on with", slog.String("request", batch.ID), slog.Any("error", err))
}
