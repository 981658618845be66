package streamtest

import (
	"fmt"
	"time"

	"github.com/hark-push/hark/stream"
)

// near compares times that may be as much too early as [stream.Stream.Touch] lets them be.
func near(a, b time.Time) bool { return a.Sub(b).Abs() <= time.Second+time.Millisecond }

// testSliding: a TTL begins anew with what is read and written, but not where nobody touches.
func testSliding(s *suite) {
	n := own("a")
	s.made(n, stream.Create{Type: text, TTL: time.Hour, Body: []byte("a")})
	alive := func(what string) {
		s.Helper()
		if _, err := s.StreamState(s.ctx, n, false); err != nil {
			s.Fatalf("%s: %v", what, err)
		}
	}
	const most = time.Hour - 2*time.Second
	s.in.Advance(most)
	s.append(n, text, "b")
	s.in.Advance(most)
	alive("after an append")
	if _, err := s.StreamState(s.ctx, n, true); err != nil {
		s.Error(err)
	}
	s.in.Advance(most)
	alive("after a touch")
	touched := s.state(n)
	if done, next := s.sweep(); done != 0 || !near(next, touched.Due()) {
		s.Errorf("swept %d, next %v, due %v", done, next, touched.Due())
	}
	s.appended(n, stream.Append{Close: true, Producer: &stream.Stamp{ID: "p"}})
	s.in.Advance(most)
	alive("after it was closed")
	s.reopened()
	s.in.Advance(2 * time.Second)
	s.gone(n, stream.ErrNotFound)
	if h, err := s.Read(s.ctx, n.Key(), 1, 10); err != nil || !h.Ended || len(h.Messages) != 1 || !h.Messages[0].Chunk.Gone {
		s.Errorf("its channel: %+v, %v", h, err)
	}
	// Its name is free, whether somebody has swept or not.
	again := s.made(n, stream.Create{Type: jsons, TTL: time.Minute})
	s.holds(n, "")
	s.append(n, jsons, "1")
	s.in.Advance(time.Minute)
	if done, _ := s.sweep(); done != 1 {
		s.Errorf("swept %d", done)
	}
	s.gone(n, stream.ErrNotFound)
	if other := s.made(n, stream.Create{Type: jsons}); other.Tag == again.Tag {
		s.Error("the tag of before")
	}
	if done, next := s.sweep(); done != 0 || !next.IsZero() {
		s.Errorf("nothing expires, and %d were swept, next %v", done, next)
	}
}

// testAbsolute: a time to expire is not moved by anything.
func testAbsolute(s *suite) {
	probe := s.made(own("probe"), stream.Create{})
	n, end := own("a"), probe.Created.Add(time.Hour)
	if st := s.made(n, stream.Create{Type: text, Expires: end}); !near(st.Expires, end) {
		s.Errorf("%+v", st)
	}
	if _, made, err := s.CreateStream(s.ctx, n, stream.Create{Type: text, Expires: end.In(time.FixedZone("", 3600))}); err != nil || made {
		s.Errorf("again: %v, %v", made, err)
	}
	s.in.Advance(59 * time.Minute)
	s.append(n, text, "x")
	if _, err := s.StreamState(s.ctx, n, true); err != nil {
		s.Error(err)
	}
	if done, next := s.sweep(); done != 0 || !near(next, end) {
		s.Errorf("swept %d, next %v", done, next)
	}
	s.in.Advance(time.Minute)
	s.gone(n, stream.ErrNotFound)
	if done, next := s.sweep(); done != 1 || !next.IsZero() {
		s.Errorf("swept %d, next %v", done, next)
	}
	s.gone(n, stream.ErrNotFound)
	s.holds(own("probe"), "")
	// One whose time is over when it is made is gone at once.
	if _, _, err := s.CreateStream(s.ctx, n, stream.Create{Type: text, Expires: probe.Created}); err != nil {
		s.Error(err)
	}
	s.gone(n, stream.ErrNotFound)
}

// testSweepMany: the sweep takes what is due, no more at a time than it may, and gives back what
// that took of its owner.
func testSweepMany(s *suite) {
	const all = 150
	for i := range all {
		s.made(own(fmt.Sprint("due/", i)), stream.Create{Type: text, TTL: time.Minute, Body: pattern(100)})
		s.made(own(fmt.Sprint("not/", i)), stream.Create{Type: text, TTL: time.Hour, Body: []byte("x")})
	}
	s.in.Advance(time.Minute)
	total := 0
	for {
		swept, err := s.Sweep(s.ctx, 40)
		if err != nil || swept.Done > 40 || len(swept.Ended) > 0 {
			s.Fatalf("swept %d, %v, %v", swept.Done, swept.Ended, err)
		}
		if total += swept.Done; swept.Done == 0 {
			break
		}
	}
	if total != all {
		s.Errorf("swept %d in all", total)
	}
	for i := range all {
		s.gone(own(fmt.Sprint("due/", i)), stream.ErrNotFound)
		s.holds(own(fmt.Sprint("not/", i)), "x")
	}
	if _, _, err := s.CreateStream(s.ctx, own("room"), stream.Create{Body: pattern(1000), Quota: stream.Quota{Stored: 1000 + all}}); err != nil {
		s.Error(err)
	}
}
