package processor_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/processor"
)

func show(all []lifecycle.Progress) string {
	var b strings.Builder
	for _, p := range all {
		b.WriteString("[")
		if p.Step != nil {
			b.WriteString(" " + *p.Step)
		}
		if p.Percent != nil {
			fmt.Fprintf(&b, " %v%%", *p.Percent)
		}
		if p.Message != nil {
			b.WriteString(" " + *p.Message)
		}
		if p.Extend > 0 {
			fmt.Fprintf(&b, " +%v", p.Extend)
		}
		b.WriteString(" ]")
	}
	return b.String()
}

func TestProgressIsPaced(t *testing.T) {
	const ms = time.Millisecond
	tests := map[string]struct {
		work func(ctx context.Context, j *processor.Job)
		want string
	}{
		"nothing": {func(context.Context, *processor.Job) {}, ""},
		"one of each": {func(ctx context.Context, j *processor.Job) {
			_ = j.Step(ctx, "a")
			time.Sleep(time.Second)
			_ = j.Percent(ctx, 1)
			time.Sleep(time.Second)
			_ = j.Message(ctx, "m")
		}, "[ a ][ 1% ][ m ]"},
		"repeats are dropped": {func(ctx context.Context, j *processor.Job) {
			for range 3 {
				_ = j.Progress(ctx, "a", 1, "m")
				time.Sleep(time.Second)
			}
			_ = j.Percent(ctx, 1)
		}, "[ a 1% m ]"},
		"many are merged, the last one always goes through": {func(ctx context.Context, j *processor.Job) {
			_ = j.Percent(ctx, 0)
			time.Sleep(5 * ms)
			for i := range 100 {
				_ = j.Percent(ctx, float64(i))
				time.Sleep(10 * ms)
			}
		}, "[ 0% ][ 9% ][ 19% ][ 29% ][ 39% ][ 49% ][ 59% ][ 69% ][ 79% ][ 89% ][ 99% ]"},
		"what is held is written while the handler is busy": {func(ctx context.Context, j *processor.Job) {
			_ = j.Percent(ctx, 1)
			_ = j.Percent(ctx, 2)
			_ = j.Message(ctx, "m")
			time.Sleep(100 * ms)
			synctestWait()
			_ = j.Percent(ctx, 3)
		}, "[ 1% ][ 2% m ][ 3% ]"},
		"steps are written at once, with what was held": {func(ctx context.Context, j *processor.Job) {
			_ = j.Percent(ctx, 1)
			_ = j.Percent(ctx, 2)
			_ = j.Step(ctx, "a")
			_ = j.Step(ctx, "b")
			_ = j.Step(ctx, "b")
		}, "[ 1% ][ a 2% ][ b ]"},
		"time is asked for at once, every time": {func(ctx context.Context, j *processor.Job) {
			_ = j.Percent(ctx, 1)
			_ = j.Percent(ctx, 2)
			_ = j.Extend(ctx, time.Hour)
			_ = j.Extend(ctx, time.Hour)
		}, "[ 1% ][ 2% +1h0m0s ][ +1h0m0s ]"},
		"percentages are made to fit": {func(ctx context.Context, j *processor.Job) {
			_ = j.Percent(ctx, math.NaN())
			_ = j.Percent(ctx, -5)
			time.Sleep(time.Second)
			_ = j.Percent(ctx, math.Inf(1))
		}, "[ 0% ][ 100% ]"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.submit(lifecycle.Request{ID: "r"}, lifecycle.Content{})
				stop := w.run(processor.Routes{"work": processor.HandlerFunc(func(ctx context.Context, j *processor.Job) (processor.Result, error) {
					test.work(ctx, j)
					return processor.Result{}, nil
				})}, processor.Options{})
				w.await("r")
				_ = stop()
				if got := show(w.progress()); got != test.want {
					t.Errorf("got  %s\nwant %s", got, test.want)
				}
			})
		})
	}
}

// synctestWait lets the goroutine that writes what is held have its turn.
func synctestWait() { time.Sleep(time.Nanosecond) }

func TestProgressThroughAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.submit(lifecycle.Request{ID: "r"}, lifecycle.Content{})
		w.fault = down(10*time.Second, false, is[lifecycle.Progress])
		begin := time.Now()
		stop := w.run(processor.Routes{"work": processor.HandlerFunc(func(ctx context.Context, j *processor.Job) (processor.Result, error) {
			for i := range 20 {
				if err := j.Progress(ctx, fmt.Sprint("step ", i), float64(i), ""); err != nil {
					t.Error(err)
				}
			}
			if err := j.Extend(ctx, time.Hour); !errors.Is(err, lifecycle.ErrUnavailable) {
				t.Errorf("extended while the store is down: %v", err)
			}
			if took := time.Since(begin); took != 0 {
				t.Errorf("the handler was held up for %v", took)
			}
			time.Sleep(time.Minute)
			return processor.Result{}, nil
		})}, processor.Options{})
		w.await("r")
		_ = stop()
		if got := show(w.progress()); got != "[ step 19 19%  ]" {
			t.Errorf("got %s", got)
		}
		if len(w.writes) < 2 || w.writes[1].Sub(begin) > 12*time.Second {
			t.Errorf("written at %v", w.writes)
		}
	})
}

func TestProgressFromManyGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.submit(lifecycle.Request{ID: "r"}, lifecycle.Content{})
		stop := w.run(processor.Routes{"work": processor.HandlerFunc(func(ctx context.Context, j *processor.Job) (processor.Result, error) {
			done := make(chan struct{})
			for g := range 8 {
				go func() {
					for i := range 200 {
						_ = j.Percent(ctx, float64(g*i%100))
						time.Sleep(time.Millisecond)
					}
					done <- struct{}{}
				}()
			}
			for range 8 {
				<-done
			}
			return processor.Result{}, j.Percent(ctx, 42)
		})}, processor.Options{})
		w.await("r")
		_ = stop()
		all := w.progress()
		if len(all) > 5 {
			t.Errorf("%d writes in 200 ms", len(all))
		}
		if last := all[len(all)-1]; *last.Percent != 42 {
			t.Errorf("the last report is %v", *last.Percent)
		}
	})
}
