package stream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// TestOffsets: offsets sort as positions do, are read back, and are of one stream only.
func TestOffsets(t *testing.T) {
	s, other := Stream{Tag: newTag(), Tail: 1 << 50}, Stream{Tag: newTag(), Tail: 1 << 50}
	before := ""
	for _, position := range []uint64{0, 1, 9, 10, 99, 1_000_000, 1 << 49, 1 << 50} {
		offset := s.Offset(position)
		if offset <= before || strings.ContainsAny(offset, ",&=?/ ") {
			t.Errorf("%q behind %q", offset, before)
		}
		if got, err := s.Position(offset); err != nil || got != position {
			t.Errorf("%q is %d, %v", offset, got, err)
		}
		if _, err := other.Position(offset); position > 0 && !errors.Is(err, ErrOffset) {
			t.Errorf("%q is one of another stream: %v", offset, err)
		}
		before = offset
	}
	if _, err := s.Position(s.Offset(1<<50 + 1)); !errors.Is(err, ErrOffset) {
		t.Errorf("behind the end: %v", err)
	}
	if at, err := s.Position("0000000000000000_0000000000000000"); at != 0 || err != nil {
		t.Errorf("the beginning of any stream: %d, %v", at, err)
	}
}

// FuzzPosition: what is taken for an offset is the one that the stream has there.
func FuzzPosition(f *testing.F) {
	s := Stream{Tag: "abcdefgh", Tail: 1 << 40}
	for _, seed := range []string{s.Offset(0), s.Offset(77), "-1", "now", "", "0000000000000001_", "000000000000000１_abcdefgh", "1e00000000000000_abcdefgh"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, offset string) {
		at, err := s.Position(offset)
		switch {
		case err != nil && !errors.Is(err, ErrOffset):
			t.Error(err)
		case err == nil && at > 0 && s.Offset(at) != offset, err == nil && at > s.Tail:
			t.Errorf("%q is %d", offset, at)
		}
	})
}

// FuzzLines: of a body of JSON each message is one line, as another reader takes it apart, and what
// is none is refused.
func FuzzLines(f *testing.F) {
	for _, seed := range []string{
		`{"a": 1}`, `[1, [2, 3], {"b": "\n"}]`, `[]`, ` [ ] `, `"x`, `1 2`, "\t[1]\n", `[1,]`, `nul`, "[\"\u2028\"]", "", "[1]x", `{"a":1}{"a":2}`, "\ufeff1",
	} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, body string, making bool) {
		lines, err := linesOf([]byte(body), making)
		var one any
		valid := json.Unmarshal([]byte(body), &one) == nil && utf8.ValidString(body)
		if !valid {
			if !errors.Is(err, ErrJSON) {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		want := []any{one}
		if list, ok := one.([]any); ok {
			want = list
		}
		if len(want) == 0 && !making {
			if !errors.Is(err, ErrEmpty) {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		if err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		got := bytes.Split(lines, []byte("\n"))
		if len(got) != len(want)+1 || len(got[len(got)-1]) > 0 {
			t.Fatalf("%q: %q", body, lines)
		}
		for i, w := range want {
			var g any
			if err := json.Unmarshal(got[i], &g); err != nil {
				t.Fatalf("%q: line %d is %q, %v", body, i, got[i], err)
			}
			a, _ := json.Marshal(g)
			if b, _ := json.Marshal(w); !bytes.Equal(a, b) {
				t.Fatalf("%q: line %d is %s, want %s", body, i, a, b)
			}
		}
	})
}

// FuzzPath: a path that may be is read back from a key, and is none that URLs change.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{"a", "a/b", "a//b", "", ".", "a/..", "..a/b", "a\x00b", "ä/ö", "a/", "/a", "\xff", strings.Repeat("a", MaxPath+1)} {
		f.Add("alice", seed)
	}
	f.Fuzz(func(t *testing.T, owner, path string) {
		if !ValidPath(path) {
			return
		}
		if path == "" || len(path) > MaxPath || !utf8.ValidString(path) || strings.ContainsAny(path, "\x00\r\n\t\x7f") ||
			strings.Contains("/"+path+"/", "//") || strings.Contains("/"+path+"/", "/./") || strings.Contains("/"+path+"/", "/../") {
			t.Fatalf("%q is a path", path)
		}
		if owner == "" || strings.Contains(owner, "\x00") {
			return
		}
		n := Name{owner, path}
		if got, ok := ParseKey(n.Key()); !ok || got != n {
			t.Errorf("%q is read as %+v, %v", n.Key(), got, ok)
		}
		output := Name{Path: path}
		if got, ok := ParseKey(output.Key()); !ok || got != output || !got.Output() {
			t.Errorf("%q is read as %+v, %v", output.Key(), got, ok)
		}
	})
}

// TestAppendAgainstModel: random appends do what a simpler reading of the protocol says, and leave
// the stream that they are made to as it was.
func TestAppendAgainstModel(t *testing.T) {
	type producer struct{ epoch, seq int64 }
	for seed := range uint64(30) {
		random := rand.New(rand.NewPCG(seed, 1))
		s := Stream{Type: "text/plain", Tag: "t"}
		var data []byte
		producers, seq := map[string]producer{}, ""
		var closed *Stamp
		isClosed := false
		for step := range 300 {
			a := Append{Type: "text/plain", Body: fmt.Appendf(nil, "%d,", step), Attempt: 1 + step/100}
			if random.IntN(9) == 0 {
				a.Type = "application/json"
			}
			if random.IntN(9) == 0 {
				a.Body = nil
			}
			if random.IntN(4) == 0 {
				a.Seq = fmt.Sprint(random.IntN(3), random.IntN(10))
			}
			if random.IntN(2) == 0 {
				a.Producer = &Stamp{fmt.Sprint("p", random.IntN(2)), int64(random.IntN(3)), int64(random.IntN(4))}
			}
			a.Close = random.IntN(100) == 0
			want := "taken"
			p, known := Stamp{}, producer{}
			knows := false
			if a.Producer != nil {
				p = *a.Producer
				known, knows = producers[p.ID]
			}
			switch {
			case isClosed && (a.Producer == nil && a.Close && a.Body == nil || a.Producer != nil && closed != nil && *closed == p):
				want = "repeated"
			case isClosed:
				want = "closed"
			case a.Body == nil && !a.Close:
				want = ErrEmpty.Error()
			case a.Body != nil && a.Type != "text/plain":
				want = ErrType.Error()
			case knows && p.Epoch < known.epoch:
				want = "stale"
			case knows && p.Epoch > known.epoch && p.Seq > 0:
				want = ErrEpoch.Error()
			case a.Producer != nil && !knows && p.Seq > 0, knows && p.Epoch == known.epoch && p.Seq > known.seq+1:
				want = "gap"
			case knows && p.Epoch == known.epoch && p.Seq <= known.seq:
				want = "repeated"
			case a.Seq != "" && seq != "" && a.Seq <= seq:
				want = ErrSeq.Error()
			}
			was := fmt.Sprintf("%+v", s)
			now := noon.Add(time.Duration(step) * time.Second)
			added, stored, err := s.Append(now, &a)
			if is := fmt.Sprintf("%+v", s); is != was {
				t.Fatalf("seed %d, step %d: the stream was changed:\n%s\n%s", seed, step, was, is)
			}
			if got := outcomeOf(added, err); got != want {
				t.Fatalf("seed %d, step %d: %+v of %+v: %s (%v), want %s", seed, step, a, s, got, err, want)
			}
			if want != "taken" {
				if len(stored) > 0 || added.Stream.Tail != s.Tail {
					t.Fatalf("seed %d, step %d: %s, and %d bytes are stored", seed, step, want, len(stored))
				}
				continue
			}
			data = append(data, a.Body...)
			if a.Producer != nil {
				producers[p.ID] = producer{p.Epoch, p.Seq}
			}
			if a.Seq != "" {
				seq = a.Seq
			}
			if a.Close {
				isClosed, closed = true, a.Producer
			}
			s = added.Stream
			if string(stored) != string(a.Body) || s.Tail != uint64(len(data)) || s.Closed != isClosed || s.Seq != seq || !s.Touched.Equal(now) {
				t.Fatalf("seed %d, step %d: %+v, %q", seed, step, s, stored)
			}
			if !slices.IsSortedFunc(s.Segments, func(a, b Segment) int { return int(int64(a.Offset) - int64(b.Offset)) }) || len(s.Segments) > 3 {
				t.Fatalf("seed %d, step %d: segments %v", seed, step, s.Segments)
			}
		}
	}
}

func outcomeOf(added Appended, err error) string {
	_, closed := errors.AsType[*ClosedError](err)
	_, stale := errors.AsType[*StaleError](err)
	_, gap := errors.AsType[*GapError](err)
	switch {
	case closed:
		return "closed"
	case stale:
		return "stale"
	case gap:
		return "gap"
	case err != nil:
		return err.Error()
	case added.Repeated:
		return "repeated"
	}
	return "taken"
}

// TestPrepared: what was prepared is appended and made as what was not.
func TestPrepared(t *testing.T) {
	for _, body := range []string{`[1,{"a":2}]`, `[]`, `{"a"`, ``, `"x"`} {
		for _, mediaType := range []string{"application/json", "text/plain"} {
			s := Stream{Type: "application/json"}
			plain, ahead := Append{Type: mediaType, Body: []byte(body)}, Append{Type: mediaType, Body: []byte(body)}
			ahead.Prepare()
			_, want, failed := s.Append(noon, &plain)
			_, got, err := s.Append(noon, &ahead)
			if !bytes.Equal(got, want) || fmt.Sprint(err) != fmt.Sprint(failed) {
				t.Errorf("%s %q: %q, %v, want %q, %v", mediaType, body, got, err, want, failed)
			}
			make1, make2 := Create{Type: mediaType, Body: []byte(body)}, Create{Type: mediaType, Body: []byte(body)}
			make2.Prepare()
			_, want, failed = New(noon, &make1)
			_, got, err = New(noon, &make2)
			if !bytes.Equal(got, want) || fmt.Sprint(err) != fmt.Sprint(failed) {
				t.Errorf("made of %s %q: %q, %v, want %q, %v", mediaType, body, got, err, want, failed)
			}
		}
	}
}

// TestForgottenProducers: beyond so many the one that was silent for the longest time is forgotten.
func TestForgottenProducers(t *testing.T) {
	s := Stream{Type: "a/b"}
	for i := range MaxProducers + 2 {
		added, _, err := s.Append(noon.Add(time.Duration(i)*time.Second), &Append{Type: "a/b", Body: []byte("x"), Producer: &Stamp{ID: fmt.Sprint(i)}})
		if err != nil {
			t.Fatal(err)
		}
		s = added.Stream
	}
	_, first := s.Producers["1"]
	_, third := s.Producers["2"]
	if len(s.Producers) != MaxProducers || first || !third {
		t.Errorf("%d are known, the second %v, the third %v", len(s.Producers), first, third)
	}
}

// TestPages: pages and chunks are all that there is, in order, of JSON whole messages, and each of
// one attempt.
func TestPages(t *testing.T) {
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 2))
		s := Stream{Type: []string{"application/json", "text/plain"}[seed%2]}
		var data []byte
		for range 1 + random.IntN(60) {
			size := []int{1, 30, 3000, 20_000, 90_000}[random.IntN(5)]
			line := append(bytes.Repeat([]byte("x"), 1+random.IntN(size)), '\n')
			if random.IntN(5) == 0 {
				s.Segments = append(s.Segments, Segment{len(s.Segments) + 1, uint64(len(data))})
			}
			data = append(data, line...)
		}
		s.Tail = uint64(len(data))
		read := func(p []byte, from uint64) (int, error) { return copy(p, data[from:]), nil }
		limit, most := 1+random.IntN(8), 1+random.IntN(100_000)
		at := uint64(0)
		for at < s.Tail {
			chunks, err := s.Page(at, limit, most, read)
			if err != nil || len(chunks) == 0 || len(chunks) > limit {
				t.Fatalf("seed %d: %d chunks at %d, %v", seed, len(chunks), at, err)
			}
			size := 0
			for _, c := range chunks {
				attempt := 0
				for i, segment := range s.Segments {
					if segment.Offset <= c.From {
						attempt = segment.Attempt
					}
					if segment.Offset > c.From && segment.Offset < c.To {
						t.Fatalf("seed %d: the chunk of %d to %d is of two attempts, see %d", seed, c.From, c.To, i)
					}
				}
				if c.From != at || c.To != at+uint64(len(c.Bytes)) || !bytes.Equal(c.Bytes, data[c.From:c.To]) || c.Attempt != attempt {
					t.Fatalf("seed %d: at %d the chunk of %d to %d, attempt %d", seed, at, c.From, c.To, c.Attempt)
				}
				if s.JSON() && c.Bytes[len(c.Bytes)-1] != '\n' || len(c.Bytes) > ChunkBytes && (!s.JSON() || bytes.Count(c.Bytes, []byte("\n")) > 1) {
					t.Fatalf("seed %d: a chunk of %d bytes", seed, len(c.Bytes))
				}
				at, size = c.To, size+len(c.Bytes)
			}
			if size > most && len(chunks) > 1 {
				t.Fatalf("seed %d: a page of %d bytes, most %d", seed, size, most)
			}
		}
		if chunks, err := s.Page(s.Tail, limit, most, read); len(chunks) > 0 || err != nil {
			t.Errorf("seed %d: %d chunks at the end, %v", seed, len(chunks), err)
		}
	}
	failed := errors.New("no")
	s := Stream{Type: "text/plain", Tail: 5}
	if _, err := s.Page(0, 1, 10, func([]byte, uint64) (int, error) { return 0, failed }); !errors.Is(err, failed) {
		t.Error(err)
	}
}

// TestLost: when a stream is not there any more, and which error says so.
func TestLost(t *testing.T) {
	for name, test := range map[string]struct {
		s    Stream
		want error
	}{
		"no end":             {Stream{}, nil},
		"a TTL":              {Stream{TTL: time.Minute, Touched: noon.Add(-59 * time.Second)}, nil},
		"a TTL that is over": {Stream{TTL: time.Minute, Touched: noon.Add(-time.Minute)}, ErrNotFound},
		"a TTL with forks":   {Stream{TTL: time.Minute, Touched: noon.Add(-time.Minute), Forks: 1}, ErrGone},
		"an end":             {Stream{Expires: noon.Add(1)}, nil},
		"an end that is now": {Stream{Expires: noon}, ErrNotFound},
		"deleted":            {Stream{Deleted: true, Forks: 1}, ErrGone},
	} {
		if err := test.s.Lost(noon); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := Stream{TTL: time.Hour, Touched: noon}
	if s.Touch(noon.Add(time.Second)) || !s.Touch(noon.Add(2*time.Second)) {
		t.Error("a TTL of an hour is to be exact to a second")
	}
	if s.TTL = 2 * time.Second; s.Touch(noon.Add(20*time.Millisecond)) || !s.Touch(noon.Add(21*time.Millisecond)) {
		t.Error("a TTL of two seconds is to be exact to 20 ms")
	}
	if s.TTL = 0; s.Touch(noon.Add(time.Hour)) {
		t.Error("without a TTL nothing is touched")
	}
}
