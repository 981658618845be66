package streamtest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/stream"
)

// life is that of every request of which it does not matter.
const life = "0123456789"

func submission(id string, size int) lifecycle.Submission {
	return lifecycle.Submission{
		ID: id, Life: life, Owner: alice, Route: "images", MaxAttempts: 3, CountWaiting: true,
		Timeout: time.Hour, Retention: 24 * time.Hour, Fingerprint: "fingerprint of " + id,
		Content: lifecycle.Content{Type: text, Data: pattern(size)},
	}
}

func output(id string) stream.Name { return lifecycle.OutputName(lifecycle.Ref{ID: id, Life: life}) }

func (s *suite) create(sub lifecycle.Submission) lifecycle.Request {
	s.Helper()
	c, err := s.Create(s.ctx, sub)
	if err != nil || c.Existed {
		s.Fatalf("create %s: existed %v, %v", sub.ID, c.Existed, err)
	}
	return c.Request
}

func (s *suite) apply(id string, c lifecycle.Change) lifecycle.Request {
	s.Helper()
	r, err := s.Apply(s.ctx, lifecycle.Named(id), c)
	if err != nil {
		s.Fatalf("apply %T to %s: %v", c, id, err)
	}
	return r
}

// started brings a new request into its first attempt.
func (s *suite) started(id string) {
	s.Helper()
	s.create(submission(id, 0))
	s.apply(id, lifecycle.Start{})
}

var failure = lifecycle.Failure{Code: "x", Message: "y"}

// put appends to the output of a request.
func (s *suite) put(id string, attempt int, body string) stream.Stream {
	s.Helper()
	return s.appended(output(id), stream.Append{Type: text, Body: []byte(body), Attempt: attempt}).Stream
}

// testOutput: the output of a request is there with it, empty, and takes its type from what is
// appended first.
func testOutput(s *suite) {
	n := output("a")
	s.gone(n, lifecycle.ErrNotFound)
	s.gone(n, stream.ErrNotFound)
	r := s.create(submission("a", 0))
	st := s.state(n)
	if st.Type != "" || st.Tail != 0 || st.Closed || st.Tag == "" || len(st.Segments) > 0 {
		s.Errorf("before anything: %+v", st)
	}
	s.holds(n, "")
	if r := s.get("a"); r.HasOutput {
		s.Error("it has an output before anything")
	}
	s.apply("a", lifecycle.Start{})
	if after := s.put("a", 1, "Hello,"); after.Type != text || after.Tail != 6 || after.Tag != st.Tag || after.Closed {
		s.Errorf("after the first append: %+v", after)
	}
	s.put("a", 1, " world")
	_, err := s.AppendStream(s.ctx, n, stream.Append{Type: jsons, Body: []byte("1"), Attempt: 1})
	s.fails("another type", err, stream.ErrType)
	stamp := &stream.Stamp{ID: "p"}
	for i := range 2 {
		added := s.appended(n, stream.Append{Type: text, Body: []byte("!"), Attempt: 1, Producer: stamp})
		if added.Repeated != (i == 1) {
			s.Errorf("append %d of a producer: %+v", i, added)
		}
	}
	s.holds(n, "Hello, world!")
	if r := s.get("a"); !r.HasOutput || r.Sequence != 2 {
		s.Errorf("it says that it has output %v, and is at %d", r.HasOutput, r.Sequence)
	}
	s.apply("a", lifecycle.Progress{Attempt: 1})
	s.reopened()
	s.holds(n, "Hello, world!")
	if all, ended := s.page(n, 3, 10); string(all) != "lo, world!" || ended {
		s.Errorf("its channel: %q, %v", all, ended)
	}
	// That of a request with the same id and another life is another one.
	other := lifecycle.OutputName(lifecycle.Ref{ID: "a", Life: "abcdefghjk"})
	s.gone(other, lifecycle.ErrNotFound)
	s.gone(lifecycle.OutputName(lifecycle.Ref{ID: "a"}), lifecycle.ErrNotFound)
	if r.Life != life {
		s.Errorf("its life is %q", r.Life)
	}
	// JSON, and no stream of one's own is an output.
	s.started("j")
	s.appended(output("j"), stream.Append{Type: jsons, Body: []byte("[1,[2]]"), Attempt: 1})
	s.holds(output("j"), "1\n[2]\n")
	s.made(own(output("a").Path), stream.Create{Type: text, Body: []byte("mine")})
	s.holds(n, "Hello, world!")
}

func (s *suite) get(id string) lifecycle.Request {
	s.Helper()
	r, err := s.Get(s.ctx, lifecycle.Named(id))
	if err != nil {
		s.Fatal(err)
	}
	return r
}

// testOutputFence: only the attempt that counts appends, and only while it runs.
func testOutputFence(s *suite) {
	refused := func(what string, attempt int, reason lifecycle.Reason, current int) {
		s.Helper()
		for _, a := range []stream.Append{
			{Type: text, Body: []byte("no"), Attempt: attempt},
			{Type: text, Body: []byte("no"), Attempt: attempt, Producer: &stream.Stamp{ID: "p"}},
		} {
			_, err := s.AppendStream(s.ctx, output("a"), a)
			if e := failsAs[*lifecycle.TransitionError](s, what, err); e.Reason != reason || e.Current != current || e.Attempt != attempt || e.ID != "a" {
				s.Errorf("%s: %+v", what, e)
			}
		}
	}
	s.create(submission("a", 0))
	refused("pending", 1, lifecycle.ReasonStale, 0)
	s.apply("a", lifecycle.Start{})
	s.put("a", 1, "a")
	refused("an attempt that there was not yet", 2, lifecycle.ReasonStale, 1)
	s.apply("a", lifecycle.Fail{Attempt: 1, Failure: failure, Retry: true})
	refused("waiting for the next one", 1, lifecycle.ReasonStatus, 1)
	s.apply("a", lifecycle.Start{})
	refused("superseded", 1, lifecycle.ReasonStale, 2)
	s.put("a", 2, "b")
	s.apply("a", lifecycle.Start{Redelivered: true}) // the second one has died
	refused("superseded by a redelivery", 2, lifecycle.ReasonStale, 3)
	s.reopened()
	refused("superseded, after a restart", 1, lifecycle.ReasonStale, 3)
	s.put("a", 3, "c")
	s.apply("a", lifecycle.Succeed{Attempt: 3})
	refused("ended", 3, lifecycle.ReasonEnded, 3)
	refused("superseded, and ended", 1, lifecycle.ReasonStale, 3)
	s.holds(output("a"), "abc")
}

// testOutputSegments: where each attempt began to write is known, and told with what it wrote; one
// that wrote nothing has none.
func testOutputSegments(s *suite) {
	e := s.listen()
	s.started("a")
	n := output("a")
	s.watch(n)
	s.put("a", 1, "one")
	s.put("a", 1, " one")
	for range 2 {
		s.apply("a", lifecycle.Fail{Failure: failure, Retry: true})
		s.apply("a", lifecycle.Start{})
	}
	st := s.put("a", 3, "three")
	if fmt.Sprint(st.Segments) != "[{1 0} {3 7}]" {
		s.Errorf("segments %v", st.Segments)
	}
	heard := e.until(s, n, 12)
	s.reopened()
	if st := s.state(n); fmt.Sprint(st.Segments) != "[{1 0} {3 7}]" {
		s.Errorf("segments %v", st.Segments)
	}
	attempts := func(what string, messages []lifecycle.Message) {
		s.Helper()
		var told strings.Builder
		for _, m := range messages {
			if m.Chunk.From < 12 {
				fmt.Fprintf(&told, "%d:%s ", m.Chunk.Attempt, m.Chunk.Bytes)
			}
		}
		if got := told.String(); got != "1:one one 3:three " && got != "1:one 1: one 3:three " {
			s.Errorf("%s: %s", what, got)
		}
	}
	h, err := s.Read(s.ctx, n.Key(), 0, 10)
	if err != nil {
		s.Fatal(err)
	}
	attempts("read", h.Messages)
	attempts("heard", heard)
}

// testOutputEnds: whatever the end of a request, it closes the output in the same step, and
// whoever follows that is told.
func testOutputEnds(s *suite) {
	e := s.listen()
	for name, end := range map[string]func(id string){
		"succeeds": func(id string) {
			s.apply(id, lifecycle.Succeed{Attempt: 1, Result: &lifecycle.Content{Type: text, Data: []byte("x")}})
		},
		"fails": func(id string) { s.apply(id, lifecycle.Fail{Attempt: 1, Failure: failure}) },
		"is canceled": func(id string) {
			s.apply(id, lifecycle.Cancel{})
			s.apply(id, lifecycle.Release{Attempt: 1})
		},
	} {
		for _, body := range []string{"", "something"} {
			id := strings.ReplaceAll(name, " ", "-") + fmt.Sprint(len(body))
			n := output(id)
			s.started(id)
			s.watch(n)
			if body != "" {
				s.put(id, 1, body)
			}
			if st := s.state(n); st.Closed {
				s.Errorf("%s: closed before its end", id)
			}
			end(id)
			if st := s.state(n); !st.Closed || st.Tail != uint64(len(body)) {
				s.Errorf("%s: %+v", id, st)
			}
			if all, ended := s.page(n, 0, 10); string(all) != body || !ended {
				s.Errorf("%s: its channel has %q, ended %v", id, all, ended)
			}
			heard := e.until(s, n, uint64(len(body))+1)
			if got := s.told(n, 0, heard); got != body || !heard[len(heard)-1].Last {
				s.Errorf("%s: told %q, the last is %+v", id, got, heard[len(heard)-1])
			}
			_, err := s.AppendStream(s.ctx, n, stream.Append{Type: text, Body: []byte("late"), Attempt: 1})
			if e := failsAs[*lifecycle.TransitionError](s, id, err); e.Reason != lifecycle.ReasonEnded {
				s.Errorf("%s: %+v", id, e)
			}
		}
	}
	s.create(submission("pending", 0)) // canceled before anybody began
	s.watch(output("pending"))
	s.apply("pending", lifecycle.Cancel{})
	if st := s.state(output("pending")); !st.Closed {
		s.Errorf("%+v", st)
	}
	e.until(s, output("pending"), 1)
	s.reopened()
	if st := s.state(output("succeeds9")); !st.Closed {
		s.Errorf("after a restart: %+v", st)
	}
}

// testOutputExpires: a request that the sweep expires closes its output by that.
func testOutputExpires(s *suite) {
	e := s.listen()
	s.started("a")
	s.put("a", 1, "as far as it came")
	s.watch(output("a"))
	s.in.Advance(time.Hour)
	if st := s.state(output("a")); st.Closed {
		s.Error("closed before the sweep")
	}
	s.sweep()
	if st := s.state(output("a")); !st.Closed || st.Tail != 17 {
		s.Errorf("%+v", st)
	}
	heard := e.until(s, output("a"), 18)
	if m := heard[len(heard)-1]; !m.Last || m.Chunk.Gone || m.Offset != 18 {
		s.Errorf("told %+v", m)
	}
	s.holds(output("a"), "as far as it came")
}

// testOutputRedriven: the output of a request that is redriven is open again, and goes on behind
// what is there.
func testOutputRedriven(s *suite) {
	e := s.listen()
	n := output("a")
	s.started("a")
	s.put("a", 1, "first")
	s.apply("a", lifecycle.Fail{Attempt: 1, Failure: failure})
	s.apply("a", lifecycle.Redrive{})
	if st := s.state(n); st.Closed || st.Tail != 5 {
		s.Errorf("redriven: %+v", st)
	}
	if all, ended := s.page(n, 0, 10); string(all) != "first" || ended {
		s.Errorf("its channel has %q, ended %v", all, ended)
	}
	s.apply("a", lifecycle.Start{})
	before := e.count(n) // whoever listens may have been told of the end before
	s.watch(n)
	s.put("a", 2, "second")
	s.apply("a", lifecycle.Succeed{Attempt: 2})
	s.holds(n, "firstsecond")
	heard := e.until(s, n, 12)[before:]
	if got := s.told(n, 5, heard); got != "second" {
		s.Errorf("told %q", got)
	}
	if st := s.state(n); fmt.Sprint(st.Segments) != "[{1 0} {2 5}]" || !st.Closed {
		s.Errorf("%+v", st)
	}
}

// testOutputForgotten: the output is forgotten with its request, and one of the same id has its
// own.
func testOutputForgotten(s *suite) {
	s.started("a")
	s.put("a", 1, string(pattern(50_000)))
	s.apply("a", lifecycle.Succeed{Attempt: 1})
	if err := s.Delete(s.ctx, lifecycle.Named("a")); err != nil {
		s.Fatal(err)
	}
	s.gone(output("a"), lifecycle.ErrNotFound)
	if h, err := s.Read(s.ctx, output("a").Key(), 50_000, 10); err != nil || !h.Ended || len(h.Messages) != 1 || !h.Messages[0].Chunk.Gone {
		s.Errorf("its channel: %+v, %v", h, err)
	}
	s.started("a") // with the same life even
	s.holds(output("a"), "")
	s.put("a", 1, "new")
	s.holds(output("a"), "new")

	s.started("b")
	s.put("b", 1, "b")
	s.in.Advance(time.Hour)
	s.sweep() // both expire
	s.in.Advance(24 * time.Hour)
	s.sweep()
	for _, id := range []string{"a", "b"} {
		s.gone(output(id), lifecycle.ErrNotFound)
	}
	if _, next := s.sweep(); !next.IsZero() {
		s.Errorf("nothing is left, yet %v is due", next)
	}
}

// testOutputUsage: what outputs take counts for the owner of the request until it is forgotten.
func testOutputUsage(s *suite) {
	most := stream.Quota{Stored: 100, Size: 80}
	s.create(submission("a", 30))
	s.apply("a", lifecycle.Start{})
	grow := func(size int) error {
		_, err := s.AppendStream(s.ctx, output("a"), stream.Append{Type: text, Body: pattern(size), Attempt: 1, Quota: most})
		return err
	}
	if err := errors.Join(grow(40), grow(20)); err != nil { // 90
		s.Error(err)
	}
	if e := failsAs[*stream.SizeError](s, "101", grow(11)); e.What != "owner" {
		s.Errorf("%+v", e)
	}
	if e := failsAs[*stream.SizeError](s, "81 of one", grow(21)); e.What != "stream" {
		s.Errorf("%+v", e)
	}
	s.holds(output("a"), string(pattern(40))+string(pattern(20)))
	sub := submission("b", 11)
	sub.Quota = lifecycle.Quota{Bytes: 100}
	if _, err := s.Create(s.ctx, sub); err == nil {
		s.Error("a request beyond the quota was taken")
	} else if _, over := errors.AsType[*lifecycle.QuotaError](err); !over {
		s.Error(err)
	}
	s.apply("a", lifecycle.Succeed{Attempt: 1})
	if _, err := s.Create(s.ctx, sub); err == nil {
		s.Error("what has ended is kept, and counts")
	}
	if err := s.Delete(s.ctx, lifecycle.Named("a")); err != nil {
		s.Fatal(err)
	}
	sub.Content.Data = pattern(100)
	s.create(sub)
	_, _, err := s.CreateStream(s.ctx, own("x"), stream.Create{Body: []byte("x"), Quota: most})
	_ = failsAs[*stream.SizeError](s, "a stream beside it", err)
}

// testOutputConcurrently: while attempts follow on each other, whatever was appended is whose the
// segments say, once, and nothing is appended behind the end.
func testOutputConcurrently(s *suite) {
	const requests, attempts = 6, 4
	e := s.listen()
	var mu sync.Mutex
	taken := make(map[string]int) // request, attempt → bytes
	parallel(requests, func(i int) {
		id := fmt.Sprint("r", i)
		if _, err := s.Create(s.ctx, submission(id, 0)); err != nil {
			s.Error(err)
			return
		}
		if err := s.Watch(s.ctx, output(id).Key()); err != nil {
			s.Error(err)
		}
		for attempt := 1; attempt <= attempts; attempt++ {
			start := lifecycle.Start{}
			if _, err := s.Apply(s.ctx, lifecycle.Named(id), start); err != nil {
				s.Error(err)
			}
			parallel(4, func(w int) {
				for n := range 6 {
					if w == 0 && n == 3 { // while the others append
						var end lifecycle.Change = lifecycle.Release{Attempt: attempt}
						if attempt == attempts {
							end = lifecycle.Succeed{Attempt: attempt}
						}
						if _, err := s.Apply(s.ctx, lifecycle.Named(id), end); err != nil {
							s.Error(err)
						}
						return
					}
					_, err := s.AppendStream(s.ctx, output(id), stream.Append{Type: text, Body: fmt.Appendf(nil, "%d", attempt), Attempt: attempt})
					if err == nil {
						mu.Lock()
						taken[fmt.Sprint(id, " ", attempt)]++
						mu.Unlock()
					} else if _, refused := errors.AsType[*lifecycle.TransitionError](err); !refused {
						s.Error(err)
					}
				}
			})
		}
	})
	for i := range requests {
		id := fmt.Sprint("r", i)
		n, want := output(id), ""
		for attempt := 1; attempt <= attempts; attempt++ {
			want += strings.Repeat(fmt.Sprint(attempt), taken[fmt.Sprint(id, " ", attempt)])
		}
		s.holds(n, want)
		st := s.state(n)
		for _, segment := range st.Segments {
			if int(segment.Offset) != strings.Index(want, fmt.Sprint(segment.Attempt)) {
				s.Errorf("%s: segments %v of %s", id, st.Segments, want)
			}
		}
		if got := s.told(n, 0, e.until(s, n, st.Tail+1)); got != want || !st.Closed {
			s.Errorf("%s: told %q, want %q, closed %v", id, got, want, st.Closed)
		}
	}
}
