package memory_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hark-push/hark/broker"
	"github.com/hark-push/hark/broker/memory"
)

// stored is a store of jobs that wait, each until it is acknowledged.
type stored struct {
	mu   sync.Mutex
	jobs []broker.Job
	fail int // readings that fail
	read int
}

func (s *stored) add(j broker.Job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.jobs = append(s.jobs, j)
}

func (s *stored) done(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.jobs = slices.DeleteFunc(s.jobs, func(j broker.Job) bool { return j.ID == id })
}

func (s *stored) backlog(_ context.Context, route string, priority int) iter.Seq2[broker.Job, error] {
	return func(yield func(broker.Job, error) bool) {
		s.mu.Lock()
		s.read++
		jobs, fails := slices.Clone(s.jobs), s.fail > 0
		if fails {
			s.fail--
		}
		s.mu.Unlock()
		for i, j := range jobs {
			if fails && i == len(jobs)/2 {
				yield(broker.Job{}, errors.New("the store is away"))
				return
			}
			if j.Route == route && j.Priority == priority && !yield(j, nil) {
				return
			}
		}
	}
}

// TestBacklog: of thousands of jobs a few are kept, and all are handed out, each once and each
// owner's in their order, whatever comes meanwhile and however often the backlog fails.
func TestBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2))
		s := &stored{fail: 3}
		b := memory.New([]string{"a", "b"}, memory.Options{Backlog: s.backlog, MaxKept: 10})
		defer b.Close()
		want, given := make(map[string][]string), make(map[string][]string)
		n := 0
		submit := func(many int) {
			for range many {
				j := broker.Job{
					ID: fmt.Sprint("j", n), Owner: fmt.Sprint("o", random.IntN(3)*random.IntN(2)), Route: string("ab"[random.IntN(2)]), Priority: random.IntN(2),
				}
				n++
				s.add(j)
				publish(t, b, j)
				want[line(j)] = append(want[line(j)], j.ID)
			}
		}
		submit(3000)
		if kept := b.Waiting(); kept > 3*2*2*10 {
			t.Errorf("%d jobs are kept", kept)
		}
		var mu sync.Mutex
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			if err := b.Consume(ctx, []string{"a", "b"}, 1, func(d broker.Delivery) {
				time.Sleep(time.Millisecond)
				mu.Lock()
				defer mu.Unlock()
				j := d.Job()
				given[line(j)] = append(given[line(j)], j.ID)
				s.done(j.ID)
				d.Ack()
				if n < 5000 && random.IntN(10) == 0 {
					submit(1 + random.IntN(30))
				}
			}); err != nil {
				t.Error(err)
			}
		}()
		time.Sleep(time.Minute) // the bubble's
		mu.Lock()
		defer mu.Unlock()
		for at := range want {
			if !slices.Equal(given[at], want[at]) {
				t.Errorf("%s: %d of %d jobs, or in another order", at, len(given[at]), len(want[at]))
			}
		}
		if s.read > n {
			t.Errorf("the backlog was read %d times for %d jobs", s.read, n)
		}
	})
}

// TestBacklogOfMany: with many consumers that fail, return and take long, each job is handed out
// until it is acknowledged.
func TestBacklogOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(3, 4))
		s := new(stored)
		b := memory.New([]string{"a"}, memory.Options{Backlog: s.backlog, MaxKept: 7})
		defer b.Close()
		const n = 2000
		for i := range n {
			j := broker.Job{ID: fmt.Sprint("j", i), Owner: "o", Route: "a"}
			if i%50 == 0 {
				j.NotBefore = time.Now().Add(time.Duration(random.IntN(5000)) * time.Millisecond)
			}
			s.add(j)
			publish(t, b, j)
		}
		var mu sync.Mutex
		acked := make(map[string]int)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for range 4 {
			go func() {
				_ = b.Consume(ctx, []string{"a"}, 5, func(d broker.Delivery) {
					mu.Lock()
					back, pause := random.IntN(4) == 0, time.Duration(random.IntN(20))*time.Millisecond
					mu.Unlock()
					time.Sleep(pause)
					if back {
						d.Return()
						return
					}
					mu.Lock()
					defer mu.Unlock()
					acked[d.Job().ID]++
					s.done(d.Job().ID)
					d.Ack()
				})
			}()
		}
		time.Sleep(time.Hour)
		mu.Lock()
		defer mu.Unlock()
		if len(acked) != n || b.Waiting() != 0 {
			t.Errorf("%d of %d jobs, %d wait", len(acked), n, b.Waiting())
		}
		for id, times := range acked {
			if times > 1 {
				t.Errorf("%s was acknowledged %d times", id, times)
			}
		}
	})
}

// TestAgainWhileOut: a request that waits again before its delivery is settled is handed out once
// more, also if the backlog is read in between.
func TestAgainWhileOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stored{fail: 1} // so that it is read again while the first delivery is out
		b := memory.New([]string{"a"}, memory.Options{Backlog: s.backlog, MaxKept: 2})
		defer b.Close()
		for i := range 3 {
			j := of("o", fmt.Sprint("j", i))
			s.add(j)
			publish(t, b, j)
		}
		var given []string
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := b.Consume(ctx, []string{"a"}, 1, func(d broker.Delivery) {
			j := d.Job()
			given = append(given, fmt.Sprint(j.ID, "@", j.Sequence))
			s.done(j.ID)
			if j.ID == "j0" && j.Sequence == 0 {
				j.Sequence = 1
				s.add(j)
				publish(t, b, j)
				time.Sleep(10 * time.Second)
			}
			d.Ack()
		}); err != nil {
			t.Error(err)
		}
		expect(t, given, "j0@0", "j1@0", "j2@0", "j0@1")
	})
}

// TestRecoverLeaves: at a start those that were handed out are kept, and of the others as many as
// always.
func TestRecoverLeaves(t *testing.T) {
	s := new(stored)
	b := memory.New([]string{"a"}, memory.Options{Backlog: s.backlog, MaxKept: 5})
	defer b.Close()
	if err := b.Recover(func(yield func(broker.Job, bool) bool) {
		for i := range 100 {
			j := of("o", fmt.Sprint("j", i))
			if i >= 20 {
				s.add(j)
			}
			if !yield(j, i < 20) {
				return
			}
		}
	}); err != nil || b.Waiting() != 20 {
		t.Errorf("%v, %d are kept", err, b.Waiting())
	}
}
