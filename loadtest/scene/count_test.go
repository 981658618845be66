package scene

import (
	"errors"
	"sync"
	"testing"
)

// TestTogether: as many as were asked for are at work at the same time, however many that are: each
// waits for all others.
func TestTogether(t *testing.T) {
	const n = 300
	var all sync.WaitGroup
	all.Add(n)
	seen := make([]int, n)
	if err := together(n, func(i int) error {
		seen[i]++
		all.Done()
		all.Wait()
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for i, times := range seen {
		if times != 1 {
			t.Errorf("%d: %d times", i, times)
		}
	}
}

func TestEach(t *testing.T) {
	var mu sync.Mutex
	seen := make(map[int]int)
	note := func(i int) {
		mu.Lock()
		defer mu.Unlock()
		seen[i]++
	}
	if err := each(1000, func(i int) error { note(i); return nil }); err != nil || len(seen) != 1000 {
		t.Errorf("%d, %v", len(seen), err)
	}
	clear(seen)
	boom := errors.New("boom")
	if err := each(1000, func(i int) error { note(i); return boom }); !errors.Is(err, boom) || len(seen) > 64 {
		t.Errorf("%d after the first error, %v", len(seen), err)
	}
}
