package streamtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/hark-push/hark/stream"
)

// modeled is a stream as the model knows it: a fork has copied what it inherits.
type modeled struct {
	mediaType string
	data      []byte
	bounds    []int // of JSON, where messages end
	closed    bool
	tag       string
	producers map[string][2]int64 // epoch, sequence
	seq       string
	source    *modeled
	forks     int
	deleted   bool
}

// model is what a store of streams should do, as simple as can be.
type model struct{ streams map[string]*modeled }

// parts returns what a body adds, message by message; nil if it is none.
func (m *modeled) parts(body string) [][]byte {
	if m.mediaType != jsons {
		return [][]byte{[]byte(body)}
	}
	var v any
	if json.Unmarshal([]byte(body), &v) != nil {
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var all [][]byte
	for _, v := range list {
		line, err := json.Marshal(v)
		if err != nil {
			return nil
		}
		all = append(all, append(line, '\n'))
	}
	return all
}

func (m *modeled) add(parts [][]byte) {
	for _, p := range parts {
		m.data = append(m.data, p...)
		m.bounds = append(m.bounds, len(m.data))
	}
}

// release counts a fork of a stream less, and forgets what nobody needs.
func (md *model) release(path string, m *modeled) {
	if m == nil {
		return
	}
	if m.deleted && m.forks == 0 {
		if md.streams[path] == m {
			delete(md.streams, path)
		}
		if source := m.source; source != nil {
			source.forks--
			for name, s := range md.streams {
				if s == source {
					md.release(name, source)
					return
				}
			}
		}
	}
}

// testAgainstModel makes random calls, and compares what they say and what there is afterwards.
func testAgainstModel(s *suite) {
	for _, seed := range []uint64{1, 2, 3} {
		random := rand.New(rand.NewPCG(seed, 7))
		md := &model{streams: make(map[string]*modeled)}
		prefix := fmt.Sprintf("%d/", seed)
		for step := range 400 {
			path := fmt.Sprint(prefix, random.IntN(8))
			s.step(md, random, path, prefix)
			if s.Failed() {
				s.Fatalf("seed %d, step %d", seed, step)
			}
			if step%100 == 50 {
				s.reopened()
			}
			if step%20 == 0 {
				s.compare(md, random, prefix)
			}
		}
		s.compare(md, random, prefix)
	}
}

func (s *suite) step(md *model, random *rand.Rand, path, prefix string) {
	s.Helper()
	m := md.streams[path]
	there := m != nil && !m.deleted
	switch k := random.IntN(20); {
	case k < 3:
		s.stepCreate(md, random, path)
	case k < 6:
		s.stepFork(md, random, path, fmt.Sprint(prefix, random.IntN(8)))
	case k < 7:
		err := s.DeleteStream(s.ctx, own(path))
		switch {
		case m == nil:
			s.fails("delete nothing", err, stream.ErrNotFound)
		case m.deleted:
			s.fails("delete again", err, stream.ErrGone)
		case err != nil:
			s.Error(err)
		default:
			m.deleted = true
			md.release(path, m)
		}
	case k < 8 && there && random.IntN(3) == 0:
		s.appended(own(path), stream.Append{Close: true})
		m.closed = true
	default:
		s.stepAppend(m, random, path)
	}
}

func (s *suite) stepCreate(md *model, random *rand.Rand, path string) {
	s.Helper()
	mediaType, m := []string{text, jsons, raw}[random.IntN(3)], md.streams[path]
	body := bodyOf(random, mediaType)
	st, made, err := s.CreateStream(s.ctx, own(path), stream.Create{Type: mediaType, Body: []byte(body)})
	switch {
	case m != nil && (m.deleted || m.mediaType != mediaType || m.closed || m.source != nil):
		s.fails("create otherwise", err, stream.ErrConflict)
	case err != nil || made != (m == nil):
		s.Errorf("create %s: made %v, %v", path, made, err)
	case made:
		m = &modeled{mediaType: mediaType, tag: st.Tag, producers: make(map[string][2]int64)}
		m.add(m.parts(body))
		md.streams[path] = m
	}
}

func (s *suite) stepFork(md *model, random *rand.Rand, path, from string) {
	s.Helper()
	source := md.streams[from]
	if md.streams[path] != nil {
		return // whether it is the same is for testForkRepeated
	}
	of := stream.ForkOf{From: own(from)}
	if source == nil || source.deleted {
		_, _, err := s.CreateStream(s.ctx, own(path), stream.Create{Fork: &of})
		if source != nil {
			s.fails("fork of what is deleted", err, stream.ErrConflict)
		} else {
			s.fails("fork of nothing", err, stream.ErrNotFound)
		}
		return
	}
	at, left := 0, len(source.bounds)
	if source.mediaType == jsons {
		if left > 0 && random.IntN(2) == 0 {
			i := random.IntN(left)
			at, left = source.bounds[i], left-i-1
		}
	} else {
		at = random.IntN(len(source.data) + 1)
		left = len(source.data) - at
	}
	st := stream.Stream{Tag: source.tag, Tail: uint64(len(source.data))}
	of.Offset, of.Sub = st.Offset(uint64(at)), int64(random.IntN(left+2))
	made, _, err := s.CreateStream(s.ctx, own(path), stream.Create{Fork: &of})
	if of.Sub > int64(left) {
		s.fails("fork behind the end", err, stream.ErrOffset)
		return
	}
	end := at + int(of.Sub)
	if source.mediaType == jsons && of.Sub > 0 {
		i := 0
		for i < len(source.bounds) && source.bounds[i] <= at {
			i++
		}
		end = source.bounds[i+int(of.Sub)-1]
	}
	if err != nil || made.Tail != uint64(end) {
		s.Errorf("fork of %s at %+v: tail %d, want %d, %v", from, of, made.Tail, end, err)
		return
	}
	source.forks++
	m := &modeled{
		mediaType: source.mediaType, tag: made.Tag, producers: make(map[string][2]int64), source: source, data: bytes.Clone(source.data[:end]),
	}
	for _, b := range source.bounds {
		if b <= end {
			m.bounds = append(m.bounds, b)
		}
	}
	md.streams[path] = m
}

func bodyOf(random *rand.Rand, mediaType string) string {
	if mediaType == jsons {
		switch random.IntN(4) {
		case 0:
			return fmt.Sprintf(`{"n":%d}`, random.IntN(100))
		case 1:
			return fmt.Sprintf(`[%d, {"a": [1, 2]} , "x"]`, random.IntN(100))
		case 2:
			return `"` + strings.Repeat("long ", random.IntN(3000)) + `"`
		default:
			return fmt.Sprint(random.IntN(10))
		}
	}
	return string(pattern(1 + random.IntN([]int{3, 30, 3000, 20_000}[random.IntN(4)])))
}

func (s *suite) stepAppend(m *modeled, random *rand.Rand, path string) {
	s.Helper()
	a := stream.Append{Type: []string{text, jsons, raw}[random.IntN(3)]}
	if m != nil && random.IntN(10) > 0 {
		a.Type = m.mediaType
	}
	body := bodyOf(random, a.Type)
	if random.IntN(20) == 0 {
		body = `[{"` // which is no JSON
	}
	a.Body = []byte(body)
	if random.IntN(3) == 0 {
		a.Producer = &stream.Stamp{ID: fmt.Sprint("p", random.IntN(3)), Epoch: int64(random.IntN(3)), Seq: int64(random.IntN(4))}
	}
	if random.IntN(5) == 0 {
		a.Seq = fmt.Sprintf("%03d", random.IntN(200))
	}
	added, err := s.AppendStream(s.ctx, own(path), a)
	if m == nil || m.deleted {
		want := stream.ErrNotFound
		if m != nil {
			want = stream.ErrGone
		}
		s.fails("append to nothing", err, want)
		return
	}
	if want := m.takes(&a); want != "" {
		if got := kindOf(err, added.Repeated); got != want {
			s.Errorf("append %+v to %s: %s (%v), want %s", a, path, got, err, want)
		}
		return
	}
	if err != nil || added.Repeated {
		s.Errorf("append to %s: %+v, %v", path, added, err)
		return
	}
	m.add(m.parts(body))
	if p := a.Producer; p != nil {
		m.producers[p.ID] = [2]int64{p.Epoch, p.Seq}
	}
	if a.Seq != "" {
		m.seq = a.Seq
	}
	if added.Stream.Tail != uint64(len(m.data)) {
		s.Errorf("append to %s: tail %d, want %d", path, added.Stream.Tail, len(m.data))
	}
}

// takes says why an append is not taken, "" if it is.
func (m *modeled) takes(a *stream.Append) string {
	switch {
	case m.closed:
		return "closed"
	case a.Type != m.mediaType:
		return "type"
	}
	if p := a.Producer; p != nil {
		known, ok := m.producers[p.ID]
		switch {
		case ok && p.Epoch < known[0]:
			return "stale"
		case ok && p.Epoch > known[0] && p.Seq > 0:
			return "epoch"
		case !ok && p.Seq > 0:
			return "gap"
		case ok && p.Epoch == known[0] && p.Seq <= known[1]:
			return "repeated"
		case ok && p.Epoch == known[0] && p.Seq > known[1]+1:
			return "gap"
		}
	}
	switch {
	case a.Seq != "" && m.seq != "" && a.Seq <= m.seq:
		return "seq"
	case m.parts(string(a.Body)) == nil:
		return "json"
	}
	return ""
}

// kindOf names an outcome as the model does.
func kindOf(err error, repeated bool) string {
	_, closed := errors.AsType[*stream.ClosedError](err)
	_, stale := errors.AsType[*stream.StaleError](err)
	_, gap := errors.AsType[*stream.GapError](err)
	switch {
	case err == nil && repeated:
		return "repeated"
	case closed:
		return "closed"
	case stale:
		return "stale"
	case gap:
		return "gap"
	case errors.Is(err, stream.ErrType):
		return "type"
	case errors.Is(err, stream.ErrEpoch):
		return "epoch"
	case errors.Is(err, stream.ErrSeq):
		return "seq"
	case errors.Is(err, stream.ErrJSON):
		return "json"
	}
	return "another"
}

// compare holds all streams against the model, from a random position of each, too.
func (s *suite) compare(md *model, random *rand.Rand, prefix string) {
	s.Helper()
	for i := range 8 {
		path := fmt.Sprint(prefix, i)
		m := md.streams[path]
		switch {
		case m == nil:
			s.gone(own(path), stream.ErrNotFound)
			continue
		case m.deleted:
			s.gone(own(path), stream.ErrGone)
			continue
		}
		st := s.state(own(path))
		if st.Tail != uint64(len(m.data)) || st.Closed != m.closed || st.Type != m.mediaType || st.Tag != m.tag || st.Forks != m.forks || st.Seq != m.seq {
			s.Fatalf("%s: %+v", path, st)
		}
		from := uint64(random.IntN(len(m.data) + 1))
		if got := s.content(own(path), from, 1+random.IntN(30_000)); !bytes.Equal(got, m.data[from:]) {
			s.Fatalf("%s from %d: %d bytes, want %d", path, from, len(got), len(m.data)-int(from))
		}
		if got, _ := s.page(own(path), from, 1+random.IntN(20)); !bytes.Equal(got, m.data[from:]) {
			s.Fatalf("channel of %s after %d: %d bytes, want %d", path, from, len(got), len(m.data)-int(from))
		}
	}
}
