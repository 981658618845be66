package redis_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/servertest"
	"github.com/hark-push/hark/store/redis"
	"github.com/hark-push/hark/stream"
	"github.com/hark-push/hark/webhook/dispatch"
)

// insist repeats a call until Redis is there. What a lost answer hid may have
// happened: then the machine says so.
func insist(ctx context.Context, f func() error) error {
	for {
		err := f()
		var refusal *lifecycle.TransitionError
		switch {
		case errors.As(err, &refusal):
			return nil
		case !errors.Is(err, lifecycle.ErrUnavailable):
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// cutting cuts all connections over and over until stop is called. Between two cuts something is
// done, which the test counts: by time alone, a slow machine might never do anything.
func cutting(proxy *servertest.ProxyServer, done *atomic.Int64) (stop func()) {
	ended := make(chan struct{})
	var cutter sync.WaitGroup
	cutter.Go(func() {
		for last := int64(0); ; {
			select {
			case <-ended:
				return
			case <-time.After(3 * time.Millisecond):
				if n := done.Load(); n != last {
					proxy.Cut()
					last = n
				}
			}
		}
	})
	return func() { close(ended); cutter.Wait() }
}

// agree checks that what is stored of a request agrees: its newest event is its state.
func agree(t testing.TB, s *redis.Store, id string) lifecycle.Request {
	t.Helper()
	r, err := s.Get(t.Context(), lifecycle.Named(id))
	if err != nil {
		t.Fatalf("%s: %v", id, err)
	}
	h, err := s.Read(t.Context(), r.Channel().Key(), 0, 1000)
	if err != nil || h.Top != r.Sequence || len(h.Messages) != int(r.Sequence) {
		t.Fatalf("%s at %d: %d events up to %d, %v", id, r.Sequence, len(h.Messages), h.Top, err)
	}
	contiguous(t, h)
	last := h.Messages[len(h.Messages)-1]
	if last.Last != r.Status.Terminal() || !bytes.Contains(wire.JSON(last.Event), []byte(`"status":"`+string(r.Status)+`"`)) {
		t.Errorf("%s is %s, its newest event: %s", id, r.Status, wire.JSON(last.Event))
	}
	return r
}

func contiguous(t testing.TB, h lifecycle.History) {
	t.Helper()
	for i, m := range h.Messages {
		if m.Offset != h.Messages[0].Offset+uint64(i) {
			t.Fatalf("offset %d at place %d", m.Offset, i)
		}
	}
}

// TestKilledServer kills the server under traffic and starts it again. With
// appendfsync always, all that was acknowledged is there; with everysec the end may
// be missing, but what is there agrees and goes on without a gap.
func TestKilledServer(t *testing.T) {
	for _, fsync := range []string{"always", "everysec"} {
		t.Run(fsync, func(t *testing.T) {
			server := servertest.Redis(t, "--appendfsync", fsync)
			o := redis.Options{Timeout: 2 * time.Second}
			a, b := open(t, server.URL, o), open(t, server.URL, o)
			h := newHub(t, b)
			feed := follow(t, h, aliceFeed, nil)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			var mu sync.Mutex
			acknowledged := map[string]uint64{}
			note := func(r lifecycle.Request, err error) error {
				if err == nil {
					mu.Lock()
					acknowledged[r.ID] = r.Sequence
					mu.Unlock()
				}
				return err
			}
			stop := make(chan struct{})
			var steps atomic.Int64
			var workers sync.WaitGroup
			for w := range 8 {
				workers.Go(func() {
					for i := 0; ; i++ {
						id := fmt.Sprintf("w%d-%d", w, i)
						for _, f := range []func() error{
							func() error { c, err := a.Create(ctx, submission(id)); return note(c.Request, err) },
							func() error { return note(a.Apply(ctx, lifecycle.Named(id), lifecycle.Start{})) },
							func() error { return note(a.Apply(ctx, lifecycle.Named(id), lifecycle.Succeed{})) },
						} {
							select {
							case <-stop:
								return
							default:
							}
							if err := insist(ctx, f); err != nil && !errors.Is(err, lifecycle.ErrNotFound) {
								t.Errorf("%s: %v", id, err)
							} else if err != nil && fsync == "always" {
								t.Errorf("%s was lost", id)
							}
							steps.Add(1)
						}
					}
				})
			}
			for range 3 {
				from := steps.Load()
				within(t, "traffic", func() bool { return steps.Load() > from+300 })
				server.Kill()
				server.Restart()
			}
			from := steps.Load()
			within(t, "traffic", func() bool { return steps.Load() > from+300 })
			close(stop)
			workers.Wait()

			lost := 0
			for id, sequence := range acknowledged {
				r, err := a.Get(ctx, lifecycle.Named(id))
				if errors.Is(err, lifecycle.ErrNotFound) || err == nil && r.Sequence < sequence {
					lost++
					continue
				}
				agree(t, a, id)
			}
			if lost > 0 && fsync == "always" {
				t.Errorf("%d acknowledged requests are not as acknowledged", lost)
			}
			history, err := a.Read(ctx, aliceFeed.Key(), 0, 1)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d requests, %d of them lost something; feed at %d", len(acknowledged), lost, history.Top)
			if lost == 0 {
				feed.until(t, 1, history.Top)
			}
			if err := b.Probe(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestPausedServer: a server that does not answer is unavailable after the timeout,
// and all goes on when it does again.
func TestPausedServer(t *testing.T) {
	server := servertest.Redis(t)
	s := open(t, server.URL, redis.Options{Timeout: 300 * time.Millisecond})
	before, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	// A busy machine may need longer than that for an answer.
	if err := insist(before, func() error { _, err := s.Create(before, submission("a")); return err }); err != nil {
		t.Fatal(err)
	}
	if err := insist(before, func() error { return s.Probe(before) }); err != nil {
		t.Fatal(err)
	}
	server.Pause()
	for name, f := range everyCall(t.Context(), s) {
		began := time.Now()
		err := f()
		if !errors.Is(err, lifecycle.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("%s took %v", name, took)
		}
	}
	server.Resume()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := insist(ctx, func() error { return s.Probe(ctx) }); err != nil {
		t.Fatal(err)
	}
	agree(t, s, "a")
	if err := insist(ctx, func() error { _, err := s.Apply(ctx, lifecycle.Named("a"), lifecycle.Cancel{}); return err }); err != nil {
		t.Error(err)
	}
}

// everyCall is one call of each method, none of which can be answered without the server.
func everyCall(ctx context.Context, s *redis.Store) map[string]func() error {
	return map[string]func() error{
		"Create":    func() error { _, err := s.Create(ctx, submission("new")); return err },
		"SaveReply": func() error { return s.SaveReply(ctx, lifecycle.Named("a"), "alice", "k", lifecycle.Reply{}) },
		"Apply":     func() error { _, err := s.Apply(ctx, lifecycle.Named("a"), lifecycle.Progress{}); return err },
		"Get":       func() error { _, err := s.Get(ctx, lifecycle.Named("a")); return err },
		"Content":   func() error { _, err := s.Content(ctx, lifecycle.Named("a"), lifecycle.Input); return err },
		"List":      func() error { _, err := s.List(ctx, lifecycle.Query{Owner: "alice", Limit: 1}); return err },
		"ListAll":   func() error { _, err := s.List(ctx, lifecycle.Query{All: true, Limit: 1}); return err },
		"Delete":    func() error { return s.Delete(ctx, lifecycle.Named("a")) },
		"Sweep":     func() error { _, err := s.Sweep(ctx, 10); return err },
		"Batches": func() error {
			for _, err := range s.Batches(ctx) {
				return err
			}
			return nil
		},
		"Unfinished": func() error {
			for _, err := range s.Unfinished(ctx) {
				return err
			}
			return nil
		},
		"Endpoint":         func() error { _, _, err := s.Endpoint(ctx, "a", "x"); return err },
		"CreateEndpoint":   func() error { _, err := s.CreateEndpoint(ctx, dispatch.Endpoint{ID: "x"}); return err },
		"UpdateEndpoint":   func() error { _, err := s.UpdateEndpoint(ctx, dispatch.Endpoint{ID: "x", Version: 1}); return err },
		"ListEndpoints":    func() error { _, err := s.ListEndpoints(ctx, "a", "", 1); return err },
		"ListAllEndpoints": func() error { _, err := s.ListAllEndpoints(ctx, "", 1); return err },
		"DeleteEndpoint":   func() error { return s.DeleteEndpoint(ctx, "a", "x") },
		"PutIfAbsent":      func() error { _, err := s.PutIfAbsent(ctx, "x", nil); return err },
		"Enqueue":          func() error { _, err := s.Enqueue(ctx, "a", "x", nil); return err },
		"ListDeliveries":   func() error { _, err := s.ListDeliveries(ctx, "a", "x", dispatch.Query{Limit: 1}); return err },
		"Delivery":         func() error { _, err := s.Delivery(ctx, "a", "x", "m"); return err },
		"Resend":           func() error { return s.Resend(ctx, "a", "x", "m") },
		"Claim":            func() error { _, _, err := s.Claim(ctx, 1, time.Minute); return err },
		"Settle": func() error {
			_, err := s.Settle(ctx, dispatch.Claim{}, dispatch.Outcome{State: dispatch.Dead})
			return err
		},
		"Hold":         func() error { return s.Hold(ctx, "a", "x", time.Minute) },
		"CreateStream": func() error { _, _, err := s.CreateStream(ctx, ownStream("x"), stream.Create{}); return err },
		"AppendStream": func() error {
			_, err := s.AppendStream(ctx, ownStream("x"), stream.Append{Body: []byte("x")})
			return err
		},
		"AppendOutput": func() error {
			_, err := s.AppendStream(ctx, lifecycle.OutputName(lifecycle.Ref{ID: "a"}), stream.Append{Body: []byte("x")})
			return err
		},
		"StreamState":  func() error { _, err := s.StreamState(ctx, ownStream("x"), true); return err },
		"ReadStream":   func() error { _, err := s.ReadStream(ctx, ownStream("x"), make([]byte, 1), 0); return err },
		"DeleteStream": func() error { return s.DeleteStream(ctx, ownStream("x")) },
		"ReadChannel":  func() error { _, err := s.Read(ctx, ownStream("x").Key(), 0, 1); return err },
		"WatchStream":  func() error { return s.Watch(ctx, ownStream("x").Key()) },

		"Read":  func() error { _, err := s.Read(ctx, aliceFeed.Key(), 0, 1); return err },
		"Reset": func() error { _, err := s.Reset(ctx, aliceFeed.Key()); return err },
		"Watch": func() error { return s.Watch(ctx, "owner:somebody") },
		"Probe": func() error { return s.Probe(ctx) },
	}
}

func TestClosed(t *testing.T) {
	server := servertest.Redis(t)
	s := open(t, server.URL, redis.Options{Timeout: 500 * time.Millisecond})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, f := range everyCall(t.Context(), s) {
		if err := f(); !errors.Is(err, lifecycle.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.Unwatch("owner:alice")
	defer s.OnCancel(func(lifecycle.Ref) {})()
	defer s.OnDue(func() {})()
}

// TestFullServer: a server that has no memory left refuses new requests and results
// whole, and lets what has ended be forgotten.
func TestFullServer(t *testing.T) {
	server := servertest.Redis(t, "--maxmemory", "6mb")
	for _, partitions := range []int{1, 3} {
		t.Run(fmt.Sprintf("partitions=%d", partitions), func(t *testing.T) {
			admin := client(t, server)
			if err := admin.FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			s := open(t, server.URL, redis.Options{Partitions: partitions})
			var stored []string
			for i := 0; ; i++ {
				sub := submission(fmt.Sprintf("r%d", i))
				sub.Key = sub.ID
				sub.Content.Data = bytes.Repeat([]byte{'x'}, []int{100, 10_000, 100_000}[i%3])
				_, err := s.Create(t.Context(), sub)
				if err != nil {
					if !errors.Is(err, lifecycle.ErrUnavailable) {
						t.Fatal(err)
					}
					if _, err := s.Get(t.Context(), lifecycle.Named(sub.ID)); !errors.Is(err, lifecycle.ErrNotFound) {
						t.Errorf("the refused one: %v", err)
					}
					break
				}
				stored = append(stored, sub.ID)
			}
			set := func(maxmemory string) {
				if err := admin.ConfigSet(t.Context(), "maxmemory", maxmemory).Err(); err != nil {
					t.Fatal(err)
				}
			}
			// What filled the server may not have been relayed to the feed any more.
			set("60mb")
			if _, err := s.Sweep(t.Context(), 10); err != nil {
				t.Fatal(err)
			}
			top, err := s.Read(t.Context(), aliceFeed.Key(), 0, 0)
			if err != nil || top.Top != uint64(len(stored)) {
				t.Errorf("%d requests stored, feed at %d, %v", len(stored), top.Top, err)
			}
			set("1mb") // below what is used, so that it stays full
			for _, id := range stored {
				if _, err := s.Apply(t.Context(), lifecycle.Named(id), lifecycle.Start{}); !errors.Is(err, lifecycle.ErrUnavailable) {
					t.Errorf("start: %v", err)
				}
				if r := agree(t, s, id); r.Status != lifecycle.Pending {
					t.Errorf("%s is %s", id, r.Status)
				}
			}
			set("60mb")
			for _, id := range stored {
				if _, err := s.Apply(t.Context(), lifecycle.Named(id), lifecycle.Cancel{}); err != nil {
					t.Error(err)
				}
			}
			set("1mb")
			for _, id := range stored {
				if err := s.Delete(t.Context(), lifecycle.Named(id)); err != nil {
					t.Errorf("forget while full: %v", err)
				}
			}
			set("6mb")
		})
	}
}

// TestLostAnswers: connections break while steps are made; the client sends a
// step again whose answer was lost, and it is not made twice.
func TestLostAnswers(t *testing.T) {
	server := servertest.Redis(t)
	for _, partitions := range []int{1, 4} {
		t.Run(fmt.Sprintf("partitions=%d", partitions), func(t *testing.T) {
			proxy := servertest.Proxy(t, server.Addr)
			o := redis.Options{Prefix: fmt.Sprint("lost", partitions), Partitions: partitions}
			s := open(t, "redis://"+proxy.Addr+"?pool_size=8", o)
			direct := open(t, server.URL, o)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			var done atomic.Int64
			stop := cutting(proxy, &done)
			var workers sync.WaitGroup
			var unknown atomic.Int32
			for w := range 8 {
				workers.Go(func() {
					for i := range 30 {
						id := fmt.Sprintf("w%d-%d", w, i)
						sub := submission(id)
						if err := insist(ctx, func() error { _, err := s.Create(ctx, sub); return err }); err != nil {
							t.Error(err)
						}
						done.Add(1)
						for _, c := range []lifecycle.Change{lifecycle.Start{}, lifecycle.Succeed{}} {
							_, err := s.Apply(ctx, lifecycle.Named(id), c)
							if err == nil {
								done.Add(1)
								continue
							}
							unknown.Add(1)
							if err := insist(ctx, func() error { _, err := s.Apply(ctx, lifecycle.Named(id), c); return err }); err != nil {
								t.Error(err)
							}
							done.Add(1)
						}
					}
				})
			}
			workers.Wait()
			stop()
			for w := range 8 {
				for i := range 30 {
					if r := agree(t, direct, fmt.Sprintf("w%d-%d", w, i)); r.Sequence != 3 || r.Attempt != 1 || r.Status != lifecycle.Succeeded {
						t.Errorf("%s: %s at %d, attempt %d", r.ID, r.Status, r.Sequence, r.Attempt)
					}
				}
			}
			if _, err := direct.Sweep(ctx, 10); err != nil { // relays what could not be
				t.Fatal(err)
			}
			h, err := direct.Read(ctx, aliceFeed.Key(), 0, 10_000)
			if err != nil || h.Top != 8*30*3 {
				t.Errorf("feed at %d, want %d; %v", h.Top, 8*30*3, err)
			}
			t.Logf("%d calls did not hear of their outcome", unknown.Load())
		})
	}
}

// TestScriptsAreForgotten: a server that was told to forget scripts gets them again.
func TestScriptsAreForgotten(t *testing.T) {
	server := servertest.Redis(t)
	s := open(t, server.URL, redis.Options{})
	admin := client(t, server)
	for i := range 5 {
		work(t.Context(), t, s, fmt.Sprint("w", i), 1)
		if err := admin.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNoServer: an address that nobody listens on.
func TestNoServer(t *testing.T) {
	_, err := redis.Open(t.Context(), "redis://:secret@127.0.0.1:1", redis.Options{Timeout: 300 * time.Millisecond})
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}
