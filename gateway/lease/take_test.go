package lease

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

func TestTake(t *testing.T) {
	for name, run := range map[string]func(t *testing.T){
		"what is at hand, and no more": func(t *testing.T) {
			w := newWorld(t, Options{})
			w.submit("1", "2", "3", "4", "5")
			began := time.Now()
			if n := len(w.takeAny(Order{Max: 3, Wait: time.Hour, Lease: time.Hour})); n != 3 {
				t.Errorf("%d", n)
			}
			w.settled(2, 3)
			if n := len(w.takeAny(Order{Max: 3, Wait: time.Hour, Lease: time.Hour})); n != 2 || time.Since(began) > 2*quiet {
				t.Errorf("%d after %v", n, time.Since(began))
			}
			w.settled(0, 5)
		},
		"nothing": func(t *testing.T) {
			w := newWorld(t, Options{})
			began := time.Now()
			w.take(Order{Max: 3, Wait: time.Minute})
			if took := time.Since(began); took != time.Minute {
				t.Errorf("after %v", took)
			}
			w.take(Order{Max: 3})
			if took := time.Since(began); took != time.Minute+250*time.Millisecond {
				t.Errorf("after %v", took)
			}
			w.submit("1") // to nobody
			w.settled(1, 0)
		},
		"what comes later": func(t *testing.T) {
			w := newWorld(t, Options{})
			time.AfterFunc(time.Minute, func() { w.submit("1") })
			began := time.Now()
			w.take(Order{Max: 3, Wait: time.Hour, Lease: time.Hour}, "1")
			if took := time.Since(began); took != time.Minute+quiet {
				t.Errorf("after %v", took)
			}
		},
		"a start under way when the waiting ends": func(t *testing.T) {
			w := newWorld(t, Options{})
			w.slow = time.Second
			time.AfterFunc(time.Minute-time.Millisecond, func() { w.submit("1") })
			w.take(Order{Max: 3, Wait: time.Minute, Lease: time.Hour}, "1")
			w.settled(0, 1)
		},
		"what needs nobody is passed over": func(t *testing.T) {
			w := newWorld(t, Options{})
			w.submit("1", "2", "3")
			_ = w.change("1", lifecycle.Cancel{})
			w.set("2", nil)
			w.take(Order{Max: 1, Wait: time.Hour, Lease: time.Hour}, "3")
			w.settled(0, 1)
		},
		"the store is away": func(t *testing.T) {
			w := newWorld(t, Options{})
			w.submit("1", "2", "3")
			w.fail(errors.New("away"))
			began := time.Now()
			if work, err := w.Take(t.Context(), Order{Routes: []string{"a"}, Max: 2, Wait: time.Hour, Lease: time.Hour}); !errors.Is(err, lifecycle.ErrUnavailable) || time.Since(began) > 0 {
				t.Errorf("%v %v after %v", work, err, time.Since(began))
			}
			w.settled(3, 0)
			w.fail(nil)
			for _, one := range w.takeAny(Order{Max: 3, Lease: time.Hour}) {
				if one.Request.Attempt != 1 || one.Request.Failures != 0 {
					t.Errorf("%+v", one.Request)
				}
			}
			w.settled(0, 3)
		},
		"content is bounded": func(t *testing.T) {
			w := newWorld(t, Options{Bytes: 100})
			w.content, w.slow = 60, time.Millisecond
			var ids []string
			for n := range 3 * starts {
				ids = append(ids, fmt.Sprint(n))
			}
			w.submit(ids...)
			n := len(w.takeAny(Order{Max: 100, Lease: time.Hour}))
			if n < 2 || n > starts+1 {
				t.Errorf("%d", n)
			}
			w.settled(3*starts-n, int64(n))
		},
		"the caller's context ends": func(t *testing.T) {
			w := newWorld(t, Options{})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if work, err := w.Take(ctx, Order{Routes: []string{"a"}, Max: 1, Wait: time.Hour}); err != nil || len(work) != 0 {
				t.Errorf("%v %v", work, err)
			}
		},
		"what did not reach its caller": func(t *testing.T) {
			w := newWorld(t, Options{})
			w.submit("1", "2", "3")
			work := w.takeAny(Order{Max: 2, Lease: time.Hour})
			other := w.takeAny(Order{Max: 1, Lease: time.Hour})
			w.HandBack(work)
			w.HandBack(work)
			w.HandBack(nil)
			w.settled(2, 1)
			for _, one := range w.takeAny(Order{Max: 3, Lease: time.Hour}) {
				if one.Request.Attempt != 2 || one.Request.Failures != 0 {
					t.Errorf("%+v", one.Request)
				}
			}
			if err := w.change(other[0].Request.ID, lifecycle.Progress{Attempt: 1}); err != nil {
				t.Errorf("work of another call went back, too: %v", err)
			}
			w.settled(0, 3)
		},
		"what did not reach its caller, while the store is away": func(t *testing.T) {
			w := newWorld(t, Options{})
			w.submit("1", "2")
			work := w.takeAny(Order{Max: 2, Lease: time.Hour})
			w.fail(lifecycle.ErrUnavailable)
			w.HandBack(work)
			time.Sleep(time.Minute)
			w.settled(0, 2)
			w.fail(nil)
			time.Sleep(time.Second)
			w.settled(2, 0)
		},
		"what did not reach its caller, and has ended all the same": func(t *testing.T) {
			w := newWorld(t, Options{})
			w.submit("1")
			work := w.takeAny(Order{Max: 1, Lease: time.Hour})
			w.deafen()
			_ = w.change("1", lifecycle.Succeed{Attempt: 1})
			w.settled(0, 1)
			w.HandBack(work)
			w.settled(0, 0)
		},
		"too many calls": func(t *testing.T) {
			w := newWorld(t, Options{Calls: 2})
			w.submit("1")
			w.take(Order{Max: 1, Lease: time.Hour}, "1")
			time.AfterFunc(time.Second, func() {
				if _, err := w.Take(context.Background(), Order{Routes: []string{"a"}, Max: 1}); !errors.Is(err, lifecycle.ErrUnavailable) {
					t.Error(err)
				}
			})
			w.take(Order{Max: 1, Wait: time.Minute})
			_ = w.change("1", lifecycle.Succeed{})
			time.Sleep(pace)
			w.take(Order{Max: 1, Wait: time.Minute})
		},
		"drained": func(t *testing.T) {
			w := newWorld(t, Options{})
			w.submit("1", "2")
			w.takeAny(Order{Max: 2, Lease: time.Hour})
			window, end := context.WithTimeout(t.Context(), time.Minute)
			defer end()
			time.AfterFunc(time.Second, func() { _ = w.change("1", lifecycle.Succeed{}) })
			began := time.Now()
			time.AfterFunc(time.Second, func() {
				if _, err := w.Take(context.Background(), Order{Routes: []string{"a"}, Max: 1}); !errors.Is(err, lifecycle.ErrUnavailable) {
					t.Error(err)
				}
			})
			w.Drain(window)
			if took := time.Since(began); took != time.Minute {
				t.Errorf("after %v", took)
			}
			w.settled(1, 0) // "2" was returned
		},
		"drained, and all is settled": func(t *testing.T) {
			w := newWorld(t, Options{})
			w.submit("1")
			w.take(Order{Max: 1, Lease: time.Hour}, "1")
			time.AfterFunc(time.Second, func() { _ = w.change("1", lifecycle.Succeed{}) })
			began := time.Now()
			w.Drain(t.Context())
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("after %v", took)
			}
		},
		"the broker is closed": func(t *testing.T) {
			w := newWorld(t, Options{})
			time.AfterFunc(time.Second, func() { _ = w.queue.Close() })
			if work, err := w.Take(t.Context(), Order{Routes: []string{"a"}, Max: 1, Wait: time.Hour}); !errors.Is(err, lifecycle.ErrUnavailable) {
				t.Errorf("%v %v", work, err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, run) })
	}
}

// TestComesBack: what a node gives back, or loses, is left to the attempt that works on it as long
// as that reports.
func TestComesBack(t *testing.T) {
	const minute = time.Minute
	for name, run := range map[string]func(t *testing.T, w *world, other *Leases, take func(...string) []Work){
		"it goes on and succeeds": func(t *testing.T, w *world, other *Leases, take func(...string) []Work) {
			began := time.Now()
			if take(); time.Since(began) > quiet {
				t.Errorf("the caller waits %v although it can be given nothing", time.Since(began))
			}
			for range 5 {
				time.Sleep(40 * time.Second)
				if err := w.change("1", lifecycle.Progress{Attempt: 1}); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.change("1", lifecycle.Succeed{Attempt: 1}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(pace)
			w.settled(0, 0)
		},
		"it falls silent": func(t *testing.T, w *world, other *Leases, take func(...string) []Work) {
			time.Sleep(20 * time.Second)
			take()
			time.Sleep(39 * time.Second)
			w.settled(0, 0)
			time.Sleep(2 * time.Second)
			w.settled(1, 0)
			if again := take("1")[0].Request; again.Attempt != 2 || again.Failures != 1 {
				t.Errorf("%+v", again)
			}
			if err := w.change("1", lifecycle.Progress{Attempt: 1}); err == nil {
				t.Error("the silent attempt may report")
			}
		},
		"it has been silent for long": func(t *testing.T, w *world, other *Leases, take func(...string) []Work) {
			time.Sleep(2 * minute)
			if again := take("1")[0].Request; again.Attempt != 2 {
				t.Errorf("%+v", again)
			}
		},
		"it has ended": func(t *testing.T, w *world, other *Leases, take func(...string) []Work) {
			if err := w.change("1", lifecycle.Succeed{Attempt: 1}); err != nil {
				t.Fatal(err)
			}
			w.submit("2")
			take("2")
			w.settled(0, 0)
		},
		"the store is away when it falls silent": func(t *testing.T, w *world, other *Leases, take func(...string) []Work) {
			take()
			w.fail(lifecycle.ErrUnavailable)
			time.Sleep(5 * minute)
			w.settled(0, 0)
			w.fail(nil)
			time.Sleep(3 * time.Second)
			w.settled(1, 0)
			if again := take("1")[0].Request; again.Attempt != 2 {
				t.Errorf("%+v", again)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, Options{})
				w.submit("1")
				// The minute counts, whatever others would grant.
				w.take(Order{Max: 1, Lease: minute}, "1")
				ended, end := context.WithCancel(t.Context())
				end()
				w.Drain(ended)
				w.settled(1, 0)
				other := New(w, w, w.queue, w.subscribe, w.options)
				defer func() { other.Drain(ended) }()
				run(t, w, other, func(ids ...string) []Work {
					t.Helper()
					work, err := other.Take(t.Context(), Order{Routes: []string{"a"}, Max: 1, Wait: 10 * time.Second, Lease: time.Hour})
					if err != nil || len(work) != len(ids) || len(ids) > 0 && work[0].Request.ID != ids[0] {
						t.Fatalf("took %v (%v), want %v", work, err, ids)
					}
					return work
				})
			})
		})
	}
}
