package memory_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hark-push/hark/broker"
	"github.com/hark-push/hark/broker/memory"
)

// of is a job of an owner.
func of(owner, id string) broker.Job { return broker.Job{ID: id, Owner: owner, Route: "a"} }

// TestFlood: who comes while another one has thousands of jobs waiting is next, and everybody's own
// jobs stay in their order.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New([]string{"a"}, memory.Options{})
		defer b.Close()
		for i := range 5000 {
			publish(t, b, of("flood", fmt.Sprint("f", i)))
		}
		var given []string
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if err := b.Consume(ctx, []string{"a"}, 1, func(d broker.Delivery) {
			given = append(given, d.Job().ID)
			if len(given) == 10 { // in the middle of it
				publish(t, b, of("honest", "h1"), of("honest", "h2"), of("other", "o1"))
			}
			if len(given) == 18 {
				cancel()
			}
			d.Ack()
		}); err != nil {
			t.Error(err)
		}
		expect(t, given[10:], "f10", "h1", "o1", "f11", "h2", "f12", "f13", "f14")
	})
}

// TestFloodOfPriority: priorities count before turns.
func TestFloodOfPriority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New([]string{"a"}, memory.Options{})
		defer b.Close()
		for i := range 3 {
			publish(t, b, of("x", fmt.Sprint("x", i)))
		}
		urgent := of("y", "y9")
		urgent.Priority = 9
		urgents := of("x", "x9")
		urgents.Priority = 9
		publish(t, b, of("y", "y0"), urgent, urgents)
		expect(t, taken(t, b, 1, time.Second, "a"), "y9@0", "x9@0", "x0@0", "y0@0", "x1@0", "x2@0")
	})
}

// TestFloodOfAnotherRoute: a flood of one route keeps nobody waiting on another one of the same
// consumer, and owners take turns there too.
func TestFloodOfAnotherRoute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New([]string{"a", "b"}, memory.Options{})
		defer b.Close()
		for i := range 4 {
			publish(t, b, of("x", fmt.Sprint("x", i)))
		}
		publish(t, b, broker.Job{ID: "y0", Owner: "y", Route: "b"}, broker.Job{ID: "y1", Owner: "y", Route: "b"})
		expect(t, taken(t, b, 1, time.Second, "a", "b"), "x0@0", "y0@0", "x1@0", "y1@0", "x2@0", "x3@0")
	})
}

// TestDelayedTakesItsTurn: what becomes due joins its owner's line.
func TestDelayedTakesItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New([]string{"a"}, memory.Options{})
		defer b.Close()
		later := of("x", "x later")
		later.NotBefore = time.Now().Add(5 * time.Second)
		publish(t, b, later, of("x", "x0"), of("x", "x1"), of("y", "y0"))
		time.Sleep(10 * time.Second) // the bubble's
		expect(t, taken(t, b, 1, time.Second, "a"), "x0@0", "y0@0", "x1@0", "x later@0")
	})
}

// model is what a broker of one consumer is to do, said as plainly as possible: who is served is
// looked for among all that waits.
type model struct {
	jobs   []*modelJob // that wait, delayed ones included
	turns  map[string]int
	newest int
	oldest int
}

type modelJob struct {
	broker.Job
	again bool
	ready bool
	order int // among jobs of its owner
}

// line names those that are in one.
func line(j broker.Job) string { return fmt.Sprint(j.Route, j.Priority, j.Owner) }

func (m *model) find(id string) *modelJob {
	for _, j := range m.jobs {
		if j.ID == id {
			return j
		}
	}
	return nil
}

func (m *model) drop(j *modelJob) {
	m.jobs = slices.DeleteFunc(m.jobs, func(other *modelJob) bool { return other == j })
	m.leave(j.Job)
}

// leave forgets the turn of a line in which nothing waits any more.
func (m *model) leave(j broker.Job) {
	for _, other := range m.jobs {
		if other.ready && line(other.Job) == line(j) {
			return
		}
	}
	delete(m.turns, line(j))
}

func (m *model) enter(j *modelJob, turn int) {
	j.ready, j.order = true, turn
	if _, ok := m.turns[line(j.Job)]; !ok {
		m.turns[line(j.Job)] = turn
	}
}

func (m *model) publish(j broker.Job) {
	again := false
	if old := m.find(j.ID); old != nil {
		if again = old.again; old.ready && time.Until(j.NotBefore) <= 0 && line(old.Job) == line(j) {
			old.Job = j
			return
		}
		m.drop(old)
	}
	m.newest++
	added := &modelJob{Job: j, again: again, order: m.newest}
	m.jobs = append(m.jobs, added)
	if time.Until(j.NotBefore) <= 0 {
		m.enter(added, m.newest)
	}
}

func (m *model) discard(id string) {
	if j := m.find(id); j != nil {
		m.drop(j)
	}
}

func (m *model) back(j broker.Job) {
	if waits := m.find(j.ID); waits != nil {
		waits.again = true
		return
	}
	m.oldest--
	returned := &modelJob{Job: j, again: true}
	m.jobs = append(m.jobs, returned)
	m.enter(returned, m.oldest)
}

// due makes ready what is, in the order in which it is.
func (m *model) due() {
	var due []*modelJob
	for _, j := range m.jobs {
		if !j.ready && time.Until(j.NotBefore) <= 0 {
			due = append(due, j)
		}
	}
	slices.SortFunc(due, func(x, y *modelJob) int {
		if c := x.NotBefore.Compare(y.NotBefore); c != 0 {
			return c
		}
		return x.order - y.order
	})
	for _, j := range due {
		m.newest++
		m.enter(j, m.newest)
	}
}

// next takes the job that is handed out next, nil if none is ready.
func (m *model) next() *modelJob {
	var best *modelJob
	before := func(x, y *modelJob) bool {
		switch turnX, turnY := m.turns[line(x.Job)], m.turns[line(y.Job)]; {
		case x.Priority != y.Priority:
			return x.Priority > y.Priority
		case turnX != turnY:
			return turnX < turnY
		default:
			return x.order < y.order
		}
	}
	for _, j := range m.jobs {
		if j.ready && (best == nil || before(j, best)) {
			best = j
		}
	}
	if best == nil {
		return nil
	}
	m.drop(best)
	if _, more := m.turns[line(best.Job)]; more {
		m.newest++
		m.turns[line(best.Job)] = m.newest
	}
	return best
}

// TestModel holds the broker against the model through random sequences of all that may happen to
// it, with a consumer that holds several jobs at a time.
func TestModel(t *testing.T) {
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) { playModel(t, seed) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func playModel(t *testing.T, seed uint64) {
	const places = 2
	random := rand.New(rand.NewPCG(seed, 1))
	b := memory.New([]string{"a", "b"}, memory.Options{})
	defer b.Close()
	m := &model{turns: make(map[string]int)}
	var held, arrived []broker.Delivery
	ctx, cancel := context.WithCancel(t.Context())
	given := make(chan broker.Delivery, places)
	ended := make(chan error, 1)
	go func() {
		ended <- b.Consume(ctx, []string{"a", "b"}, places, func(d broker.Delivery) { given <- d })
	}()
	// check compares what was handed out since the last time. Handles that begin together may
	// come in either order.
	check := func(what string) bool {
		synctest.Wait()
		arrived = arrived[:0]
		for len(given) > 0 {
			arrived = append(arrived, <-given)
		}
		var want, got []string
		for range arrived {
			if j := m.next(); j != nil {
				want = append(want, fmt.Sprint(j.ID, " of ", line(j.Job), j.again))
			}
		}
		for _, d := range arrived {
			got = append(got, fmt.Sprint(d.Job().ID, " of ", line(d.Job()), d.Redelivered()))
		}
		held = append(held, arrived...)
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) || b.Waiting() != len(m.jobs) {
			t.Errorf("%s: %q, want %q; %d wait, want %d", what, got, want, b.Waiting(), len(m.jobs))
			return false
		}
		if len(held) < places && slices.ContainsFunc(m.jobs, func(j *modelJob) bool { return j.ready }) {
			t.Errorf("%s: jobs wait while there is a place", what)
			return false
		}
		return true
	}
	for step := range 200 {
		id := fmt.Sprint(random.IntN(30))
		switch random.IntN(8) {
		case 0, 1, 2, 3:
			j := broker.Job{ID: id, Route: []string{"a", "a", "b"}[random.IntN(3)], Owner: string(rune('x' + random.IntN(3)))}
			if random.IntN(4) == 0 {
				j.Priority = random.IntN(2)
			}
			if random.IntN(5) == 0 {
				j.NotBefore = time.Now().Add(time.Duration(1+random.IntN(5)) * time.Second)
			}
			publish(t, b, j)
			m.publish(j)
		case 4:
			b.Discard(broker.Job{ID: id})
			m.discard(id)
		case 5, 6:
			if len(held) == 0 {
				continue
			}
			at := random.IntN(len(held))
			d := held[at]
			held = slices.Delete(held, at, at+1)
			if random.IntN(2) == 0 {
				m.back(d.Job())
				d.Return()
			} else {
				d.Ack()
			}
		case 7:
			time.Sleep(time.Second) // the bubble's; the timer fires within it
			m.due()
		}
		if !check(fmt.Sprint("step ", step)) {
			break
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// BenchmarkDeep hands jobs out of lines in which many wait.
func BenchmarkDeep(b *testing.B) {
	for _, owners := range []int{1, 1000} {
		b.Run(fmt.Sprint(owners, " owners"), func(b *testing.B) {
			const deep = 100_000
			m := memory.New([]string{"a"}, memory.Options{})
			defer m.Close()
			jobs := make([]broker.Job, deep+b.N)
			for i := range jobs {
				jobs[i] = of(fmt.Sprint(i%owners), fmt.Sprint(i))
			}
			for _, j := range jobs[:deep] {
				if err := m.Publish(b.Context(), j); err != nil {
					b.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancel(b.Context())
			left := jobs[deep:]
			b.ReportAllocs()
			b.ResetTimer()
			if err := m.Consume(ctx, []string{"a"}, 1, func(d broker.Delivery) {
				if len(left) == 0 {
					cancel()
				} else if err := m.Publish(ctx, left[0]); err == nil {
					left = left[1:]
				}
				_ = d.Ack()
			}); err != nil {
				b.Fatal(err)
			}
		})
	}
}
