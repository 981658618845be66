package redis_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/gateway/wire"
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
							if swept.Done == 0 && swept.Next.After(time.Now().Add(90*time.Minute)) {
								// There is nothing but ended ones.
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
func inOrder(t testing.TB, h lifecycle.History, n int) {
	t.Helper()
	contiguous(t, h)
	seen := map[string]int{}
	for _, m := range h.Messages {
		_, rest, _ := bytes.Cut(wire.JSON(m.Event), []byte(`"id":"`))
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

// holdFirst holds the first commands that are sent together and name something with a prefix, until
// released says so of their number.
type holdFirst struct {
	prefix   string
	held     *atomic.Bool
	released func(commands int)
}

func (h holdFirst) DialHook(next goredis.DialHook) goredis.DialHook          { return next }
func (h holdFirst) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook { return next }

func (h holdFirst) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, commands []goredis.Cmder) error {
		for _, command := range commands {
			for _, arg := range command.Args() {
				if text, ok := arg.(string); ok && strings.HasPrefix(text, h.prefix) && h.held.CompareAndSwap(false, true) {
					h.released(len(commands))
				}
			}
		}
		return next(ctx, commands)
	}
}

// TestSweepAtOnce: a request about which a server does not answer for long keeps others that are
// due from being forgotten no longer than they take themselves.
func TestSweepAtOnce(t *testing.T) {
	server := servertest.Redis(t)
	admin := client(t, server)
	s := open(t, server.URL, redis.Options{})
	const n = 40
	for i := range n {
		if _, err := s.Create(t.Context(), submission(fmt.Sprint("late-", i))); err != nil {
			t.Fatal(err)
		}
	}
	s.Advance(time.Hour)
	if swept, err := s.Sweep(t.Context(), n); err != nil || swept.Done != n {
		t.Fatal(swept, err)
	}
	s.Advance(25 * time.Hour)
	redis.Hook(s, holdFirst{"late-", new(atomic.Bool), func(commands int) {
		for ctx := t.Context(); ; {
			left, err := admin.Keys(ctx, "hark:{p0}:r:*").Result()
			if err != nil || len(left) <= commands {
				return
			}
			select {
			case <-time.After(time.Millisecond):
			case <-ctx.Done():
				return
			}
		}
	}})
	if swept, err := s.Sweep(t.Context(), n); err != nil || swept.Done != n {
		t.Errorf("%d are forgotten, %v", swept.Done, err)
	}
}

// TestReuseAgainstSweep: whatever nodes do with ids that are used again and again, each request
// that is there expires when it says, and when the time of all has come nothing is left of any.
func TestReuseAgainstSweep(t *testing.T) {
	server := servertest.Redis(t)
	admin := client(t, server)
	for _, partitions := range []int{1, 3} {
		o := redis.Options{Prefix: fmt.Sprint("reuse", partitions), Partitions: partitions}
		nodes := []*redis.Store{open(t, server.URL, o), open(t, server.URL, o), open(t, server.URL, o)}
		keys := func(pattern string) []string {
			t.Helper()
			found, err := admin.Keys(t.Context(), o.Prefix+":{p*}:"+pattern).Result()
			if err != nil {
				t.Fatal(err)
			}
			return found
		}
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		rounds := 30
		if testing.Short() {
			rounds = 8
		}
		for round := range rounds {
			var acting sync.WaitGroup
			for actor := range 12 {
				acting.Go(func() {
					r := rand.New(rand.NewPCG(seed, uint64(100*round+actor)))
					for range 25 {
						reuse(t, nodes[r.IntN(len(nodes))], r, fmt.Sprint("again", r.IntN(6)))
					}
				})
			}
			acting.Wait()
			expires := make(map[string]float64)
			for _, key := range keys("expiry") {
				entries, err := admin.ZRangeWithScores(t.Context(), key, 0, -1).Result()
				if err != nil {
					t.Fatal(err)
				}
				for _, z := range entries {
					expires[z.Member.(string)] = z.Score
				}
			}
			there := keys("r:*")
			for _, key := range there {
				_, id, _ := strings.Cut(key, "}:r:")
				r, err := nodes[0].Get(t.Context(), lifecycle.Named(id))
				if err != nil || expires[id] != float64(r.ExpiresAt.UnixMicro()) {
					t.Fatalf("round %d: %s expires at %s and is noted at %f, %v", round, id, r.ExpiresAt, expires[id], err)
				}
			}
			if len(there) != len(expires) {
				t.Fatalf("round %d: %d are there, %d expire", round, len(there), len(expires))
			}
			ahead := time.Duration(rand.New(rand.NewPCG(seed, uint64(round))).IntN(1500)) * time.Millisecond
			for _, s := range nodes {
				s.Advance(ahead)
			}
		}
		for range 2 { // what expires now ends now, and is forgotten a second later
			for _, s := range nodes {
				s.Advance(time.Hour)
			}
			if _, err := nodes[0].Sweep(t.Context(), 100); err != nil {
				t.Fatal(err)
			}
		}
		for _, pattern := range []string{"[rhioe]:*", "own:*", "use:*", "expiry", "pending", "processing"} {
			if left := keys(pattern); len(left) > 0 {
				t.Errorf("%v is left", left)
			}
		}
	}
}

// reuse does something to a request with an id, or to all whose time has come. That there is none,
// or that it does not stand where that is possible, is as good an answer as any.
func reuse(t *testing.T, s *redis.Store, r *rand.Rand, id string) {
	var err error
	switch r.IntN(7) {
	case 0, 1:
		sub := submission(id)
		sub.Life, sub.Fingerprint = lifecycle.NewLife(), fmt.Sprint(r.Uint64())
		sub.Timeout, sub.Retention = time.Duration(1+r.IntN(3))*time.Second, time.Second
		_, err = s.Create(t.Context(), sub)
	case 2:
		_, _, err = s.Begin(t.Context(), lifecycle.Named(id), lifecycle.Start{})
	case 3:
		_, err = s.Apply(t.Context(), lifecycle.Named(id), lifecycle.Succeed{Result: &lifecycle.Content{Data: []byte("done")}})
	case 4:
		_, err = s.Apply(t.Context(), lifecycle.Named(id), lifecycle.Progress{Extend: time.Duration(r.IntN(4)) * time.Second})
	case 5:
		err = s.Delete(t.Context(), lifecycle.Named(id))
	case 6:
		_, err = s.Sweep(t.Context(), 1+r.IntN(20))
	}
	_, refused := errors.AsType[*lifecycle.TransitionError](err)
	if err != nil && !refused && !errors.Is(err, lifecycle.ErrNotFound) && !errors.Is(err, lifecycle.ErrNotEnded) && !errors.Is(err, lifecycle.ErrIDTaken) {
		t.Error(err)
	}
}
