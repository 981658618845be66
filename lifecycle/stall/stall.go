// Package stall notices that this process stood still (SIGSTOP, a machine that slept, a host that
// gave it no time), or that what it depends on did, and says for how long nobody is to be judged by
// the clock then: what others have said meanwhile waits in sockets, and is to be read before
// anybody's lease, timeout or deadline ends for want of it.
package stall

import (
	"context"
	"sync"
	"time"
)

// Watch notices stalls. Its methods may be called concurrently; those of a nil Watch know of none.
type Watch struct {
	mu     sync.Mutex
	now    func() time.Time
	last   time.Time     // when this process was seen running last; zero before Run
	ended  time.Time     // of the newest stall
	length time.Duration // of that
}

const (
	// Grace is how long nobody is judged after a stall: who was cut off has come back by then, and
	// what was in sockets has been read.
	Grace = 10 * time.Second
	// Least is the shortest time that counts as a stall.
	Least = 2 * time.Second

	pace = 250 * time.Millisecond // between two observations of the clock
)

// New returns a watch, which notices stalls of the process while Run runs.
func New() *Watch { return &Watch{now: time.Now} }

// Run looks at the clock until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		w.mu.Lock()
		w.observe()
		w.mu.Unlock()
		select {
		case <-tick.C:
		case <-ctx.Done():
			w.mu.Lock()
			w.last = time.Time{}
			w.mu.Unlock()
			return
		}
	}
}

// observe notices that the clock has jumped since the last observation. It is called under w.mu by
// whoever judges, too, who may run before Run does when the process goes on. The monotonic clock
// stands still while a machine sleeps, and the other one may be set, so it goes by whichever has
// advanced more: to have patience for nothing does no harm.
func (w *Watch) observe() time.Time {
	now := w.now()
	if !w.last.IsZero() {
		w.note(now, max(now.Sub(w.last), now.Round(0).Sub(w.last.Round(0))))
	}
	w.last = now
	return now
}

func (w *Watch) note(now time.Time, length time.Duration) {
	if length >= Least {
		w.ended, w.length = now, length
	}
}

// Note tells the watch that something on which what others say depends, the store for one, stood
// still for so long, until now. What is shorter than Least is nothing.
func (w *Watch) Note(length time.Duration) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note(w.now(), length)
}

// Left returns for how long nobody is to be judged yet, 0 if anybody may be: Grace after a stall.
func (w *Watch) Left() time.Duration { return w.LeftOf(0) }

// LeftOf is Left for who may be silent for as long as a lease: as much of it as the stall has taken
// is given back, because who holds it may have stood still, too.
func (w *Watch) LeftOf(lease time.Duration) time.Duration {
	if w == nil {
		return 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	if !w.last.IsZero() {
		now = w.observe()
	}
	if w.ended.IsZero() {
		return 0
	}
	return max(w.ended.Add(max(Grace, min(w.length, lease))).Sub(now), 0)
}

// WithTimeout is [context.WithTimeout], but ends later by Left if there was a stall meanwhile.
func (w *Watch) WithTimeout(parent context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if w == nil {
		return context.WithTimeout(parent, d)
	}
	ctx, cancel := context.WithCancelCause(parent)
	var mu sync.Mutex
	var timer *time.Timer
	expire := func() {
		mu.Lock()
		defer mu.Unlock()
		if left := w.Left(); left > 0 {
			timer.Reset(left)
			return
		}
		cancel(context.DeadlineExceeded)
	}
	mu.Lock()
	timer = time.AfterFunc(d, expire)
	mu.Unlock()
	return ctx, func() {
		timer.Stop()
		cancel(context.Canceled)
	}
}
