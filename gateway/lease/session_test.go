package lease

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// TestSessions: of the sessions of a worker the newest one has its work, and those before have
// nothing any more.
func TestSessions(t *testing.T) {
	a, b := Worker{Owner: "o", Name: "w", Session: "a"}, Worker{Owner: "o", Name: "w", Session: "b"}
	order := func(w Worker, most int) Order {
		return Order{Routes: []string{"a", "b"}, Max: most, Wait: time.Minute, Lease: time.Hour, Worker: w}
	}
	refused := func(t *testing.T, w *world, o Order) {
		t.Helper()
		if work, err := w.Take(t.Context(), o); !errors.Is(err, ErrSuperseded) || len(work) != 0 {
			t.Errorf("%v %v", work, err)
		}
	}
	for name, run := range map[string]func(t *testing.T){
		"what it had": func(t *testing.T) {
			w := newWorld(t, Options{})
			w.submit("1", "2", "3", "4")
			w.takeAny(order(a, 1))
			w.takeAny(order(a, 1))
			w.takeAny(order(Worker{Owner: "o", Name: "x", Session: "a"}, 1))
			w.takeAny(order(Worker{Owner: "p", Name: "w", Session: "a"}, 1))
			began := time.Now()
			if n := len(w.takeAny(order(b, 3))); n != 2 || time.Since(began) > 2*quiet {
				t.Errorf("%d after %v", n, time.Since(began))
			}
			w.settled(0, 4)
			for id, want := range map[string]int{"1": 2, "2": 2, "3": 1, "4": 1} {
				if r, _ := w.Get(t.Context(), lifecycle.Named(id)); r.Attempt != want || r.Failures != 0 {
					t.Errorf("%s: attempt %d, %d failures", id, r.Attempt, r.Failures)
				}
			}
			if s := w.Stats(); s.TakenOver != 2 {
				t.Errorf("%+v", s)
			}
			refused(t, w, order(a, 1))
		},
		"what it waited for": func(t *testing.T) {
			w := newWorld(t, Options{})
			time.AfterFunc(time.Second, func() { w.take(order(b, 1), "1") })
			time.AfterFunc(2*time.Second, func() { w.submit("1") })
			began := time.Now()
			refused(t, w, order(a, 1))
			if took := time.Since(began); took != time.Second {
				t.Errorf("after %v", took)
			}
			time.Sleep(2 * time.Second)
			w.settled(0, 1)
		},
		"what it was just being given": func(t *testing.T) {
			w := newWorld(t, Options{})
			w.slow = time.Second
			w.submit("1")
			time.AfterFunc(time.Second/2, func() { w.take(order(b, 1), "1") })
			refused(t, w, order(a, 1))
			time.Sleep(2 * time.Second)
			w.settled(0, 1)
			if r, _ := w.Get(t.Context(), lifecycle.Named("1")); r.Attempt != 2 || r.Failures != 0 || w.Stats().TakenOver != 0 || w.Stats().Undelivered != 1 {
				t.Errorf("%+v, %+v", r, w.Stats())
			}
		},
		"what has ended meanwhile": func(t *testing.T) {
			w := newWorld(t, Options{})
			w.submit("1")
			w.take(order(a, 1), "1")
			w.deafen()
			_ = w.change("1", lifecycle.Succeed{Attempt: 1})
			w.take(order(b, 1))
			w.settled(0, 0)
		},
		"another one that calls later, and the one before is late": func(t *testing.T) {
			w := newWorld(t, Options{})
			w.submit("1")
			w.take(order(b, 1), "1")
			w.superseded(b.key(), 1) // its own, told late
			w.settled(0, 1)
			w.superseded(b.key(), 2)
			w.settled(1, 0)
		},
		"no session": func(t *testing.T) {
			w := newWorld(t, Options{})
			w.submit("1")
			named := order(Worker{Owner: "o", Name: "w"}, 1)
			w.take(named, "1")
			w.take(named, "1")
			w.settled(0, 1)
		},
		"their owner has too many": func(t *testing.T) {
			w := newWorld(t, Options{})
			known := w.options.Sessions.(*local)
			enter := func(owner, name string) int64 {
				worker := Worker{Owner: owner, Name: name}
				number, newest, err := known.Enter(t.Context(), worker.key(), "a")
				if err != nil || number != newest {
					t.Fatal(number, newest, err)
				}
				return number
			}
			faithful, gone, others := enter("o", "faithful"), enter("o", "gone"), enter("p", "w")
			for n := range WorkersKept + 10 {
				enter("o", fmt.Sprint(n))
				if n%1000 == 0 && enter("o", "faithful") != faithful {
					t.Fatal("one that goes on calling was forgotten")
				}
			}
			if n := len(known.workers); n != WorkersKept+1 {
				t.Errorf("%d are known", n)
			}
			if enter("p", "w") != others {
				t.Error("another owner's was forgotten")
			}
			if again := enter("o", "gone"); again <= gone {
				t.Errorf("one that was forgotten has the number %d, had %d", again, gone)
			}
			time.Sleep(sessionsKeptOf + time.Hour)
			enter("q", "w")
			if len(known.workers) != 1 || len(known.owners) != 1 {
				t.Errorf("%d workers of %d owners are known after a day", len(known.workers), len(known.owners))
			}
		},
		"they are forgotten": func(t *testing.T) {
			w := newWorld(t, Options{})
			for n := range 2 * sessionsKept {
				w.take(order(Worker{Owner: "o", Name: "w", Session: fmt.Sprint(n)}, 1))
			}
			known := w.options.Sessions.(*local)
			if n := len(known.workers[a.key()].names); n != sessionsKept {
				t.Errorf("%d are known", n)
			}
			time.Sleep(sessionsKeptOf + time.Hour)
			w.take(order(Worker{Owner: "o", Name: "x", Session: "a"}, 1))
			w.settled(0, 0)
			if n := len(known.workers); n != 1 || len(w.crews) != 0 {
				t.Errorf("%d workers are known, %d have something going on", n, len(w.crews))
			}
		},
	} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, run) })
	}
}
