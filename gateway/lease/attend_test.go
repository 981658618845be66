package lease

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestAttended: a route is attended while a call looks for its work, while a lease is out, and for
// a while after.
func TestAttended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		want := func(when string, a, b bool) {
			t.Helper()
			if w.Attended("a") != a || w.Attended("b") != b {
				t.Errorf("%s: a %v, b %v, want %v, %v", when, w.Attended("a"), w.Attended("b"), a, b)
			}
		}
		want("at first", false, false)
		done := make(chan struct{})
		go func() {
			defer close(done)
			if work, err := w.Take(t.Context(), Order{Routes: []string{"a"}, Max: 1, Wait: 10 * time.Minute, Lease: time.Hour}); len(work) != 1 || err != nil {
				t.Error(work, err)
			}
		}()
		time.Sleep(9 * time.Minute)
		want("while a call waits", true, false)
		w.submit("r")
		<-done
		time.Sleep(30 * time.Minute)
		want("while a lease is out", true, false)
		w.set("r", nil)
		time.Sleep(attention - time.Second)
		want("a moment after", true, false)
		time.Sleep(time.Minute)
		want("long after", false, false)
		w.Attend("b")
		want("after a report", false, true)
		time.Sleep(attention)
		want("long after", false, false)
	})
}
