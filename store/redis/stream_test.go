package redis_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/servertest"
	"github.com/hark-push/hark/store/redis"
	"github.com/hark-push/hark/store/streamtest"
	"github.com/hark-push/hark/stream"
)

func TestStreamConformance(t *testing.T) {
	server := servertest.Redis(t)
	for _, partitions := range []int{1, 7} {
		t.Run(fmt.Sprintf("partitions=%d", partitions), func(t *testing.T) {
			testStreams(t, server.URL, redis.Options{Prefix: fmt.Sprint("streams", partitions), Partitions: partitions})
		})
	}
}

// TestClusterStreamConformance: forks live with their roots, wherever their names do.
func TestClusterStreamConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Cluster")
	}
	testStreams(t, servertest.RedisCluster(t, false).URL, redis.Options{Prefix: "streams", Partitions: 64})
}

// testStreams runs the suite of streams, each test with a store of its own.
func testStreams(t *testing.T, url string, o redis.Options) {
	var n atomic.Int32
	streamtest.Run(t, func(t *testing.T) streamtest.Instance {
		o := o
		o.Prefix = fmt.Sprintf("%s-%d", o.Prefix, n.Add(1))
		s := open(t, url, o)
		return streamtest.Instance{
			Store: s, Approximate: o.Partitions > 1,
			Advance: func(d time.Duration) { s.Advance(d) },
			Reopen: func() streamtest.Store {
				ahead := s.Ahead()
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = open(t, url, o)
				s.Advance(ahead)
				return s
			},
		}
	})
}

const plain = "text/plain"

func ownStream(path string) stream.Name { return stream.Name{Owner: "alice", Path: path} }

func makeStream(t testing.TB, s *redis.Store, n stream.Name, c stream.Create) stream.Stream {
	t.Helper()
	is, made, err := s.CreateStream(t.Context(), n, c)
	if err != nil || !made {
		t.Fatalf("%s: made %t, %v", n.Path, made, err)
	}
	return is
}

func appendTo(t testing.TB, s *redis.Store, n stream.Name, body string) stream.Appended {
	t.Helper()
	added, err := s.AppendStream(t.Context(), n, stream.Append{Type: plain, Body: []byte(body)})
	if err != nil {
		t.Fatalf("%s: %v", n.Path, err)
	}
	return added
}

// output begins the work on a request, and returns the name of its output.
func output(t testing.TB, s *redis.Store, id string) stream.Name {
	t.Helper()
	create(t, s, id)
	apply(t, s, id, lifecycle.Start{})
	r, err := s.Get(t.Context(), lifecycle.Named(id))
	if err != nil {
		t.Fatal(err)
	}
	return lifecycle.OutputName(r.Ref())
}

// whole reads all that a stream has, and goes on while Redis is away.
func whole(ctx context.Context, t testing.TB, s *redis.Store, n stream.Name) string {
	t.Helper()
	var all []byte
	p := make([]byte, 100_000)
	for {
		read := 0
		if err := insist(ctx, func() (err error) { read, err = s.ReadStream(ctx, n, p, uint64(len(all))); return err }); err != nil {
			t.Fatalf("%q: %v", n.Path, err)
		}
		if all = append(all, p[:read]...); read < len(p) {
			return string(all)
		}
	}
}

// reader follows a stream as the hub does: what is told of is taken if it goes on where the last
// one ended, and read otherwise.
type reader struct {
	t    testing.TB
	s    *redis.Store
	name stream.Name

	mu       sync.Mutex
	at       uint64 // the offset that was seen last
	seen     []byte
	ended    bool
	replaced int
	wake     chan struct{}
}

// read follows a stream from its beginning, as the only listener of a store.
func read(t testing.TB, s *redis.Store, n stream.Name) *reader {
	t.Helper()
	r := &reader{t: t, s: s, name: n, wake: make(chan struct{}, 1)}
	s.Listen(func(channel string, m lifecycle.Message) {
		if channel == n.Key() {
			r.told(m)
		}
	})
	if err := s.Watch(t.Context(), n.Key()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil {
			r.catchUp(ctx)
			select {
			case <-r.wake:
			case <-ctx.Done():
			}
		}
	})
	t.Cleanup(func() { cancel(); running.Wait(); s.Unwatch(n.Key()) })
	return r
}

func (r *reader) told(m lifecycle.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case m.Chunk == nil && m.Event == nil:
		r.replaced++
		r.at, r.seen, r.ended = 0, nil, false
	case m.Offset <= r.at:
		return
	case m.Offset-m.Span == r.at+1:
		r.take(m)
		return
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *reader) take(m lifecycle.Message) {
	if uint64(len(m.Chunk.Bytes)) != m.Chunk.To-m.Chunk.From {
		r.t.Errorf("%d bytes for %d to %d", len(m.Chunk.Bytes), m.Chunk.From, m.Chunk.To)
	}
	r.at, r.seen, r.ended = m.Offset, append(r.seen, m.Chunk.Bytes...), m.Last
}

func (r *reader) catchUp(ctx context.Context) {
	for {
		r.mu.Lock()
		at, times := r.at, r.replaced
		r.mu.Unlock()
		h, err := r.s.Read(ctx, r.name.Key(), at, 100)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, lifecycle.ErrUnavailable):
			continue
		case err != nil:
			r.t.Error(err)
			return
		}
		r.mu.Lock()
		if r.at != at || r.replaced != times { // more was told of meanwhile
			r.mu.Unlock()
			continue
		}
		for _, m := range h.Messages {
			if m.Offset > r.at {
				if m.Offset-m.Span != r.at+1 {
					r.t.Errorf("%d behind %d, of %d bytes", m.Offset, r.at, m.Span+1)
				}
				r.take(m)
			}
		}
		done := len(h.Messages) == 0 || r.at >= h.Top
		r.mu.Unlock()
		if done {
			return
		}
	}
}

// until waits for what the stream holds, and its end.
func (r *reader) until(want string, ended bool) {
	r.t.Helper()
	within(r.t, "the follower has all", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return string(r.seen) == want && r.ended == ended
	})
}

// TestStreamsThroughCutConnections: while connections break, what was acknowledged is there once,
// what was not at most once, and with numbers of a producer everything is there once. Followers get
// all of it.
func TestStreamsThroughCutConnections(t *testing.T) {
	server := servertest.Redis(t)
	proxy := servertest.Proxy(t, server.Addr)
	url := "redis://" + proxy.Addr
	// Two processes append, and another one follows.
	stores := []*redis.Store{open(t, url, redis.Options{Timeout: 2 * time.Second}), open(t, url, redis.Options{Timeout: 2 * time.Second})}
	plainName, numbered, out := ownStream("plain"), ownStream("numbered"), output(t, stores[0], "r")
	makeStream(t, stores[0], plainName, stream.Create{Type: plain})
	makeStream(t, stores[0], numbered, stream.Create{Type: plain})
	follower := read(t, open(t, url, redis.Options{Timeout: 2 * time.Second, Check: time.Second}), numbered)

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var done atomic.Int64
	stop := cutting(proxy, &done)
	const writers, each = 6, 60
	var mu sync.Mutex
	acknowledged := map[string]bool{}
	var all sync.WaitGroup
	for w := range writers {
		s := stores[w%2]
		all.Go(func() {
			for i := range each {
				line := fmt.Sprintf("%d-%d;", w, i)
				for _, n := range []stream.Name{plainName, out} {
					_, err := s.AppendStream(ctx, n, stream.Append{Type: plain, Body: []byte(line)})
					if err != nil && !errors.Is(err, lifecycle.ErrUnavailable) {
						t.Errorf("%s: %v", n.Path, err)
					}
					mu.Lock()
					acknowledged[n.Path+line] = err == nil
					mu.Unlock()
				}
				if err := insist(ctx, func() error {
					_, err := s.AppendStream(ctx, numbered, stream.Append{
						Type: plain, Body: []byte(line), Producer: &stream.Stamp{ID: fmt.Sprint(w), Seq: int64(i)},
					})
					return err
				}); err != nil {
					t.Errorf("%s: %v", line, err)
					return
				}
				done.Add(1)
			}
		})
	}
	all.Wait()
	stop()
	for _, n := range []stream.Name{plainName, out, numbered} {
		text, unknown := whole(ctx, t, stores[0], n), 0
		for w := range writers {
			last := -1
			for i := range each {
				line := fmt.Sprintf("%d-%d;", w, i)
				times := strings.Count(";"+text, ";"+line)
				known, asked := acknowledged[n.Path+line]
				switch {
				case times > 1, times == 0 && (known || !asked):
					t.Errorf("%s: %s is there %d times, acknowledged: %t", n.Path, line, times, known)
				case times == 1 && asked && !known:
					unknown++
				}
				if at := strings.Index(";"+text, ";"+line); at >= 0 {
					if at < last {
						t.Errorf("%s: %s stands before the one before it", n.Path, line)
					}
					last = at
				}
			}
		}
		t.Logf("%s: %d were there that were not acknowledged", n.Path, unknown)
	}
	follower.until(whole(ctx, t, stores[0], numbered), false)
}

// loseAnswer lets the first script whose arguments name a stream fail, with or without having run.
type loseAnswer struct {
	name string
	runs bool
	lost *atomic.Bool
}

func (l loseAnswer) of(cmd goredis.Cmder) bool {
	name := cmd.Name()
	return (name == "evalsha" || name == "eval") && slices.ContainsFunc(cmd.Args(), func(arg any) bool { return arg == l.name })
}

func (l loseAnswer) DialHook(next goredis.DialHook) goredis.DialHook { return next }

func (l loseAnswer) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook {
	return func(ctx context.Context, cmd goredis.Cmder) error {
		if len(cmd.Args()) < 10 || !l.of(cmd) || !l.lost.CompareAndSwap(false, true) {
			return next(ctx, cmd)
		}
		if l.runs {
			_ = next(ctx, cmd)
		}
		cmd.SetErr(io.ErrUnexpectedEOF)
		return io.ErrUnexpectedEOF
	}
}

func (l loseAnswer) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []goredis.Cmder) error {
		for _, cmd := range cmds {
			if len(cmd.Args()) >= 10 && l.of(cmd) && l.lost.CompareAndSwap(false, true) {
				if l.runs {
					_ = next(ctx, cmds)
				}
				for _, cmd := range cmds {
					cmd.SetErr(io.ErrUnexpectedEOF)
				}
				return io.ErrUnexpectedEOF
			}
		}
		return next(ctx, cmds)
	}
}

// TestAppendWhoseAnswerIsLost: it is asked for, so that an append that was made is acknowledged,
// and one that was not is not.
func TestAppendWhoseAnswerIsLost(t *testing.T) {
	server := servertest.Redis(t)
	for _, size := range []int{5, 100_000} {
		for _, runs := range []bool{true, false} {
			t.Run(fmt.Sprintf("size=%d,runs=%t", size, runs), func(t *testing.T) {
				s := open(t, server.URL, redis.Options{Prefix: fmt.Sprint("lost", size, runs)})
				n, body := ownStream("a"), strings.Repeat("x", size)
				makeStream(t, s, n, stream.Create{Type: plain, Body: []byte("begin")})
				appendTo(t, s, n, "more")
				lost := new(atomic.Bool)
				redis.Hook(s, loseAnswer{n.Key(), runs, lost})
				added, err := s.AppendStream(t.Context(), n, stream.Append{Type: plain, Body: []byte(body)})
				switch {
				case !lost.Load():
					t.Fatal("no answer was lost")
				case runs && (err != nil || added.Stream.Tail != uint64(9+size)):
					t.Errorf("made: %+v, %v", added, err)
				case !runs && !errors.Is(err, lifecycle.ErrUnavailable):
					t.Errorf("not made: %+v, %v", added, err)
				}
				appendTo(t, s, n, "end")
				want := "beginmore" + strings.Repeat(body, map[bool]int{true: 1}[runs]) + "end"
				if got := whole(t.Context(), t, s, n); got != want {
					t.Errorf("%d bytes, want %d", len(got), len(want))
				}
			})
		}
	}
}

// TestStreamsOfKilledServer: with appendfsync always what was acknowledged is there when the server
// was killed, and what follows goes on behind it.
func TestStreamsOfKilledServer(t *testing.T) {
	server := servertest.Redis(t, "--appendfsync", "always")
	s := open(t, server.URL, redis.Options{Timeout: 2 * time.Second})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	n := ownStream("a")
	makeStream(t, s, n, stream.Create{Type: plain})
	follower := read(t, open(t, server.URL, redis.Options{Timeout: 2 * time.Second, Check: time.Second}), n)
	var steps atomic.Int64
	stop := make(chan struct{})
	var writer sync.WaitGroup
	var want bytes.Buffer
	writer.Go(func() {
		for i := int64(0); ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			line := fmt.Sprintf("%d;", i)
			if err := insist(ctx, func() error {
				_, err := s.AppendStream(ctx, n, stream.Append{Type: plain, Body: []byte(line), Producer: &stream.Stamp{ID: "w", Seq: i}})
				return err
			}); err != nil {
				t.Error(err)
				return
			}
			want.WriteString(line)
			steps.Add(1)
		}
	})
	for range 3 {
		from := steps.Load()
		within(t, "traffic", func() bool { return steps.Load() > from+50 })
		server.Kill()
		server.Restart()
	}
	from := steps.Load()
	within(t, "traffic", func() bool { return steps.Load() > from+50 })
	close(stop)
	writer.Wait()
	if got := whole(ctx, t, s, n); got != want.String() {
		t.Errorf("%d bytes, want %d", len(got), want.Len())
	}
	follower.until(want.String(), false)
}

// TestStreamFollowedFromElsewhere: followers in another process get what is appended, large
// appends too, and the end; of an output that nobody has appended to as well.
func TestStreamFollowedFromElsewhere(t *testing.T) {
	server := servertest.Redis(t)
	for _, partitions := range []int{1, 7} {
		t.Run(fmt.Sprintf("partitions=%d", partitions), func(t *testing.T) {
			o := redis.Options{Prefix: fmt.Sprint("followed", partitions), Partitions: partitions}
			s := open(t, server.URL, o)
			root, fork := ownStream("root"), ownStream("fork")
			makeStream(t, s, root, stream.Create{Type: plain, Body: []byte("root ")})
			makeStream(t, s, fork, stream.Create{Type: plain, Fork: &stream.ForkOf{From: root}})
			var want strings.Builder
			want.WriteString("root ")
			forked := read(t, open(t, server.URL, o), fork)
			for _, part := range []string{"a", "b", strings.Repeat("large", 50_000), "c", strings.Repeat("x", 300_000)} {
				appendTo(t, s, fork, part)
				appendTo(t, s, root, "not of it")
				want.WriteString(part)
			}
			forked.until(want.String(), false)
			if _, err := s.AppendStream(t.Context(), fork, stream.Append{Type: plain, Body: []byte("end"), Close: true}); err != nil {
				t.Fatal(err)
			}
			forked.until(want.String()+"end", true)

			silent, spoken := output(t, s, "silent"), output(t, s, "spoken")
			hears, listens := read(t, open(t, server.URL, o), silent), read(t, open(t, server.URL, o), spoken)
			appendTo(t, s, spoken, "word")
			listens.until("word", false)
			apply(t, s, "silent", lifecycle.Cancel{})
			apply(t, s, "silent", lifecycle.Fail{Failure: lifecycle.Failure{Code: "no"}})
			apply(t, s, "spoken", lifecycle.Fail{Failure: lifecycle.Failure{Code: "no"}})
			hears.until("", true)
			listens.until("word", true)
			apply(t, s, "spoken", lifecycle.Redrive{})
			apply(t, s, "spoken", lifecycle.Start{})
			appendTo(t, s, spoken, " again")
			apply(t, s, "spoken", lifecycle.Succeed{})
			listens.until("word again", true)
		})
	}
}

// TestStreamOfReplicaWithoutTheNewestWrites: followers are told when bytes that they have seen are
// others now, and not when the same were appended once more.
func TestStreamOfReplicaWithoutTheNewestWrites(t *testing.T) {
	for _, after := range []struct {
		name, kept string
		replaced   int
	}{{"fewer", "k", 1}, {"as many, others", "kept", 1}, {"more", "kept by it", 1}, {"the same", "lost", 0}, {"the same and more", "lost and more", 0}} {
		t.Run(after.name, func(t *testing.T) {
			master, replica := servertest.Redis(t), servertest.Redis(t)
			proxy := servertest.Proxy(t, master.Addr)
			n := ownStream("a")
			s := open(t, "redis://"+proxy.Addr, redis.Options{Timeout: 2 * time.Second, Check: time.Second})
			begin := strings.Repeat("begin ", 20_000) // so that there is a whole chunk
			makeStream(t, s, n, stream.Create{Type: plain, Body: []byte(begin)})
			live := read(t, s, n)
			live.until(begin, false)

			promote := client(t, replica)
			host, port, _ := net.SplitHostPort(master.Addr)
			ctx := context.Background()
			if err := promote.Do(ctx, "REPLICAOF", host, port).Err(); err != nil {
				t.Fatal(err)
			}
			first := client(t, master)
			if err := first.Set(ctx, "replicated", 1, 0).Err(); err != nil {
				t.Fatal(err)
			}
			within(t, "replication", func() bool { return promote.Get(ctx, "replicated").Val() == "1" })
			if err := promote.Do(ctx, "REPLICAOF", "NO", "ONE").Err(); err != nil {
				t.Fatal(err)
			}
			appendTo(t, s, n, "lost")
			live.until(begin+"lost", false)

			other := open(t, replica.URL, redis.Options{})
			appendTo(t, other, n, after.kept)
			proxy.Retarget(replica.Addr)
			live.until(begin+after.kept, false)
			appendTo(t, other, n, " end")
			live.until(begin+after.kept+" end", false)
			live.mu.Lock()
			defer live.mu.Unlock()
			if live.replaced != after.replaced {
				t.Errorf("told %d times that its end was replaced, want %d", live.replaced, after.replaced)
			}
		})
	}
}

// TestStreamMemory: many small appends take as much as their bytes, and little besides.
func TestStreamMemory(t *testing.T) {
	server := servertest.Redis(t)
	s := open(t, server.URL, redis.Options{})
	n := ownStream("a")
	makeStream(t, s, n, stream.Create{Type: plain})
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			for range 200 {
				appendTo(t, s, n, "twenty bytes, no more")
			}
		})
	}
	all.Wait()
	admin := client(t, server)
	used := func() (total int64) {
		for _, key := range keys(t, admin, "hark") {
			size, err := admin.MemoryUsage(t.Context(), key).Result()
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%q: %d bytes", key, size)
			total += size
		}
		return total
	}
	// Redis gives a string that grows room for as much again, and the allocator rounds.
	const stored = 21 * 10_000
	if total := used(); total > stored*9/4+4096 {
		t.Errorf("%d bytes of memory for %d", total, stored)
	}
	if _, err := s.AppendStream(t.Context(), n, stream.Append{Close: true}); err != nil {
		t.Fatal(err)
	}
	if total := used(); total > stored*5/4+4096 {
		t.Errorf("%d bytes of memory for %d that are closed", total, stored)
	}
	if got := whole(t.Context(), t, s, n); got != strings.Repeat("twenty bytes, no more", 10_000) {
		t.Errorf("%d bytes", len(got))
	}
}

// TestStreamsInFullServer: a server without memory takes no append, and nothing of it; what was
// there can be read, and what makes room goes on.
func TestStreamsInFullServer(t *testing.T) {
	server := servertest.Redis(t, "--maxmemory", "60mb")
	admin := client(t, server)
	s := open(t, server.URL, redis.Options{Partitions: 3})
	out, n, fork := output(t, s, "r"), ownStream("a"), ownStream("fork")
	makeStream(t, s, n, stream.Create{Type: plain, Body: []byte("begin")})
	makeStream(t, s, fork, stream.Create{Fork: &stream.ForkOf{From: n}, Body: []byte(" of it")})
	appendTo(t, s, out, "said")
	set := func(maxmemory string) {
		t.Helper()
		if err := admin.ConfigSet(t.Context(), "maxmemory", maxmemory).Err(); err != nil {
			t.Fatal(err)
		}
	}
	set("1mb") // below what is used
	for _, name := range []stream.Name{n, fork, out} {
		for _, size := range []int{5, 100_000} {
			_, err := s.AppendStream(t.Context(), name, stream.Append{Type: plain, Body: make([]byte, size)})
			if !errors.Is(err, lifecycle.ErrUnavailable) || !errors.Is(err, lifecycle.ErrFull) {
				t.Errorf("%d bytes to %s: %v", size, name.Path, err)
			}
		}
	}
	if _, _, err := s.CreateStream(t.Context(), ownStream("b"), stream.Create{Body: []byte("x")}); !errors.Is(err, lifecycle.ErrFull) {
		t.Errorf("another one: %v", err)
	}
	for name, want := range map[stream.Name]string{n: "begin", fork: "begin of it", out: "said"} {
		if got := whole(t.Context(), t, s, name); got != want {
			t.Errorf("%s: %q", name.Path, got)
		}
	}
	if err := s.DeleteStream(t.Context(), fork); err != nil {
		t.Errorf("delete a fork: %v", err)
	}
	if err := s.DeleteStream(t.Context(), n); err != nil {
		t.Errorf("delete: %v", err)
	}
	set("60mb")
	appendTo(t, s, out, " more")
	if is, err := s.StreamState(t.Context(), out, false); err != nil || is.Tail != 9 {
		t.Errorf("%+v, %v", is, err)
	}
	if _, err := s.StreamState(t.Context(), n, false); !errors.Is(err, stream.ErrNotFound) {
		t.Errorf("what was deleted: %v", err)
	}
}

// TestDamagedStream: bytes that are not those that were stored are never handed out.
func TestDamagedStream(t *testing.T) {
	server := servertest.Redis(t)
	s := open(t, server.URL, redis.Options{})
	admin := client(t, server)
	n, out := ownStream("a"), output(t, s, "r")
	body := bytes.Repeat([]byte("0123456789"), 20_000)
	makeStream(t, s, n, stream.Create{Type: plain, Body: body})
	appendTo(t, s, out, string(body))
	for _, name := range []stream.Name{n, out} {
		key := "hark:{p0}:d:" + name.Key()
		for _, at := range []int64{1, 70_000, 199_999} {
			p := make([]byte, len(body))
			good := admin.GetRange(t.Context(), key, at, at).Val()
			if err := admin.SetRange(t.Context(), key, at, "X").Err(); err != nil {
				t.Fatal(err)
			}
			if _, err := s.ReadStream(t.Context(), name, p, 0); err == nil {
				t.Errorf("%s: a changed byte at %d was read", name.Path, at)
			} else if _, damaged := asDamage(err); !damaged {
				t.Errorf("%s: %v", name.Path, err)
			}
			if err := admin.SetRange(t.Context(), key, at, good).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if err := admin.Set(t.Context(), key, string(body[:150_000]), 0).Err(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.ReadStream(t.Context(), name, make([]byte, 10), 190_000); err == nil {
			t.Errorf("%s: bytes that are gone were read", name.Path)
		}
		value := admin.Get(t.Context(), "hark:{p0}:y:"+name.Key()).Val()
		if err := admin.Set(t.Context(), "hark:{p0}:y:"+name.Key(), value[:len(value)-1]+"?", 0).Err(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.StreamState(t.Context(), name, false); err == nil {
			t.Errorf("%s: a damaged stream was read", name.Path)
		}
	}
}

// TestNothingIsLeftOfStreams: what is deleted, has expired, or belonged to a request that is
// forgotten leaves nothing, nor do forks that live with their root, or names that were taken for
// some that were never made.
func TestNothingIsLeftOfStreams(t *testing.T) {
	server := servertest.Redis(t)
	admin := client(t, server)
	for _, partitions := range []int{1, 7} {
		t.Run(fmt.Sprintf("partitions=%d", partitions), func(t *testing.T) {
			prefix := fmt.Sprint("left-streams", partitions)
			s := open(t, server.URL, redis.Options{Prefix: prefix, Partitions: partitions, FeedRetention: time.Minute})
			for i := range 8 {
				n := ownStream(fmt.Sprint("s", i))
				c := stream.Create{Type: plain, Body: make([]byte, 100_000)}
				if i%2 == 0 {
					c.TTL = time.Hour
				}
				makeStream(t, s, n, c)
				forks := make([]stream.Name, 3)
				for j := range forks {
					forks[j] = ownStream(fmt.Sprintf("s%d/%d", i, j))
					makeStream(t, s, forks[j], stream.Create{Fork: &stream.ForkOf{From: n}, Body: []byte("more")})
				}
				for _, gone := range append([]stream.Name{n}, forks...) {
					if err := s.DeleteStream(t.Context(), gone); err != nil {
						t.Fatal(err)
					}
					if i%2 == 0 { // which is kept for its forks until they have expired
						break
					}
				}
				if i == 1 { // the name is free
					makeStream(t, s, n, stream.Create{Expires: s.Now().Add(time.Minute)})
				}
				out := output(t, s, fmt.Sprint("r", i))
				appendTo(t, s, out, strings.Repeat("x", 70_000))
				apply(t, s, fmt.Sprint("r", i), lifecycle.Succeed{})
			}
			redis.TakeName(t.Context(), s, ownStream("never"), 0)
			for range 4 {
				s.Advance(90 * time.Minute)
				if _, err := s.Sweep(t.Context(), 1000); err != nil {
					t.Fatal(err)
				}
			}
			for _, key := range keys(t, admin, prefix) {
				_, kind, _ := strings.Cut(key, "}:")
				for _, begin := range []string{"y:", "d:", "z:", "use:", "r:"} {
					if strings.HasPrefix(kind, begin) {
						t.Errorf("%q is left", key)
					}
				}
			}
		})
	}
}

// TestCommandsPerAppend: what an append costs the server must not grow unnoticed, and those of many
// callers go together.
func TestCommandsPerAppend(t *testing.T) {
	server := servertest.Redis(t)
	s := open(t, server.URL, redis.Options{})
	n, out := ownStream("a"), output(t, s, "r")
	makeStream(t, s, n, stream.Create{Type: plain})
	appendTo(t, s, n, "warm")
	appendTo(t, s, out, "warm")
	const times = 20
	for name, most := range map[stream.Name]int{n: 5, out: 6} {
		scripts, inside := executed(t, server, func() {
			for range times {
				appendTo(t, s, name, "twenty bytes, no more")
			}
		})
		if scripts != times || inside > most*times {
			t.Errorf("%s: %d scripts and %d commands in them for %d appends, want %d and at most %d", name.Path, scripts, inside, times, times, most*times)
		}
	}
	scripts, _ := executed(t, server, func() {
		var all sync.WaitGroup
		for range 64 {
			all.Go(func() {
				for range times {
					appendTo(t, s, n, "twenty bytes, no more")
				}
			})
		}
		all.Wait()
	})
	if scripts > 64*times/4 {
		t.Errorf("%d scripts for %d appends of 64 callers to one stream", scripts, 64*times)
	}
	if got, want := len(whole(t.Context(), t, s, n)), 4+21*(times+64*times); got != want {
		t.Errorf("%d bytes, want %d", got, want)
	}
}

// BenchmarkAppendStream appends 20 bytes, each caller to a stream of its own, or all to one.
func BenchmarkAppendStream(b *testing.B) {
	for _, callers := range []int{1, 64} {
		for _, streams := range []int{1, callers} {
			b.Run(fmt.Sprintf("callers=%d,streams=%d", callers, streams), func(b *testing.B) {
				server := servertest.Redis(b)
				s := open(b, server.URL, redis.Options{})
				names := make([]stream.Name, streams)
				for i := range names {
					names[i] = ownStream(fmt.Sprint("s", i))
					makeStream(b, s, names[i], stream.Create{Type: plain})
				}
				body := []byte("exactly twenty bytes")
				spread(b, server, callers, func(w, _ int) {
					if _, err := s.AppendStream(context.Background(), names[w%streams], stream.Append{Type: plain, Body: body}); err != nil {
						b.Error(err)
					}
				})
			})
		}
	}
}

// BenchmarkReadStream reads 64 MiB in pieces of 1 MiB.
func BenchmarkReadStream(b *testing.B) {
	server := servertest.Redis(b)
	s := open(b, server.URL, redis.Options{})
	n := ownStream("large")
	makeStream(b, s, n, stream.Create{Type: plain})
	const size, step = 64 << 20, 1 << 20
	for range size / step {
		appendTo(b, s, n, strings.Repeat("0123456789abcdef", step/16))
	}
	p := make([]byte, step)
	b.SetBytes(size)
	b.ResetTimer()
	for b.Loop() {
		for at := uint64(0); at < size; at += step {
			if read, err := s.ReadStream(b.Context(), n, p, at); err != nil || read != step {
				b.Fatal(read, err)
			}
		}
	}
}
