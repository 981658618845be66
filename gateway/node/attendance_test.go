package node

import (
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hark-push/hark/gateway/lease"
)

// TestAttendanceAsksSeldom: the server is asked again after some seconds, whoever submits
// meanwhile, and what it does not say is not known.
func TestAttendanceAsksSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked, consumers atomic.Int64
		var away, hangs atomic.Bool
		a := newAttendance([]string{"sample"}, lease.New(nil, nil, nil, nil, lease.Options{}), func(string) (int, error) {
			asked.Add(1)
			if hangs.Load() {
				time.Sleep(15 * time.Second)
			}
			if away.Load() {
				return 0, errors.New("away")
			}
			return int(consumers.Load()), nil
		}, slog.New(slog.DiscardHandler))
		defer a.close()
		want := func(when string, asks int64, unserved ...string) {
			t.Helper()
			for range 100 {
				if got := a.unserved("sample", "a"); !slices.Equal(got, unserved) {
					t.Fatalf("%s: %v", when, got)
				}
			}
			if n := asked.Swap(0); n != asks {
				t.Errorf("%s: asked %d times, not %d", when, n, asks)
			}
		}
		want("at first", 1, "a")
		time.Sleep(4 * time.Second)
		want("soon", 0, "a")
		consumers.Store(2)
		time.Sleep(time.Second)
		want("when somebody came", 1)
		consumers.Store(0)
		time.Sleep(time.Minute)
		want("a minute after they left", 1)
		time.Sleep(time.Minute)
		want("when they are gone", 1, "a")
		away.Store(true)
		time.Sleep(fresh)
		want("while the server is away", 1)
		away.Store(false)
		time.Sleep(fresh)
		want("when it is back", 1, "a")
		hangs.Store(true)
		time.Sleep(fresh)
		began := time.Now()
		if a.unserved("a"); time.Since(began) != queryTime {
			t.Errorf("waited for %v", time.Since(began))
		}
		time.Sleep(time.Minute)
	})
}
