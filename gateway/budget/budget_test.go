package budget_test

import (
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hark-push/hark/gateway/budget"
)

const mb = 1 << 20

// TestShares: nobody has more than half, large reservations leave an eighth to small ones, and what
// is released is there again.
func TestShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := budget.New(budget.Options{Bytes: 128 * mb})
		first := b.Reserve(nil, "a", "")
		want(t, first.Grow(1000*mb), nil) // as much as one may have
		second := b.Reserve(nil, "a", "here")
		want(t, second.Grow(mb), budget.ErrShare)
		want(t, second.Grow(budget.Small), nil) // which is small
		other := b.Reserve(nil, "b", "here")
		want(t, other.Grow(56*mb), nil)
		third := b.Reserve(nil, "c")
		want(t, third.Grow(mb), budget.ErrFull)
		want(t, third.Grow(budget.Small), nil)
		first.Release()
		first.Release()
		want(t, third.Grow(mb), nil)
		for _, c := range []*budget.Reservation{second, other, third} {
			c.Release()
		}
		if used, waiting := b.Used(); used != 0 || waiting != 0 {
			t.Errorf("%d bytes are held, and %d wait", used, waiting)
		}
	})
}

func want(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) || got != nil && want == nil {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestWaiting: who waits gets what becomes free in the order in which they came, and who waits for
// its own share keeps no one else waiting.
func TestWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := budget.New(budget.Options{Bytes: 128 * mb})
		a1, b1 := b.Reserve(nil, "a"), b.Reserve(nil, "b")
		want(t, a1.Grow(50*mb), nil)
		want(t, b1.Grow(50*mb), nil)
		var mu sync.Mutex
		var order []string
		var all sync.WaitGroup
		ask := func(name, who string, bytes int64) *budget.Reservation {
			c := b.Reserve(nil, who)
			all.Go(func() {
				want(t, c.Grow(bytes), nil)
				mu.Lock()
				defer mu.Unlock()
				order = append(order, name)
			})
			synctest.Wait()
			return c
		}
		a2 := ask("own share", "a", 30*mb)
		c1 := ask("first", "c", 30*mb)
		d1 := ask("second", "d", 2*mb) // would fit now, and does not overtake
		e1 := ask("small", "e", budget.Small)
		b1.Release()
		synctest.Wait()
		a1.Release()
		all.Wait()
		if got := order; len(got) != 4 || got[0] != "small" || got[3] != "own share" {
			t.Errorf("they were served in the order %q", got)
		}
		for _, c := range []*budget.Reservation{a2, c1, d1, e1} {
			c.Release()
		}
	})
}

// TestQueue: who waits costs others nothing: of those for one no more than some wait, and others
// find a place, until there is none.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := budget.New(budget.Options{Bytes: 128 * mb, Patience: time.Minute})
		for _, who := range []string{"a", "b"} {
			want(t, b.Reserve(nil, who).Grow(56*mb), nil)
		}
		refused := make(map[string]int)
		var mu sync.Mutex
		var all sync.WaitGroup
		began := time.Now()
		for n := range 1000 {
			who := "many"
			if n >= 100 {
				who = strconv.Itoa(n)
			}
			all.Go(func() {
				err := b.Reserve(nil, who).Grow(mb)
				mu.Lock()
				defer mu.Unlock()
				if time.Since(began) == 0 {
					refused[err.Error()]++
				}
			})
			synctest.Wait()
		}
		if _, waiting := b.Used(); waiting != 512 {
			t.Errorf("%d wait", waiting)
		}
		all.Wait()
		if refused[budget.ErrShare.Error()] != 36 || refused[budget.ErrFull.Error()] != 452 {
			t.Errorf("refused at once were %v", refused)
		}
	})
}

// TestSlow: while somebody waits a reservation that is filled too slowly is taken away, and one
// that is filled in time is not.
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := budget.New(budget.Options{Bytes: 128 * mb, Patience: time.Minute})
		var slow *budget.Reservation
		evicted := 0
		slow = b.Reserve(func() { evicted++; go slow.Release() }, "a")
		fast := b.Reserve(func() { t.Error("what comes in time was taken away") }, "b")
		want(t, slow.Grow(50*mb), nil)
		want(t, fast.Grow(50*mb), nil)
		slow.Fill(1)
		fast.Fill(50 * mb)
		time.Sleep(10 * time.Minute) // nobody waits, so nobody is too slow
		if evicted > 0 {
			t.Error("it was taken away though nobody waits")
		}
		c := b.Reserve(nil, "c")
		began := time.Now()
		want(t, c.Grow(50*mb), nil)
		if took := time.Since(began); evicted != 1 || !slow.Slow() || took > 2*time.Second {
			t.Errorf("%d were taken away, after %v", evicted, took)
		}
		want(t, slow.Grow(60*mb), budget.ErrSlow)
	})
}

// TestModel: whatever many do at the same time, no bound is passed and nothing is left.
func TestModel(t *testing.T) {
	b := budget.New(budget.Options{Bytes: 8 * mb, Patience: 5 * time.Millisecond})
	var held atomic.Int64
	var all sync.WaitGroup
	for n := range 16 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(n)))
			for range 200 {
				c := b.Reserve(nil, "caller "+strconv.Itoa(n%3), "address "+strconv.Itoa(n%5))
				mine := int64(0)
				for range 3 {
					to := mine + 1 + r.Int64N(mb)
					if c.Grow(to) != nil {
						break
					}
					if held.Add(to-mine) > 8*mb {
						t.Error("more is held than there is")
					}
					mine = to
				}
				held.Add(-mine)
				c.Release()
			}
		})
	}
	all.Wait()
	if used, waiting := b.Used(); used != 0 || waiting != 0 {
		t.Errorf("%d bytes are held, and %d wait", used, waiting)
	}
}
