package processor_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/processor"
)

// story names the changes that were made, in order.
func (w *world) story() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var names []string
	for _, c := range w.changes {
		name := strings.TrimPrefix(fmt.Sprintf("%T", c), "lifecycle.")
		if f, ok := c.(lifecycle.Fail); ok {
			name += "(" + f.Failure.Code + ")"
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

var errDown = fmt.Errorf("%w: connection refused", lifecycle.ErrUnavailable)

// down returns a fault that lasts for d from now: calls fail before they are
// made, or after, so that the caller cannot know.
func down(d time.Duration, after bool, which func(lifecycle.Change) bool) func(lifecycle.Change, bool) error {
	until := time.Now().Add(d)
	return func(c lifecycle.Change, made bool) error {
		if made == after && which(c) && time.Now().Before(until) {
			return errDown
		}
		return nil
	}
}

func is[C lifecycle.Change](c lifecycle.Change) bool { _, ok := c.(C); return ok }

func TestOutages(t *testing.T) {
	succeed := func(int) (processor.Result, error) { return processor.Bytes("text/plain", []byte("r")), nil }
	failOnce := func(n int) (processor.Result, error) {
		if n == 1 {
			return processor.Result{}, errors.New("no luck")
		}
		return succeed(n)
	}
	tests := map[string]struct {
		handle func(int) (processor.Result, error)
		fault  func() func(lifecycle.Change, bool) error
		story  string
	}{
		"start, not made": {succeed, func() func(lifecycle.Change, bool) error {
			return down(time.Minute, false, is[lifecycle.Start])
		}, "Start Succeed"},
		"start, made but not answered": {succeed, func() func(lifecycle.Change, bool) error {
			return down(time.Millisecond, true, is[lifecycle.Start])
		}, "Start Start Succeed"},
		"success, not made": {succeed, func() func(lifecycle.Change, bool) error {
			return down(time.Minute, false, is[lifecycle.Succeed])
		}, "Start Succeed"},
		"success, made but not answered": {succeed, func() func(lifecycle.Change, bool) error {
			return down(time.Minute, true, is[lifecycle.Succeed])
		}, "Start Succeed"},
		"retry, not made": {failOnce, func() func(lifecycle.Change, bool) error {
			return down(time.Minute, false, is[lifecycle.Fail])
		}, "Start Fail(error) Start Succeed"},
		"retry, made but neither queued nor answered": {failOnce, func() func(lifecycle.Change, bool) error {
			return down(time.Minute, true, is[lifecycle.Fail])
		}, "Start Fail(error) Start Succeed"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.fault = test.fault()
				w.submit(lifecycle.Request{ID: "r"}, lifecycle.Content{})
				stop := w.run(handle(test.handle), processor.Options{})
				r := w.await("r")
				time.Sleep(2 * time.Minute)
				_ = stop()
				if r.Status != lifecycle.Succeeded || string(w.outputs["r"].Data) != "r" {
					t.Errorf("status %s, output %q", r.Status, w.outputs["r"].Data)
				}
				if got := w.story(); got != test.story {
					t.Errorf("changes %s, want %s", got, test.story)
				}
				if _, _, waiting := w.queue.counts(); waiting != 0 {
					t.Errorf("%d deliveries are left", waiting)
				}
			})
		})
	}
}

// A store that is down is not asked in a tight loop.
func TestOutageIsPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		calls := 0
		w.fault = func(lifecycle.Change, bool) error { calls++; return errDown }
		w.submit(lifecycle.Request{ID: "r"}, lifecycle.Content{})
		stop := w.run(handle(nil), processor.Options{})
		time.Sleep(10 * time.Minute)
		w.mu.Lock()
		n := calls
		w.mu.Unlock()
		if n < 60 || n > 200 {
			t.Errorf("%d calls in 10 minutes", n)
		}
		begin := time.Now()
		_ = stop()
		if took := time.Since(begin); took != 0 {
			t.Errorf("the pause held up the end for %v", took)
		}
		if _, _, waiting := w.queue.counts(); waiting != 1 {
			t.Errorf("%d deliveries are left, want the one", waiting)
		}
	})
}

// The result outlives an outage, but neither the request nor the drain time.
func TestFinalReportGivesUp(t *testing.T) {
	for name, test := range map[string]struct {
		stop            bool
		acked, returned int
	}{
		"when the request's time is over": {acked: 1},
		"when the drain time is over":     {stop: true, returned: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.fault = down(24*time.Hour, false, is[lifecycle.Succeed])
				w.submit(lifecycle.Request{ID: "r"}, lifecycle.Content{})
				stop := w.run(handle(func(int) (processor.Result, error) { return processor.Result{}, nil }), processor.Options{})
				if !test.stop {
					time.Sleep(2 * time.Hour)
				}
				synctest.Wait()
				_ = stop()
				if acked, returned, _ := w.queue.counts(); acked != test.acked || returned != test.returned {
					t.Errorf("%d acked, %d returned; want %d, %d", acked, returned, test.acked, test.returned)
				}
			})
		})
	}
}

func TestResultThatIsRefusedFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.fault = func(c lifecycle.Change, _ bool) error {
			if is[lifecycle.Succeed](c) {
				return errors.New("value too large")
			}
			return nil
		}
		w.submit(lifecycle.Request{ID: "r"}, lifecycle.Content{})
		stop := w.run(handle(func(int) (processor.Result, error) { return processor.Result{}, nil }), processor.Options{})
		defer stop()
		if r := w.await("r"); r.Status != lifecycle.Failed || r.Error.Code != "result-refused" {
			t.Errorf("%s, %v", r.Status, r.Error)
		}
	})
}

// Whatever goes wrong and in whatever order, every request ends, no delivery is
// left over, and each is settled exactly once.
func TestEverythingEnds(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			w := newWorld()
			chance := func(p float64) bool { return random.Float64() < p } // under w.mu
			w.fault = func(c lifecycle.Change, _ bool) error {
				if chance(0.1) && !is[lifecycle.Cancel](c) && !is[lifecycle.Expire](c) {
					return errDown
				}
				return nil
			}
			draw := func() int {
				w.mu.Lock()
				defer w.mu.Unlock()
				return random.IntN(8)
			}
			routes := processor.Routes{"work": processor.HandlerFunc(func(ctx context.Context, job *processor.Job) (processor.Result, error) {
				for i := range draw() {
					_ = job.Progress(ctx, fmt.Sprint(i/2), float64(i), "m")
					select {
					case <-ctx.Done():
						return processor.Result{}, ctx.Err()
					case <-time.After(time.Duration(draw()) * time.Second):
					}
				}
				switch draw() {
				case 0:
					return processor.Result{}, errors.New("plain")
				case 1:
					return processor.Result{}, processor.Fail("c", "m", nil)
				case 2:
					return processor.Result{}, processor.RetryAfter(time.Second, errors.New("later"))
				case 3:
					panic("oh")
				}
				return processor.JSON(job.ID)
			})}
			const n = 20
			for i := range n {
				w.submit(lifecycle.Request{ID: fmt.Sprint(i), ExpiresAt: time.Now().Add(time.Minute)}, lifecycle.Content{})
			}
			for range 3 { // generations of processors
				stop := w.run(routes, processor.Options{Concurrency: 4, Drain: time.Second})
				time.Sleep(5 * time.Second)
				w.cancel(fmt.Sprint(draw()), draw() < 4)
				time.Sleep(5 * time.Second)
				_ = stop()
			}
			stop := w.run(routes, processor.Options{})
			time.Sleep(2 * time.Minute)
			for i := range n { // the sweep
				_, _ = w.apply(context.Background(), fmt.Sprint(i), lifecycle.Expire{})
			}
			time.Sleep(time.Minute)
			_ = stop()
			for i := range n {
				if r := w.get(fmt.Sprint(i)); !r.Status.Terminal() {
					t.Errorf("seed %d: request %d is %s", seed, i, r.Status)
				}
			}
			if _, _, waiting := w.queue.counts(); waiting != 0 {
				t.Errorf("seed %d: %d deliveries are left", seed, waiting)
			}
		})
	}
}
