package processor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// attempt is one attempt at a request, from before its start until it is settled.
type attempt struct {
	run    *run
	of     lifecycle.Ref
	number atomic.Int64 // 0 until it has started

	ctx context.Context // the handler's
	end context.CancelCauseFunc

	mu       sync.Mutex
	deadline time.Time   // by the local clock; zero if there is none
	alarm    *time.Timer // ends ctx at the deadline
}

func newAttempt(r *run, of lifecycle.Ref) *attempt {
	a := &attempt{run: r, of: of}
	ctx, end := context.WithCancelCause(r.work)
	a.ctx = attemptContext{ctx, a}
	a.end = end
	return a
}

// attemptContext has a deadline that can be moved.
type attemptContext struct {
	context.Context
	attempt *attempt
}

func (c attemptContext) Deadline() (time.Time, bool) {
	c.attempt.mu.Lock()
	defer c.attempt.mu.Unlock()
	return c.attempt.deadline, !c.attempt.deadline.IsZero()
}

// begin takes over what the start returned; run.begin calls it.
func (a *attempt) begin(r lifecycle.Request) {
	a.number.Store(int64(r.Attempt))
	a.observe(r)
}

// observe takes over what the request says after a report.
func (a *attempt) observe(r lifecycle.Request) {
	if r.CancelRequested {
		a.end(ErrCanceled)
	}
	if r.ExpiresAt.IsZero() {
		return
	}
	// The store's clock rules, so its two times are compared with each other.
	left := r.ExpiresAt.Sub(r.UpdatedAt)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.deadline = time.Now().Add(left)
	if a.alarm == nil {
		a.alarm = time.AfterFunc(left, func() { a.end(context.DeadlineExceeded) })
	} else {
		a.alarm.Reset(left)
	}
}

// process runs the handler and reports how it ended. It returns true if the
// delivery is done with, false if it has to go back. request is as it was at the start.
func (a *attempt) process(h Handler, request *lifecycle.Request, job *Job) (done bool) {
	defer a.silence()
	a.run.running.Add(1)
	defer a.run.running.Add(-1)
	progress := newProgress(a.ctx, a.run.options.ProgressInterval, a.progress)
	job.send = progress.report
	job.Deadline, _ = a.ctx.Deadline()

	result, err := a.call(h, job)
	cause := context.Cause(a.ctx) // before anything else can end it
	last, held := progress.close()

	change := a.outcome(result, err, cause)
	if f, ok := change.(lifecycle.Fail); ok && f.Retry && f.Delay <= 0 {
		f.Delay = a.run.options.delay(request)
		change = f
	}
	a.run.count(change)
	if change == nil {
		return true
	}
	if held {
		_ = a.progress(a.run.work, last) // the report below matters more
	}
	return a.settle(change)
}

// silence stops the alarm.
func (a *attempt) silence() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.alarm != nil {
		a.alarm.Stop()
	}
}

// outcome returns the change that ends the attempt, nil if there is nothing to
// report.
func (a *attempt) outcome(result Result, err, cause error) lifecycle.Change {
	number := int(a.number.Load())
	switch {
	case errors.Is(cause, ErrSuperseded), errors.Is(cause, ErrEnded):
		return nil
	case err == nil:
		return lifecycle.Succeed{Attempt: number, Result: result.content()}
	case errors.Is(cause, ErrCanceled):
		return lifecycle.Fail{Attempt: number, Failure: lifecycle.Failure{Code: CodeCanceled, Message: "The request was canceled."}}
	case errors.Is(cause, context.DeadlineExceeded):
		return nil // the store's own clock ends it as expired
	case errors.Is(cause, ErrShutdown) && !errors.Is(err, ErrAsked):
		return lifecycle.Release{Attempt: number}
	}
	if p, ok := errors.AsType[*panicError](err); ok {
		a.run.log.Error("handler did not return", slog.String("request", a.of.ID), slog.Any("error", err), slog.String("stack", string(p.stack)))
	}
	return ending(number, err)
}

// call runs the handler in a goroutine of its own, which nothing that the handler
// does can take anything else down with, and waits for it. Only at shutdown is the
// wait bounded.
func (a *attempt) call(h Handler, job *Job) (Result, error) {
	if a.ctx.Err() != nil { // over before it began
		return Result{}, context.Cause(a.ctx)
	}
	type outcome struct {
		result Result
		err    error
	}
	returned := make(chan outcome, 1)
	go func() {
		var o outcome
		o.err = &panicError{} // runtime.Goexit, unless it turns out otherwise
		defer func() {
			if v := recover(); v != nil {
				o.err = &panicError{value: v, stack: debug.Stack()}
			}
			returned <- o
		}()
		o.result, o.err = h.Process(a.ctx, job)
	}()

	select {
	case o := <-returned:
		return o.result, o.err
	case <-a.run.work.Done():
	}
	grace := time.NewTimer(a.run.options.Grace)
	defer grace.Stop()
	select {
	case o := <-returned:
		return o.result, o.err
	case <-grace.C:
		a.run.log.Error("handler ignores the end of its context and is left behind", slog.String("request", a.of.ID), slog.String("route", job.Route))
		return Result{}, ErrShutdown
	}
}

// progress writes one progress report and learns from the answer.
func (a *attempt) progress(ctx context.Context, p lifecycle.Progress) error {
	p.Attempt = int(a.number.Load())
	r, err := a.run.report(ctx, a.of, p)
	switch {
	case err == nil:
		a.observe(r)
		return nil
	case needless(err):
		cause := reason(err)
		a.end(cause)
		return cause
	case errors.Is(err, lifecycle.ErrUnavailable):
		return err
	default:
		a.run.log.Warn("progress could not be reported", slog.String("request", a.of.ID), slog.Any("error", err))
		return fmt.Errorf("%w: %w", lifecycle.ErrUnavailable, err)
	}
}

// reason returns why an attempt does not count any more.
func reason(err error) error {
	refused, ok := errors.AsType[*lifecycle.TransitionError](err)
	switch {
	case !ok:
		return ErrEnded // forgotten
	case refused.From == lifecycle.Canceled:
		return ErrCanceled
	case refused.From == lifecycle.Expired:
		return context.DeadlineExceeded
	case refused.Reason == lifecycle.ReasonEnded:
		return ErrEnded
	default:
		return ErrSuperseded
	}
}
