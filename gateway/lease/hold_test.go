package lease

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

func TestHold(t *testing.T) {
	const minute = time.Minute
	progress := lifecycle.Progress{Attempt: 1}
	for _, test := range []struct {
		name  string
		muted bool // not even at first
		run   func(w *world, at func(time.Duration))
		// Since the start, after which the job is in the queue again; 0: it was acknowledged.
		back time.Duration
	}{
		{"silent", false, func(*world, func(time.Duration)) {}, minute},
		{"silent, without a notification", true, func(*world, func(time.Duration)) {}, minute},
		{"reported", false, func(w *world, at func(time.Duration)) {
			at(40 * time.Second)
			_ = w.change("1", progress)
		}, 100 * time.Second},
		{"reported often", false, func(w *world, at func(time.Duration)) {
			for n := range 10_000 {
				at(time.Duration(n) * 10 * time.Millisecond)
				_ = w.change("1", progress)
			}
		}, 160*time.Second - 10*time.Millisecond},
		{"reported, and the notification was missed", false, func(w *world, at func(time.Duration)) {
			w.deafen()
			at(40 * time.Second)
			_ = w.change("1", progress)
		}, 100 * time.Second},
		{"reported at the last moment, without a notification", true, func(w *world, at func(time.Duration)) {
			at(minute - time.Microsecond)
			_ = w.change("1", progress)
		}, 2*minute - time.Microsecond},
		{"succeeded", false, func(w *world, at func(time.Duration)) {
			_ = w.change("1", lifecycle.Succeed{Attempt: 1})
			at(2 * pace)
		}, 0},
		{"succeeded, and the notification was missed", false, func(w *world, at func(time.Duration)) {
			w.deafen()
			_ = w.change("1", lifecycle.Succeed{Attempt: 1})
			at(minute)
		}, 0},
		{"waits for another attempt", false, func(w *world, at func(time.Duration)) {
			_ = w.change("1", lifecycle.Fail{Attempt: 1, Retry: true})
			at(2 * pace)
		}, 0},
		{"superseded", false, func(w *world, at func(time.Duration)) {
			_ = w.change("1", lifecycle.Release{Attempt: 1})
			_ = w.change("1", lifecycle.Start{})
			at(2 * pace)
		}, 0},
		{"forgotten", false, func(w *world, at func(time.Duration)) {
			w.set("1", nil)
			at(minute)
		}, 0},
		{"the store has lost the start", false, func(w *world, at func(time.Duration)) {
			at(10 * time.Second)
			w.set("1", &lifecycle.Request{ID: "1", Route: "a", Status: lifecycle.Pending, MaxAttempts: 9})
		}, 10 * time.Second},
		{"the store is away when it would run out", false, func(w *world, at func(time.Duration)) {
			at(30 * time.Second)
			w.fail(lifecycle.ErrUnavailable)
			at(5*minute - 500*time.Millisecond)
			w.fail(nil)
		}, 5 * minute},
		{"the store is away, and it reports as soon as it can", false, func(w *world, at func(time.Duration)) {
			at(30 * time.Second)
			w.fail(lifecycle.ErrUnavailable)
			at(5*minute - 500*time.Millisecond)
			w.fail(nil)
			_ = w.change("1", progress)
		}, 6*minute - 500*time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, Options{})
				w.muted = test.muted
				w.submit("1")
				one := w.take(Order{Max: 1, Lease: minute}, "1")[0]
				began := one.Expires.Add(-ahead - minute)
				if took := time.Since(began); took < 0 || took > quiet {
					t.Errorf("it expires at %v, and it is %v", one.Expires, time.Now())
				}
				at := func(d time.Duration) { time.Sleep(time.Until(began.Add(d))) }
				at(pace) // it was loaded for the first time
				test.run(w, at)
				if test.back == 0 {
					w.settled(0, 0)
					return
				}
				if time.Since(began) < test.back {
					at(test.back - time.Millisecond)
					w.settled(0, 1)
				}
				at(test.back + pace)
				w.settled(1, 0)
				if again := w.take(Order{Max: 1, Lease: minute}, "1")[0].Request; again.Attempt == 2 && again.Failures != 1 {
					t.Errorf("%+v", again)
				}
			})
		})
	}
}
