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

// NewFork decides what stream a creation makes of a source. at is where the two part, which the
// driver has found by [Create.Fork] and [Stream.Position], and with a sub-offset by the bytes of
// the source: [Parting]. [ErrConflict], [ErrJSON], [*SizeError].
func NewFork(now time.Time, c *Create, source *Stream, at, offset uint64) (s Stream, stored []byte, err error) {
	if source.Deleted || c.Type != "" && !SameType(c.Type, source.Type) {
		return Stream{}, nil, ErrConflict
	}
	s = Stream{
		Type: source.Type, Tag: source.Tag, Tail: at, Created: now, Touched: now, TTL: c.TTL, Expires: c.Expires, Closed: c.Closed,
		Fork: &Fork{From: c.Fork.From, At: at, Offset: offset, Sub: c.Fork.Sub},
	}
	if c.TTL == 0 && c.Expires.IsZero() { // PROTOCOL.md, section 4.2: it lives as its source does
		s.TTL, s.Expires = source.TTL, source.Expires
	}
	stored, err = s.first(c)
	return s, stored, err
}

func (s *Stream) first(c *Create) ([]byte, error) {
	if len(c.Body) == 0 {
		return nil, nil
	}
	stored, err := s.stored(c.Body, true)
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
