package redis

import (
	"context"
	"errors"
	"sync"
	"testing"
)

// TestTurns: one at a time for each id, in order, and who gives up is passed over.
func TestTurns(t *testing.T) {
	var turns turns
	ctx := t.Context()
	if err := errors.Join(turns.take(ctx, "a"), turns.take(ctx, "b")); err != nil {
		t.Fatal(err)
	}
	turns.give("b")
	waits := func(n int) {
		t.Helper()
		for {
			turns.mu.Lock()
			got := len(turns.queue["a"])
			turns.mu.Unlock()
			if got == n {
				return
			}
		}
	}
	order := make(chan int, 10)
	var wg sync.WaitGroup
	impatient, cancel := context.WithCancel(ctx)
	for i := range 5 {
		wg.Go(func() {
			ctx := ctx
			if i == 1 {
				ctx = impatient
			}
			if err := turns.take(ctx, "a"); err != nil {
				if i != 1 || !errors.Is(err, context.Canceled) {
					t.Errorf("%d: %v", i, err)
				}
				return
			}
			order <- i
			turns.give("a")
		})
		waits(i + 1)
	}
	cancel()
	waits(4)
	turns.give("a")
	wg.Wait()
	close(order)
	var got []int
	for i := range order {
		got = append(got, i)
	}
	if len(got) != 4 || got[0] != 0 || got[1] != 2 || got[2] != 3 || got[3] != 4 {
		t.Errorf("order %v", got)
	}
	if len(turns.queue) != 0 {
		t.Errorf("left: %v", turns.queue)
	}
}

// TestTurnsGivenUp: a turn that comes while its taker gives up is not lost.
func TestTurnsGivenUp(t *testing.T) {
	var turns turns
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for n := range 2000 {
				ctx, cancel := context.WithCancel(t.Context())
				if (i+n)%3 == 0 {
					go cancel()
				}
				if turns.take(ctx, "a") == nil {
					turns.give("a")
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if len(turns.queue) != 0 {
		t.Errorf("left: %v", turns.queue)
	}
}
