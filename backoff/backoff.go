// Package backoff says how long to wait before something that failed is tried again, and waits.
// There is one rule of jitter, so that what failed together does not come back together: a fifth
// either way, as the API document says of the schedules of webhook endpoints.
package backoff

import (
	"context"
	"math"
	"math/rand/v2"
	"time"
)

// Exponential returns the pause after the n-th failure in a row: base after the first one, doubled
// with each further one up to most, with jitter.
func Exponential(n int, base, most time.Duration) time.Duration {
	d := base
	for ; n > 1 && d < most; n-- {
		d *= 2
	}
	return Jitter(min(d, most))
}

// Geometric is Exponential with a factor of its own, of at least one, instead of two.
func Geometric(n int, base, most time.Duration, factor float64) time.Duration {
	d := float64(base) * math.Pow(factor, float64(max(n-1, 0)))
	return Jitter(time.Duration(min(d, float64(most)))) // which d may exceed by far
}

// Jitter returns a duration that is up to a fifth shorter or longer than d.
func Jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

// Wait returns after d, or earlier with the error of ctx when that ends.
func Wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
