package deadline

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

const limit = 64 * time.Second // so that a second is what it may be late

func TestEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(limit)
		first := l.Context()
		begun := time.Now()
		time.Sleep(999 * time.Millisecond)
		second, begunSecond := l.Context(), time.Now()
		time.Sleep(time.Millisecond)
		third, begunThird := l.Context(), time.Now()
		if first != second || second == third {
			t.Errorf("shared %t, and too long %t", first == second, second == third)
		}
		for _, c := range []struct {
			ctx   context.Context
			begun time.Time
		}{{first, begun}, {second, begunSecond}, {third, begunThird}} {
			<-c.ctx.Done()
			took := time.Since(c.begun)
			if took < limit || took > limit+time.Second || !errors.Is(c.ctx.Err(), context.DeadlineExceeded) {
				t.Errorf("ended after %v: %v", took, c.ctx.Err())
			}
		}
		if l.Context().Err() != nil {
			t.Error("ended already")
		}
	})
}

func TestWithinShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outer := New(limit).Context()
		first, free := Within(outer, limit/2)
		free() // frees nobody else's
		second, _ := Within(outer, limit/2)
		longer, _ := Within(outer, 2*limit)
		if first != second || first == outer || longer == first {
			t.Error("not as shared as it should be")
		}
		inner, _ := Within(second, limit/4)
		for _, c := range []struct {
			ctx   context.Context
			least time.Duration
		}{{inner, limit / 4}, {first, limit / 2}, {longer, limit}} {
			<-c.ctx.Done()
			if took := time.Since(start); took < c.least || took > c.least+time.Second {
				t.Errorf("ended after %v, want %v", took, c.least)
			}
		}
	})
}

// start is when the clock of a bubble of synctest begins.
var start = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// TestWithinOwn: who brings a context of his own is heard when he cancels it, and gets nobody
// else's.
func TestWithinOwn(t *testing.T) {
	own, cancel := context.WithCancel(t.Context())
	first, free := Within(own, limit)
	defer free()
	second, freeSecond := Within(own, limit)
	if first == second {
		t.Error("shared")
	}
	freeSecond()
	if first.Err() != nil || second.Err() == nil {
		t.Errorf("%v, %v", first.Err(), second.Err())
	}
	cancel()
	if <-first.Done(); !errors.Is(first.Err(), context.Canceled) {
		t.Error(first.Err())
	}
}

// TestDerivedOfOwn: what is derived from a shared one by other means ends with it, and can be
// canceled alone.
func TestDerived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := New(limit).Context()
		derived, cancel := context.WithCancel(shared)
		cancel()
		other, cancel := context.WithCancel(shared)
		defer cancel()
		if derived.Err() == nil || other.Err() != nil || shared.Err() != nil {
			t.Error("not alone")
		}
		if <-other.Done(); !errors.Is(other.Err(), context.DeadlineExceeded) {
			t.Error(other.Err())
		}
	})
}

func BenchmarkContext(b *testing.B) {
	b.Run("shared", func(b *testing.B) {
		l := New(limit)
		for b.Loop() {
			Within(l.Context(), limit/2)
		}
	})
	b.Run("own", func(b *testing.B) {
		for b.Loop() {
			outer, cancel := context.WithTimeout(context.Background(), limit)
			_, free := Within(outer, limit/2)
			free()
			cancel()
		}
	})
}
