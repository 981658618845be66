package redis_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/servertest"
	"github.com/hark-push/hark/store/redis"
)

// TestCommandsPerRequest counts what the server executes for a request, inside scripts
// too: it must not grow unnoticed.
func TestCommandsPerRequest(t *testing.T) {
	server := servertest.Redis(t)
	s := open(t, server.URL, redis.Options{})
	work(t.Context(), t, s, "warm", 1) // the server knows the scripts, and the feed exists
	admin := client(t, server)
	if err := admin.ConfigResetStat(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	const requests = 10
	for i := range requests {
		id := fmt.Sprint("r", i)
		if _, err := s.Create(t.Context(), submission(id)); err != nil {
			t.Fatal(err)
		}
		for _, c := range []lifecycle.Change{lifecycle.Start{}, lifecycle.Progress{}, lifecycle.Succeed{}} {
			if _, err := s.Apply(t.Context(), id, c); err != nil {
				t.Fatal(err)
			}
		}
	}
	info, err := admin.Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for line := range strings.Lines(info) {
		name, stats, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "cmdstat_"), ":calls=")
		calls, _, _ := strings.Cut(stats, ",")
		if n, err := strconv.Atoi(calls); ok && err == nil && !slices.Contains([]string{"config|resetstat", "info", "ping", "client|setinfo", "hello"}, name) {
			got[name] = n
		}
	}
	inside := 0
	for name, n := range got {
		if name != "evalsha" {
			inside += n
		}
	}
	t.Logf("%d requests: %v", requests, got)
	if got["evalsha"] != 8*requests {
		t.Errorf("%d scripts for %d requests, want 8 each", got["evalsha"], requests)
	}
	if most := 64 * requests; inside > most {
		t.Errorf("%d commands in scripts for %d requests, want at most %d", inside, requests, most)
	}
}

// keys lists what a store has in the server, without the hash tag.
func keys(t testing.TB, c *goredis.Client, prefix string) []string {
	t.Helper()
	all, err := c.Keys(t.Context(), prefix+":*").Result()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

// TestNothingIsLeft: when all is forgotten and aged, only what counts on is left.
func TestNothingIsLeft(t *testing.T) {
	server := servertest.Redis(t)
	admin := client(t, server)
	for _, partitions := range []int{1, 4} {
		t.Run(fmt.Sprintf("partitions=%d", partitions), func(t *testing.T) {
			prefix := fmt.Sprint("left", partitions)
			s := open(t, server.URL, redis.Options{Prefix: prefix, Partitions: partitions, FeedRetention: time.Hour, History: 8, FeedHistory: 16})
			for i := range 20 {
				sub := submission(fmt.Sprint("r", i))
				sub.Key, sub.Topic, sub.Retention = sub.ID, []string{"", "t"}[i%2], []time.Duration{time.Minute, 5 * time.Hour}[i%2]
				if i%5 == 0 {
					sub.Content.Data = make([]byte, 200_000)
				}
				if _, err := s.Create(t.Context(), sub); err != nil {
					t.Fatal(err)
				}
				changes := []lifecycle.Change{lifecycle.Start{}, lifecycle.Release{}, lifecycle.Start{Redelivered: true}, lifecycle.Progress{Extend: 2 * time.Hour}}
				for range i {
					changes = append(changes, lifecycle.Progress{})
				}
				if i%3 == 0 {
					changes = append(changes, lifecycle.Succeed{Result: &lifecycle.Content{Data: make([]byte, 100_000)}})
				}
				for _, c := range changes {
					if _, err := s.Apply(t.Context(), sub.ID, c); err != nil {
						t.Fatal(err)
					}
				}
			}
			for range 4 {
				s.Advance(150 * time.Minute)
				if _, _, err := s.Sweep(t.Context(), 1000); err != nil {
					t.Fatal(err)
				}
			}
			for _, key := range keys(t, admin, prefix) {
				_, kind, ok := strings.Cut(key, "}:")
				switch {
				case !ok && key == prefix+":meta", kind == "clock", kind == "relayed", strings.HasPrefix(kind, "t:"):
				case strings.HasPrefix(kind, "f:"), strings.HasPrefix(kind, "x:"):
					if n, err := admin.XLen(t.Context(), key).Result(); err != nil || n != 0 {
						t.Errorf("%q: %d entries, %v", key, n, err)
					}
				default:
					t.Errorf("%q is left", key)
				}
			}
		})
	}
}

// TestSafetyTimes: Redis drops by itself what has ended, if nobody sweeps, but
// never what has not ended.
func TestSafetyTimes(t *testing.T) {
	server := servertest.Redis(t)
	admin := client(t, server)
	s := open(t, server.URL, redis.Options{Margin: time.Minute})
	for _, id := range []string{"running", "ended"} {
		sub := submission(id)
		sub.Key = id
		sub.Content.Data = make([]byte, 100_000)
		if _, err := s.Create(t.Context(), sub); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Apply(t.Context(), id, lifecycle.Start{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Apply(t.Context(), "ended", lifecycle.Succeed{Result: &lifecycle.Content{Data: make([]byte, 100_000)}}); err != nil {
		t.Fatal(err)
	}
	for _, key := range keys(t, admin, "hark") {
		ttl, err := admin.PTTL(t.Context(), key).Result()
		if err != nil {
			t.Fatal(err)
		}
		switch _, name, _ := strings.Cut(key, "}:"); name {
		case "r:ended", "e:ended", "i:ended", "o:ended":
			if ttl < time.Hour || ttl > time.Hour+time.Minute {
				t.Errorf("%s: %v", key, ttl)
			}
		case "r:running", "e:running", "i:running":
			if ttl > 0 {
				t.Errorf("%s goes after %v", key, ttl)
			}
		default:
			if strings.HasPrefix(name, "k:") != (ttl > 30*24*time.Hour && ttl < 31*24*time.Hour) && !strings.HasPrefix(name, "f:") && !strings.HasPrefix(name, "t:") {
				t.Errorf("%s: %v", key, ttl)
			}
		}
	}
	// What went by itself is tidied out of the indexes.
	if err := admin.Del(t.Context(), "hark:{p0}:r:ended", "hark:{p0}:e:ended", "hark:{p0}:i:ended", "hark:{p0}:o:ended").Err(); err != nil {
		t.Fatal(err)
	}
	if page, err := s.List(t.Context(), lifecycle.Query{Owner: "alice", Limit: 10}); err != nil || len(page.Requests) != 1 {
		t.Errorf("%d listed, %v", len(page.Requests), err)
	}
	s.Advance(3 * time.Hour)
	if _, _, err := s.Sweep(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	if n, err := admin.ZCard(t.Context(), "hark:{p0}:expiry").Result(); err != nil || n != 1 {
		t.Errorf("%d are due, %v", n, err)
	}
	sub := submission("ended")
	sub.Key = "ended"
	if c, err := s.Create(t.Context(), sub); err != nil || c.Existed {
		t.Errorf("the id and the key are not free: %+v, %v", c, err)
	}
}

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
							done, next, err := node.Sweep(t.Context(), 7)
							if err != nil {
								t.Error(err)
								return
							}
							expired.Add(int32(done))
							if done == 0 && next.After(time.Now().Add(90*time.Minute)) { // nothing but ended ones
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
			if _, _, err := node.Sweep(t.Context(), 10); err != nil {
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

// TestWatchThenReadMissesNothing: whoever watches a channel and then reads it gets
// every message either from the reading or from the bell.
func TestWatchThenReadMissesNothing(t *testing.T) {
	server := servertest.Redis(t)
	s := open(t, server.URL, redis.Options{})
	var rung sync.Map // channel key → *atomic.Uint64, the newest offset that rang
	s.Listen(func(channel string, m hub.Message) {
		if top, ok := rung.Load(channel); ok {
			top.(*atomic.Uint64).Store(m.Offset)
		}
	})
	ctx := context.Background()
	for n := range 200 {
		id := fmt.Sprint("r", n)
		created, err := s.Create(ctx, submission(id))
		if err != nil {
			t.Fatal(err)
		}
		key := created.Request.Channel().Key()
		var starting sync.WaitGroup
		starting.Go(func() {
			if _, err := s.Apply(ctx, id, lifecycle.Start{}); err != nil {
				t.Error(err)
			}
		})
		top := new(atomic.Uint64)
		rung.Store(key, top)
		if err := s.Watch(ctx, key); err != nil {
			t.Fatal(err)
		}
		history, err := s.Read(ctx, key, 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		starting.Wait()
		if history.Top < 2 {
			within(t, 5*time.Second, "the bell", func() bool { return top.Load() >= 2 })
		}
		s.Unwatch(key)
		rung.Delete(key)
	}
}

// TestInterest: what nobody watches any more is not subscribed to.
func TestInterest(t *testing.T) {
	server := servertest.Redis(t)
	s := open(t, server.URL, redis.Options{})
	admin := client(t, server)
	channels := func() int {
		names, err := admin.PubSubChannels(t.Context(), "*").Result()
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	var watching sync.WaitGroup
	for i := range 1000 {
		watching.Go(func() {
			if err := s.Watch(t.Context(), fmt.Sprint("owner:", i)); err != nil {
				t.Error(err)
			}
		})
	}
	watching.Wait()
	if n := channels(); n != 1000 {
		t.Errorf("%d channels, want 1000", n)
	}
	for i := range 990 {
		s.Unwatch(fmt.Sprint("owner:", i))
	}
	if err := s.Watch(t.Context(), "owner:5"); err != nil {
		t.Fatal(err)
	}
	within(t, 10*time.Second, "11 channels are left", func() bool { return channels() == 11 })
	if err := s.Watch(t.Context(), "owner:6"); err != nil || channels() != 12 {
		t.Error(err)
	}
}

// TestLargeBodies go beside the scripts and come back byte for byte.
func TestLargeBodies(t *testing.T) {
	server := servertest.Redis(t)
	s := open(t, server.URL, redis.Options{Partitions: 2})
	large := bytes.Repeat([]byte("0123456789abcdef"), 2<<20) // 32 MiB
	sub := submission("a")
	sub.Content.Data = large
	if _, err := s.Create(t.Context(), sub); err != nil {
		t.Fatal(err)
	}
	if c, err := s.Create(t.Context(), sub); err != nil || !c.Existed {
		t.Fatal(c.Existed, err)
	}
	if _, err := s.Apply(t.Context(), "a", lifecycle.Start{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(t.Context(), "a", lifecycle.Succeed{Attempt: 7, Result: &lifecycle.Content{Data: large}}); err == nil {
		t.Fatal("a stale result was taken")
	}
	if _, err := s.Apply(t.Context(), "a", lifecycle.Succeed{Result: &lifecycle.Content{Data: large}}); err != nil {
		t.Fatal(err)
	}
	for _, part := range []lifecycle.Part{lifecycle.Input, lifecycle.Output} {
		if c, err := s.Content(t.Context(), "a", part); err != nil || !bytes.Equal(c.Data, large) {
			t.Errorf("%d bytes, %v", len(c.Data), err)
		}
	}
	admin := client(t, server)
	for _, key := range keys(t, admin, "hark") {
		if strings.Contains(key, "}:s:") {
			t.Errorf("%s is left", key)
		}
	}
}
