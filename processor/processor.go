package processor

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hark-push/hark/broker"
	"github.com/hark-push/hark/lifecycle"
)

// Lifecycle is where a processor starts attempts and reports on them;
// [*lifecycle.Service] is one. Both methods may be called by many goroutines at
// once and must respect the end of ctx.
type Lifecycle interface {
	// Start begins an attempt and returns what it works on. A
	// [*lifecycle.TransitionError] or lifecycle.ErrNotFound means that this
	// work needs nobody any more, or, with ReasonAlive, that somebody is at it.
	Start(ctx context.Context, of lifecycle.Ref, c lifecycle.Start) (lifecycle.Request, lifecycle.Content, error)
	// Report makes a change: Progress, Succeed, Fail, Release or Ask. Repeating a
	// report whose outcome is unknown is safe.
	Report(ctx context.Context, of lifecycle.Ref, c lifecycle.Change) (lifecycle.Request, error)
}

// Options of a [Processor]. The zero value works.
type Options struct {
	// Concurrency is how many handlers run at a time, over all routes.
	// Default 8. Routes that must not wait for each other get processors of
	// their own.
	Concurrency int
	// Drain is how long running handlers may go on after the context of Run has
	// ended. Default 20 seconds; negative: not at all.
	Drain time.Duration
	// Grace is how long a handler may take to return once its context has ended
	// because the drain time was over. Default 5 seconds. A handler that takes
	// longer is left behind: its goroutine goes on, but its work goes back and
	// whatever it reports is refused.
	Grace time.Duration
	// Retry says, by route, how long to wait after an attempt that failed. What a handler says by
	// [RetryAfter] goes before it, and so does the delay that a request asks for itself. What no
	// policy is for waits as the [Lifecycle] has it: [lifecycle.Limits] for all routes.
	Retry map[string]RetryPolicy
	// ProgressInterval is the least time between two progress reports of one
	// attempt that do not change the step, see [Job.Progress]. Default 100
	// milliseconds.
	ProgressInterval time.Duration
	// Logger gets what an operator should know: outages, panics, handlers that
	// had to be left behind. Default: discard.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	o.Concurrency = max(cmp.Or(o.Concurrency, 8), 1)
	o.Drain = max(cmp.Or(o.Drain, 20*time.Second), 0)
	o.Grace = cmp.Or(max(o.Grace, 0), 5*time.Second)
	o.ProgressInterval = cmp.Or(max(o.ProgressInterval, 0), 100*time.Millisecond)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Processor takes work from a broker, runs the route's handler and reports how it
// went. It keeps no state outside [Processor.Run]; any number of processors may
// serve the same routes.
type Processor struct {
	life    Lifecycle
	cancels lifecycle.Cancellations
	broker  broker.Broker
	routes  Routes
	options Options
	log     *slog.Logger

	running                                atomic.Int64
	succeeded, failed, returned, overtaken atomic.Int64
}

// Stats says what a processor does and has done, in attempts.
type Stats struct {
	Concurrency int   // how many may run at a time
	Running     int64 // now
	Succeeded   int64
	Failed      int64 // those that are tried again, too
	Returned    int64 // handed back: at shutdown, by [Snooze], or until a question is answered
	// Attempts that did not count any more when they ended: expired, canceled, superseded, or
	// forgotten.
	Overtaken int64
}

// Stats may be called at any time, by any goroutine.
func (p *Processor) Stats() Stats {
	return Stats{p.options.Concurrency, p.running.Load(), p.succeeded.Load(), p.failed.Load(), p.returned.Load(), p.overtaken.Load()}
}

// count counts an attempt that has ended with a change, or nil.
func (p *Processor) count(end lifecycle.Change) {
	switch c := end.(type) {
	case lifecycle.Succeed:
		p.succeeded.Add(1)
	case lifecycle.Release, lifecycle.Ask:
		p.returned.Add(1)
	case lifecycle.Fail:
		if c.Failure.Code == CodeCanceled {
			p.overtaken.Add(1)
			return
		}
		p.failed.Add(1)
	default:
		p.overtaken.Add(1)
	}
}

// New returns a processor that serves the given routes. cancels tells of
// cancellations as they are asked for; with nil a handler learns of one when it
// next reports progress. It panics if there is no route, a handler is nil, or a
// [RetryPolicy] is of no route or not one.
func New(life Lifecycle, cancels lifecycle.Cancellations, b broker.Broker, routes Routes, o Options) *Processor {
	if len(routes) == 0 {
		panic("processor: no routes")
	}
	for route, h := range routes {
		if h == nil {
			panic("processor: no handler for route " + route)
		}
	}
	o.Retry = maps.Clone(o.Retry)
	for route, policy := range o.Retry {
		if routes[route] == nil {
			panic("processor: a retry policy for route " + route + ", which has no handler")
		}
		o.Retry[route] = policy.withDefaults(route)
	}
	o = o.withDefaults()
	return &Processor{life: life, cancels: cancels, broker: b, routes: maps.Clone(routes), options: o, log: o.Logger}
}

// Run works until ctx ends, then takes no more work, lets the handlers that are
// running finish for [Options.Drain], ends the contexts of those that have not
// with [ErrShutdown], hands their work back, and returns nil once every attempt
// is settled. Any other end is the broker's error, see [broker.Broker].
func (p *Processor) Run(ctx context.Context) error {
	work, kill := context.WithCancelCause(context.WithoutCancel(ctx))
	defer kill(ErrShutdown)
	r := &run{Processor: p, stopping: ctx, work: work, attempts: make(map[lifecycle.Ref]map[*attempt]struct{})}

	if p.cancels != nil {
		stop := p.cancels.OnCancel(r.cancel)
		defer stop()
	}

	// The drain watch ends with Consume, which returns when all attempts have.
	var watch sync.WaitGroup
	consumed := make(chan struct{})
	watch.Go(func() {
		select {
		case <-ctx.Done():
		case <-consumed:
			return
		}
		drain := time.NewTimer(p.options.Drain)
		defer drain.Stop()
		select {
		case <-drain.C:
			kill(ErrShutdown)
		case <-consumed:
		}
	})
	defer watch.Wait()
	defer close(consumed)

	routes := slices.Sorted(maps.Keys(p.routes))
	if err := p.broker.Consume(ctx, routes, p.options.Concurrency, r.deliver); err != nil {
		return fmt.Errorf("processor: %w", err)
	}
	return nil
}
