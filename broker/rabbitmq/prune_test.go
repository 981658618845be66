package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hark-push/hark/broker"
)

// TestDelayedOnce: however often a Consume ends while a job is passed on to its next delay step,
// there is one of it in the end.
func TestDelayedOnce(t *testing.T) {
	const jobs = 60
	b := openShared(t, Options{Delays: []time.Duration{20 * time.Millisecond, 60 * time.Millisecond}}, "a")
	var all []broker.Job
	due := time.Now().Add(2 * time.Second)
	for n := range jobs {
		j := job(fmt.Sprint(n))
		j.NotBefore, j.Message = due, broker.NewMessage()
		all = append(all, j)
	}
	publish(t, b, all...)
	var mu sync.Mutex
	came := make(map[string]int)
	take := func(d broker.Delivery) {
		mu.Lock()
		defer mu.Unlock()
		came[d.Job().ID]++
		if d.Redelivered() {
			return // it goes back when the Consume is over, and comes again
		}
		_ = d.Ack()
	}
	for time.Now().Before(due) { // as calls do that wait for work
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		err := b.Consume(ctx, []string{"a"}, 5, func(d broker.Delivery) { _ = d.Return() })
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
	}
	ended := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(ended)
		_ = b.Consume(ctx, []string{"a"}, 10, func(d broker.Delivery) {
			take(d)
			if d.Redelivered() {
				_ = d.Ack()
			}
		})
	}()
	eventually(t, "all have come", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(came) == jobs
	})
	eventually(t, "nothing waits", func() bool {
		ch := channel(t, shared.RabbitMQ(t).URL)
		defer ch.Close()
		left := 0
		for _, name := range []string{b.topology.workQueue("a"), b.topology.delay(20 * time.Millisecond), b.topology.delay(60 * time.Millisecond)} {
			q, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
			if err != nil {
				t.Fatal(err)
			}
			left += q.Messages
		}
		return left == 0
	})
	cancel()
	<-ended
	for id, n := range came {
		if n != 1 {
			t.Errorf("%s came %d times", id, n)
		}
	}
}

// TestPrune: what nobody needs leaves a queue that nobody consumes; the rest stays, in its order.
func TestPrune(t *testing.T) {
	b := openShared(t, Options{}, "a")
	var want []string
	for n := range 600 { // more than are looked at together
		publish(t, b, job(fmt.Sprint(n)))
		if n%3 != 0 {
			want = append(want, fmt.Sprint(n))
		}
	}
	waiting := func(want int) {
		t.Helper()
		eventually(t, fmt.Sprint(want, " wait"), func() (ok bool) {
			n, consumers, err := b.Waiting("a")
			return err == nil && n == want && consumers == 0
		})
	}
	waiting(600)
	asked := 0
	needed := func(_ context.Context, jobs []broker.Job) ([]bool, error) {
		all := make([]bool, len(jobs))
		for i, j := range jobs {
			asked++
			all[i] = slices.Contains(want, j.ID)
		}
		return all, nil
	}
	failure := errors.New("the store is away")
	if n, err := b.Prune(t.Context(), "a", func(context.Context, []broker.Job) ([]bool, error) { return nil, failure }); n != 0 || !errors.Is(err, failure) {
		t.Errorf("%d, %v", n, err)
	}
	waiting(600)
	if n, err := b.Prune(t.Context(), "a", needed); n != 200 || asked != 600 || err != nil {
		t.Errorf("%d of %d, %v", n, asked, err)
	}
	waiting(400)
	if n, err := b.Prune(t.Context(), "a", needed); n != 0 || err != nil {
		t.Errorf("again: %d, %v", n, err)
	}
	if _, _, err := b.Waiting("unknown"); !errors.Is(err, broker.ErrUnknownRoute) {
		t.Error(err)
	}
	came, handle := given()
	defer consume(t, b, 1, handle)()
	for _, id := range want {
		d := next(t, came)
		if d.Job().ID != id {
			t.Fatalf("%s came, want %s", d.Job().ID, id)
		}
		d.Ack()
	}
}
