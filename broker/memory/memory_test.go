package memory_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/hark-push/hark/broker"
	"github.com/hark-push/hark/broker/brokertest"
	"github.com/hark-push/hark/broker/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	brokertest.Run(t, brokertest.Facts{Priorities: 10, DelayGrain: time.Millisecond}, func(t *testing.T, routes ...string) broker.Broker {
		b := memory.New(routes, memory.Options{})
		t.Cleanup(func() { b.Close() })
		return b
	})
}

// taken consumes with prefetch until nothing more happens, acknowledges, and returns
// the ids with the seconds at which they came. It runs in a bubble.
func taken(t *testing.T, b *memory.Broker, prefetch int, wait time.Duration, routes ...string) []string {
	t.Helper()
	start := time.Now()
	var ids []string
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	if err := b.Consume(ctx, routes, prefetch, func(d broker.Delivery) {
		mark := ""
		if d.Redelivered() {
			mark = " again"
		}
		ids = append(ids, fmt.Sprintf("%s@%d%s", d.Job().ID, int(time.Since(start).Seconds()), mark))
		d.Ack()
	}); err != nil {
		t.Error(err)
	}
	return ids
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func publish(t *testing.T, b *memory.Broker, jobs ...broker.Job) {
	t.Helper()
	for _, j := range jobs {
		if err := b.Publish(t.Context(), j); err != nil {
			t.Error(err)
		}
	}
}

func in(id string, seconds, priority int) broker.Job {
	return broker.Job{ID: id, Route: "a", Priority: priority, NotBefore: time.Now().Add(time.Duration(seconds) * time.Second)}
}

func TestDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New([]string{"a"}, memory.Options{})
		defer b.Close()
		publish(t, b, in("c", 30, 0), in("a", 10, 0), in("never", 20, 0), in("b", 20, 0), in("now", 0, 0), in("first", 20, 9))
		b.Discard(in("never", 0, 0))
		expect(t, taken(t, b, 1, time.Minute, "a"), "now@0", "a@10", "first@20", "b@20", "c@30")
		if n := b.Waiting(); n != 0 {
			t.Errorf("%d wait", n)
		}
	})
}

// TestOneTimer: jobs that wait cost no goroutine.
func TestOneTimer(t *testing.T) {
	b := memory.New([]string{"a"}, memory.Options{})
	defer b.Close()
	before := runtime.NumGoroutine()
	for i := range 10_000 {
		publish(t, b, in(fmt.Sprint(i), 1000+i%100, 0))
	}
	if n := runtime.NumGoroutine() - before; n > 2 {
		t.Errorf("%d more goroutines", n)
	}
}

func TestPublishedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New([]string{"a", "b"}, memory.Options{})
		defer b.Close()
		publish(t, b, in("x", 0, 0), in("y", 0, 0), in("x", 0, 0)) // keeps its place
		expect(t, taken(t, b, 1, time.Second, "a"), "x@0", "y@0")
		publish(t, b, in("x", 0, 0), in("y", 0, 0), in("x", 0, 5)) // a higher priority
		expect(t, taken(t, b, 1, time.Second, "a"), "x@0", "y@0")
		publish(t, b, in("x", 0, 0), in("y", 0, 0), in("x", 10, 0)) // later
		expect(t, taken(t, b, 1, time.Minute, "a"), "y@0", "x@10")
		publish(t, b, in("x", 10, 0), in("x", 5, 0)) // sooner
		expect(t, taken(t, b, 1, time.Minute, "a"), "x@5")
		publish(t, b, in("x", 0, 0), broker.Job{ID: "x", Route: "b"}) // elsewhere
		expect(t, taken(t, b, 1, time.Minute, "a", "b"), "x@0")
	})
}

func TestReturnGoesToTheFront(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New([]string{"a"}, memory.Options{})
		defer b.Close()
		publish(t, b, in("x", 0, 0), in("x2", 0, 0), in("y", 0, 0), in("high", 0, 9))
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		held := map[string]broker.Delivery{}
		done := make(chan struct{})
		go func() {
			defer close(done)
			b.Consume(ctx, []string{"a"}, 3, func(d broker.Delivery) {
				mu.Lock()
				defer mu.Unlock()
				held[d.Job().ID] = d
			})
		}()
		synctest.Wait()
		if ids := slices.Sorted(maps.Keys(held)); !slices.Equal(ids, []string{"high", "x", "x2"}) {
			t.Fatalf("%v", ids)
		}
		cancel()
		<-done // all are taken back
		if held["x"].Ack() == nil || held["high"].Return() == nil {
			t.Error("a delivery that was taken back can be settled")
		}
		expect(t, taken(t, b, 1, time.Second, "a"), "high@0 again", "x@0 again", "x2@0 again", "y@0")
	})
}

// TestReturnOfRepublished: the newer publication counts.
func TestReturnOfRepublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New([]string{"a"}, memory.Options{})
		defer b.Close()
		publish(t, b, in("x", 0, 0))
		ctx, cancel := context.WithCancel(t.Context())
		b.Consume(ctx, []string{"a"}, 1, func(d broker.Delivery) {
			publish(t, b, in("x", 7, 0))
			d.Return()
			cancel()
		})
		expect(t, taken(t, b, 1, time.Minute, "a"), "x@7 again")
	})
}

func TestFairness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New([]string{"a", "b"}, memory.Options{})
		defer b.Close()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var got [3]int
		for i, routes := range [][]string{{"a"}, {"a", "b"}, {"b", "a"}} {
			go b.Consume(ctx, routes, 5, func(d broker.Delivery) {
				got[i]++ // one at a time: each job is published when the one before is done
				d.Ack()
			})
		}
		synctest.Wait()
		for i := range 300 {
			publish(t, b, in(fmt.Sprint(i), 0, 0))
			synctest.Wait()
		}
		for _, n := range got {
			if n != 100 {
				t.Errorf("shares: %v", got)
				break
			}
		}
		cancel()
		synctest.Wait()
	})
}

// TestTurnsOfAllRoutes: on whichever of its routes somebody waits longest, a consumer goes on.
func TestTurnsOfAllRoutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New([]string{"a", "b"}, memory.Options{})
		defer b.Close()
		for i := range 6 {
			publish(t, b, broker.Job{ID: fmt.Sprint(i), Route: []string{"b", "a"}[i%2], Priority: i / 5})
		}
		expect(t, taken(t, b, 1, time.Second, "a", "b"), "5@0", "0@0", "1@0", "2@0", "3@0", "4@0")
	})
}

func TestRecover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New([]string{"a"}, memory.Options{MaxWaiting: 1})
		defer b.Close()
		err := b.Recover(func(yield func(broker.Job, bool) bool) {
			_ = yield(in("running", 0, 0), true) &&
				yield(broker.Job{ID: "lost", Route: "no more"}, false) &&
				yield(in("waiting", 0, 0), false) &&
				yield(in("delayed", 5, 0), false)
		})
		if !errors.Is(err, broker.ErrUnknownRoute) {
			t.Errorf("recover: %v", err)
		}
		if err := b.Publish(t.Context(), in("more", 0, 0)); !errors.Is(err, broker.ErrUnavailable) {
			t.Errorf("publish beyond the bound: %v", err)
		}
		expect(t, taken(t, b, 1, time.Minute, "a"), "running@0 again", "waiting@0", "delayed@5")
	})
}

func TestSettledOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New([]string{"a"}, memory.Options{})
		defer b.Close()
		publish(t, b, in("x", 0, 0))
		ctx, cancel := context.WithCancel(t.Context())
		b.Consume(ctx, []string{"a"}, 1, func(d broker.Delivery) {
			defer cancel()
			if err := d.Ack(); err != nil {
				t.Error(err)
			}
			if d.Ack() == nil || d.Return() == nil {
				t.Error("settled twice")
			}
		})
		if n := b.Waiting(); n != 0 {
			t.Errorf("%d wait", n)
		}
	})
}

// TestCloseHandsNothingOut: what waits stays where it is, delayed or not.
func TestCloseHandsNothingOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New([]string{"a"}, memory.Options{})
		publish(t, b, in("x", 0, 0), in("y", 0, 0), in("z", 5, 0))
		release := make(chan struct{})
		done := make(chan error)
		go func() {
			done <- b.Consume(t.Context(), []string{"a"}, 1, func(d broker.Delivery) {
				if d.Job().ID != "x" {
					t.Errorf("%s after Close", d.Job().ID)
				}
				<-release
				if err := d.Ack(); !errors.Is(err, broker.ErrClosed) {
					t.Errorf("ack after Close: %v", err)
				}
			})
		}()
		synctest.Wait()
		b.Close()
		close(release)
		if err := <-done; !errors.Is(err, broker.ErrClosed) {
			t.Error(err)
		}
		time.Sleep(time.Minute) // the bubble's time
	})
}

func BenchmarkPublishAndConsume(b *testing.B) {
	m := memory.New([]string{"a"}, memory.Options{})
	defer m.Close()
	ctx, cancel := context.WithCancel(b.Context())
	n := 0
	done := make(chan struct{})
	go m.Consume(ctx, []string{"a"}, 1, func(d broker.Delivery) {
		d.Ack()
		if n++; n == b.N {
			close(done)
		}
	})
	ids := make([]string, b.N)
	for i := range ids {
		ids[i] = fmt.Sprint(i)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for _, id := range ids {
		if err := m.Publish(ctx, broker.Job{ID: id, Route: "a"}); err != nil {
			b.Fatal(err)
		}
	}
	<-done
	cancel()
}
