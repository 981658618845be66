package backoff_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hark-push/hark/backoff"
)

// TestExponential: pauses double from the base up to the bound, however often something fails, and
// differ by a fifth either way.
func TestExponential(t *testing.T) {
	for n, want := range map[int]time.Duration{
		-1: 100 * time.Millisecond, 0: 100 * time.Millisecond, 1: 100 * time.Millisecond, 2: 200 * time.Millisecond,
		6: 3200 * time.Millisecond, 7: 5 * time.Second, 8: 5 * time.Second, 1 << 40: 5 * time.Second,
	} {
		least, most := time.Duration(1<<62), time.Duration(0)
		for range 1000 {
			d := backoff.Exponential(n, 100*time.Millisecond, 5*time.Second)
			least, most = min(least, d), max(most, d)
		}
		if least < want*8/10 || least > want*83/100 || most > want*12/10 || most < want*117/100 {
			t.Errorf("after %d failures %v to %v, want %v give or take a fifth", n, least, most, want)
		}
	}
	if d := backoff.Exponential(3, 0, time.Second); d != 0 {
		t.Errorf("a base of nothing became %v", d)
	}
}

// TestGeometric: pauses grow by the factor from the base up to the bound, however often something
// fails, and a factor of one leaves them as they are.
func TestGeometric(t *testing.T) {
	for _, test := range []struct {
		n      int
		factor float64
		want   time.Duration
	}{{0, 3, time.Second}, {1, 3, time.Second}, {2, 3, 3 * time.Second}, {4, 3, 27 * time.Second}, {5, 3, time.Minute}, {1 << 40, 3, time.Minute}, {1 << 40, 1, time.Second}} {
		d := backoff.Geometric(test.n, time.Second, time.Minute, test.factor)
		if d < test.want*8/10 || d > test.want*12/10 {
			t.Errorf("after %d failures %v, want %v give or take a fifth", test.n, d, test.want)
		}
	}
}

// TestWait: a pause lasts as long as it says, or as its context.
func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin := time.Now()
		if err := backoff.Wait(ctx, time.Second); err != nil || time.Since(begin) != time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		if err := backoff.Wait(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}
