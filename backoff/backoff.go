// Package backoff says how long to wait before something that failed is tried again, and waits.
// There is one rule of jitter, so that what failed together does not come back together: a fifth
// either way, as the API document says of the schedules of webhook endpoints.
package backoff

import (
	"context"
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
