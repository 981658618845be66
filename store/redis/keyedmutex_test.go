package redis

import (
	"context"
	"errors"
	"sync"
	"testing"
)

// TestKeyedMutex: one at a time for each id, in order, and who gives up is passed over.
func TestKeyedMutex(t *testing.T) {
	var mutex keyedMutex
	ctx := t.Context()
	if err := errors.Join(mutex.lock(ctx, "a"), mutex.lock(ctx, "b")); err != nil {
		t.Fatal(err)
	}
	mutex.unlock("b")
	waits := func(n int) {
		t.Helper()
		for {
			mutex.mu.Lock()
			got := len(mutex.queue["a"])
			mutex.mu.Unlock()
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
			if err := mutex.lock(ctx, "a"); err != nil {
				if i != 1 || !errors.Is(err, context.Canceled) {
					t.Errorf("%d: %v", i, err)
				}
				return
			}
			order <- i
			mutex.unlock("a")
		})
		waits(i + 1)
	}
	cancel()
	waits(4)
	mutex.unlock("a")
	wg.Wait()
	close(order)
	var got []int
	for i := range order {
		got = append(got, i)
	}
	if len(got) != 4 || got[0] != 0 || got[1] != 2 || got[2] != 3 || got[3] != 4 {
		t.Errorf("order %v", got)
	}
	if len(mutex.queue) != 0 {
		t.Errorf("left: %v", mutex.queue)
	}
}

// TestKeyedMutexGivenUp: a lock that comes while its taker gives up is not lost.
func TestKeyedMutexGivenUp(t *testing.T) {
	var mutex keyedMutex
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for n := range 2000 {
				ctx, cancel := context.WithCancel(t.Context())
				if (i+n)%3 == 0 {
					go cancel()
				}
				if mutex.lock(ctx, "a") == nil {
					mutex.unlock("a")
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if len(mutex.queue) != 0 {
		t.Errorf("left: %v", mutex.queue)
	}
}
