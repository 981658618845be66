package redis_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/servertest"
	"github.com/hark-push/hark/store/redis"
)

// client is a plain connection to a server, for what a store does not do.
func client(t testing.TB, server *servertest.Server) *goredis.Client {
	c := goredis.NewClient(&goredis.Options{Addr: server.Addr, Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// patience is how long a test waits for what has to happen before it says that it never did: long,
// because a machine may be busy.
const patience = 3 * time.Minute

// within fails the test if a condition does not come true. It is asked again as time passes.
func within(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// follower is an SSE client of a hub.
type follower struct {
	mu      sync.Mutex
	offsets []uint64
	resets  int
	changed chan struct{}
}

// follow opens a stream of a channel over a pipe.
func follow(t testing.TB, h *hub.Hub, channel lifecycle.Channel, after *hub.Cursor) *follower {
	t.Helper()
	mine, theirs := net.Pipe()
	f := &follower{changed: make(chan struct{}, 1)}
	var reading sync.WaitGroup
	reading.Go(func() { f.read(mine) })
	t.Cleanup(func() {
		_ = mine.Close()
		reading.Wait()
	})
	h.ServeStream(theirs, hub.Channel{Key: channel.Key(), Name: channel.String(), Live: channel.Feed()}, hub.StreamOptions{After: after})
	return f
}

func (f *follower) read(conn net.Conn) {
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, 1<<20)
	// The name of the block, which is no event of the channel then, unless it is the cursor that a
	// feed begins with.
	named := ""
	for lines.Scan() {
		if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			named = name
		} else if lines.Text() == "" {
			named = ""
		}
		id, ok := strings.CutPrefix(lines.Text(), "id:")
		if ok && named == "end" {
			continue
		}
		if !ok {
			if strings.Contains(lines.Text(), `"type":"feed.reset"`) || strings.Contains(lines.Text(), `"type":"request.reset"`) {
				f.mu.Lock()
				f.resets++
				f.mu.Unlock()
			}
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(id), 10, 64)
		if err != nil {
			continue
		}
		f.mu.Lock()
		f.offsets = append(f.offsets, n)
		f.mu.Unlock()
		select {
		case f.changed <- struct{}{}:
		default:
		}
	}
}

// until waits for an offset and checks that all from first on came once and in order.
func (f *follower) until(t testing.TB, first, last uint64) {
	t.Helper()
	late := time.After(patience)
	for {
		f.mu.Lock()
		offsets := append([]uint64(nil), f.offsets...)
		resets := f.resets
		f.mu.Unlock()
		if n := len(offsets); n > 0 && offsets[n-1] >= last {
			if offsets[0] == first-1 {
				offsets = offsets[1:] // the cursor that a fresh follower of a feed is given
			}
			for i, offset := range offsets {
				if offset != first+uint64(i) {
					t.Fatalf("offset %d in place of %d", offset, first+uint64(i))
				}
			}
			if resets > 0 {
				t.Fatalf("%d resets", resets)
			}
			return
		}
		select {
		case <-f.changed:
		case <-late:
			t.Fatalf("%d messages, up to %v; want %d to %d", len(offsets), offsets[max(0, len(offsets)-3):], first, last)
		}
	}
}

var aliceFeed = lifecycle.Channel{Kind: lifecycle.OwnerChannel, Name: "alice"}

func newHub(t testing.TB, s *redis.Store) *hub.Hub {
	h := hub.New(wire.Source(s), hub.Options{})
	t.Cleanup(h.Close)
	return h
}

// work takes requests from their creation to their end, five events each, and retries
// what the store could not do.
func work(ctx context.Context, t testing.TB, s *redis.Store, name string, requests int) {
	for i := range requests {
		id := fmt.Sprintf("%s-%d", name, i)
		again(t, func() error { _, err := s.Create(ctx, submission(id)); return err })
		for _, c := range []lifecycle.Change{
			lifecycle.Start{},
			lifecycle.Progress{Percent: new(10.0)},
			lifecycle.Progress{Percent: new(90.0)},
			lifecycle.Succeed{Result: &lifecycle.Content{Type: "text/plain", Data: []byte(id)}},
		} {
			again(t, func() error { _, err := s.Apply(ctx, lifecycle.Named(id), c); return err })
		}
	}
}

func again(t testing.TB, f func() error) {
	if err := f(); err != nil {
		t.Error(err)
	}
}

// TestTwoNodes: a follower on one node sees all that happens on the other, and so
// does a waiter; both partitioned and not.
func TestTwoNodes(t *testing.T) {
	server := servertest.Redis(t)
	for _, partitions := range []int{1, 5} {
		t.Run(fmt.Sprintf("partitions=%d", partitions), func(t *testing.T) {
			o := redis.Options{Prefix: fmt.Sprint("two", partitions), Partitions: partitions}
			a, b := open(t, server.URL, o), open(t, server.URL, o)
			h := newHub(t, b)
			feed := follow(t, h, aliceFeed, nil)
			own := follow(t, h, lifecycle.Channel{Kind: lifecycle.RequestChannel, Name: "w0-0"}, nil)
			var workers sync.WaitGroup
			for w := range 8 {
				workers.Go(func() { work(t.Context(), t, a, fmt.Sprintf("w%d", w), 10) })
			}
			workers.Wait()
			feed.until(t, 1, 8*10*5)
			own.until(t, 1, 5)

			told := make(chan string, 1)
			defer b.OnCancel(func(of lifecycle.Ref) { told <- of.ID })()
			if _, err := a.Create(t.Context(), submission("c")); err != nil {
				t.Fatal(err)
			}
			for _, c := range []lifecycle.Change{lifecycle.Start{}, lifecycle.Cancel{}} {
				if _, err := a.Apply(t.Context(), lifecycle.Named("c"), c); err != nil {
					t.Fatal(err)
				}
			}
			select {
			case id := <-told:
				if id != "c" {
					t.Errorf("told of %s", id)
				}
			case <-time.After(3 * time.Minute):
				t.Error("not told of the cancellation")
			}
			if err := b.Probe(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSubscriptionsAreCutAgainAndAgain: the pub/sub connections are killed while events are
// published, and every follower still sees each event once and in order.
func TestSubscriptionsAreCutAgainAndAgain(t *testing.T) {
	server := servertest.Redis(t)
	a, b := open(t, server.URL, redis.Options{}), open(t, server.URL, redis.Options{})
	admin := client(t, server)
	h := newHub(t, b)
	feed := follow(t, h, aliceFeed, nil)
	waiter, err := h.Wait(t.Context(), hub.Channel{Key: aliceFeed.Key(), Name: aliceFeed.String()})
	if err != nil {
		t.Fatal(err)
	}
	defer waiter.Close()
	done := make(chan struct{})
	var cutting sync.WaitGroup
	var cuts int64
	cutting.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
				n, err := admin.ClientKillByFilter(context.Background(), "TYPE", "pubsub").Result()
				if err != nil {
					t.Error(err)
				}
				cuts += n
			}
		}
	})
	var workers sync.WaitGroup
	for w := range 4 {
		workers.Go(func() { work(t.Context(), t, a, fmt.Sprintf("w%d", w), 100) })
	}
	workers.Wait()
	close(done)
	cutting.Wait()
	feed.until(t, 1, 4*100*5)
	select {
	case <-waiter.C:
	default:
		t.Error("the waiter was notified of nothing")
	}
	if cuts == 0 {
		t.Error("nothing was cut")
	}
	t.Logf("%d connections cut, %d resyncs", cuts, h.Stats().Resyncs)
}

// TestLostLastEvent: an event that nobody was notified of is found by the check.
func TestLostLastEvent(t *testing.T) {
	testSilentSubscriber(t, redis.Options{Check: 100 * time.Millisecond, Timeout: time.Minute})
}

// TestDeadSubscriber: a connection that looks open but carries nothing is replaced.
func TestDeadSubscriber(t *testing.T) {
	testSilentSubscriber(t, redis.Options{Check: time.Hour, Timeout: 300 * time.Millisecond})
}

// testSilentSubscriber lets the connection that subscribes die without a sign.
func testSilentSubscriber(t *testing.T, o redis.Options) {
	server := servertest.Redis(t)
	proxy := servertest.Proxy(t, server.Addr)
	a := open(t, server.URL, redis.Options{})
	b := open(t, "redis://"+proxy.Addr+"?pool_size=1", o)
	feed := follow(t, newHub(t, b), aliceFeed, nil)
	work(t.Context(), t, a, "before", 1)
	feed.until(t, 1, 5)
	proxy.Drop(servertest.ToClient)
	work(t.Context(), t, a, "meanwhile", 1)
	if o.Check < o.Timeout { // let the calls pass again, but not what is published
		proxy.Restore()
		killAll(t, server, "normal")
	} else {
		proxy.Restore()
	}
	feed.until(t, 1, 10)
}

// killAll closes all connections of a type but the one that says so.
func killAll(t *testing.T, server *servertest.Server, kind string) {
	t.Helper()
	if err := client(t, server).ClientKillByFilter(t.Context(), "TYPE", kind, "SKIPME", "yes").Err(); err != nil {
		t.Fatal(err)
	}
}
