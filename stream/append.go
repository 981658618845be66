package stream

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
	"unicode/utf8"
)

// MaxProducers is how many producers a stream remembers. Beyond, the one that has not appended for
// the longest time is forgotten: should it come back, it is new.
const MaxProducers = 200

// Append decides what an append does to the stream. s does not change: after is what it is then,
// and bytes what is stored behind its end, which for JSON differ from the body. Repeated is told
// by added.Repeated, with nothing to store.
//
// [*ClosedError], [ErrType], [ErrSeq], [ErrEmpty], [ErrJSON], [ErrEpoch], [*StaleError],
// [*GapError], [*SizeError]; what goes first is as PROTOCOL.md, section 5.2, has it.
func (s *Stream) Append(now time.Time, a *Append) (added Appended, stored []byte, err error) {
	same := Appended{Stream: *s}
	if a.Producer != nil {
		same.Seq = a.Producer.Seq
	}
	if s.Closed {
		closedByIt := a.Producer != nil && s.ClosedBy != nil && *s.ClosedBy == *a.Producer
		if closedByIt || a.Close && len(a.Body) == 0 && a.Producer == nil {
			same.Repeated = true
			return same, nil, nil
		}
		return same, nil, &ClosedError{*s}
	}
	if len(a.Body) == 0 && !a.Close {
		return same, nil, ErrEmpty
	}
	if len(a.Body) > 0 && s.Type != "" && !SameType(a.Type, s.Type) {
		return same, nil, ErrType
	}
	after := *s
	after.Touched = now
	if p := a.Producer; p != nil {
		highest, repeated, err := s.admit(p)
		if err != nil {
			return same, nil, err
		}
		if repeated {
			same.Repeated, same.Seq = true, highest
			return same, nil, nil
		}
		after.Producers = s.withProducer(p, now)
	}
	if a.Seq != "" {
		if s.Seq != "" && a.Seq <= s.Seq {
			return same, nil, ErrSeq
		}
		after.Seq = a.Seq
	}
	if len(a.Body) > 0 {
		if after.Type == "" {
			after.Type = a.Type
		}
		switch {
		case !after.JSON():
			stored = a.Body
		case a.ready != nil:
			stored, err = a.ready.stored, a.ready.err
		default:
			stored, err = linesOf(a.Body, false)
		}
		if err != nil {
			return same, nil, err
		}
		if most := a.Quota.Size; most > 0 && s.Tail+uint64(len(stored)) > uint64(most) {
			return same, nil, &SizeError{"stream", most}
		}
		if n := len(s.Segments); a.Attempt > 0 && (n == 0 || s.Segments[n-1].Attempt != a.Attempt) {
			after.Segments = append(slices.Clip(s.Segments), Segment{a.Attempt, s.Tail})
		}
		after.Tail += uint64(len(stored))
	}
	if a.Close {
		after.Closed, after.ClosedBy = true, a.Producer
	}
	added = Appended{Stream: after, Seq: same.Seq}
	return added, stored, nil
}

// admit holds an append of a producer against what the stream knows of it (PROTOCOL.md, section
// 5.2.1).
func (s *Stream) admit(p *Stamp) (highest int64, repeated bool, err error) {
	known, ok := s.Producers[p.ID]
	switch {
	case ok && p.Epoch < known.Epoch:
		return 0, false, &StaleError{known.Epoch}
	case ok && p.Epoch > known.Epoch && p.Seq != 0:
		return 0, false, ErrEpoch
	case !ok && p.Seq != 0:
		return 0, false, &GapError{0, p.Seq}
	case !ok || p.Epoch > known.Epoch:
		return 0, false, nil
	case p.Seq <= known.Seq:
		return known.Seq, true, nil
	case p.Seq > known.Seq+1:
		return 0, false, &GapError{known.Seq + 1, p.Seq}
	}
	return 0, false, nil
}

func (s *Stream) withProducer(p *Stamp, now time.Time) map[string]Producer {
	all := maps.Clone(s.Producers)
	if all == nil {
		all = make(map[string]Producer, 1)
	}
	all[p.ID] = Producer{p.Epoch, p.Seq, now}
	for len(all) > MaxProducers {
		oldest := ""
		for id, known := range all {
			if id != p.ID && (oldest == "" || known.At.Before(all[oldest].At)) {
				oldest = id
			}
		}
		delete(all, oldest)
	}
	return all
}

// ready is what is stored of a body of JSON, or why nothing is.
type ready struct {
	stored []byte
	err    error
}

// Prepare does ahead of [Stream.Append] what takes long of it with a large body of JSON, so that it
// can be done where nobody waits. The body does not change afterwards.
func (a *Append) Prepare() {
	if to := (Stream{Type: a.Type}); to.JSON() && len(a.Body) > 0 {
		stored, err := linesOf(a.Body, false)
		a.ready = &ready{stored, err}
	}
}

// linesOf returns what is kept of a body of JSON: a message, or those of an array, which is
// flattened by one level (PROTOCOL.md, section 9.1). Only where a stream is made may that be empty.
func linesOf(body []byte, making bool) ([]byte, error) {
	if !utf8.Valid(body) {
		return nil, fmt.Errorf("%w: it is not in UTF-8 (RFC 8259, section 8.1)", ErrJSON)
	}
	var compact bytes.Buffer
	compact.Grow(len(body) + 1)
	if err := json.Compact(&compact, body); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrJSON, err)
	}
	lines := compact.Bytes()
	switch {
	case lines[0] != '[':
		return append(lines, '\n'), nil
	case len(lines) > len("[]"):
		return linesIn(lines), nil
	case making:
		return nil, nil
	}
	return nil, ErrEmpty
}

// linesIn makes lines of the elements of an array without white space, in its place: an array may
// have as many as half of its bytes, so that nothing is made for each.
func linesIn(array []byte) []byte {
	lines := array[1:]
	last := len(lines) - 1
	depth, quoted := 0, false
	for i := 0; i < last; i++ {
		switch c := lines[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			depth++
		case c == ']' || c == '}':
			depth--
		case c == ',' && depth == 0:
			lines[i] = '\n'
		}
	}
	lines[last] = '\n'
	return lines
}
