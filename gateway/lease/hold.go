package lease

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/hark-push/hark/broker"
	"github.com/hark-push/hark/lifecycle"
)

// held is a lease that is out. It belongs to the goroutine of its delivery.
type held struct {
	delivery broker.Delivery
	attempt  int
	message  string // of the queue, that began it, or has it go on
	lease    time.Duration
	sequence uint64 // of the newest event that is known
	// When the attempt had begun, or last reported before it was held, by this process.
	began   time.Time
	stored  time.Time // the same by the store
	expires time.Time // by this process

	by   *take              // the call that began it; nil if that was another process's
	back *lifecycle.Release // why it is to be handed back, nil if it is not
}

func newHeld(d broker.Delivery, r *lifecycle.Request, lease time.Duration, began time.Time) *held {
	return &held{
		delivery: d, attempt: r.Attempt, message: r.StartedBy, lease: lease, sequence: r.Sequence,
		began: began, stored: r.UpdatedAt, expires: began.Add(lease),
	}
}

// pace is the least time between two loads of a request: an attempt may report many times a second.
const pace = 250 * time.Millisecond

// hold keeps a delivery until it is settled.
func (l *Leases) hold(h *held) {
	defer l.attend(h.delivery.Job().Route)()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	notifications, stop, err := l.subscribe(ctx, refOf(h.delivery))
	cancel()
	if err == nil {
		defer stop()
	} else { // no notifications: what happens is seen when the lease would run out
		l.log.Warn("leased request cannot be watched", slog.String("request", h.delivery.Job().ID), slog.Any("error", err))
	}
	var away time.Time     // since when the store does not answer, zero while it does
	notified := err == nil // it may have been reported on before the subscription was there
	var next time.Time     // before which it is not loaded again for a notification alone
	timer := time.NewTimer(0)
	defer timer.Stop()
	var undelivered, superseded <-chan struct{}
	if h.by != nil {
		undelivered, superseded = h.by.undelivered, h.by.superseded
	}
	for {
		due := h.expires
		if notified && next.Before(due) {
			due = next
		}
		timer.Reset(time.Until(due))
		select {
		case <-timer.C:
		case <-notifications:
			notified = true
			continue
		case <-undelivered:
			undelivered, superseded = nil, nil
			h.back = &lifecycle.Release{Attempt: h.attempt, Message: h.message}
		case <-superseded:
			superseded = nil
			if <-h.by.returned; h.by.delivers() { // what it is not told of costs nothing
				h.back = &lifecycle.Release{Attempt: h.attempt, Message: h.message, Lost: true}
			}
		case <-l.ending:
			l.giveBack(h.delivery)
			return
		}
		if h.back != nil && l.release(h) {
			l.ack(h.delivery)
			return
		}
		notified, next = false, time.Now().Add(pace)
		asked := time.Now()
		state := l.load(h)
		switch {
		case state == unknown && away.IsZero():
			away = asked
		case state != unknown:
			// Whoever reports could not get through to the store either, and comes again now.
			l.options.Stall.Note(time.Since(earliest(away, asked)))
			away = time.Time{}
		}
		if state == silent {
			if left := l.options.Stall.LeftOf(h.lease); left > 0 {
				state, h.expires = working, time.Now().Add(left)
			}
		}
		if state == working && h.back != nil {
			notified, next = true, time.Now().Add(time.Second)
		}
		switch state {
		case over:
			l.ack(h.delivery)
			return
		case lost:
			l.giveBack(h.delivery)
			return
		case silent:
			if l.fail(h) {
				l.ack(h.delivery)
				return
			}
			notified, next = true, time.Now().Add(time.Second)
		case unknown:
			notified, next = true, time.Now().Add(time.Second)
			// Whoever reports may get through to the store no more than this does.
			h.expires = later(h.expires, next)
		case working:
		}
	}
}

// codeSilent is the code of the failure of an attempt whose lease ran out.
const codeSilent = "silent"

// fail ends an attempt that is silent, and reports whether its delivery is done with: the request
// waits for another attempt, for which the service has handed it to the queue, or it has ended; or
// somebody was faster.
func (l *Leases) fail(h *held) bool {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	id := h.delivery.Job().ID
	_, err := l.life.Report(ctx, refOf(h.delivery), lifecycle.Fail{
		// It has waited long enough.
		Attempt: h.attempt, Message: h.message, Silent: true, Retry: true, Delay: time.Nanosecond,
		Failure: lifecycle.Failure{Code: codeSilent, Message: "The processor was silent for longer than its lease."},
	})
	if alive(err) {
		return false
	}
	if _, refused := errors.AsType[*lifecycle.TransitionError](err); refused || errors.Is(err, lifecycle.ErrNotFound) {
		return true
	}
	if err != nil {
		l.log.Warn("silent attempt could not be ended", slog.String("request", id), slog.Any("error", err))
		return false
	}
	l.expired.Add(1)
	l.log.Info("lease ran out", slog.String("request", id), slog.Int("attempt", h.attempt))
	return true
}

// release hands an attempt back whose processor does not have it, and reports whether its delivery
// is done with: the service has handed the request to the queue again. What is refused needs no
// release any more, and the request says why.
func (l *Leases) release(h *held) bool {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	id := h.delivery.Job().ID
	_, err := l.life.Report(ctx, refOf(h.delivery), *h.back)
	if _, refused := errors.AsType[*lifecycle.TransitionError](err); refused || errors.Is(err, lifecycle.ErrNotFound) {
		h.back = nil
		return false
	}
	if err != nil {
		l.log.Warn("leased request could not be handed back", slog.String("request", id), slog.Any("error", err))
		return false
	}
	if h.back.Lost {
		l.takenOver.Add(1)
	} else {
		l.undelivered.Add(1)
	}
	l.log.Info("lease was handed back", slog.String("request", id), slog.Int("attempt", h.attempt), slog.Bool("lost", h.back.Lost))
	return true
}

// alive reports whether err says that the attempt has reported within its lease.
func alive(err error) bool {
	refused, ok := errors.AsType[*lifecycle.TransitionError](err)
	return ok && refused.Reason == lifecycle.ReasonAlive
}

// state is where a leased attempt stands.
type state uint8

const (
	working state = iota
	silent        // for as long as the lease allows
	over          // the request needs this delivery no more
	lost          // the store has lost the start
	unknown       // the store does not answer
)

// load reads where the attempt stands, and renews the lease if it has reported.
func (l *Leases) load(h *held) state {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	r, err := l.requests.Get(ctx, refOf(h.delivery))
	switch {
	case errors.Is(err, lifecycle.ErrNotFound):
		return over
	case err != nil:
		l.log.Debug("leased request could not be looked at", slog.String("request", h.delivery.Job().ID), slog.Any("error", err))
		return unknown
	case r.Status.Terminal(), r.Attempt > h.attempt:
		return over
	case r.Attempt < h.attempt: // a server without its newest writes took over
		return lost
	case r.Status == lifecycle.Pending, r.Status == lifecycle.Waiting, r.StartedBy != h.message:
		// It was handed to the queue again with the report that said so, or will be with the answer
		// to its question; or somebody else goes on with it by now.
		return over
	}
	now := time.Now()
	if r.Sequence != h.sequence {
		h.sequence = r.Sequence
		// The store's clock rules, so its two times are compared with each other. Should it have
		// been set meanwhile, no lease gets shorter, and none longer than it is from now.
		reported := h.began.Add(r.UpdatedAt.Sub(h.stored))
		h.expires = later(h.expires, earlier(reported, now).Add(h.lease))
	}
	if now.Before(h.expires) {
		return working
	}
	return silent
}

// earliest is a unless it is zero.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() {
		return b
	}
	return a
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
