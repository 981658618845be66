package api

import (
	"testing"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// TestRetryAfter: who obeys comes when the end is estimated, by a clock that goes on between two
// reports, and not after the request has expired.
func TestRetryAfter(t *testing.T) {
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(seconds float64) time.Time { return began.Add(time.Duration(seconds * float64(time.Second))) }
	percent := func(p float64) *float64 { return &p }
	running := lifecycle.Request{Status: lifecycle.Processing, StartedAt: began, UpdatedAt: at(8), ExpiresAt: at(3600), Percent: percent(50)}
	expiring, silent, ended := running, running, running
	expiring.ExpiresAt = at(12)
	silent.Percent = nil
	ended.Status = lifecycle.Succeeded
	asking := lifecycle.Request{Status: lifecycle.Waiting, StartedAt: began, UpdatedAt: at(8), ExpiresAt: at(3600), Percent: percent(50)}
	for _, c := range []struct {
		name string
		r    lifecycle.Request
		now  float64
		want string
	}{
		{"with the report", running, 8, "8"},
		{"a moment later", running, 8.1, "8"},
		{"a second before the end", running, 15, "1"},
		{"at the estimated end", running, 16, "1"},
		{"long after it", running, 500, "1"},
		{"when its time runs out first", expiring, 8, "4"},
		{"just before", expiring, 11.5, "1"},
		{"nothing to estimate from", silent, 8, "1"},
		{"ended", ended, 8, "1"},
		{"asked just now", asking, 8, "1"},
		{"asked a minute ago", asking, 68, "6"},
		{"asked long ago", asking, 1000, "30"},
		{"a clock behind the report", running, -100, "30"},
	} {
		a := &API{Options: Options{Now: func() time.Time { return at(c.now) }}}
		if got := a.retryAfter(&c.r); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
