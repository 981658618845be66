package redis_test

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/servertest"
	"github.com/hark-push/hark/store/redis"
	"github.com/hark-push/hark/webhook/dispatch"
)

// executed counts what the server executes while f runs: scripts, and commands inside and outside
// them.
func executed(t *testing.T, server *servertest.Server, f func()) (scripts, inside int) {
	t.Helper()
	admin := client(t, server)
	if err := admin.ConfigResetStat(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	f()
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
	t.Logf("%v", got)
	for name, n := range got {
		if name != "evalsha" && name != "eval" { // of a script that is new to the server
			inside += n
		}
	}
	return got["evalsha"] + got["eval"], inside
}

// TestNoStepInVain: those who change one request at once wait for each other, so that each does so
// in one script.
func TestNoStepInVain(t *testing.T) {
	server := servertest.Redis(t)
	s := open(t, server.URL, redis.Options{})
	create(t, s, "r")
	apply(t, s, "r", lifecycle.Start{})
	const callers, each = 8, 50
	scripts, _ := executed(t, server, func() {
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				for range each {
					if _, err := s.Apply(t.Context(), lifecycle.Named("r"), lifecycle.Progress{}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
	})
	if scripts != callers*each {
		t.Errorf("%d scripts for %d reports", scripts, callers*each)
	}
	if r, err := s.Get(t.Context(), lifecycle.Named("r")); err != nil || r.Sequence != 2+callers*each {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestCommandsPerRequest counts what the server executes for a request, inside scripts
// too: it must not grow unnoticed.
func TestCommandsPerRequest(t *testing.T) {
	server := servertest.Redis(t)
	s := open(t, server.URL, redis.Options{})
	work(t.Context(), t, s, "warm", 1) // the server knows the scripts, and the feed exists
	const requests = 10
	life := func(name string) {
		for i := range requests {
			id := fmt.Sprint(name, i)
			sub := submission(id)
			sub.Life = lifecycle.NewLife()
			created, err := s.Create(t.Context(), sub)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := s.Begin(t.Context(), created.Request.Ref(), lifecycle.Start{}); err != nil {
				t.Fatal(err)
			}
			for _, c := range []lifecycle.Change{lifecycle.Progress{}, lifecycle.Succeed{}} {
				apply(t, s, id, c)
			}
		}
	}
	check := func(what string, scripts, inside, wantScripts, most int) {
		t.Helper()
		// Besides, it gets to know how fast the route works, ten times a second at most.
		more := scripts - wantScripts*requests
		if more < 0 || more > requests/2 {
			t.Errorf("%s: %d scripts for %d requests, want %d each", what, scripts, requests, wantScripts)
		}
		if inside > most*requests+4*more {
			t.Errorf("%s: %d commands in scripts for %d requests, want at most %d each", what, inside, requests, most)
		}
	}
	scripts, inside := executed(t, server, func() { life("r") })
	check("without webhooks", scripts, inside, 4, 53)

	endpoint(t, s, dispatch.Endpoint{ID: "e", Types: []string{"request.succeeded"}})
	deliver := func() {
		for range requests {
			claims, _, err := s.Claim(t.Context(), 1, time.Minute)
			if err != nil || len(claims) != 1 {
				t.Fatal(len(claims), err)
			}
			if _, err := s.Settle(t.Context(), claims[0], dispatch.Outcome{State: dispatch.Delivered}); err != nil {
				t.Fatal(err)
			}
		}
	}
	life("warm")
	deliver()
	scripts, inside = executed(t, server, func() { life("hooked") })
	check("enqueued for an endpoint", scripts, inside, 4, 53+24)
	scripts, inside = executed(t, server, deliver)
	check("claimed and settled", scripts, inside, 2, 43)
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
					if _, err := s.Apply(t.Context(), lifecycle.Named(sub.ID), c); err != nil {
						t.Fatal(err)
					}
				}
			}
			for range 4 {
				s.Advance(150 * time.Minute)
				if _, err := s.Sweep(t.Context(), 1000); err != nil {
					t.Fatal(err)
				}
			}
			for _, key := range keys(t, admin, prefix) {
				_, kind, ok := strings.Cut(key, "}:")
				switch {
				case !ok && key == prefix+":meta", kind == "clock", kind == "relayed", kind == "floor":
				case strings.HasPrefix(kind, "n:"): // a route has one, which goes by itself
					if ttl, err := admin.PTTL(t.Context(), key).Result(); err != nil || ttl <= 0 || ttl > lifecycle.PaceKept {
						t.Errorf("%q goes after %v, %v", key, ttl, err)
					}
				case strings.HasPrefix(kind, "x:"):
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
		if _, err := s.Apply(t.Context(), lifecycle.Named(id), lifecycle.Start{}); err != nil {
			t.Fatal(err)
		}
	}
	appendTo(t, s, lifecycle.OutputName(lifecycle.Ref{ID: "running"}), "what it says")
	appendTo(t, s, lifecycle.OutputName(lifecycle.Ref{ID: "ended"}), strings.Repeat("x", 100_000))
	if _, err := s.Apply(t.Context(), lifecycle.Named("ended"), lifecycle.Succeed{Result: &lifecycle.Content{Data: make([]byte, 100_000)}}); err != nil {
		t.Fatal(err)
	}
	for _, key := range keys(t, admin, "hark") {
		ttl, err := admin.PTTL(t.Context(), key).Result()
		if err != nil {
			t.Fatal(err)
		}
		switch _, name, _ := strings.Cut(key, "}:"); name {
		case "r:ended", "h:ended", "i:ended", "o:ended", "y:output:ended", "d:output:ended", "z:output:ended":
			if ttl < time.Hour || ttl > time.Hour+time.Minute {
				t.Errorf("%s: %v", key, ttl)
			}
		case "r:running", "h:running", "i:running", "y:output:running", "d:output:running":
			if ttl > 0 {
				t.Errorf("%s goes after %v", key, ttl)
			}
		default:
			if strings.HasPrefix(name, "k:") != (ttl > 30*24*time.Hour && ttl < 31*24*time.Hour) {
				t.Errorf("%s: %v", key, ttl)
			}
		}
	}
	// What went by itself is tidied out of the indexes.
	if err := admin.Del(t.Context(), "hark:{p0}:r:ended", "hark:{p0}:h:ended", "hark:{p0}:i:ended", "hark:{p0}:o:ended").Err(); err != nil {
		t.Fatal(err)
	}
	if page, err := s.List(t.Context(), lifecycle.Query{Owner: "alice", Limit: 10}); err != nil || len(page.Requests) != 1 {
		t.Errorf("%d listed, %v", len(page.Requests), err)
	}
	s.Advance(3 * time.Hour)
	if _, err := s.Sweep(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	if n, err := admin.ZCard(t.Context(), "hark:{p0}:made:images").Result(); err != nil || n != 1 {
		t.Errorf("%d in the list of everybody's, %v", n, err)
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
	if _, err := s.Apply(t.Context(), lifecycle.Named("a"), lifecycle.Start{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(t.Context(), lifecycle.Named("a"), lifecycle.Succeed{Attempt: 7, Result: &lifecycle.Content{Data: large}}); err == nil {
		t.Fatal("a stale result was taken")
	}
	if _, err := s.Apply(t.Context(), lifecycle.Named("a"), lifecycle.Succeed{Result: &lifecycle.Content{Data: large}}); err != nil {
		t.Fatal(err)
	}
	for _, part := range []lifecycle.Part{lifecycle.Input, lifecycle.Output} {
		if c, err := s.Content(t.Context(), lifecycle.Named("a"), part); err != nil || !bytes.Equal(c.Data, large) {
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

// TestMemoryOfKept: a request that has ended, with 1.7 KB of content and result, takes 5 KB of the
// server's memory at most, and its result is what was given.
func TestMemoryOfKept(t *testing.T) {
	t.Run("text", func(t *testing.T) {
		memoryOfKept(t, lifecycle.Content{Type: "text/plain", Data: bytes.Repeat([]byte("r"), 1000)})
	})
	t.Run("JSON", func(t *testing.T) { // which stands in the record, too
		memoryOfKept(t, lifecycle.Content{Type: "application/json", Data: fmt.Appendf(nil, "%q", bytes.Repeat([]byte("r"), 1000))})
	})
}

func memoryOfKept(t *testing.T, result lifecycle.Content) {
	server := servertest.Redis(t)
	admin := client(t, server)
	s := open(t, server.URL, redis.Options{FeedHistory: 16})
	used := func() int {
		t.Helper()
		info, err := admin.Info(t.Context(), "memory").Result()
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(info, "used_memory:")
		n, err := strconv.Atoi(strings.TrimSpace(rest[:strings.IndexByte(rest, '\n')]))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	keep := func(round, n int) {
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for i := range n / 8 {
					sub := submission(fmt.Sprintf("01HXYZ%d-%d-%d-0123456789", round, w, i))
					sub.Topic = "topic"
					sub.Content.Data = bytes.Repeat([]byte("c"), 700)
					if _, err := s.Create(t.Context(), sub); err != nil {
						t.Error(err)
						return
					}
					apply(t, s, sub.ID, lifecycle.Start{})
					apply(t, s, sub.ID, lifecycle.Succeed{Result: &result})
				}
			})
		}
		wg.Wait()
	}
	keep(1, 400) // buffers, and tables that are doubled
	const n, most = 2000, 5 << 10
	before := used()
	keep(2, n)
	each := (used() - before) / n
	kinds := make(map[string]int)
	for _, kind := range []string{"r", "h", "i", "o"} {
		kinds[kind] = int(admin.MemoryUsage(t.Context(), "hark:{p0}:"+kind+":01HXYZ2-0-0-0123456789").Val())
	}
	t.Logf("%d bytes each; of its keys: %v", each, kinds)
	if got, err := s.Content(t.Context(), lifecycle.Named("01HXYZ2-0-0-0123456789"), lifecycle.Output); err != nil || got.Type != result.Type || !bytes.Equal(got.Data, result.Data) {
		t.Errorf("result %q, %v", got, err)
	}
	if each > most {
		t.Errorf("%d bytes for each, want at most %d: %v", each, most, kinds)
	}
}
