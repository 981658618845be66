package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// tend goes on with batches that others have left: whoever was storing the requests of one may have died, and so may whoever knew that
// one of them had ended. Those that are found at start have been left, unless there are other nodes. Any other one is looked at when it has
// been there for an age, and then each time that has doubled, up to 8 ages; that reads all of its requests that have not ended.
func (g *gateway) tend(ctx context.Context, age time.Duration) {
	type known struct {
		next  time.Time // by this node's clock, monotonic
		after time.Duration
	}
	seen := make(map[string]known)
	tick := time.NewTicker(max(age/4, 100*time.Millisecond))
	defer tick.Stop()
	for first := !g.shared; ; first = false {
		still := make(map[string]known, len(seen))
		for r, err := range g.store.Batches(ctx) {
			if err != nil {
				if ctx.Err() == nil {
					g.log.Warn("batches could not be gone through", slog.Any("error", err))
				}
				for id, k := range seen { // what was not looked at is remembered
					if _, ok := still[id]; !ok {
						still[id] = k
					}
				}
				break
			}
			k, ok := seen[r.ID]
			if !ok && !first {
				k = known{time.Now().Add(age), age}
			}
			if !time.Now().Before(k.next) {
				k.after = min(max(2*k.after, age), 8*age)
				g.tendTo(ctx, r)
				k.next = time.Now().Add(k.after)
			}
			still[r.ID] = k
		}
		seen = still
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (g *gateway) tendTo(ctx context.Context, batch lifecycle.Request) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err := g.service.Tend(ctx, batch)
	if _, changed := errors.AsType[*lifecycle.TransitionError](err); err == nil || changed || errors.Is(err, lifecycle.ErrNotFound) || ctx.Err() != nil {
		return
	}
	g.log.Warn("batch could not be gone on with", slog.String("request", batch.ID), slog.Any("error", err))
}
