package processor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hark-push/hark/backoff"
	"github.com/hark-push/hark/broker"
	"github.com/hark-push/hark/lifecycle"
)

// callTimeout bounds one call of the lifecycle, so that a store that hangs is an
// outage like one that is down.
const callTimeout = 5 * time.Second

// run is one [Processor.Run]: the attempts that are under way.
type run struct {
	*Processor
	stopping context.Context // ends when no more work may be taken
	work     context.Context // ends with ErrShutdown when the drain time is over
	outages  atomic.Int32    // starts that failed in a row

	mu sync.Mutex
	// Two of one request while a superseded one ends.
	attempts map[lifecycle.Ref]map[*attempt]struct{}
}

// cancel ends the attempts at a request whose cancellation was asked for.
func (r *run) cancel(of lifecycle.Ref) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for a := range r.attempts[of] {
		a.end(ErrCanceled)
	}
}

// enter makes a known to cancel. This happens before the attempt starts, so that no
// cancellation falls in between.
func (r *run) enter(a *attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.attempts[a.of] == nil {
		r.attempts[a.of] = make(map[*attempt]struct{})
	}
	r.attempts[a.of][a] = struct{}{}
}

func (r *run) leave(a *attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.attempts[a.of], a)
	if len(r.attempts[a.of]) == 0 {
		delete(r.attempts, a.of)
	}
}

// begin takes over what the start of a returned, and ends every attempt at the same request in this
// process that a younger one has superseded: the older ones, or a itself, since the answers to two
// starts may come in either order. An attempt whose answer has not come yet may be the younger one;
// it is judged when it begins.
func (r *run) begin(a *attempt, request lifecycle.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a.begin(request)
	for other := range r.attempts[a.of] {
		switch number := other.number.Load(); {
		case number == 0:
		case number < a.number.Load():
			other.end(ErrSuperseded)
		case number > a.number.Load():
			a.end(ErrSuperseded)
		}
	}
}

// deliver is the whole life of one delivery; the broker runs it in a goroutine of
// its own and waits for it.
func (r *run) deliver(d broker.Delivery) {
	job := d.Job()
	if r.stopping.Err() != nil {
		r.giveBack(d)
		return
	}
	handler, ok := r.routes[job.Route]
	if !ok {
		r.log.Error("delivery of a route that was not asked for", slog.String("request", job.ID), slog.String("route", job.Route))
		r.pause()
		r.giveBack(d)
		return
	}

	a := newAttempt(r, refOf(job))
	r.enter(a)
	defer r.leave(a)
	defer a.end(ErrEnded)

	request, content, err := r.start(d)
	switch {
	case err == nil:
		r.outages.Store(0)
	case alive(err): // whoever gets it next looks again
		r.outages.Store(0)
		_ = backoff.Wait(r.stopping, alivePause)
		r.giveBack(d)
		return
	case needless(err):
		r.outages.Store(0)
		r.ack(d)
		return
	default:
		r.log.Warn("attempt could not be started", slog.String("request", job.ID), slog.Any("error", err))
		r.pause()
		r.giveBack(d)
		return
	}

	r.begin(a, request)
	if a.process(handler, &request, newJob(request, content)) {
		r.ack(d)
	} else {
		r.giveBack(d)
	}
}

func (r *run) start(d broker.Delivery) (lifecycle.Request, lifecycle.Content, error) {
	ctx, cancel := context.WithTimeout(r.work, callTimeout)
	defer cancel()
	job := d.Job()
	return r.life.Start(ctx, refOf(job), lifecycle.Start{
		Route: job.Route, Message: job.Message, Sequence: job.Sequence, Redelivered: d.Redelivered(),
	})
}

// report makes one report. ctx bounds it, and so does callTimeout; an end that
// says nothing about the request is told as lifecycle.ErrUnavailable.
func (r *run) report(ctx context.Context, of lifecycle.Ref, c lifecycle.Change) (lifecycle.Request, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	request, err := r.life.Report(ctx, of, c)
	if err != nil && ctx.Err() != nil && !needless(err) && !errors.Is(err, lifecycle.ErrUnavailable) {
		err = fmt.Errorf("%w: %w", lifecycle.ErrUnavailable, err)
	}
	return request, err
}

// pause waits before a delivery goes back during an outage, longer the longer it
// lasts: the broker hands it out again at once. The slot that it holds meanwhile
// keeps the pressure off.
func (r *run) pause() {
	_ = backoff.Wait(r.stopping, again(int(r.outages.Add(1))))
}

func (r *run) ack(d broker.Delivery) {
	if err := d.Ack(); err != nil {
		r.log.Warn("delivery could not be acknowledged", slog.String("request", d.Job().ID), slog.Any("error", err))
	}
}

func (r *run) giveBack(d broker.Delivery) {
	if err := d.Return(); err != nil {
		r.log.Warn("delivery could not be returned", slog.String("request", d.Job().ID), slog.Any("error", err))
	}
}

// alivePause is how long a delivery stays here whose attempt goes on elsewhere, under a lease.
const alivePause = 2 * time.Second

// alive reports whether err says that the attempt which a delivery is of goes on elsewhere.
func alive(err error) bool {
	refused, ok := errors.AsType[*lifecycle.TransitionError](err)
	return ok && refused.Reason == lifecycle.ReasonAlive
}

// needless reports whether err says that a request needs this processor no more.
func needless(err error) bool {
	_, refused := errors.AsType[*lifecycle.TransitionError](err)
	return refused || errors.Is(err, lifecycle.ErrNotFound)
}

// again is the pause after the n-th failure of a call in a row.
func again(n int) time.Duration { return backoff.Exponential(n, 100*time.Millisecond, 5*time.Second) }
