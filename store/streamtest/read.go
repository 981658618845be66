package streamtest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/stream"
)

// testReadAnywhere: whatever sizes a stream was appended in, it is read from any position in any
// size.
func testReadAnywhere(s *suite) {
	random := rand.New(rand.NewPCG(1, 2))
	n := own("a")
	s.made(n, stream.Create{Type: raw})
	want := pattern(60_000)
	for at := 0; at < len(want); {
		size := min([]int{1, 20, 500, 4000, 9000}[random.IntN(5)], len(want)-at)
		s.append(n, raw, string(want[at:at+size]))
		at += size
	}
	for _, size := range []int{1, 3899, 3900, 3901, 16 << 10, 60_000, 70_000} {
		for range 20 {
			from := random.IntN(len(want) + 1)
			p := make([]byte, size)
			read, err := s.ReadStream(s.ctx, n, p, uint64(from))
			if err != nil || read != min(size, len(want)-from) || !bytes.Equal(p[:read], want[from:from+read]) {
				s.Fatalf("%d from %d: %d, %v", size, from, read, err)
			}
		}
	}
	for _, from := range []uint64{60_000, 60_001, 1 << 40} {
		if read, err := s.ReadStream(s.ctx, n, make([]byte, 10), from); read != 0 || err != nil {
			s.Errorf("from %d: %d, %v", from, read, err)
		}
	}
	if read, err := s.ReadStream(s.ctx, n, nil, 5); read != 0 || err != nil {
		s.Errorf("nothing: %d, %v", read, err)
	}
	s.reopened()
	s.holds(n, string(want))
}

// testReadLarge: appends of a MiB come whole.
func testReadLarge(s *suite) {
	n := own("a")
	want := pattern(3<<20 + 5)
	s.made(n, stream.Create{Type: raw, Body: want[:1<<20]})
	s.append(n, raw, string(want[1<<20:1<<20+5]))
	s.append(n, raw, string(want[1<<20+5:2<<20+5]))
	s.append(n, raw, string(want[2<<20+5:]))
	s.holds(n, string(want))
	s.reopened()
	s.holds(n, string(want))
	if err := s.DeleteStream(s.ctx, n); err != nil {
		s.Error(err)
	}
	s.sweep()
	s.gone(n, stream.ErrNotFound)
}

// page reads a channel after an offset to its top, in answers of a limit, and returns the bytes; it
// checks that messages follow on each other, and what they say.
func (s *suite) page(n stream.Name, after uint64, limit int) (all []byte, ended bool) {
	s.Helper()
	st := s.state(n)
	for {
		h, err := s.Read(s.ctx, n.Key(), after, limit)
		if err != nil {
			s.Fatalf("read channel of %q after %d: %v", n.Path, after, err)
		}
		top := st.Tail
		if st.Closed {
			top++
		}
		if h.Top != top || h.Ended != st.Closed || len(h.Messages) > limit {
			s.Fatalf("%q after %d: %d messages, limit %d, top %d, want %d, ended %v", n.Path, after, len(h.Messages), limit, h.Top, top, h.Ended)
		}
		size := 0
		for _, m := range h.Messages {
			after = s.follows(n, &st, m, after)
			all, ended = append(all, m.Chunk.Bytes...), m.Last
			size += len(m.Chunk.Bytes)
		}
		if size > lifecycle.PageBytes && len(h.Messages) > 1 {
			s.Errorf("%q: %d bytes in one answer", n.Path, size)
		}
		if after >= h.Top {
			return all, ended
		}
		if len(h.Messages) == 0 {
			s.Fatalf("%q after %d: nothing, top %d", n.Path, after, h.Top)
		}
	}
}

// follows holds that a message begins right behind an offset, and returns its own.
func (s *suite) follows(n stream.Name, st *stream.Stream, m lifecycle.Message, after uint64) uint64 {
	s.Helper()
	c := m.Chunk
	switch {
	case c == nil || m.Event != nil:
		s.Fatalf("%q after %d: no chunk: %+v", n.Path, after, m)
	case c.Gone || c.Type != st.Type || c.Tag != st.Tag:
		s.Fatalf("%q after %d: it says %+v of %+v", n.Path, after, *c, *st)
	case m.Last:
		if len(c.Bytes) > 0 || m.Span != 0 || c.From != after || c.To != after || m.Offset != after+1 {
			s.Fatalf("%q after %d: the end is at %d, span %d, %d to %d", n.Path, after, m.Offset, m.Span, c.From, c.To)
		}
	case c.From != after || c.To != after+uint64(len(c.Bytes)) || c.To == c.From || m.Offset != c.To || m.Span != c.To-c.From-1:
		s.Fatalf("%q after %d: offset %d, span %d, %d to %d, %d bytes", n.Path, after, m.Offset, m.Span, c.From, c.To, len(c.Bytes))
	case len(c.Bytes) > stream.ChunkBytes && (!st.JSON() || bytes.Count(c.Bytes, []byte("\n")) > 1):
		s.Fatalf("%q after %d: %d bytes in one message", n.Path, after, len(c.Bytes))
	}
	return m.Offset
}

// testPage: a stream as a channel: positions are its offsets, and its end is one more.
func testPage(s *suite) {
	n := own("a")
	s.made(n, stream.Create{Type: text})
	if all, ended := s.page(n, 0, 10); len(all) > 0 || ended {
		s.Errorf("an empty one: %q, %v", all, ended)
	}
	want := pattern(200_000)
	for at := 0; at < len(want); at += 5000 {
		s.append(n, text, string(want[at:min(at+5000, len(want))]))
	}
	check := func() {
		s.Helper()
		for _, after := range []uint64{0, 1, 4999, 5000, 5001, 131_072, 199_999, 200_000} {
			for _, limit := range []int{1, 3, 1000} {
				if all, _ := s.page(n, after, limit); !bytes.Equal(all, want[after:]) {
					s.Fatalf("after %d, limit %d: %d bytes, want %d", after, limit, len(all), len(want)-int(after))
				}
			}
		}
	}
	check()
	s.appended(n, stream.Append{Close: true})
	check()
	if _, ended := s.page(n, 0, 1); !ended {
		s.Error("it has no end")
	}
	for _, after := range []uint64{200_001, 200_002, 1 << 50} {
		if h, err := s.Read(s.ctx, n.Key(), after, 10); err != nil || len(h.Messages) > 0 || h.Top != 200_001 || !h.Ended {
			s.Errorf("after %d: %+v, %v", after, h, err)
		}
	}
	if h, err := s.Read(s.ctx, n.Key(), 0, 0); err != nil || len(h.Messages) > 0 || h.Top != 200_001 || !h.Ended {
		s.Errorf("limit 0: %+v, %v", h, err)
	}
	// Whoever has missed something for good has followed another stream.
	m, err := s.Reset(s.ctx, n.Key())
	if err != nil || m.Offset != 200_001 || !m.Last || m.Chunk == nil || !m.Chunk.Gone {
		s.Errorf("reset: %+v, %v", m, err)
	}
	// What is not there is over.
	h, err := s.Read(s.ctx, own("none").Key(), 7, 10)
	if err != nil || h.Top != 8 || !h.Ended || len(h.Messages) != 1 || h.Messages[0].Offset != 8 || !h.Messages[0].Last || !h.Messages[0].Chunk.Gone {
		s.Errorf("what is not there: %+v, %v", h, err)
	}
	_, err = s.Reset(s.ctx, own("none").Key())
	s.fails("reset of what is not there", err, stream.ErrNotFound)
	for _, bad := range []string{"stream:", "stream:alice", "stream:\x00a", "output:"} {
		if _, err := s.Read(s.ctx, bad, 0, 10); err == nil {
			s.Errorf("%q is a channel", bad)
		}
	}
}

// testPageJSON: messages are not torn, unless somebody begins in the middle of one.
func testPageJSON(s *suite) {
	n := own("a")
	s.made(n, stream.Create{Type: jsons})
	var want strings.Builder
	for i, size := range []int{10, 100, 30_000, 20, 16_380, 1, 200_000, 70_000, 5, 5, 5} {
		message := fmt.Sprintf(`{"n":%d,"x":"%s"}`, i, strings.Repeat("x", size))
		s.append(n, jsons, message)
		want.WriteString(message + "\n")
	}
	for i := range 3000 {
		fmt.Fprintf(&want, "%d\n", i)
	}
	var all []string
	for i := range 3000 {
		all = append(all, fmt.Sprint(i))
	}
	s.append(n, jsons, "["+strings.Join(all, ",")+"]")
	for _, limit := range []int{1, 2, 1000} {
		for after := uint64(0); ; {
			h, err := s.Read(s.ctx, n.Key(), after, limit)
			if err != nil {
				s.Fatal(err)
			}
			for _, m := range h.Messages {
				if !bytes.HasSuffix(m.Chunk.Bytes, []byte("\n")) {
					s.Fatalf("limit %d: it ends in the middle of a message, at %d", limit, m.Offset)
				}
				after = m.Offset
			}
			if after == h.Top {
				break
			}
		}
		if got, _ := s.page(n, 0, limit); string(got) != want.String() {
			s.Errorf("limit %d: %d bytes, want %d", limit, len(got), want.Len())
		}
		if got, _ := s.page(n, 40_000, limit); string(got) != want.String()[40_000:] {
			s.Errorf("from the middle, limit %d: %d bytes", limit, len(got))
		}
	}
}
