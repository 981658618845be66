package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/processor"
)

// sweep expires and forgets what is due, as soon as it is due. The store has the
// clock; when this node's is off, it only looks too early or up to a second late.
func (g *gateway) sweep(ctx context.Context) {
	const batch, least, longest = 500, 50 * time.Millisecond, time.Second
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		swept, err := g.store.Sweep(ctx, batch)
		if err != nil && ctx.Err() == nil {
			g.log.Warn("sweep failed", slog.Any("error", err))
		}
		g.service.Swept(swept.Ended)
		wait := longest // a request that is submitted meanwhile may be due earlier
		if swept.Done == batch {
			wait = 0
		} else if until := time.Until(swept.Next); !swept.Next.IsZero() && until > 0 {
			wait = min(max(until, least), longest)
		}
		timer.Reset(wait)
	}
}

// requeue looks for requests that wait in the store and hands them to the queue
// again: a node may have died between storing one and queuing it. A request is queued
// again when it has been pending for an age, and then each time that has doubled, so
// that a long queue is not filled with copies; a copy does no harm, its start is refused.
func (g *gateway) requeue(ctx context.Context, age time.Duration) {
	type waiting struct {
		since    time.Time // by this node's clock, monotonic
		sequence uint64
		next     time.Duration
	}
	const most = 100_000 // requests looked at; the oldest come first
	seen := make(map[lifecycle.Ref]waiting)
	tick := time.NewTicker(max(age/4, 100*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		still := make(map[lifecycle.Ref]waiting, len(seen))
		for r, err := range g.store.Unfinished(ctx) {
			if err != nil {
				if ctx.Err() == nil {
					g.log.Warn("pending requests could not be gone through", slog.Any("error", err))
				}
				for of, w := range seen { // what was not looked at is remembered
					if _, ok := still[of]; !ok {
						still[of] = w
					}
				}
				break
			}
			if r.Status != lifecycle.Pending || r.Batch != nil {
				continue
			}
			w, ok := seen[r.Ref()]
			if !ok || w.sequence != r.Sequence {
				w = waiting{since: time.Now(), sequence: r.Sequence, next: age + max(0, r.NotBefore.Sub(r.UpdatedAt))}
			}
			if time.Since(w.since) >= w.next {
				if err := g.broker.Publish(ctx, processor.BrokerJob(r)); err != nil {
					g.log.Warn("pending request could not be queued again", slog.String("request", r.ID), slog.Any("error", err))
					break
				}
				w.next *= 2
				g.log.Info("pending request was queued again", slog.String("request", r.ID))
			}
			if still[r.Ref()] = w; len(still) >= most {
				break
			}
		}
		seen = still
	}
}
