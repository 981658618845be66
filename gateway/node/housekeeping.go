package node

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/hark-push/hark/broker"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/processor"
)

// sweep expires and forgets what is due, as soon as it is due. The store has the
// clock; when this node's is off, it only looks too early or up to a second late.
func (g *Node) sweep(ctx context.Context) {
	const batch, least, longest = 500, 50 * time.Millisecond, time.Second
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		swept, err := g.Store.Sweep(ctx, batch)
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
// that a long queue is not filled with copies; a copy does no harm, its start is refused. Work that
// the store itself queues is there already, unless it was put aside: then it is queued once more.
func (g *Node) requeue(ctx context.Context, age time.Duration) {
	type waiting struct {
		since    time.Time // by this node's clock, monotonic
		sequence uint64
		next     time.Duration
	}
	const most = 100_000 // requests looked at; the oldest come first
	pruned := make(map[string]time.Time)
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
		again := 0
		// Pending requests that may start, by route, if all were gone through.
		due, all := make(map[string]int), true
		parked := make(map[string]lifecycle.Request) // one of each lane
		for r, err := range g.Store.Unfinished(ctx) {
			if err != nil {
				all = false
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
			if r.Parked { // until it has a slot, which it is told of
				parked[r.Lane()] = r
				continue
			}
			if !r.NotBefore.After(g.Now()) {
				due[r.Route]++
			}
			w, ok := seen[r.Ref()]
			if !ok || w.sequence != r.Sequence {
				w = waiting{since: time.Now(), sequence: r.Sequence, next: age + max(0, r.NotBefore.Sub(g.Now()))}
			}
			if time.Since(w.since) >= w.next {
				done, err := g.queueAgain(ctx, r)
				if err != nil {
					g.log.Warn("pending request could not be queued again", slog.String("request", r.ID), slog.Any("error", err))
					all = false
					break
				}
				w.next *= 2
				if done {
					again++
					g.log.Debug("pending request was queued again", slog.String("request", r.ID))
				}
			}
			if still[r.Ref()] = w; len(still) >= most {
				all = false
				break
			}
		}
		g.reviewSlots(ctx, parked)
		if again > 0 {
			g.log.Info("pending requests were queued again", slog.Int("requests", again))
		}
		if seen = still; all && g.Rabbit != nil {
			g.prune(ctx, due, pruned)
		}
	}
}

// queueAgain hands a request to the queue. It reports false if the queue is known to have it.
func (g *Node) queueAgain(ctx context.Context, r lifecycle.Request) (bool, error) {
	if g.Work != nil {
		return g.Work.Ensure(ctx, processor.BrokerJob(r))
	}
	return true, g.Broker.Publish(ctx, processor.BrokerJob(r))
}

// reviewSlots looks after the slots that requests wait for, given one of each lane.
func (g *Node) reviewSlots(ctx context.Context, parked map[string]lifecycle.Request) {
	store, ok := g.Store.(interface {
		ReviewSlots(ctx context.Context, r *lifecycle.Request) error
	})
	if !ok {
		return
	}
	for _, r := range parked {
		if err := store.ReviewSlots(ctx, &r); err != nil {
			if ctx.Err() == nil {
				g.log.Warn("slots could not be gone through", slog.Any("error", err))
			}
			return
		}
	}
}

// prune takes jobs of requests that have ended, or wait for another message, out of queues that
// nobody consumes: whoever does would notice that their start is refused. Every job of such a queue
// has to be looked at, so it is done when a good part of them is needless, and now and then. due is
// how many requests of each route may start, pruned when a queue was last gone through.
func (g *Node) prune(ctx context.Context, due map[string]int, pruned map[string]time.Time) {
	const part, often = 10, 10 * time.Minute
	for _, route := range g.config.Routes {
		if g.Rabbit.Foreign(route) { // whose queue is not to be gone through
			continue
		}
		jobs, consumers, err := g.Rabbit.Waiting(route)
		if err != nil || consumers > 0 {
			continue
		}
		needless := jobs - due[route]
		if needless <= 0 || needless < jobs/part && time.Since(pruned[route]) < often {
			continue
		}
		pruned[route] = time.Now()
		seen := make(map[broker.Job]bool)
		n, err := g.Rabbit.Prune(ctx, route, func(ctx context.Context, all []broker.Job) ([]bool, error) { return g.needed(ctx, all, seen) })
		if n > 0 {
			g.log.Info("jobs that nobody needs were taken out of a queue", slog.String("route", route), slog.Int("jobs", n))
		}
		if err != nil && ctx.Err() == nil {
			g.log.Warn("queue could not be gone through", slog.String("route", route), slog.Any("error", err))
		}
	}
}

// needed reports for each job whether its request waits for it, or runs by it. Of several for one
// wait the first is enough.
func (g *Node) needed(ctx context.Context, jobs []broker.Job, seen map[broker.Job]bool) ([]bool, error) {
	needed := make([]bool, len(jobs))
	for i, j := range jobs {
		r, err := g.Store.Get(ctx, lifecycle.Ref{ID: j.ID, Life: j.Life})
		switch {
		case errors.Is(err, lifecycle.ErrNotFound):
			continue
		case err != nil:
			return nil, err
		}
		wait := broker.Job{ID: j.ID, Life: r.Life, Sequence: r.Sequence}
		switch r.Status {
		case lifecycle.Pending:
			needed[i] = (j.Sequence == 0 || j.Sequence >= r.Sequence) && j.Route == r.Route && !seen[wait]
			seen[wait] = seen[wait] || needed[i]
		case lifecycle.Processing:
			needed[i] = j.Message == r.StartedBy
		}
	}
	return needed, nil
}
