package attack

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hark-push/hark/loadtest/measure"
)

// attackOf returns a row whose calls all took so long before and during an attack.
func attackOf(before, during time.Duration) attackRow {
	r := attackRow{Name: "x", Before: measure.NewHistogram(), During: measure.NewHistogram(), Disk: measure.NewHistogram(), Alive: true}
	measure.Record(r.Before, before)
	measure.Record(r.During, during)
	r.Memory.Before, r.Memory.Peak, r.Memory.After = 20<<20, 20<<20, 20<<20
	return r
}

// TestAttackVerdict: an attack is as it should be only within each of the bounds.
func TestAttackVerdict(t *testing.T) {
	for name, c := range map[string]struct {
		change func(r *attackRow)
		says   string
	}{
		"nothing noticed":    {func(*attackRow) {}, ""},
		"four times slower":  {func(r *attackRow) { *r = attackOf(10*time.Millisecond, 40*time.Millisecond) }, ""},
		"six times slower":   {func(r *attackRow) { *r = attackOf(10*time.Millisecond, 60*time.Millisecond) }, "p99 is 6"},
		"too short to count": {func(r *attackRow) { *r = attackOf(time.Millisecond, 19*time.Millisecond) }, ""},
		"a call failed":      {func(r *attackRow) { r.Failed, r.Why = 1, errors.New("503") }, "1 calls failed: 503"},
		"much memory":        {func(r *attackRow) { r.Memory.Peak += 257 << 20 }, "at the peak"},
		"some memory":        {func(r *attackRow) { r.Memory.Peak += 255 << 20 }, ""},
		"memory stays":       {func(r *attackRow) { r.Memory.After += 11 << 20 }, "after the rest"},
		"ended":              {func(r *attackRow) { r.Alive = false }, "has ended"},
	} {
		r := attackOf(time.Millisecond, time.Millisecond)
		c.change(&r)
		wrong := strings.Join(r.wrong(), "; ")
		if (wrong == "") != (c.says == "") || !strings.Contains(wrong, c.says) {
			t.Errorf("%s: %q, want %q", name, wrong, c.says)
		}
		var out bytes.Buffer
		attackTable{r}.print(&out)
		if verdict := strings.Contains(out.String(), " NOT "); verdict != (c.says != "") {
			t.Errorf("%s: the table says %s", name, out.String())
		}
	}
}

// TestDisturbed: an attack is made again only if callers were late, and the disk stood still for
// much of that.
func TestDisturbed(t *testing.T) {
	for name, c := range map[string]struct {
		before, during, disk time.Duration
		want                 bool
	}{
		"late by the disk":            {10 * time.Millisecond, 500 * time.Millisecond, 400 * time.Millisecond, true},
		"late by itself":              {10 * time.Millisecond, 500 * time.Millisecond, 20 * time.Millisecond, false},
		"late by much more":           {10 * time.Millisecond, 500 * time.Millisecond, 150 * time.Millisecond, false},
		"late, on a disk that works":  {10 * time.Millisecond, 60 * time.Millisecond, 60 * time.Millisecond, false},
		"in time for all of the disk": {100 * time.Millisecond, 400 * time.Millisecond, 400 * time.Millisecond, false},
	} {
		r := attackOf(c.before, c.during)
		measure.Record(r.Disk, c.disk)
		if got := r.disturbed(); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}

// TestOnlyLoopbackIsAttacked: nobody is attacked but a gateway on this machine.
func TestOnlyLoopbackIsAttacked(t *testing.T) {
	for _, addr := range []string{"192.0.2.1:8080", "example.org:80", "localhost.example.org:80", "0.0.0.0:80", "[::]:80", "127.0.0.1", ""} {
		s := Siege{Attack: "slow heads", Addr: addr}
		if err := s.Run(strings.NewReader(""), new(bytes.Buffer)); err == nil {
			t.Errorf("%q is attacked", addr)
		}
	}
}
