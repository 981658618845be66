package settings_test

import (
	"math"
	"testing"
	"time"

	"github.com/hark-push/hark/settings"
)

func TestBetween(t *testing.T) {
	for want, err := range map[string]error{
		"":                                   settings.Between("n", 1, 1, 3),
		`n: "0" is not allowed: want 1 to 3`: settings.Between("n", 0, 1, 3),
		`n: "4" is not allowed: want 1 to 3`: settings.Between("n", int64(4), 1, 3),
		`d: "1h0m0s" is not allowed: want 1ms to 1s`: settings.Between("d", time.Hour, time.Millisecond, time.Second),
		`r: "NaN" is not allowed: want 0 to 1000000`: settings.Between("r", math.NaN(), 0, 1e6),
	} {
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
