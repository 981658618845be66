package redis_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/servertest"
	"github.com/hark-push/hark/store/redis"
	"github.com/hark-push/hark/store/storetest"
)

// TestClusterConformance: the partitions of the store are spread over three masters.
func TestClusterConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Cluster")
	}
	url := servertest.RedisCluster(t, false).URL
	var n atomic.Int32
	storetest.Run(t, func(t *testing.T, c storetest.Config) storetest.Instance {
		s := open(t, url, redis.Options{
			Prefix: fmt.Sprint("test", n.Add(1)), Partitions: 64,
			History: c.History, FeedHistory: c.FeedHistory, FeedRetention: c.FeedRetention, Meter: c.Meter, Calls: c.Calls,
		})
		return storetest.Instance{Store: s, Approximate: true, Advance: func(d time.Duration) { s.Advance(d) }}
	})
}

// TestClusterNodes: a follower on one node of Hark sees what happens on another,
// while a slot moves and while one of the masters is away.
func TestClusterNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Cluster")
	}
	c := servertest.RedisCluster(t, false)
	url, masters := c.URL, c.Masters
	if _, err := redis.Open(t.Context(), masters[0].URL, redis.Options{}); err == nil || !strings.Contains(err.Error(), "cluster=true") {
		t.Errorf("one node without a word of the Cluster: %v", err)
	}
	a, b := open(t, url, redis.Options{}), open(t, masters[1].URL+"?cluster=true", redis.Options{Check: time.Second})
	feed := follow(t, newHub(t, b), aliceFeed, nil)
	var workers sync.WaitGroup
	for w := range 4 {
		workers.Go(func() { work(t.Context(), t, a, fmt.Sprint("w", w), 10) })
	}
	workers.Wait()
	feed.until(t, 1, 200)
	if err := b.Probe(t.Context()); err != nil {
		t.Error(err)
	}

	moveFeed(t, masters)
	work(t.Context(), t, a, "moved", 10)
	feed.until(t, 1, 250)
	if err := b.Probe(t.Context()); err != nil {
		t.Error(err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	masters[2].Kill()
	failed := 0
	for i := range 20 {
		if _, err := a.Create(ctx, submission(fmt.Sprint("away", i))); errors.Is(err, lifecycle.ErrUnavailable) {
			failed++
		} else if err != nil {
			t.Error(err)
		}
	}
	masters[2].Restart()
	t.Logf("%d of 20 could not be created while one of three masters was away", failed)
	if failed == 0 || failed == 20 {
		t.Errorf("%d failed", failed)
	}
	for i := range 20 {
		id := fmt.Sprint("away", i)
		if err := insist(ctx, func() error { _, err := a.Create(ctx, submission(id)); return err }); err != nil {
			t.Error(err)
		}
		if err := insist(ctx, func() error { _, err := a.Apply(ctx, lifecycle.Named(id), lifecycle.Cancel{}); return err }); err != nil {
			t.Error(err)
		}
	}
	if err := insist(ctx, func() error { _, err := b.Sweep(ctx, 10); return err }); err != nil {
		t.Error(err)
	}
	h, err := a.Read(ctx, aliceFeed.Key(), 0, 1)
	if err != nil || h.Top != 250+40 {
		t.Errorf("feed at %d, %v", h.Top, err)
	}
	feed.until(t, 1, h.Top)
	if err := insist(ctx, func() error { return b.Probe(ctx) }); err != nil {
		t.Error(err)
	}
}

// moveFeed moves the slot in which alice's feed lives to another master.
func moveFeed(t *testing.T, masters []*servertest.Server) {
	t.Helper()
	ctx := t.Context()
	nodes := make([]*goredis.Client, len(masters))
	ids := make([]string, len(masters))
	from, tag := -1, ""
	for i, m := range masters {
		nodes[i] = client(t, m)
		id, err := nodes[i].ClusterMyID(ctx).Result()
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = id
		found, err := nodes[i].Keys(ctx, "hark:{p*}:g:owner:alice").Result()
		if err != nil {
			t.Fatal(err)
		}
		if len(found) == 1 {
			from, tag = i, strings.TrimSuffix(found[0], "g:owner:alice")
		}
	}
	to := (from + 1) % len(masters)
	slot, err := nodes[from].ClusterKeySlot(ctx, tag).Result()
	if err != nil {
		t.Fatal(err)
	}
	must := func(c *goredis.Client, args ...any) {
		t.Helper()
		if err := c.Do(ctx, args...).Err(); err != nil {
			t.Fatal(args, err)
		}
	}
	must(nodes[to], "cluster", "setslot", slot, "importing", ids[from])
	must(nodes[from], "cluster", "setslot", slot, "migrating", ids[to])
	names, err := nodes[from].ClusterGetKeysInSlot(ctx, int(slot), 10_000).Result()
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(masters[to].Addr)
	args := []any{"migrate", host, port, "", 0, 5000, "keys"}
	for _, name := range names {
		args = append(args, name)
	}
	must(nodes[from], args...)
	must(nodes[to], "cluster", "setslot", slot, "node", ids[to])
	for i := range nodes {
		if i != to {
			must(nodes[i], "cluster", "setslot", slot, "node", ids[to])
		}
	}
}
