package processor

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// Progress reports how far the work is: the step it is in, the percentage of the
// whole (0 to 100) and a message for the user. Step, Percent and Message report
// one of the three and leave the others as they were.
//
// Reports are paced, so that a handler may report as often as it likes:
//
//   - what repeats the report before it is dropped;
//   - a change of the step is written at once, before Progress returns;
//   - everything else is written at most once per [Options.ProgressInterval]:
//     reports in between are merged, the newest value of each kind wins, and what
//     is left is written when the interval is over, or before the end of the
//     attempt is reported. The last report is never lost to pacing.
//
// While the store is down, reports are merged in the same way and written when it
// is back; work does not wait for it. The error is therefore nil, or the reason
// why ctx has ended or this attempt does not count any more.
func (j *Job) Progress(ctx context.Context, step string, percent float64, message string) error {
	return j.report(ctx, lifecycle.Progress{Step: &step, Percent: &percent, Message: &message})
}

// Step reports the step that the work is in, see Progress.
func (j *Job) Step(ctx context.Context, step string) error {
	return j.report(ctx, lifecycle.Progress{Step: &step})
}

// Percent reports how much of the work is done, 0 to 100, see Progress.
func (j *Job) Percent(ctx context.Context, percent float64) error {
	return j.report(ctx, lifecycle.Progress{Percent: &percent})
}

// Message reports a message for the user, see Progress.
func (j *Job) Message(ctx context.Context, message string) error {
	return j.report(ctx, lifecycle.Progress{Message: &message})
}

// Extend lets the request's time run out d from now instead of when it would
// have, and moves the end of the handler's context with it. The gateway bounds d
// by its own limit. It is written at once; an error other than the end of ctx or
// of the attempt means that the time was not extended.
func (j *Job) Extend(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return errors.New("extension must be positive")
	}
	return j.report(ctx, lifecycle.Progress{Extend: d})
}

func (j *Job) report(ctx context.Context, p lifecycle.Progress) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if p.Percent != nil {
		if math.IsNaN(*p.Percent) {
			p.Percent = nil // 0 of 0 is done: nothing to say
		} else {
			p.Percent = new(min(max(*p.Percent, 0), 100))
		}
	}
	if j.send == nil {
		return nil
	}
	return j.send(ctx, p)
}

// progress paces the reports of one attempt. Its goroutine runs only while a
// report is held back; close waits for it.
type progress struct {
	// write makes one report. Its error is lifecycle.ErrUnavailable, to be tried
	// again, or why the attempt does not count any more.
	write    func(context.Context, lifecycle.Progress) error
	interval time.Duration
	attempt  context.Context // what is held back is dropped when it ends

	mu     sync.Mutex         // held while writing, which keeps reports in order
	known  lifecycle.Progress // the newest value of each kind, written or held
	held   lifecycle.Progress
	next   time.Time // no write before, but for a change of the step
	outage bool      // the last write failed: nothing is urgent
	closed bool

	flusher  sync.WaitGroup // at most one, while flushing is true
	flushing bool
	stop     chan struct{} // closed by close
}

// Between two writes while the store is down.
const outagePause = time.Second

func newProgress(attempt context.Context, interval time.Duration, write func(context.Context, lifecycle.Progress) error) *progress {
	return &progress{write: write, interval: interval, attempt: attempt, stop: make(chan struct{})}
}

func (p *progress) report(ctx context.Context, c lifecycle.Progress) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrEnded // a goroutine that outlived its handler
	}
	c = p.news(c)
	if empty(c) {
		return nil
	}
	merge(&p.known, c)
	merge(&p.held, c)
	urgent := c.Extend > 0 || c.Step != nil && !p.outage
	var err error
	if urgent || !time.Now().Before(p.next) {
		err = p.flush(ctx)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			err = context.Cause(ctx)
		case errors.Is(err, lifecycle.ErrUnavailable) && c.Extend == 0:
			err = nil // held back until the store is there again
		}
		p.known.Extend, p.held.Extend = 0, 0 // whoever wants more time has been told
	}
	p.later()
	return err
}

// news returns what c says that was not known, with pointers of its own.
func (p *progress) news(c lifecycle.Progress) lifecycle.Progress {
	if c.Step != nil && p.known.Step != nil && *c.Step == *p.known.Step {
		c.Step = nil
	}
	if c.Percent != nil && p.known.Percent != nil && *c.Percent == *p.known.Percent {
		c.Percent = nil
	}
	if c.Message != nil && p.known.Message != nil && *c.Message == *p.known.Message {
		c.Message = nil
	}
	return c
}

// flush writes what is held. p.mu is held.
func (p *progress) flush(ctx context.Context) error {
	held := p.held
	p.held = lifecycle.Progress{}
	err := p.write(ctx, held)
	p.next = time.Now().Add(p.interval)
	p.outage = err != nil
	if err != nil {
		p.held = held
		p.next = time.Now().Add(max(p.interval, outagePause))
	}
	return err
}

// later sees to it that what is held gets written. p.mu is held.
func (p *progress) later() {
	if empty(p.held) || p.flushing {
		return
	}
	p.flushing = true
	p.flusher.Go(p.flushLater)
}

func (p *progress) flushLater() {
	for {
		p.mu.Lock()
		wait := time.Until(p.next)
		if wait <= 0 && !empty(p.held) && p.attempt.Err() == nil {
			// An outage is tried again, the end of the attempt ends its context.
			_ = p.flush(p.attempt)
			wait = time.Until(p.next)
		}
		if empty(p.held) || p.attempt.Err() != nil {
			p.flushing = false
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()

		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-p.stop:
		case <-p.attempt.Done():
		}
		timer.Stop()
		select {
		case <-p.stop:
			return // close takes what is held
		default:
		}
	}
}

// close ends reporting and returns what was still held back; ok is false if
// there is nothing.
func (p *progress) close() (last lifecycle.Progress, ok bool) {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	close(p.stop)
	p.flusher.Wait()
	return p.held, !empty(p.held)
}

func empty(c lifecycle.Progress) bool {
	return c.Step == nil && c.Percent == nil && c.Message == nil && c.Extend == 0
}

// merge overwrites in dst what src says.
func merge(dst *lifecycle.Progress, src lifecycle.Progress) {
	if src.Step != nil {
		dst.Step = src.Step
	}
	if src.Percent != nil {
		dst.Percent = src.Percent
	}
	if src.Message != nil {
		dst.Message = src.Message
	}
	if src.Extend > 0 {
		dst.Extend = src.Extend
	}
}
