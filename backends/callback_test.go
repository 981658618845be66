package backends

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hark-push/hark/broker"
	"github.com/hark-push/hark/broker/rabbitmq"
	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/servertest"
	"github.com/hark-push/hark/store/redis"
)

// unsteady is an exchange that fails when it is told to.
type unsteady struct {
	mu        sync.Mutex
	notReady  bool
	confirms  int // and then an error; -1: all
	published []string
}

func (u *unsteady) Ready(context.Context) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.notReady {
		return broker.ErrUnavailable
	}
	return nil
}

func (u *unsteady) PublishEvents(_ context.Context, events []rabbitmq.Event) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for n, e := range events {
		if u.confirms == 0 {
			u.confirms = -1
			return n, broker.ErrUnavailable
		}
		u.confirms--
		u.published = append(u.published, e.ID)
	}
	return len(events), nil
}

func (u *unsteady) all() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.published)
}

// TestCallbackFailures: what was confirmed before a failure is not published again,
// what comes after it is, in order; and a node whose exchange is away leaves the lease to others.
func TestCallbackFailures(t *testing.T) {
	server := servertest.Redis(t)
	node := func(u *unsteady) (*redis.Store, *Callback, func()) {
		s, err := redis.Open(t.Context(), server.URL, redis.Options{})
		if err != nil {
			t.Fatal(err)
		}
		c, err := newCallback(t.Context(), s.Callback(redis.CallbackOptions{}), u, wire.JSON, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); c.Run(ctx) }()
		stop := sync.OnceFunc(func() { cancel(); <-done; s.Close() })
		t.Cleanup(stop)
		return s, c, stop
	}
	until := func(what string, condition func() bool) {
		t.Helper()
		for deadline := time.Now().Add(3 * time.Minute); !condition(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("never: " + what)
			}
		}
	}
	one := &unsteady{confirms: 2}
	s, c, stop := node(one)
	var want []string
	create := func(n int) {
		t.Helper()
		id := fmt.Sprint("r", n)
		if _, err := s.Create(t.Context(), lifecycle.Submission{
			ID: id, Owner: "alice", Route: "a", MaxAttempts: 1, Timeout: time.Hour, Retention: time.Hour,
		}); err != nil {
			t.Fatal(err)
		}
		want = append(want, id+"/1")
	}
	for n := range 10 {
		create(n)
	}
	until("all are published", func() bool { return len(one.all()) == 10 })
	if got := one.all(); !slices.Equal(got, want) || c.failures.Load() != 1 || !errors.Is(*c.failure.Load(), broker.ErrUnavailable) {
		t.Errorf("%v, %d failures", got, c.failures.Load())
	}

	one.mu.Lock()
	one.notReady = true
	one.mu.Unlock()
	two := &unsteady{confirms: -1}
	node(two)
	create(10)
	until("another node has taken over", func() bool { return len(two.all()) == 1 })
	stop()
	if got := append(one.all(), two.all()...); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}
