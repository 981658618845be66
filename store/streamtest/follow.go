package streamtest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/stream"
)

// ear collects what Listen is given.
type ear struct {
	mu       sync.Mutex
	heard    map[string][]lifecycle.Message
	notified chan struct{}
}

// listen is called once in a test.
func (s *suite) listen() *ear {
	e := &ear{heard: make(map[string][]lifecycle.Message), notified: make(chan struct{}, 1)}
	s.Listen(func(channel string, m lifecycle.Message) {
		e.mu.Lock()
		e.heard[channel] = append(e.heard[channel], m)
		e.mu.Unlock()
		select {
		case e.notified <- struct{}{}:
		default:
		}
	})
	return e
}

// count returns how many messages of a channel have come.
func (e *ear) count(n stream.Name) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.heard[n.Key()])
}

func (s *suite) watch(n stream.Name) {
	s.Helper()
	if err := s.Watch(s.ctx, n.Key()); err != nil {
		s.Fatal(err)
	}
}

// until waits for a message of a channel with an offset or a later one, and returns all that came.
func (e *ear) until(s *suite, n stream.Name, offset uint64) []lifecycle.Message {
	s.Helper()
	late := time.After(patience)
	for {
		e.mu.Lock()
		heard := slices.Clone(e.heard[n.Key()])
		e.mu.Unlock()
		if len(heard) > 0 && heard[len(heard)-1].Offset >= offset {
			return heard
		}
		select {
		case <-e.notified:
		case <-late:
			s.Fatalf("%q: %d messages came, none with offset %d", n.Path, len(heard), offset)
		}
	}
}

// told holds that messages tell all of a stream from a position on, once; some may be repeated. It
// returns the bytes.
func (s *suite) told(n stream.Name, from uint64, messages []lifecycle.Message) string {
	s.Helper()
	st := s.state(n)
	var all strings.Builder
	for _, m := range messages {
		if m.Offset <= from {
			continue // told already
		}
		from = s.follows(n, &st, m, from)
		all.Write(m.Chunk.Bytes)
	}
	return all.String()
}

// testFollow: who watches hears all that is appended, once each, in order and up to the end, and
// what came before stands there.
func testFollow(s *suite) {
	const writers, each = 8, 20
	e := s.listen()
	n, other := own("a"), own("b")
	s.made(n, stream.Create{Type: jsons, Body: []byte("[0]")})
	s.made(other, stream.Create{Type: raw})
	s.watch(n)
	s.watch(other)
	before := s.content(n, 0, 100)
	parallel(writers+1, func(w int) {
		for i := range each {
			var err error
			if w == writers {
				_, err = s.AppendStream(s.ctx, other, stream.Append{Type: raw, Body: pattern(i * 3000)[max(i*3000-i, 0):]})
				if i == 0 {
					err = nil // of nothing
				}
			} else {
				_, err = s.AppendStream(s.ctx, n, stream.Append{Type: jsons, Body: fmt.Appendf(nil, "[%d,%d]", w, i)})
			}
			if err != nil {
				s.Error(err)
			}
		}
	})
	s.append(other, raw, string(pattern(100_000)))
	s.appended(n, stream.Append{Type: jsons, Body: []byte(`"last"`), Close: true})
	s.appended(n, stream.Append{Close: true}) // which is not told again
	s.appended(other, stream.Append{Close: true})
	for _, n := range []stream.Name{n, other} {
		st := s.state(n)
		heard := e.until(s, n, st.Tail+1)
		if !heard[len(heard)-1].Last {
			s.Errorf("%q: the last message is %+v", n.Path, heard[len(heard)-1])
		}
		all := s.content(n, 0, 1<<16)
		from := uint64(0)
		if n == own("a") {
			from = uint64(len(before))
		}
		if got := s.told(n, from, heard); got != string(all[from:]) {
			s.Errorf("%q: told %d bytes, stored are %d behind %d", n.Path, len(got), len(all), from)
		}
	}
	s.Unwatch(other.Key())
}

// testFollowGone: who follows a stream that is deleted is told, and one that is made after it is
// another.
func testFollowGone(s *suite) {
	e := s.listen()
	n := own("a")
	s.made(n, stream.Create{Type: text, Body: []byte("abc")})
	s.watch(n)
	if err := s.DeleteStream(s.ctx, n); err != nil {
		s.Fatal(err)
	}
	heard := e.until(s, n, 4)
	if m := heard[len(heard)-1]; m.Offset != 4 || !m.Last || m.Chunk == nil || !m.Chunk.Gone || len(m.Chunk.Bytes) > 0 {
		s.Errorf("told %+v", m)
	}
	s.Unwatch(n.Key())

	// One that is kept for its forks is gone for its followers, too.
	m := own("source")
	s.made(m, stream.Create{Type: text, Body: []byte("abcdef")})
	s.fork("fork", stream.ForkOf{From: m})
	s.watch(m)
	if err := s.DeleteStream(s.ctx, m); err != nil {
		s.Fatal(err)
	}
	heard = e.until(s, m, 7)
	if last := heard[len(heard)-1]; !last.Last || !last.Chunk.Gone {
		s.Errorf("told %+v", last)
	}
	s.Unwatch(m.Key())

	// A fork is followed as any other.
	f := own("fork")
	s.watch(f)
	s.append(f, text, "gh")
	if got := s.told(f, 6, e.until(s, f, 8)); got != "gh" {
		s.Errorf("told %q", got)
	}

	// What expires is told by the sweep at the latest.
	x := own("expires")
	s.made(x, stream.Create{Type: text, TTL: time.Minute, Body: []byte("x")})
	s.watch(x)
	s.in.Advance(time.Minute)
	s.sweep()
	heard = e.until(s, x, 2)
	if last := heard[len(heard)-1]; !last.Last || !last.Chunk.Gone {
		s.Errorf("told %+v", last)
	}

	// Appends that race with a deletion are there before it, or not at all.
	r := own("race")
	s.made(r, stream.Create{Type: text})
	s.watch(r)
	var appended atomic.Int64
	parallel(9, func(i int) {
		if i == 8 {
			if err := s.DeleteStream(s.ctx, r); err != nil {
				s.Error(err)
			}
			return
		}
		for range 5 {
			if _, err := s.AppendStream(s.ctx, r, stream.Append{Type: text, Body: []byte("x")}); err == nil {
				appended.Add(1)
			}
		}
	})
	heard = e.until(s, r, uint64(appended.Load())+1)
	if last := heard[len(heard)-1]; last.Offset != uint64(appended.Load())+1 || !last.Chunk.Gone {
		s.Errorf("%d were appended, and the last message is %+v", appended.Load(), last)
	}
}
