package streamtest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hark-push/hark/stream"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// testCreate: a stream is made once, is found when it is wanted as it is, and refused when it is
// wanted differently.
func testCreate(s *suite) {
	n := own("a/b c/ä")
	s.gone(n, stream.ErrNotFound)
	st := s.made(n, stream.Create{Type: "text/plain; charset=utf-8", TTL: time.Hour})
	if st.Type != "text/plain; charset=utf-8" || st.Tail != 0 || st.Closed || st.Tag == "" || st.TTL != time.Hour || st.Created.IsZero() {
		s.Errorf("made %+v", st)
	}
	s.same("state", s.state(n), st)
	again, made, err := s.CreateStream(s.ctx, n, stream.Create{Type: "text/plain", TTL: time.Hour})
	if err != nil || made {
		s.Errorf("again: made %v, %v", made, err)
	}
	s.same("again", again, st)
	for name, c := range map[string]stream.Create{
		"another type": {Type: jsons, TTL: time.Hour},
		"no type":      {TTL: time.Hour},
		"another TTL":  {Type: text, TTL: time.Minute},
		"no TTL":       {Type: text},
		"an end":       {Type: text, Expires: st.Created.Add(time.Hour)},
		"closed":       {Type: text, TTL: time.Hour, Closed: true},
		"a fork":       {Type: text, TTL: time.Hour, Fork: &stream.ForkOf{From: n}},
	} {
		if _, _, err := s.CreateStream(s.ctx, n, c); !errors.Is(err, stream.ErrConflict) {
			s.Errorf("with %s: %v", name, err)
		}
	}
	s.same("after all", s.state(n), st)

	s.append(n, text, "x")
	if again, made, err := s.CreateStream(s.ctx, n, stream.Create{Type: text, TTL: time.Hour}); err != nil || made || again.Tail != 1 {
		s.Errorf("with something in it: made %v, tail %d, %v", made, again.Tail, err)
	}
	s.appended(n, stream.Append{Close: true})
	if _, made, err := s.CreateStream(s.ctx, n, stream.Create{Type: text, TTL: time.Hour, Closed: true}); err != nil || made {
		s.Errorf("closed, as it is: made %v, %v", made, err)
	}
	_, _, err = s.CreateStream(s.ctx, n, stream.Create{Type: text, TTL: time.Hour})
	s.fails("open, as it was", err, stream.ErrConflict)

	plain := s.made(own("plain"), stream.Create{})
	if plain.Type != stream.DefaultType {
		s.Errorf("without a type it is %q", plain.Type)
	}
	if plain.Tag == st.Tag {
		s.Error("two streams have one tag")
	}
}

// testCreateWithBody: a stream and its first bytes come in one step, and it may be closed with it.
func testCreateWithBody(s *suite) {
	if st := s.made(own("text"), stream.Create{Type: text, Body: []byte("hello")}); st.Tail != 5 || st.Closed {
		s.Errorf("%+v", st)
	}
	s.holds(own("text"), "hello")
	s.append(own("text"), text, " world")
	s.holds(own("text"), "hello world")

	if st := s.made(own("closed"), stream.Create{Type: text, Body: []byte("all"), Closed: true}); st.Tail != 3 || !st.Closed {
		s.Errorf("%+v", st)
	}
	_, err := s.AppendStream(s.ctx, own("closed"), stream.Append{Type: text, Body: []byte("x")})
	_ = failsAs[*stream.ClosedError](s, "append to a closed one", err)
	s.holds(own("closed"), "all")
	if st := s.made(own("empty"), stream.Create{Closed: true}); st.Tail != 0 || !st.Closed {
		s.Errorf("%+v", st)
	}

	s.made(own("json"), stream.Create{Type: jsons, Body: []byte(`[ {"a": 1}, [2] ]`)})
	s.holds(own("json"), "{\"a\":1}\n[2]\n")
	s.made(own("none"), stream.Create{Type: jsons, Body: []byte(` [ ] `)})
	s.holds(own("none"), "")
	_, _, err = s.CreateStream(s.ctx, own("bad"), stream.Create{Type: jsons, Body: []byte(`{"a":`)})
	s.fails("bad JSON", err, stream.ErrJSON)
	_, _, err = s.CreateStream(s.ctx, own("bad"), stream.Create{Type: text, Body: []byte("12345"), Quota: stream.Quota{Size: 4}})
	_ = failsAs[*stream.SizeError](s, "too large", err)
	s.gone(own("bad"), stream.ErrNotFound)
}

// testCreateConcurrently: of many that make one stream, one does.
func testCreateConcurrently(s *suite) {
	var made atomic.Int32
	tags := make([]string, 20)
	parallel(len(tags), func(i int) {
		st, first, err := s.CreateStream(s.ctx, own("a"), stream.Create{Type: text, Body: []byte("once")})
		if err != nil {
			s.Error(err)
		}
		if first {
			made.Add(1)
		}
		tags[i] = st.Tag
	})
	if slices.Sort(tags); made.Load() != 1 || tags[0] != tags[len(tags)-1] {
		s.Errorf("made %d times, tags %v", made.Load(), tags)
	}
	s.holds(own("a"), "once")
}

// testNames: streams of different owners and paths are different ones, however alike.
func testNames(s *suite) {
	names := []stream.Name{
		own("a"), own("ab"), own("a/b"), own("a/b/c"), own(strings.Repeat("ü", stream.MaxPath/2)), own("a:b"), own("*"), own("{a}"), own("a%2Fb"),
		{Owner: bob, Path: "a"},
		{Owner: alice + "/", Path: "a"},
		{Owner: "a", Path: "b"},
	}
	for i, n := range names {
		s.made(n, stream.Create{Type: text, Body: fmt.Appendf(nil, "%d", i)})
	}
	s.reopened()
	for i, n := range names {
		s.holds(n, fmt.Sprint(i))
	}
	for i, n := range names {
		if err := s.DeleteStream(s.ctx, n); err != nil {
			s.Error(err)
		}
		s.gone(n, stream.ErrNotFound)
		for j, other := range names[i+1:] {
			s.holds(other, fmt.Sprint(i+1+j))
		}
	}
}

// testDelete: a stream that was deleted is gone with all it had, and one that is made under its
// name is another.
func testDelete(s *suite) {
	n := own("a")
	s.fails("what is not there", s.DeleteStream(s.ctx, n), stream.ErrNotFound)
	before := s.made(n, stream.Create{Type: text, Body: pattern(100_000)})
	s.appended(n, stream.Append{Type: text, Body: []byte("x"), Seq: "9", Producer: &stream.Stamp{ID: "p"}, Close: true})
	if err := s.DeleteStream(s.ctx, n); err != nil {
		s.Fatal(err)
	}
	s.gone(n, stream.ErrNotFound)
	s.sweep()
	after := s.made(n, stream.Create{Type: jsons, Body: []byte("[1,2]")})
	if after.Tag == before.Tag || after.Closed || after.Seq != "" || len(after.Producers) > 0 {
		s.Errorf("made anew: %+v", after)
	}
	s.holds(n, "1\n2\n")
	if _, err := after.Position(before.Offset(2)); !errors.Is(err, stream.ErrOffset) {
		s.Errorf("an offset of before: %v", err)
	}
	if at, err := after.Position(after.Offset(2)); err != nil || at != 2 {
		s.Errorf("an offset: %d, %v", at, err)
	}
	s.append(n, jsons, "3")
	s.holds(n, "1\n2\n3\n")
}

// testReopen: all that is known of streams is there after a restart.
func testReopen(s *suite) {
	s.made(own("a"), stream.Create{Type: "text/plain; charset=utf-8", TTL: time.Hour, Body: []byte("one ")})
	s.appended(own("a"), stream.Append{Type: text, Body: []byte("two"), Seq: "s1", Producer: &stream.Stamp{ID: "p", Epoch: 3}})
	s.appended(own("a"), stream.Append{Close: true, Producer: &stream.Stamp{ID: "p", Epoch: 3, Seq: 1}})
	st := s.state(own("a"))
	s.made(own("b"), stream.Create{Fork: &stream.ForkOf{From: own("a"), Offset: st.Offset(4), Sub: 1}, Expires: st.Created.Add(time.Hour)})
	before := []stream.Stream{s.state(own("a")), s.state(own("b"))}
	s.reopened()
	for i, n := range []stream.Name{own("a"), own("b")} {
		s.same(n.Path, s.state(n), before[i])
	}
	s.holds(own("a"), "one two")
	s.holds(own("b"), "one t")
	s.append(own("b"), text, "!")
	s.reopened()
	s.holds(own("b"), "one t!")
}

// testContextEnded: what is called with a context that has ended does nothing.
func testContextEnded(s *suite) {
	s.made(own("a"), stream.Create{Type: text})
	live := s.ctx
	s.ctx = ended()
	_, _, err := s.CreateStream(s.ctx, own("b"), stream.Create{})
	s.fails("create", err, s.ctx.Err())
	_, err = s.AppendStream(s.ctx, own("a"), stream.Append{Type: text, Body: []byte("x")})
	s.fails("append", err, s.ctx.Err())
	_, err = s.StreamState(s.ctx, own("a"), true)
	s.fails("state", err, s.ctx.Err())
	_, err = s.ReadStream(s.ctx, own("a"), make([]byte, 1), 0)
	s.fails("read", err, s.ctx.Err())
	s.fails("delete", s.DeleteStream(s.ctx, own("a")), s.ctx.Err())
	s.ctx = live
	s.holds(own("a"), "")
	s.gone(own("b"), stream.ErrNotFound)
}
