package redis_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/broker"
	"github.com/hark-push/hark/broker/redis"
	"github.com/hark-push/hark/servertest"
	store "github.com/hark-push/hark/store/redis"
)

// short lets what is lost come back within a test.
const short = time.Second

// patience is how long something may take that has to happen.
const patience = time.Minute

// consuming is a Consume in the background.
type consuming struct {
	t      *testing.T
	given  chan broker.Delivery
	finish chan struct{}
	stop   func()
}

// consume starts a Consume of route a whose handles last until the test ends, or finish is closed.
func consume(t *testing.T, b *redis.Broker, prefetch int) *consuming {
	c := &consuming{t: t, given: make(chan broker.Delivery, 1000), finish: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = b.Consume(ctx, []string{"a"}, prefetch, func(d broker.Delivery) {
			c.given <- d
			<-c.finish
		})
	}()
	c.stop = sync.OnceFunc(func() {
		cancel()
		close(c.finish)
		<-ended
	})
	t.Cleanup(c.stop)
	return c
}

func (c *consuming) next() broker.Delivery {
	c.t.Helper()
	select {
	case d := <-c.given:
		return d
	case <-time.After(patience):
		c.t.Fatal("no delivery")
		return nil
	}
}

func publish(t *testing.T, b *redis.Broker, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := b.Publish(t.Context(), broker.Job{ID: id, Route: "a"}); err != nil {
			t.Fatal(err)
		}
	}
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not in time: " + what)
		}
	}
}

// client is a connection of the test's own.
func client(t *testing.T, s *servertest.Server) *goredis.Client {
	c := goredis.NewClient(&goredis.Options{Addr: s.Addr, Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// child, if it is set, is the URL of the server from which this process takes work until it is
// killed, see TestKilled.
const child = "TEST_WORK_OF"

func TestMain(m *testing.M) {
	if url := os.Getenv(child); url != "" {
		work(url)
		return
	}
	os.Exit(verify(m))
}

// work prints what it is given, and ends never.
func work(url string) {
	s, err := store.Open(context.Background(), url, store.Options{Queue: true})
	if err != nil {
		panic(err)
	}
	_ = redis.New(s, []string{"a"}, redis.Options{Lease: short}).Consume(context.Background(), []string{"a"}, 5, func(d broker.Delivery) {
		fmt.Println("took", d.Job().ID)
		select {}
	})
}

// TestKilled: what a process had that is killed comes to another one, marked, and each piece once.
func TestKilled(t *testing.T) {
	server := servertest.Redis(t)
	s := openStore(t, server.URL, store.Options{Prefix: "hark"})
	b := open(t, s, redis.Options{Lease: short}, "a")
	ids := []string{"1", "2", "3", "4", "5"}
	publish(t, b, ids...)
	worker := exec.Command(os.Args[0])
	worker.Env = append(os.Environ(), child+"="+server.URL)
	worker.Stderr = os.Stderr
	out, err := worker.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = worker.Process.Kill(); _ = worker.Wait() }()
	lines := bufio.NewScanner(out)
	for range ids {
		if !lines.Scan() || !strings.HasPrefix(lines.Text(), "took ") {
			t.Fatalf("%q, %v", lines.Text(), lines.Err())
		}
	}
	c := consume(t, b, 10)
	publish(t, b, "6") // and of those nothing yet
	if d := c.next(); d.Job().ID != "6" || d.Redelivered() {
		t.Fatalf("%+v", d.Job())
	}
	if err := worker.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for range ids {
		d := c.next()
		if !d.Redelivered() {
			t.Errorf("%s is not marked", d.Job().ID)
		}
		got = append(got, d.Job().ID)
		if err := d.Ack(); err != nil {
			t.Error(err)
		}
	}
	if slices.Sort(got); !slices.Equal(got, ids) || len(c.given) > 0 {
		t.Errorf("%v came back, and %d more", got, len(c.given))
	}
	// Whoever gets them is handed them by the server, and may be before who has found them counts.
	eventually(t, "the five are counted", func() bool { return b.Stats().TakenOver == 5 })
}

// TestNobodyTwice: however many processes take from one queue, each piece comes to one of them.
func TestNobodyTwice(t *testing.T) {
	server := servertest.Redis(t)
	const jobs, processes = 600, 3
	var seen [jobs]atomic.Int32
	var count atomic.Int32
	var publishers []*redis.Broker
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer running.Wait()
	defer cancel()
	for range processes {
		b := open(t, openStore(t, server.URL, store.Options{Prefix: "hark", Partitions: 3}), redis.Options{}, "a")
		publishers = append(publishers, b)
		running.Go(func() {
			_ = b.Consume(ctx, []string{"a"}, 7, func(d broker.Delivery) {
				var i int
				_, _ = fmt.Sscan(d.Job().ID, &i)
				if seen[i].Add(1) > 1 || d.Redelivered() {
					t.Errorf("%d came again", i)
				}
				if err := d.Ack(); err != nil {
					t.Error(err)
				}
				count.Add(1)
			})
		})
	}
	for i := range jobs {
		publish(t, publishers[i%processes], fmt.Sprint(i))
	}
	eventually(t, "all have come", func() bool { return count.Load() == jobs })
}

// TestRedisDies: Redis is killed and started again with what it has written. What waited is there,
// who waits is told of what comes, and what was taken is not handed out again.
func TestRedisDies(t *testing.T) {
	server := servertest.Redis(t, "--appendfsync", "always")
	b := open(t, openStore(t, server.URL, store.Options{}), redis.Options{Lease: short}, "a")
	publish(t, b, "1", "2")
	c := consume(t, b, 1)
	first := c.next()
	server.Restart()
	if err := first.Ack(); err != nil {
		t.Error(err)
	}
	c.finish <- struct{}{}
	if d := c.next(); d.Job().ID != "2" || d.Redelivered() {
		t.Errorf("%+v, again %v", d.Job(), d.Redelivered())
	} else if err := d.Ack(); err != nil {
		t.Error(err)
	}
	c.finish <- struct{}{}
	eventually(t, "it takes jobs again", func() bool { return b.Publish(t.Context(), broker.Job{ID: "3", Route: "a"}) == nil })
	if d := c.next(); d.Job().ID != "3" {
		t.Errorf("%+v", d.Job())
	}
}

// TestRedisPaused: while Redis stands still nobody can renew his lease, so none ends by that.
func TestRedisPaused(t *testing.T) {
	server := servertest.Redis(t)
	o := store.Options{Prefix: "hark", Timeout: patience}
	b := open(t, openStore(t, server.URL, o), redis.Options{Lease: short}, "a")
	other := open(t, openStore(t, server.URL, o), redis.Options{Lease: short}, "a")
	publish(t, b, "1")
	c := consume(t, b, 1)
	mine := c.next()
	others := consume(t, other, 5)
	server.Pause()
	time.Sleep(3 * short) // the fault itself
	server.Resume()
	admin, tended := client(t, server), func() string { return client(t, server).Get(t.Context(), "hark:{p0}:q:tended").Val() }
	for range 8 { // each is there several times
		was := tended()
		eventually(t, "somebody tends", func() bool { return tended() != was })
	}
	publish(t, b, "2")
	if d := others.next(); d.Job().ID != "2" {
		t.Errorf("%s came to another process", d.Job().ID)
	}
	if err := mine.Ack(); err != nil || b.Stats().LeasesLost > 0 {
		t.Errorf("%v, %+v", err, b.Stats())
	}
	eventually(t, "it is let go of", func() bool {
		keys := admin.Keys(t.Context(), "hark:{p0}:q:h:*").Val()
		return len(keys) == 1
	})
}

// TestCutOff: a process that cannot reach Redis for longer than its lease lasts loses what it has
// to others, once, and takes part again afterwards.
func TestCutOff(t *testing.T) {
	server := servertest.Redis(t)
	proxy := servertest.Proxy(t, server.Addr)
	o := store.Options{Prefix: "hark", Timeout: 2 * time.Second}
	b := open(t, openStore(t, strings.Replace(server.URL, server.Addr, proxy.Addr, 1), o), redis.Options{Lease: short}, "a")
	other := open(t, openStore(t, server.URL, o), redis.Options{Lease: short}, "a")
	publish(t, other, "1")
	c := consume(t, b, 1)
	mine := c.next()
	others := consume(t, other, 1)
	proxy.Drop(servertest.ToServer | servertest.ToClient)
	theirs := others.next()
	if theirs.Job().ID != "1" || !theirs.Redelivered() {
		t.Errorf("%+v", theirs.Job())
	}
	proxy.Restore()
	eventually(t, "the first one notices", func() bool { return b.Stats().LeasesLost == 1 && b.Stats().Connected })
	if err := mine.Ack(); err != nil { // which says nothing any more
		t.Error(err)
	}
	c.finish <- struct{}{}
	publish(t, other, "2") // the other one has no room
	if d := c.next(); d.Job().ID != "2" || d.Redelivered() {
		t.Errorf("%+v", d.Job())
	}
	if err := theirs.Return(); err != nil {
		t.Error(err)
	}
	others.finish <- struct{}{}
	if d := others.next(); d.Job().ID != "1" || !d.Redelivered() {
		t.Errorf("what was returned: %+v", d.Job())
	}
}

// TestOddities: scripts that the server has forgotten, and entries that are none.
func TestOddities(t *testing.T) {
	server := servertest.Redis(t)
	s := openStore(t, server.URL, store.Options{Prefix: "hark"})
	b := open(t, s, redis.Options{}, "a")
	admin := client(t, server)
	if err := admin.ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	bad := []string{"", "junk", "5", "50000000000000001", "x0000000000000001id", "50000000000000001\r7", "\x00\xff"}
	for _, entry := range bad {
		if err := admin.ZAdd(t.Context(), "hark:{p0}:q:r:a", goredis.Z{Member: entry}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	publish(t, b, "1")
	c := consume(t, b, 1)
	d := c.next()
	if d.Job().ID != "1" {
		t.Errorf("%+v", d.Job())
	}
	if err := d.Ack(); err != nil {
		t.Error(err)
	}
	c.finish <- struct{}{}
	eventually(t, "all are put aside", func() bool {
		n, err := b.Queue().Asides(t.Context(), []string{"a"})
		return err == nil && n["a"] == len(bad)
	})
	aside, err := b.Queue().ListAside(t.Context(), "a", 100)
	if err != nil || len(aside) != len(bad) || aside[0].Reason != "rejected" || aside[0].Work.Request.ID != "" {
		t.Errorf("%d were put aside, %v: %+v", len(aside), err, aside)
	}
	if n, err := b.Queue().ReviveAside(t.Context(), "a"); n != 0 || err != nil {
		t.Errorf("%d of them are jobs, %v", n, err)
	}
	if n, err := b.Queue().ForgetAside(t.Context(), "a"); n != len(bad) || err != nil {
		t.Errorf("%d were forgotten, %v", n, err)
	}
	eventually(t, "it is known who works", func() bool {
		consumers, err := b.Consumers(t.Context())
		return err == nil && consumers["a"] == 1
	})
}

// TestLostAnswer: what was taken by a script whose answer was lost is handed out all the same.
func TestLostAnswer(t *testing.T) {
	server := servertest.Redis(t)
	s := openStore(t, server.URL, store.Options{Prefix: "hark"})
	b := open(t, s, redis.Options{Lease: short}, "a")
	eventually(t, "it has its lease", func() bool { return b.Stats().Connected })
	publish(t, b, "1")
	lease := client(t, server).ZRange(t.Context(), "hark:{p0}:q:leases", 0, -1).Val()
	if taken, err := b.Queue().Take(t.Context(), 0, lease[0], "nobody", nil, []store.Want{{Routes: []string{"a"}, Most: 1}}); err != nil || len(taken[0].Work) != 1 {
		t.Fatalf("%v, %v", taken, err)
	}
	if d := consume(t, b, 1).next(); d.Job().ID != "1" || !d.Redelivered() {
		t.Errorf("%+v", d.Job())
	}
}

// TestUnheard: work that nobody was woken for is found when leases are renewed, and who waits is
// woken again, although the server has forgotten that he does.
func TestUnheard(t *testing.T) {
	server := servertest.Redis(t)
	s := openStore(t, server.URL, store.Options{Prefix: "hark"})
	b := open(t, s, redis.Options{Lease: short}, "a")
	c := consume(t, b, 5)
	admin := client(t, server)
	sleeps := func() bool { return admin.SCard(t.Context(), "hark:{p0}:q:w:a").Val() == 1 }
	eventually(t, "it sleeps", sleeps)
	// As if the process that was woken had died just then.
	admin.Del(t.Context(), "hark:{p0}:q:w:a")
	publish(t, b, "1")
	if d := c.next(); d.Job().ID != "1" {
		t.Errorf("%+v", d.Job())
	}
	eventually(t, "it sleeps again", sleeps)
	admin.Del(t.Context(), "hark:{p0}:q:w:a")
	eventually(t, "it is noted that it sleeps", sleeps)
	publish(t, b, "2")
	if d := c.next(); d.Job().ID != "2" {
		t.Errorf("%+v", d.Job())
	}
}

// TestGivenTwice: of a job that comes to one process twice the newer delivery is the one that
// counts, and what becomes of the older one says nothing.
func TestGivenTwice(t *testing.T) {
	server := servertest.Redis(t)
	s := openStore(t, server.URL, store.Options{Prefix: "hark"})
	b := open(t, s, redis.Options{}, "a")
	c := consume(t, b, 10)
	publish(t, b, "1")
	older := c.next()
	admin := client(t, server)
	held := admin.Keys(t.Context(), "hark:{p0}:q:h:*").Val()
	if len(held) != 1 {
		t.Fatal(held)
	}
	entry := admin.HKeys(t.Context(), held[0]).Val()[0]
	admin.ZAdd(t.Context(), "hark:{p0}:q:r:a", goredis.Z{Member: strings.TrimPrefix(entry, "a\x00") + "\r0"})
	publish(t, b, "2") // which wakes it
	newer := c.next()
	if other := c.next(); newer.Job().ID != "1" || !newer.Redelivered() {
		newer = other
	}
	if newer.Job().ID != "1" || !newer.Redelivered() {
		t.Fatalf("%+v", newer.Job())
	}
	if err := older.Ack(); err != nil {
		t.Error(err)
	}
	second := consume(t, b, 10)
	publish(t, b, "3") // with it Redis is told what is done with
	select {
	case <-c.given:
	case <-second.given:
	case <-time.After(patience):
		t.Fatal("no delivery")
	}
	if !admin.HExists(t.Context(), held[0], entry).Val() {
		t.Error("the newer delivery is nobody's any more")
	}
	if err := newer.Ack(); err != nil {
		t.Error(err)
	}
	eventually(t, "it is let go of", func() bool { return !admin.HExists(t.Context(), held[0], entry).Val() })
}
