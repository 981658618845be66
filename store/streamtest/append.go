package streamtest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hark-push/hark/stream"
)

func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// testAppendBytes: bytes come back as they were appended, whatever they are.
func testAppendBytes(s *suite) {
	for _, mediaType := range []string{text, raw, "application/x-ndjson"} {
		n := own(mediaType)
		s.made(n, stream.Create{Type: mediaType})
		var want strings.Builder
		for i, part := range []string{"a", " ", "\r\n", "\x00\xff\xfe", "[1,", "ü"[:1], "ü"[1:], strings.Repeat("long ", 10_000), "\ufeff", "{}\n"} {
			st := s.append(n, mediaType, part)
			want.WriteString(part)
			if st.Tail != uint64(len(want.String())) {
				s.Errorf("part %d of %s: tail %d, want %d", i, mediaType, st.Tail, len(want.String()))
			}
		}
		s.holds(n, want.String())
	}
}

// testAppendJSON: messages are kept compact, each with a line feed behind it, and arrays are taken
// apart by one level.
func testAppendJSON(s *suite) {
	n := own("a")
	s.made(n, stream.Create{Type: "application/json; charset=utf-8"})
	var want strings.Builder
	for body, stored := range map[string]string{
		`{"event": "created"}`:        `{"event":"created"}` + "\n",
		`[{"a": 1}, {"b": 2}]`:        `{"a":1}` + "\n" + `{"b":2}` + "\n",
		"[[1,2],\n[3,4]]":             "[1,2]\n[3,4]\n",
		`[[[1,2,3]]]`:                 "[[1,2,3]]\n",
		` "a  b\n" `:                  `"a  b\n"` + "\n",
		` 1.50e2`:                     "1.50e2\n",
		`[null, true, "ü", "\u00fc"]`: "null\ntrue\n\"ü\"\n\"\\u00fc\"\n",
	} {
		st := s.append(n, jsons, body)
		want.WriteString(stored)
		if st.Tail != uint64(len(want.String())) {
			s.Errorf("%s: tail %d, want %d", body, st.Tail, len(want.String()))
		}
	}
	s.holds(n, want.String())
	for _, body := range []string{"", `{"a":`, "[1,]", "1 2", "nul", " ", "[1] 2"} {
		_, err := s.AppendStream(s.ctx, n, stream.Append{Type: jsons, Body: []byte(body)})
		if want := stream.ErrJSON; body == "" {
			s.fails("an empty body", err, stream.ErrEmpty)
		} else {
			s.fails(body, err, want)
		}
	}
	_, err := s.AppendStream(s.ctx, n, stream.Append{Type: jsons, Body: []byte(" [ ] ")})
	s.fails("an empty array", err, stream.ErrEmpty)
	s.holds(n, want.String())
}

// testAppendRefused: what an append is refused for, and in which order.
func testAppendRefused(s *suite) {
	n := own("a")
	_, err := s.AppendStream(s.ctx, n, stream.Append{Type: text, Body: []byte("x")})
	s.fails("to nothing", err, stream.ErrNotFound)
	s.made(n, stream.Create{Type: text})
	_, err = s.AppendStream(s.ctx, n, stream.Append{Type: text})
	s.fails("of nothing", err, stream.ErrEmpty)
	_, err = s.AppendStream(s.ctx, n, stream.Append{Type: jsons, Body: []byte("1")})
	s.fails("of another type", err, stream.ErrType)
	s.append(n, "TEXT/PLAIN; charset=x", "a")
	s.appended(n, stream.Append{Type: text, Body: []byte("b"), Seq: "0002"})
	for _, seq := range []string{"0002", "0001", "000", "00"} {
		_, err = s.AppendStream(s.ctx, n, stream.Append{Type: text, Body: []byte("no"), Seq: seq})
		s.fails("behind 0002: "+seq, err, stream.ErrSeq)
	}
	s.append(n, text, "c") // which has none
	s.appended(n, stream.Append{Type: text, Body: []byte("d"), Seq: "0002a"})
	s.appended(n, stream.Append{Type: text, Body: []byte("e"), Seq: "1"})
	_, err = s.AppendStream(s.ctx, n, stream.Append{Type: jsons, Body: []byte("1"), Seq: "0"})
	s.fails("of another type, with an old sequence", err, stream.ErrType)
	s.holds(n, "abcde")
	s.appended(n, stream.Append{Close: true})
	_, err = s.AppendStream(s.ctx, n, stream.Append{Type: jsons, Body: []byte("1"), Seq: "0"})
	if closed := failsAs[*stream.ClosedError](s, "closed first", err); closed.Stream.Tail != 5 || !closed.Stream.Closed {
		s.Errorf("it says %+v", closed.Stream)
	}
}

// testProducers: what a producer repeats is not appended again, what it leaves out is missed, and
// who has an old epoch is refused.
func testProducers(s *suite) {
	n := own("a")
	s.made(n, stream.Create{Type: text})
	by := func(id string, epoch, seq int64, body string) (stream.Appended, error) {
		return s.AppendStream(s.ctx, n, stream.Append{Type: text, Body: []byte(body), Producer: &stream.Stamp{ID: id, Epoch: epoch, Seq: seq}})
	}
	takes := func(id string, epoch, seq int64, body string) {
		s.Helper()
		if added, err := by(id, epoch, seq, body); err != nil || added.Repeated || added.Seq != seq {
			s.Errorf("%s %d/%d: %+v, %v", id, epoch, seq, added, err)
		}
	}
	_, err := by("p", 0, 1, "no")
	if gap := failsAs[*stream.GapError](s, "not the first", err); gap.Expected != 0 || gap.Received != 1 {
		s.Errorf("%+v", gap)
	}
	takes("p", 0, 0, "a")
	takes("p", 0, 1, "b")
	for _, seq := range []int64{0, 1} {
		added, err := by("p", 0, seq, "no")
		if err != nil || !added.Repeated || added.Seq != 1 || added.Stream.Tail != 2 {
			s.Errorf("repeated %d: %+v, %v", seq, added, err)
		}
	}
	s.reopened()
	_, err = by("p", 0, 3, "no")
	if gap := failsAs[*stream.GapError](s, "a gap", err); gap.Expected != 2 || gap.Received != 3 {
		s.Errorf("%+v", gap)
	}
	takes("q", 7, 0, "c") // another one, and its first epoch is whatever it says
	takes("p", 0, 2, "d")
	_, err = by("p", 1, 1, "no")
	s.fails("a new epoch that does not begin", err, stream.ErrEpoch)
	takes("p", 1, 0, "e")
	_, err = by("p", 0, 3, "no")
	if stale := failsAs[*stream.StaleError](s, "an old epoch", err); stale.Epoch != 1 {
		s.Errorf("%+v", stale)
	}
	takes("p", 1<<53-1, 0, "f")
	takes("p", 1<<53-1, 1, "g")
	// What was refused has not moved the producer on.
	_, err = s.AppendStream(s.ctx, n, stream.Append{Type: jsons, Body: []byte("1"), Producer: &stream.Stamp{ID: "p", Epoch: 1<<53 - 1, Seq: 2}})
	s.fails("another type", err, stream.ErrType)
	takes("p", 1<<53-1, 2, "h")
	s.holds(n, "abcdefgh")
}

// testManyProducers: a stream remembers as many as it is to.
func testManyProducers(s *suite) {
	const all = 200
	n := own("a")
	s.made(n, stream.Create{Type: text})
	parallel(8, func(worker int) {
		for i := worker; i < all; i += 8 {
			if _, err := s.AppendStream(s.ctx, n, stream.Append{
				Type: text, Body: []byte("x"), Producer: &stream.Stamp{ID: fmt.Sprint("p", i)},
			}); err != nil {
				s.Error(err)
			}
		}
	})
	s.reopened()
	for i := range all {
		added, err := s.AppendStream(s.ctx, n, stream.Append{Type: text, Body: []byte("x"), Producer: &stream.Stamp{ID: fmt.Sprint("p", i)}})
		if err != nil || !added.Repeated {
			s.Fatalf("p%d: %+v, %v", i, added, err)
		}
	}
	s.holds(n, strings.Repeat("x", all))
}

// testClose: closing is done once, alone or with the last bytes, and may be repeated where that
// does no harm.
func testClose(s *suite) {
	n := own("alone")
	s.made(n, stream.Create{Type: text, Body: []byte("a")})
	for range 2 {
		if added := s.appended(n, stream.Append{Close: true}); !added.Stream.Closed || added.Stream.Tail != 1 {
			s.Errorf("%+v", added)
		}
	}
	_, err := s.AppendStream(s.ctx, n, stream.Append{Type: text, Body: []byte("b"), Close: true})
	_ = failsAs[*stream.ClosedError](s, "once more, with something", err)

	n = own("with the last")
	s.made(n, stream.Create{Type: text})
	if added := s.appended(n, stream.Append{Type: text, Body: []byte("all"), Close: true}); !added.Stream.Closed || added.Stream.Tail != 3 {
		s.Errorf("%+v", added)
	}
	_, err = s.AppendStream(s.ctx, n, stream.Append{Type: text, Body: []byte("all"), Close: true})
	_ = failsAs[*stream.ClosedError](s, "the same again", err)
	s.holds(n, "all")

	n = own("by a producer")
	s.made(n, stream.Create{Type: text})
	last := stream.Append{Type: text, Body: []byte("end"), Close: true, Producer: &stream.Stamp{ID: "p", Epoch: 2}}
	if added := s.appended(n, last); added.Repeated || !added.Stream.Closed {
		s.Errorf("%+v", added)
	}
	s.reopened()
	if added := s.appended(n, last); !added.Repeated || !added.Stream.Closed || added.Seq != 0 {
		s.Errorf("repeated: %+v", added)
	}
	for _, other := range []stream.Stamp{{ID: "p", Epoch: 2, Seq: 1}, {ID: "p", Epoch: 3}, {ID: "q", Epoch: 2}} {
		last.Producer = &other
		_, err = s.AppendStream(s.ctx, n, last)
		_ = failsAs[*stream.ClosedError](s, fmt.Sprintf("by %+v", other), err)
	}
	s.holds(n, "end")

	// Many close it at once, and one has the last word.
	n = own("many")
	s.made(n, stream.Create{Type: text})
	var closed atomic.Int32
	parallel(16, func(i int) {
		if _, err := s.AppendStream(s.ctx, n, stream.Append{Type: text, Body: fmt.Appendf(nil, "%02d", i), Close: true}); err == nil {
			closed.Add(1)
		}
	})
	if st := s.state(n); closed.Load() != 1 || st.Tail != 2 || !st.Closed {
		s.Errorf("closed by %d: %+v", closed.Load(), st)
	}
}

// testSizes: what would make a stream too large is refused as a whole.
func testSizes(s *suite) {
	n := own("a")
	s.made(n, stream.Create{Type: jsons})
	most := stream.Quota{Size: 10}
	s.appended(n, stream.Append{Type: jsons, Body: []byte("[1,2]"), Quota: most}) // 4 bytes
	_, err := s.AppendStream(s.ctx, n, stream.Append{Type: jsons, Body: []byte("[12,34,5]"), Quota: most})
	if e := failsAs[*stream.SizeError](s, "11", err); e.What != "stream" || e.Limit != 10 {
		s.Errorf("%+v", e)
	}
	s.appended(n, stream.Append{Type: jsons, Body: []byte("[12,34]"), Quota: most})
	_, err = s.AppendStream(s.ctx, n, stream.Append{Type: jsons, Body: []byte("1"), Quota: most})
	_ = failsAs[*stream.SizeError](s, "12", err)
	s.holds(n, "1\n2\n12\n34\n")
	s.appended(n, stream.Append{Close: true, Quota: most})
}

// testQuota: what streams take counts for their owner, together with its requests, until they are
// gone.
func testQuota(s *suite) {
	most := stream.Quota{Stored: 100}
	refused := func(what string, err error) {
		s.Helper()
		if e := failsAs[*stream.SizeError](s, what, err); e.What != "owner" || e.Limit != 100 {
			s.Errorf("%s: %+v", what, e)
		}
	}
	create := func(path string, size int) error {
		_, _, err := s.CreateStream(s.ctx, own(path), stream.Create{Type: text, Body: pattern(size), Quota: most})
		return err
	}
	grow := func(path string, size int) error {
		_, err := s.AppendStream(s.ctx, own(path), stream.Append{Type: text, Body: pattern(size), Quota: most})
		return err
	}
	ok := func(err error) {
		s.Helper()
		if err != nil {
			s.Error(err)
		}
	}
	ok(create("a", 40))
	ok(grow("a", 20))
	refused("61 + 40", grow("a", 41))
	refused("a new one", create("b", 41))
	s.gone(own("b"), stream.ErrNotFound)
	ok(create("b", 30)) // 90
	if _, _, err := s.CreateStream(s.ctx, stream.Name{Owner: bob, Path: "b"}, stream.Create{Body: pattern(100), Quota: most}); err != nil {
		s.Errorf("another owner: %v", err)
	}
	// A fork takes what is its own.
	if _, _, err := s.CreateStream(s.ctx, own("fork"), stream.Create{Body: pattern(10), Fork: &stream.ForkOf{From: own("a")}, Quota: most}); err != nil {
		s.Error(err)
	}
	refused("one byte", grow("fork", 1))
	s.reopened()
	refused("one byte, after a restart", grow("fork", 1))
	// What is closed or repeated needs no room.
	ok(errorOf(s.AppendStream(s.ctx, own("b"), stream.Append{Close: true, Quota: most})))
	ok(s.DeleteStream(s.ctx, own("a"))) // which its fork still needs
	refused("one byte, with a deleted source", grow("fork", 1))
	ok(s.DeleteStream(s.ctx, own("fork")))
	ok(create("c", 70))
	refused("one byte more", grow("c", 1))
	s.create(submission("r", 10)) // without a quota of its own
	ok(s.DeleteStream(s.ctx, own("b")))
	refused("with a request", grow("c", 21))
	ok(grow("c", 20))
	refused("one byte, with a request", grow("c", 1))
}

func errorOf[T any](_ T, err error) error { return err }

// testAppendConcurrently: of many that append to one stream, each does so once, in its own order,
// where the answer says.
func testAppendConcurrently(s *suite) {
	const writers, each = 16, 25
	n := own("a")
	s.made(n, stream.Create{Type: jsons})
	type place struct {
		from, to uint64
		message  string
	}
	var mu sync.Mutex
	var places []place
	parallel(writers, func(w int) {
		for i := range each {
			message := fmt.Sprintf(`{"writer":%d,"n":%d}`, w, i)
			added, err := s.AppendStream(s.ctx, n, stream.Append{Type: jsons, Body: []byte(message), Producer: &stream.Stamp{ID: fmt.Sprint(w), Seq: int64(i)}})
			if err != nil || added.Repeated || added.Seq != int64(i) {
				s.Errorf("%s: %+v, %v", message, added, err)
				return
			}
			mu.Lock()
			places = append(places, place{added.Stream.Tail - uint64(len(message)) - 1, added.Stream.Tail, message})
			mu.Unlock()
		}
	})
	all := s.content(n, 0, 1<<16)
	slices.SortFunc(places, func(a, b place) int { return int(a.from) - int(b.from) })
	at := uint64(0)
	next := make([]int, writers)
	for _, p := range places {
		if p.from != at || p.to > uint64(len(all)) || string(all[p.from:p.to]) != p.message+"\n" {
			s.Fatalf("%s at %d to %d is not what stands there, behind %d", p.message, p.from, p.to, at)
		}
		at = p.to
		var m struct{ Writer, N int }
		if err := json.Unmarshal([]byte(p.message), &m); err != nil || m.N != next[m.Writer] {
			s.Fatalf("%s: %d comes next, %v", p.message, next[m.Writer], err)
		}
		next[m.Writer]++
	}
	if at != uint64(len(all)) || len(places) != writers*each {
		s.Errorf("%d appends up to %d, the stream has %d bytes", len(places), at, len(all))
	}
}
