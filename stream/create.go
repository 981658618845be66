package stream

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"strings"
	"time"
)

// DefaultType is the media type of a stream that was made without one.
const DefaultType = "application/octet-stream"

// New decides what stream a creation makes that forks nothing, and what is stored of its body.
// [ErrJSON], [*SizeError].
func New(now time.Time, c *Create) (s Stream, stored []byte, err error) {
	s = Stream{Type: c.Type, Tag: newTag(), Created: now, Touched: now, TTL: c.TTL, Expires: c.Expires, Closed: c.Closed}
	if s.Type == "" {
		s.Type = DefaultType
	}
	stored, err = s.first(c)
	return s, stored, err
}

// Parting finds where a fork of the stream parts from it, and which position its offset names: that
// many bytes, or JSON messages, behind it, see [ForkOf]. read is [Store.ReadStream] of the stream.
// [ErrOffset] if the offset is none, or none of a JSON message, or what is wanted lies behind the
// end.
func (s *Stream) Parting(f *ForkOf, read func(p []byte, from uint64) (int, error)) (at, offset uint64, err error) {
	offset = s.Tail
	if f.Offset != "" {
		if offset, err = s.Position(f.Offset); err != nil {
			return 0, 0, err
		}
	}
	if f.Sub < 0 || uint64(f.Sub) > s.Tail-offset {
		return 0, 0, ErrOffset
	}
	if !s.JSON() {
		return offset + uint64(f.Sub), offset, nil
	}
	if offset > 0 && offset < s.Tail {
		before := make([]byte, 1)
		if n, err := read(before, offset-1); err != nil {
			return 0, 0, err
		} else if n != 1 || before[0] != '\n' {
			return 0, 0, ErrOffset
		}
	}
	at, err = skipMessages(offset, s.Tail, f.Sub, read)
	return at, offset, err
}

// skipMessages returns where so many messages end that begin at a position.
func skipMessages(at, tail uint64, messages int64, read func(p []byte, from uint64) (int, error)) (uint64, error) {
	piece := make([]byte, ChunkBytes)
	for messages > 0 {
		n, err := read(piece[:min(uint64(len(piece)), tail-at)], at)
		if err != nil {
			return 0, err
		}
		if n == 0 {
			return 0, ErrOffset
		}
		for _, b := range piece[:n] {
			at++
			if b == '\n' {
				if messages--; messages == 0 {
					break
				}
			}
		}
	}
	return at, nil
}

// MaxDepth is how many forks of forks there may be: whoever reads one looks for its bytes in all
// that it comes from.
const MaxDepth = 64

// NewFork decides what stream a creation makes of a source that is there, see [Stream.Lost]. at is
// where the two part, and offset what [Create.Fork] names: [Stream.Parting] says both.
// [ErrConflict], [ErrDepth], [ErrJSON], [*SizeError].
func NewFork(now time.Time, c *Create, source *Stream, at, offset uint64) (s Stream, stored []byte, err error) {
	if source.Deleted || c.Type != "" && !SameType(c.Type, source.Type) {
		return Stream{}, nil, ErrConflict
	}
	depth := 1
	if source.Fork != nil {
		depth += source.Fork.Depth
	}
	if depth > MaxDepth {
		return Stream{}, nil, ErrDepth
	}
	s = Stream{
		Type: source.Type, Tag: source.Tag, Tail: at, Created: now, Touched: now, TTL: c.TTL, Expires: c.Expires, Closed: c.Closed,
		Fork: &Fork{From: c.Fork.From, At: at, Offset: offset, Sub: c.Fork.Sub, Depth: depth},
	}
	if c.TTL == 0 && c.Expires.IsZero() { // PROTOCOL.md, section 4.2: it lives as its source does
		s.TTL, s.Expires = source.TTL, source.Expires
	}
	stored, err = s.first(c)
	return s, stored, err
}

// Prepare is for [New] and [NewFork] what [Append.Prepare] is for [Stream.Append].
func (c *Create) Prepare() {
	if to := (Stream{Type: c.Type}); to.JSON() && len(c.Body) > 0 {
		stored, err := linesOf(c.Body, true)
		c.ready = &ready{stored, err}
	}
}

// first lets a new stream have its first bytes, and returns what is stored of them.
func (s *Stream) first(c *Create) ([]byte, error) {
	if len(c.Body) == 0 {
		return nil, nil
	}
	stored, err := c.Body, error(nil)
	switch {
	case !s.JSON():
	case c.ready != nil:
		stored, err = c.ready.stored, c.ready.err
	default:
		stored, err = linesOf(c.Body, true)
	}
	if err != nil {
		return nil, err
	}
	if most := c.Quota.Size; most > 0 && s.Tail+uint64(len(stored)) > uint64(most) {
		return nil, &SizeError{"stream", most}
	}
	s.Tail += uint64(len(stored))
	return stored, nil
}

// Is reports whether a stream that is there is what a creation wants, so that it counts as a
// repetition (PROTOCOL.md, section 5.1).
func (s *Stream) Is(c *Create) bool {
	wanted := c.Type
	if wanted == "" {
		wanted = DefaultType
		if c.Fork != nil {
			wanted = s.Type
		}
	}
	if s.Deleted || !SameType(wanted, s.Type) || s.Closed != c.Closed || (s.Fork != nil) != (c.Fork != nil) {
		return false
	}
	if c.Fork == nil {
		return s.TTL == c.TTL && s.Expires.Equal(c.Expires)
	}
	f := s.Fork
	if f.From != c.Fork.From || f.Sub != c.Fork.Sub {
		return false
	}
	if c.Fork.Offset != "" {
		if at, err := s.Position(c.Fork.Offset); err != nil || at != f.Offset {
			return false
		}
	}
	// What it did not say it got from its source.
	return c.TTL == 0 && c.Expires.IsZero() || s.TTL == c.TTL && s.Expires.Equal(c.Expires)
}

// NewOutput is the output of a request before anybody has appended to it. Its tag follows from its
// name, so that whoever reads it early has an offset that holds.
func NewOutput(n Name) Stream {
	sum := sha256.Sum256([]byte(n.Path))
	return Stream{Tag: tag(sum[:])}
}

// newTag makes eight letters that no other stream has, as good as certainly.
func newTag() string {
	var raw [5]byte
	_, _ = rand.Read(raw[:])
	return tag(raw[:])
}

func tag(raw []byte) string { return strings.ToLower(base32.StdEncoding.EncodeToString(raw[:5])) }
