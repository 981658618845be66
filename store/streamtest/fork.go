package streamtest

import (
	"errors"
	"fmt"
	"time"

	"github.com/hark-push/hark/stream"
)

// fork creates a fork that is not there.
func (s *suite) fork(path string, of stream.ForkOf) stream.Stream {
	s.Helper()
	return s.made(own(path), stream.Create{Fork: &of})
}

// testFork: a fork has what its source had up to where they part, and then its own, as the source
// has, and so on.
func testFork(s *suite) {
	a := s.made(own("a"), stream.Create{Type: "text/plain; charset=utf-8", Body: []byte("0123456789")})
	s.appended(own("a"), stream.Append{Type: text, Body: []byte("ab"), Seq: "5", Producer: &stream.Stamp{ID: "p", Epoch: 4}})
	b := s.fork("b", stream.ForkOf{From: own("a"), Offset: a.Offset(4)})
	if b.Type != a.Type || b.Tail != 4 || b.Closed || b.Seq != "" || len(b.Producers) > 0 || b.Fork == nil || b.Fork.At != 4 {
		s.Errorf("%+v", b)
	}
	if got, want := b.Offset(3), a.Offset(3); got != want {
		s.Errorf("offsets of a fork are its source's: %s, %s", got, want)
	}
	if st := s.state(own("a")); st.Forks != 1 {
		s.Errorf("the source has %d forks", st.Forks)
	}
	s.holds(own("b"), "0123")
	// Producers and sequences begin anew.
	s.appended(own("b"), stream.Append{Type: text, Body: []byte("B"), Seq: "1", Producer: &stream.Stamp{ID: "p"}})
	s.append(own("a"), text, "c")
	c := s.made(own("c"), stream.Create{Body: []byte("C"), Fork: &stream.ForkOf{From: own("b")}})
	d := s.fork("d", stream.ForkOf{From: own("c"), Offset: c.Offset(2)})
	s.append(own("b"), text, "b")
	s.append(own("d"), text, "D")
	if d.Tail != 2 {
		s.Errorf("%+v", d)
	}
	for range 2 {
		s.holds(own("a"), "0123456789abc")
		s.holds(own("b"), "0123Bb")
		s.holds(own("c"), "0123BC")
		s.holds(own("d"), "01D")
		s.reopened()
	}
	for path, want := range map[string]string{"c": "0123BC", "d": "01D"} {
		if all, _ := s.page(own(path), 0, 10); string(all) != want {
			s.Errorf("channel of %s: %q", path, all)
		}
		if all, _ := s.page(own(path), 1, 10); string(all) != want[1:] {
			s.Errorf("channel of %s after 1: %q", path, all)
		}
	}
	// One of a closed stream is open; one may be made closed.
	s.appended(own("a"), stream.Append{Close: true})
	if e := s.fork("e", stream.ForkOf{From: own("a")}); e.Closed || e.Tail != 13 {
		s.Errorf("%+v", e)
	}
	s.append(own("e"), text, "!")
	s.holds(own("e"), "0123456789abc!")
	if f := s.made(own("f"), stream.Create{Fork: &stream.ForkOf{From: own("a")}, Body: []byte("."), Closed: true}); !f.Closed || f.Tail != 14 {
		s.Errorf("%+v", f)
	}
	// Large ones, across where they part.
	big := pattern(100_000)
	s.made(own("big"), stream.Create{Type: raw, Body: big})
	st := s.state(own("big"))
	s.made(own("big2"), stream.Create{Fork: &stream.ForkOf{From: own("big"), Offset: st.Offset(50_001)}, Body: big[:30_000]})
	s.holds(own("big2"), string(big[:50_001])+string(big[:30_000]))
}

// testForkParting: a sub-offset counts bytes, or messages of JSON.
func testForkParting(s *suite) {
	a := s.made(own("a"), stream.Create{Type: text, Body: []byte("hello")})
	s.append(own("a"), text, "world")
	for i, test := range []struct {
		of   stream.ForkOf
		want string // "": refused
	}{
		{stream.ForkOf{Offset: a.Offset(0), Sub: 3}, "hel"},
		{stream.ForkOf{Offset: a.Offset(5), Sub: 3}, "hellowor"},
		{stream.ForkOf{Offset: a.Offset(5), Sub: 5}, "helloworld"},
		{stream.ForkOf{Offset: "0000000000000000_0000000000000000", Sub: 1}, "h"},
		{stream.ForkOf{Offset: a.Offset(5), Sub: 6}, ""},
		{stream.ForkOf{Sub: 1}, ""},
		{stream.ForkOf{Offset: a.Offset(5), Sub: -1}, ""},
		{stream.ForkOf{Offset: a.Offset(11)}, ""},
		{stream.ForkOf{Offset: "x"}, ""},
		{stream.ForkOf{Offset: "0000000000000003_another"}, ""},
		{stream.ForkOf{Offset: "+000000000000003_" + a.Tag}, ""},
	} {
		test.of.From = own("a")
		path := fmt.Sprint("a", i)
		if test.want == "" {
			_, _, err := s.CreateStream(s.ctx, own(path), stream.Create{Fork: &test.of})
			s.fails(fmt.Sprintf("%+v", test.of), err, stream.ErrOffset)
			s.gone(own(path), stream.ErrNotFound)
			continue
		}
		s.fork(path, test.of)
		s.holds(own(path), test.want)
	}

	j := s.made(own("j"), stream.Create{Type: jsons, Body: []byte(`[{"a":1},{"b":2},{"c":3}]`)})
	s.append(own("j"), jsons, "[4,5]")
	big := `"` + string(pattern(40_000)) + `"` // no valid string: line feeds
	if _, err := s.AppendStream(s.ctx, own("j"), stream.Append{Type: jsons, Body: []byte(big)}); !errors.Is(err, stream.ErrJSON) {
		s.Error(err)
	}
	for i, test := range []struct {
		of   stream.ForkOf
		want string
	}{
		{stream.ForkOf{Offset: j.Offset(0), Sub: 2}, "{\"a\":1}\n{\"b\":2}\n"},
		{stream.ForkOf{Offset: j.Offset(8), Sub: 1}, "{\"a\":1}\n{\"b\":2}\n"},
		{stream.ForkOf{Offset: j.Offset(24), Sub: 1}, "{\"a\":1}\n{\"b\":2}\n{\"c\":3}\n4\n"},
		{stream.ForkOf{Offset: j.Offset(0), Sub: 5}, "{\"a\":1}\n{\"b\":2}\n{\"c\":3}\n4\n5\n"},
		{stream.ForkOf{Offset: j.Offset(8)}, "{\"a\":1}\n"},
		{stream.ForkOf{}, "{\"a\":1}\n{\"b\":2}\n{\"c\":3}\n4\n5\n"},
		{stream.ForkOf{Offset: j.Offset(0), Sub: 6}, ""},
		{stream.ForkOf{Offset: j.Offset(0), Sub: 1 << 50}, ""},
		{stream.ForkOf{Offset: j.Offset(7)}, ""}, // no beginning of a message
		{stream.ForkOf{Offset: j.Offset(1), Sub: 1}, ""},
	} {
		test.of.From = own("j")
		path := fmt.Sprint("j", i)
		if test.want == "" {
			_, _, err := s.CreateStream(s.ctx, own(path), stream.Create{Fork: &test.of})
			s.fails(fmt.Sprintf("%+v", test.of), err, stream.ErrOffset)
			continue
		}
		s.fork(path, test.of)
		s.holds(own(path), test.want)
		s.append(own(path), jsons, "[true]")
		s.holds(own(path), test.want+"true\n")
	}
	s.made(own("body"), stream.Create{Body: []byte("[9]"), Fork: &stream.ForkOf{From: own("j"), Offset: j.Offset(0), Sub: 1}})
	s.holds(own("body"), "{\"a\":1}\n9\n")
	// Of a fork, by bytes that are its source's.
	s.fork("jj", stream.ForkOf{From: own("j0"), Offset: j.Offset(8), Sub: 2})
	s.holds(own("jj"), "{\"a\":1}\n{\"b\":2}\ntrue\n")
}

// testForkRefused: a fork that cannot be leaves nothing behind, at its source neither.
func testForkRefused(s *suite) {
	s.made(own("a"), stream.Create{Type: text, Body: []byte("abc")})
	for name, test := range map[string]struct {
		c    stream.Create
		want error
	}{
		"no source":        {stream.Create{Fork: &stream.ForkOf{From: own("none")}}, stream.ErrNotFound},
		"somebody else's":  {stream.Create{Fork: &stream.ForkOf{From: stream.Name{Owner: bob, Path: "a"}}}, stream.ErrNotFound},
		"of another type":  {stream.Create{Type: jsons, Fork: &stream.ForkOf{From: own("a")}}, stream.ErrConflict},
		"of itself":        {stream.Create{Fork: &stream.ForkOf{From: own("b")}}, stream.ErrNotFound},
		"behind the end":   {stream.Create{Fork: &stream.ForkOf{From: own("a"), Sub: 4}}, stream.ErrOffset},
		"of another's end": {stream.Create{Fork: &stream.ForkOf{From: own("a"), Offset: "0000000000000001_a"}}, stream.ErrOffset},
	} {
		_, _, err := s.CreateStream(s.ctx, own("b"), test.c)
		s.fails(name, err, test.want)
		s.gone(own("b"), stream.ErrNotFound)
	}
	_, _, err := s.CreateStream(s.ctx, own("b"), stream.Create{
		Body: []byte("too much"), Quota: stream.Quota{Size: 10}, Fork: &stream.ForkOf{From: own("a")},
	})
	_ = failsAs[*stream.SizeError](s, "too large with what it inherits", err)
	if st := s.state(own("a")); st.Forks != 0 {
		s.Errorf("the source has %d forks", st.Forks)
	}
	if err := s.DeleteStream(s.ctx, own("a")); err != nil {
		s.Error(err)
	}
	s.gone(own("a"), stream.ErrNotFound)
}

// testForkRepeated: a fork that is made again is found, one that is wanted otherwise refused.
func testForkRepeated(s *suite) {
	a := s.made(own("a"), stream.Create{Type: text, Body: []byte("0123456789"), TTL: time.Hour})
	s.made(own("other"), stream.Create{Type: text, Body: []byte("0123456789")})
	of := stream.ForkOf{From: own("a"), Offset: a.Offset(4), Sub: 2}
	b := s.fork("b", of)
	if b.TTL != time.Hour {
		s.Errorf("its TTL is %v", b.TTL)
	}
	s.append(own("b"), text, "B")
	s.append(own("a"), text, "more")
	again := func(c stream.Create) error {
		st, made, err := s.CreateStream(s.ctx, own("b"), c)
		if err == nil && (made || st.Tail != 7) {
			s.Errorf("made %v, %+v", made, st)
		}
		return err
	}
	for name, c := range map[string]stream.Create{
		"the same":           {Fork: &of},
		"with its type":      {Type: text, Fork: &of},
		"with its TTL":       {TTL: time.Hour, Fork: &of},
		"wherever it parted": {Fork: &stream.ForkOf{From: own("a"), Sub: 2}},
	} {
		if err := again(c); err != nil {
			s.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range map[string]stream.Create{
		"another sub-offset": {Fork: &stream.ForkOf{From: own("a"), Offset: a.Offset(4), Sub: 1}},
		"the same position":  {Fork: &stream.ForkOf{From: own("a"), Offset: a.Offset(6)}},
		"another offset":     {Fork: &stream.ForkOf{From: own("a"), Offset: a.Offset(3), Sub: 2}},
		"another source":     {Fork: &stream.ForkOf{From: own("other"), Offset: a.Offset(4), Sub: 2}},
		"no fork":            {Type: text, TTL: time.Hour},
		"another type":       {Type: jsons, Fork: &of},
		"another TTL":        {TTL: time.Minute, Fork: &of},
		"closed":             {Closed: true, Fork: &of},
	} {
		s.fails(name, again(c), stream.ErrConflict)
	}
	if st := s.state(own("a")); st.Forks != 1 {
		s.Errorf("the source has %d forks", st.Forks)
	}
}

// testForkLives: a source that was deleted is kept for its forks, and for nobody else.
func testForkLives(s *suite) {
	a := s.made(own("a"), stream.Create{Type: text, Body: []byte("source")})
	s.fork("b", stream.ForkOf{From: own("a"), Offset: a.Offset(3)})
	s.fork("c", stream.ForkOf{From: own("a")})
	if err := s.DeleteStream(s.ctx, own("a")); err != nil {
		s.Fatal(err)
	}
	check := func() {
		s.Helper()
		s.gone(own("a"), stream.ErrGone)
		for name, c := range map[string]stream.Create{"anew": {Type: text, Body: []byte("source")}, "otherwise": {Type: jsons}} {
			_, _, err := s.CreateStream(s.ctx, own("a"), c)
			s.fails("made "+name, err, stream.ErrConflict)
		}
		_, _, err := s.CreateStream(s.ctx, own("d"), stream.Create{Fork: &stream.ForkOf{From: own("a")}})
		s.fails("forked", err, stream.ErrConflict)
		if h, err := s.Read(s.ctx, own("a").Key(), 3, 10); err != nil || !h.Ended || len(h.Messages) != 1 || !h.Messages[0].Chunk.Gone {
			s.Errorf("its channel: %+v, %v", h, err)
		}
	}
	check()
	s.reopened()
	check()
	s.append(own("b"), text, "B")
	s.holds(own("b"), "souB")
	s.holds(own("c"), "source")
	if err := s.DeleteStream(s.ctx, own("c")); err != nil {
		s.Error(err)
	}
	check()
	s.holds(own("b"), "souB")
	if err := s.DeleteStream(s.ctx, own("b")); err != nil {
		s.Error(err)
	}
	s.gone(own("a"), stream.ErrNotFound)
	s.gone(own("b"), stream.ErrNotFound)
	s.made(own("a"), stream.Create{Type: jsons})
	s.holds(own("a"), "")
}

// testForkCascade: with the last fork go all that were kept for it, and none that still is there.
func testForkCascade(s *suite) {
	s.made(own("0"), stream.Create{Type: text, Body: []byte("0")})
	for i := 1; i <= 5; i++ {
		s.made(own(fmt.Sprint(i)), stream.Create{Body: fmt.Append(nil, i), Fork: &stream.ForkOf{From: own(fmt.Sprint(i - 1))}})
	}
	for _, path := range []string{"3", "1", "0"} {
		if err := s.DeleteStream(s.ctx, own(path)); err != nil {
			s.Error(err)
		}
	}
	s.holds(own("5"), "012345")
	s.holds(own("2"), "012")
	if err := s.DeleteStream(s.ctx, own("5")); err != nil {
		s.Error(err)
	}
	s.holds(own("4"), "01234")
	s.gone(own("3"), stream.ErrGone)
	if err := s.DeleteStream(s.ctx, own("4")); err != nil {
		s.Error(err)
	}
	s.gone(own("3"), stream.ErrNotFound)
	s.holds(own("2"), "012")
	s.gone(own("1"), stream.ErrGone)
	if err := s.DeleteStream(s.ctx, own("2")); err != nil {
		s.Error(err)
	}
	for _, path := range []string{"0", "1", "2", "3", "4", "5"} {
		s.gone(own(path), stream.ErrNotFound)
	}
}

// testForkExpires: a source whose time has run out is kept for its forks, and goes with them, by
// the sweep, too.
func testForkExpires(s *suite) {
	a := s.made(own("a"), stream.Create{Type: text, Body: []byte("source"), TTL: time.Minute})
	b := s.made(own("b"), stream.Create{TTL: time.Hour, Fork: &stream.ForkOf{From: own("a"), Offset: a.Offset(3)}})
	s.made(own("inherits"), stream.Create{Fork: &stream.ForkOf{From: own("a")}})
	if b.TTL != time.Hour {
		s.Errorf("%+v", b)
	}
	s.in.Advance(time.Minute)
	s.gone(own("a"), stream.ErrGone)
	s.gone(own("inherits"), stream.ErrNotFound)
	s.sweep()
	s.gone(own("a"), stream.ErrGone)
	_, _, err := s.CreateStream(s.ctx, own("a"), stream.Create{Type: text, TTL: time.Minute})
	s.fails("made anew", err, stream.ErrConflict)
	s.append(own("b"), text, "B")
	s.holds(own("b"), "souB")
	s.in.Advance(time.Hour)
	s.gone(own("b"), stream.ErrNotFound)
	s.sweep()
	s.gone(own("a"), stream.ErrNotFound)
	if done, next := s.sweep(); done != 0 || !next.IsZero() {
		s.Errorf("nothing is left, and %d were swept, next %v", done, next)
	}
}

// testForkAgain: a fork that is made once more, when its time was over and nobody has looked yet,
// counts once.
func testForkAgain(s *suite) {
	s.made(own("a"), stream.Create{Type: text, Body: []byte("0123")})
	for range 3 {
		s.made(own("b"), stream.Create{TTL: time.Minute, Fork: &stream.ForkOf{From: own("a")}})
		s.in.Advance(time.Hour)
	}
	s.made(own("b"), stream.Create{Fork: &stream.ForkOf{From: own("a")}})
	if st := s.state(own("a")); st.Forks != 1 {
		s.Errorf("the source has %d forks", st.Forks)
	}
	s.reopened()
	s.holds(own("b"), "0123")
	for _, path := range []string{"b", "a"} {
		if err := s.DeleteStream(s.ctx, own(path)); err != nil {
			s.Error(err)
		}
	}
	s.made(own("a"), stream.Create{Type: text}) // nothing of the old one is kept
}

// testForkDepth: forks of forks come to an end, which is said, and leaves the source as it was.
func testForkDepth(s *suite) {
	s.made(own("0"), stream.Create{Type: text, Body: []byte("root")})
	for n := range stream.MaxDepth {
		s.fork(fmt.Sprint(n+1), stream.ForkOf{From: own(fmt.Sprint(n))})
	}
	last := own(fmt.Sprint(stream.MaxDepth))
	s.holds(last, "root")
	if _, _, err := s.CreateStream(s.ctx, own("beyond"), stream.Create{Fork: &stream.ForkOf{From: last}}); !errors.Is(err, stream.ErrDepth) {
		s.Errorf("%v, want %v", err, stream.ErrDepth)
	}
	if st := s.state(last); st.Forks != 0 {
		s.Errorf("%d forks", st.Forks)
	}
}

// testExpiresLongAgo: a stream whose time was over before the clocks of computers began to count is
// like any other that is over.
func testExpiresLongAgo(s *suite) {
	gone := stream.Create{Type: text, Body: []byte("a"), Expires: time.Date(1969, 12, 31, 0, 0, 0, 0, time.UTC)}
	s.made(own("a"), gone)
	s.reopened()
	s.made(own("a"), gone)
	s.made(own("a"), stream.Create{Type: text, Body: []byte("b")})
	if done, _ := s.sweep(); done > 1 {
		s.Errorf("the sweep has done %d", done)
	}
	s.reopened()
	s.holds(own("a"), "b")
}
