package redis_test

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/lifecycle/stall"
	"github.com/hark-push/hark/servertest"
	"github.com/hark-push/hark/store/redis"
)

// TestSweepers: many sweepers of many nodes expire each request once.
func TestSweepers(t *testing.T) {
	server := servertest.Redis(t)
	for _, partitions := range []int{1, 3} {
		t.Run(fmt.Sprintf("partitions=%d", partitions), func(t *testing.T) {
			o := redis.Options{Prefix: fmt.Sprint("sweep", partitions), Partitions: partitions}
			nodes := []*redis.Store{open(t, server.URL, o), open(t, server.URL, o), open(t, server.URL, o)}
			const n = 60
			for i := range n {
				if _, err := nodes[0].Create(t.Context(), submission(fmt.Sprint("r", i))); err != nil {
					t.Fatal(err)
				}
			}
			for _, node := range nodes {
				node.Advance(time.Hour)
			}
			var expired atomic.Int32
			var sweeping sync.WaitGroup
			for _, node := range nodes {
				for range 3 {
					sweeping.Go(func() {
						for {
							swept, err := node.Sweep(t.Context(), 7)
							if err != nil {
								t.Error(err)
								return
							}
							expired.Add(int32(swept.Done))
							if swept.Done == 0 && swept.Next.After(time.Now().Add(90*time.Minute)) { // nothing but ended ones
								return
							}
						}
					})
				}
			}
			sweeping.Wait()
			if expired.Load() != n {
				t.Errorf("%d expired, want %d", expired.Load(), n)
			}
			for i := range n {
				if r := agree(t, nodes[1], fmt.Sprint("r", i)); r.Status != lifecycle.Expired || r.Sequence != 2 {
					t.Errorf("%s: %s at %d", r.ID, r.Status, r.Sequence)
				}
			}
			h, err := nodes[2].Read(t.Context(), aliceFeed.Key(), 0, 1000)
			if err != nil || h.Top != 2*n || len(h.Messages) != 2*n {
				t.Errorf("feed: %d events, top %d, %v", len(h.Messages), h.Top, err)
			}
		})
	}
}

// TestOutbox: what could not be relayed at once gets into the feeds by the next
// sweep, once and in order.
func TestOutbox(t *testing.T) {
	server := servertest.Redis(t)
	admin := client(t, server)
	s := open(t, server.URL, redis.Options{Partitions: 4})
	blocked := make([]string, 4)
	for i := range blocked {
		blocked[i] = fmt.Sprintf("hark:{p%d}:relayed", i)
		if err := admin.LPush(t.Context(), blocked[i], "of a wrong type").Err(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 12 {
		work(t.Context(), t, s, fmt.Sprint("w", i), 1)
	}
	h, err := s.Read(t.Context(), aliceFeed.Key(), 0, 1000)
	if err != nil || h.Top == 60 {
		t.Fatalf("nothing waits: top %d, %v", h.Top, err)
	}
	if err := admin.Del(t.Context(), blocked...).Err(); err != nil {
		t.Fatal(err)
	}
	var sweeping sync.WaitGroup
	for range 4 {
		sweeping.Go(func() {
			node, err := redis.Open(t.Context(), server.URL, redis.Options{})
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = node.Close() }()
			if _, err := node.Sweep(t.Context(), 10); err != nil {
				t.Error(err)
			}
		})
	}
	sweeping.Wait()
	h, err = s.Read(t.Context(), aliceFeed.Key(), 0, 1000)
	if err != nil || h.Top != 60 || len(h.Messages) != 60 {
		t.Fatalf("%d events, top %d, %v", len(h.Messages), h.Top, err)
	}
	inOrder(t, h, 5)
}

// inOrder checks that a feed has n events of each request in their order.
func inOrder(t testing.TB, h hub.History, n int) {
	t.Helper()
	contiguous(t, h)
	seen := map[string]int{}
	for _, m := range h.Messages {
		_, rest, _ := bytes.Cut(m.Event, []byte(`"id":"`))
		event, _, _ := bytes.Cut(rest, []byte(`"`))
		id, sequence, _ := strings.Cut(string(event), "/")
		if seen[id]++; strconv.Itoa(seen[id]) != sequence {
			t.Errorf("%s at place %d of its request", event, seen[id])
		}
	}
	for id, count := range seen {
		if count != n {
			t.Errorf("%d events of %s, want %d", count, id, n)
		}
	}
}

// TestSweepAfterStall: what was to expire while Redis stood still does not before those who report
// come through to it again.
func TestSweepAfterStall(t *testing.T) {
	server := servertest.Redis(t)
	watch := stall.New()
	s := open(t, server.URL, redis.Options{Stall: watch, Timeout: 20 * time.Second})
	sub := submission("r")
	sub.Timeout = time.Second
	if _, err := s.Create(t.Context(), sub); err != nil {
		t.Fatal(err)
	}
	apply(t, s, "r", lifecycle.Start{})
	sweep := func() {
		t.Helper()
		if _, err := s.Sweep(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
	}
	sweep()
	server.Pause()
	resumed := make(chan struct{})
	time.AfterFunc(4*time.Second, func() { // longer than the timeout and stall.Least
		server.Resume()
		close(resumed)
	})
	sweep()
	<-resumed
	if r, err := s.Get(t.Context(), lifecycle.Named("r")); err != nil || r.Status != lifecycle.Processing || s.Now().Before(r.ExpiresAt) {
		t.Fatalf("after the stall: %s, %v", r.Status, err)
	}
	if left := watch.Left(); left <= 0 {
		t.Error("nobody is told of the stall")
	}
	apply(t, s, "r", lifecycle.Succeed{})
}
