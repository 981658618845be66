package stall

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clocked returns a watch whose clock is moved by hand, as if Run had begun.
func clocked() (w *Watch, advance func(time.Duration)) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	w = &Watch{now: func() time.Time { return now }}
	w.observe()
	return w, func(d time.Duration) { now = now.Add(d) }
}

// TestLeft: who judges is told to wait as soon as the clock has jumped, for the grace or for as
// much of a lease as the stall has taken, and no longer.
func TestLeft(t *testing.T) {
	for _, test := range []struct{ stall, lease, want time.Duration }{
		{Least / 2, time.Hour, 0},
		{Least, 0, Grace},
		{5 * time.Second, time.Hour, Grace},
		{time.Minute, time.Hour, time.Minute},
		{8 * time.Hour, 5 * time.Minute, 5 * time.Minute},
		{8 * time.Hour, 0, Grace},
	} {
		w, advance := clocked()
		advance(test.stall)
		if got := w.LeftOf(test.lease); got != test.want {
			t.Errorf("after %v, of a lease of %v: %v, want %v", test.stall, test.lease, got, test.want)
		}
		// It goes on, and nothing new happens.
		for waited := time.Duration(0); waited < test.want; waited += Least / 2 {
			advance(Least / 2)
			w.LeftOf(test.lease)
		}
		if got := w.LeftOf(test.lease); got != 0 {
			t.Errorf("after %v, of a lease of %v: %v are left in the end", test.stall, test.lease, got)
		}
	}
}

// TestNote: a store that was away counts as if the process had stood still, one that was slow does
// not.
func TestNote(t *testing.T) {
	w, _ := clocked()
	if w.Note(Least / 2); w.Left() != 0 {
		t.Error("patience for nothing")
	}
	if w.Note(time.Minute); w.Left() != Grace || w.LeftOf(time.Hour) != time.Minute {
		t.Errorf("%v, %v", w.Left(), w.LeftOf(time.Hour))
	}
	var none *Watch
	if none.Note(time.Hour); none.Left() != 0 {
		t.Error("a nil watch is patient")
	}
}

// TestBeforeRun: as long as nobody looks at the clock, that it advances says nothing.
func TestBeforeRun(t *testing.T) {
	now := time.Now()
	w := &Watch{now: func() time.Time { return now }}
	now = now.Add(time.Hour)
	if left := w.Left(); left != 0 {
		t.Error(left)
	}
}

// TestWithTimeout: a time limit that passes after a stall ends nothing before the grace is over.
func TestWithTimeout(t *testing.T) {
	var w *Watch
	for range 2 { // one that knows of none, and one that never was
		ctx, cancel := w.WithTimeout(t.Context(), time.Millisecond)
		<-ctx.Done()
		if !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
			t.Error(context.Cause(ctx))
		}
		cancel()
		w = New()
	}
	w, advance := clocked()
	advance(time.Minute)
	ctx, cancel := w.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	select {
	case <-ctx.Done():
		t.Error("it ended at once")
	case <-time.After(50 * time.Millisecond): // for as long as it could go wrong
	}
}
