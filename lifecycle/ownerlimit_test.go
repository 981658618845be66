package lifecycle

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestOwnerLimit: an owner has all the room alone, and a share of it from when another one comes
// until that one has stayed away for a while; nobody waits for another owner's.
func TestOwnerLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c ownerLimit
		var inside atomic.Int32 // of a
		come := func(owner string) {
			if err := c.enter(t.Context(), owner); err != nil {
				t.Error(err)
				return
			}
			if owner == "a" {
				inside.Add(1)
			}
		}
		leave := func() {
			inside.Add(-1)
			c.leave("a")
			synctest.Wait()
		}
		for range mostAlone + 10 {
			go come("a")
			synctest.Wait()
		}
		if inside := inside.Load(); inside != mostAlone {
			t.Fatalf("%d inside alone, want %d", inside, mostAlone)
		}
		come("b") // at once
		for range mostAlone - mostBesideOthers {
			leave()
		}
		if inside := inside.Load(); inside != mostBesideOthers {
			t.Fatalf("%d inside beside another owner, want %d", inside, mostBesideOthers)
		}
		leave()
		if inside := inside.Load(); inside != mostBesideOthers {
			t.Fatalf("%d inside when one has left, want %d: one of those outside", inside, mostBesideOthers)
		}
		c.leave("b")
		time.Sleep(company)
		for range mostAlone {
			go come("a")
			synctest.Wait()
		}
		leave()
		if inside := inside.Load(); inside != mostAlone {
			t.Fatalf("%d inside alone again, want %d", inside, mostAlone)
		}
		for c.owners["a"] != nil { // those outside come in meanwhile
			leave()
		}
		if len(c.owners) != 0 {
			t.Errorf("%d owners are kept who have nobody there", len(c.owners))
		}
	})
}

// TestOwnerLimitEnds: who is outside when its call ends has not entered, and keeps nobody from it.
func TestOwnerLimitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c ownerLimit
		for range mostAlone {
			if err := c.enter(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.enter(ctx, "a"); !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		for range mostAlone {
			c.leave("a")
		}
		if len(c.owners) != 0 {
			t.Errorf("%d owners are kept who have nobody there", len(c.owners))
		}
	})
}
