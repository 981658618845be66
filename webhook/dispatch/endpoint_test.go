package dispatch

import (
	"testing"
	"time"
)

func TestInterval(t *testing.T) {
	for rate, want := range map[float64]time.Duration{
		0: 0, -1: 0, 10_000: 100 * time.Microsecond, 1: time.Second, 1.0 / 64: 64 * time.Second, 1e-300: 1 << 62,
	} {
		if got := (&Endpoint{Rate: rate}).Interval(); got != want {
			t.Errorf("%g a second: %v, want %v", rate, got, want)
		}
	}
}
