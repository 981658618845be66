package redis_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/servertest"
	"github.com/hark-push/hark/store/redis"
)

// collected opens a store whose events are collected.
func collected(t testing.TB, url string, o redis.Options, c redis.CallbackOptions) (*redis.Store, *redis.Callback) {
	t.Helper()
	s := open(t, url, o)
	callback := s.Callback(c)
	backlog(t, callback)
	return s, callback
}

func backlog(t testing.TB, c *redis.Callback) redis.Backlog {
	t.Helper()
	b, err := c.Collect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// take takes from a partition what nobody else has.
func take(t testing.TB, c *redis.Callback, partition int, published []string) []redis.CallbackEvent {
	t.Helper()
	events, held, err := c.Take(t.Context(), partition, published)
	if err != nil || held != 0 {
		t.Fatalf("held %v, %v", held, err)
	}
	return events
}

func entries(events []redis.CallbackEvent) []string {
	var all []string
	for _, e := range events {
		all = append(all, e.Entry)
	}
	return all
}

// everything takes all there is, and removes it.
func everything(t testing.TB, c *redis.Callback) (all []redis.CallbackEvent) {
	t.Helper()
	for p := range c.Partitions() {
		var published []string
		for {
			events := take(t, c, p, published)
			if len(events) == 0 {
				break
			}
			all = append(all, events...)
			published = entries(events)
		}
	}
	return all
}

// ids are the ids of events, by request in the order in which they came.
func ids(t testing.TB, events []redis.CallbackEvent) (byRequest map[string][]string) {
	t.Helper()
	byRequest = make(map[string][]string)
	for _, e := range events {
		var event struct {
			ID   string
			Data struct{ ID string }
		}
		if err := json.Unmarshal(wire.JSON(e.Event), &event); err != nil {
			t.Fatal(err)
		}
		byRequest[event.Data.ID] = append(byRequest[event.Data.ID], event.ID)
	}
	return byRequest
}

func aboutTopic(id, topic string) lifecycle.Submission {
	sub := submission(id)
	sub.Topic = topic
	return sub
}

// TestCollected: whoever stores events, all are collected once, those of a request in
// order and those of a topic in the order of its feed, byte for byte.
func TestCollected(t *testing.T) {
	server := servertest.Redis(t)
	for _, partitions := range []int{1, 5} {
		t.Run(fmt.Sprintf("partitions=%d", partitions), func(t *testing.T) {
			o := redis.Options{Prefix: fmt.Sprint("out", partitions), Partitions: partitions}
			testCollected(t, server.URL, o)
		})
	}
}

func TestClusterCollected(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Cluster")
	}
	testCollected(t, servertest.RedisCluster(t, false).URL, redis.Options{})
}

func testCollected(t *testing.T, url string, o redis.Options) {
	other := open(t, url, o) // knows nothing of an exchange
	work(t.Context(), t, other, "before", 3)
	_, c := collected(t, url, o, redis.CallbackOptions{Batch: 7})
	const requests = 40
	var workers sync.WaitGroup
	for w := range 4 {
		workers.Go(func() {
			for i := w; i < requests; i += 4 {
				id, topic := fmt.Sprint("r", i), fmt.Sprint("t.", i%3)
				if i%4 == 3 {
					topic = ""
				}
				again(t, func() error { _, err := other.Create(t.Context(), aboutTopic(id, topic)); return err })
				for _, change := range []lifecycle.Change{lifecycle.Start{}, lifecycle.Progress{}, lifecycle.Succeed{}} {
					again(t, func() error { _, err := other.Apply(t.Context(), lifecycle.Named(id), change); return err })
				}
			}
		})
	}
	workers.Wait()
	if b := backlog(t, c); b.Events != 4*requests || b.Oldest <= 0 || b.Oldest > time.Minute || b.Dropped != 0 {
		t.Errorf("backlog %+v", b)
	}
	events := everything(t, c)
	for id, got := range ids(t, events) {
		if want := []string{id + "/1", id + "/2", id + "/3", id + "/4"}; !slices.Equal(got, want) {
			t.Errorf("%s: %v", id, got)
		}
	}
	if b := backlog(t, c); len(events) != 4*requests || b.Events != 0 || b.Oldest != 0 {
		t.Errorf("%d came, then %+v", len(events), b)
	}
	for i := range 3 {
		topic := fmt.Sprint("t.", i)
		feed, err := other.Read(t.Context(), lifecycle.Channel{Kind: lifecycle.TopicChannel, Owner: "alice", Name: topic}.Key(), 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, e := range events {
			if e.Topic != topic {
				continue
			}
			if n >= len(feed.Messages) || !bytes.Equal(wire.JSON(e.Event), wire.JSON(feed.Messages[n].Event)) {
				t.Fatalf("%s: %s at place %d of its topic", topic, wire.JSON(e.Event), n)
			}
			n++
		}
		if n == 0 || n != len(feed.Messages) {
			t.Errorf("%s: %d events, %d in its feed", topic, n, len(feed.Messages))
		}
	}
}

// TestNotCollected: without anybody who wants them events are not collected, nor when
// the last one who did has been away for long.
func TestNotCollected(t *testing.T) {
	server := servertest.Redis(t)
	admin := client(t, server)
	s := open(t, server.URL, redis.Options{})
	c := s.Callback(redis.CallbackOptions{})
	work(t.Context(), t, s, "off", 1)
	if names, err := admin.Keys(t.Context(), "*callback*").Result(); err != nil || len(names) != 0 {
		t.Errorf("%v, %v", names, err)
	}
	backlog(t, c)
	work(t.Context(), t, s, "on", 1)
	for key, least := range map[string]time.Duration{"hark:{p0}:callback": 23 * time.Hour, "hark:{p0}:callback:events": 6 * 24 * time.Hour} {
		if ttl, err := admin.PTTL(t.Context(), key).Result(); err != nil || ttl < least {
			t.Errorf("%s expires in %v, %v", key, ttl, err)
		}
	}
	if err := admin.PExpire(t.Context(), "hark:{p0}:callback", time.Millisecond).Err(); err != nil {
		t.Fatal(err)
	}
	within(t, "the flag expires", func() bool { return admin.Exists(t.Context(), "hark:{p0}:callback").Val() == 0 })
	work(t.Context(), t, s, "late", 1)
	if got := ids(t, everything(t, c)); len(got) != 1 || len(got["on-0"]) != 5 {
		t.Errorf("%v", got)
	}
}

// TestLease: one at a time takes from a partition, another when that one was silent for
// too long, and then the first removes nothing more.
func TestLease(t *testing.T) {
	server := servertest.Redis(t)
	o := redis.CallbackOptions{Lease: time.Minute, Batch: 3}
	s, a := collected(t, server.URL, redis.Options{}, o)
	later, b := collected(t, server.URL, redis.Options{}, o)
	work(t.Context(), t, s, "w", 1)
	first := take(t, a, 0, nil)
	if len(first) != 3 {
		t.Fatalf("%d events", len(first))
	}
	if events, held, err := b.Take(t.Context(), 0, nil); err != nil || len(events) != 0 || held <= 0 || held > time.Minute {
		t.Fatalf("%d events, held for %v, %v", len(events), held, err)
	}
	if err := b.Release(t.Context(), 0, entries(first)); !errors.Is(err, redis.ErrLeaseLost) {
		t.Errorf("released what another one has: %v", err)
	}

	later.Advance(2 * time.Minute)
	if got := take(t, b, 0, nil); !slices.Equal(entries(got), entries(first)) {
		t.Errorf("%v, want %v", entries(got), entries(first))
	}
	if _, _, err := a.Take(t.Context(), 0, entries(first)); !errors.Is(err, redis.ErrLeaseLost) {
		t.Errorf("removed without a lease: %v", err)
	}
	if err := a.Release(t.Context(), 0, entries(first)); !errors.Is(err, redis.ErrLeaseLost) {
		t.Errorf("removed without a lease: %v", err)
	}
	if n := backlog(t, a).Events; n != 5 {
		t.Errorf("%d left", n)
	}

	rest := take(t, b, 0, entries(first))
	if len(rest) != 2 {
		t.Errorf("%d left", len(rest))
	}
	later.Advance(2 * time.Minute) // expired, but nobody took over
	if got := take(t, b, 0, entries(rest[:1])); !slices.Equal(entries(got), entries(rest[1:])) {
		t.Errorf("%v", entries(got))
	}
	if err := b.Release(t.Context(), 0, entries(rest)); err != nil {
		t.Error(err)
	}
	if _, _, err := b.Take(t.Context(), 0, entries(rest)); !errors.Is(err, redis.ErrLeaseLost) {
		t.Errorf("removed after giving up: %v", err)
	}
	if got := take(t, a, 0, nil); len(got) != 0 {
		t.Errorf("%d events, want none", len(got))
	}
}

// TestCallbackNotifications: the first event wakes who has the lease, or everybody if nobody
// has it, and so does whoever gives it up and leaves something.
func TestCallbackNotifications(t *testing.T) {
	server := servertest.Redis(t)
	for _, partitions := range []int{1, 3} {
		t.Run(fmt.Sprintf("partitions=%d", partitions), func(t *testing.T) {
			o := redis.Options{Prefix: fmt.Sprint("notify", partitions), Partitions: partitions}
			s, a := collected(t, server.URL, o, redis.CallbackOptions{})
			_, b := collected(t, server.URL, o, redis.CallbackOptions{})
			notified := [2]chan int{make(chan int, 100), make(chan int, 100)}
			for i, c := range []*redis.Callback{a, b} {
				defer c.Listen(func(partition int) { notified[i] <- partition })()
			}
			admin := client(t, server)
			within(t, "both listen", func() bool {
				counts, err := admin.PubSubNumSub(t.Context(), fmt.Sprintf("notify%d:{p0}:b:callback", partitions)).Result()
				return err == nil && counts[fmt.Sprintf("notify%d:{p0}:b:callback", partitions)] == 2
			})
			wakes := func(who int) int {
				t.Helper()
				select {
				case p := <-notified[who]:
					return p
				case <-time.After(3 * time.Minute):
					t.Fatalf("%d was not woken", who)
					return 0
				}
			}
			create := func(id string) {
				t.Helper()
				if _, err := s.Create(t.Context(), aboutTopic(id, "t")); err != nil {
					t.Fatal(err)
				}
			}
			create("first")
			p := wakes(0)
			if other := wakes(1); other != p {
				t.Errorf("partitions %d and %d", p, other)
			}
			published := entries(take(t, a, p, nil))
			take(t, a, p, published)
			create("second")
			wakes(0)
			create("third") // the stream was not empty: nobody is notified
			if err := a.Release(t.Context(), p, nil); err != nil {
				t.Fatal(err)
			}
			wakes(0)
			wakes(1)
			if n := len(notified[0]) + len(notified[1]); n != 0 {
				t.Errorf("%d notifications more", n)
			}
			if got := take(t, b, p, nil); len(got) != 2 {
				t.Errorf("%d events", len(got))
			}
		})
	}
}

// TestBacklog: what is too much is dropped from its beginning, and told.
func TestBacklog(t *testing.T) {
	server := servertest.Redis(t)
	s, c := collected(t, server.URL, redis.Options{}, redis.CallbackOptions{Backlog: 7})
	work(t.Context(), t, s, "w", 2)
	if b := backlog(t, c); b.Events != 7 || b.Dropped != 3 {
		t.Errorf("%+v", b)
	}
	if got := ids(t, everything(t, c)); len(got["w-0"]) != 2 || len(got["w-1"]) != 5 {
		t.Errorf("%v", got)
	}
}

// TestCollectedInFullServer: a server without memory gives back what waits in it.
func TestCollectedInFullServer(t *testing.T) {
	server := servertest.Redis(t)
	s, c := collected(t, server.URL, redis.Options{}, redis.CallbackOptions{})
	work(t.Context(), t, s, "w", 2)
	if err := client(t, server).ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(t.Context(), submission("full")); !errors.Is(err, lifecycle.ErrUnavailable) || !strings.Contains(err.Error(), "OOM") {
		t.Fatalf("the server is not full: %v", err)
	}
	if got := everything(t, c); len(got) != 10 {
		t.Errorf("%d events", len(got))
	}
}

// TestCallbackOfDeleted: what waits for the callback exchange of a request that its owner deletes
// goes with it, with or without a topic, and nothing else does.
func TestCallbackOfDeleted(t *testing.T) {
	server := servertest.Redis(t)
	for _, partitions := range []int{1, 5} {
		s, callback := collected(t, server.URL, redis.Options{Prefix: fmt.Sprint("deleted", partitions), Partitions: partitions}, redis.CallbackOptions{})
		for i := range 6 {
			sub := submission(fmt.Sprint("r", i))
			sub.Topic = []string{"", "t"}[i%2]
			if _, err := s.Create(t.Context(), sub); err != nil {
				t.Fatal(err)
			}
			for _, c := range []lifecycle.Change{lifecycle.Start{}, lifecycle.Succeed{}} {
				apply(t, s, sub.ID, c)
			}
			if i < 4 {
				if err := s.Delete(t.Context(), lifecycle.Named(sub.ID)); err != nil {
					t.Fatal(err)
				}
			}
		}
		counts := make(map[string]int)
		for _, e := range everything(t, callback) {
			counts[e.Request.ID]++
		}
		if len(counts) != 2 || counts["r4"] != 3 || counts["r5"] != 3 {
			t.Errorf("%d partitions: published of %v", partitions, counts)
		}
	}
}
