package durable

import (
	"net/url"
	"strconv"
	"time"

	"github.com/hark-push/hark/stream"
)

// Path returns the path of a stream as it stands in a URL, decoded; ok is false if none has it.
func Path(raw string) (path string, ok bool) {
	path, err := url.PathUnescape(raw)
	return path, err == nil && stream.ValidPath(path)
}

// The offsets that are none of a stream (section 8).
const (
	Beginning = "-1"
	Now       = "now"
)

// Live says how a reader wants to get what comes.
type Live string

// The ways to follow.
const (
	NotLive  Live = ""
	LongPoll Live = "long-poll"
	SSE      Live = "sse"
)

// Read is what a GET asks for.
type Read struct {
	Offset string // as it was given; Beginning if it was not
	Live   Live
	Cursor string
}

// ParseRead reads the query of a GET (sections 5.6 to 5.8): values returns all values of an option.
// Options that the protocol does not have are for others. The error is an [*Error].
func ParseRead(values func(name string) []string) (Read, error) {
	r := Read{Offset: Beginning}
	offsets, lives := values("offset"), values("live")
	switch {
	case len(offsets) > 1:
		return r, &Error{"?offset", "stands there more than once: which one is meant?"}
	case len(lives) > 1:
		return r, &Error{"?live", "stands there more than once: which one is meant?"}
	case len(offsets) == 1 && offsets[0] == "":
		return r, &Error{"?offset", "is empty: say -1 for the beginning, now for the end, or an offset that an answer has given"}
	case len(offsets) == 1:
		r.Offset = offsets[0]
	}
	if len(lives) == 1 {
		r.Live = Live(lives[0])
		if r.Live != LongPoll && r.Live != SSE {
			return r, &Error{"?live", "must be long-poll or sse"}
		}
		if len(offsets) == 0 {
			return r, &Error{"?offset", "is missing: who follows says from where on"}
		}
	}
	if cursors := values("cursor"); len(cursors) > 0 {
		r.Cursor = cursors[len(cursors)-1]
	}
	return r, nil
}

// From returns the position at which a reader begins. [stream.ErrOffset] if the stream has no such
// offset.
func (r *Read) From(s *stream.Stream) (uint64, error) {
	switch r.Offset {
	case Beginning:
		return 0, nil
	case Now:
		return s.Tail, nil
	}
	return s.Position(r.Offset)
}

// How cursors are counted (section 10.1).
const (
	interval  = 20 * time.Second
	maxJitter = 3600 // seconds
)

// epoch is when the first interval begins.
var epoch = time.Date(2024, time.October, 9, 0, 0, 0, 0, time.UTC)

// Cursor returns what a reader by long poll gives back with its next call, so that no cache answers
// that with what it has answered before: the number of the interval in which now lies, or, for one
// that has this already or a later one, something beyond what it has. random returns a number from
// 0 up to n, n excluded.
func Cursor(now time.Time, got string, random func(n int) int) string {
	next := max(int64(now.Sub(epoch)/interval), 0)
	if had, ok := number(got, maxInteger); ok && had >= next {
		seconds := 1 + random(maxJitter)
		next = had + int64((time.Duration(seconds)*time.Second+interval-1)/interval)
	}
	return strconv.FormatInt(next, 10)
}

// ETag returns the tag of what lies from one position up to another; of a stream that is closed it
// is another one (section 10.1).
func ETag(s *stream.Stream, from, to uint64) string {
	tag := `"` + s.Tag + ":" + strconv.FormatUint(from, 10) + ":" + strconv.FormatUint(to, 10)
	if s.Closed {
		tag += ":c"
	}
	return tag + `"`
}

// Describe says what a stream is like (section 5.5), by a function that sets a field.
func Describe(s *stream.Stream, set func(name, value string)) {
	set(FieldNextOffset, s.Offset(s.Tail))
	if s.TTL > 0 {
		set(FieldTTL, strconv.FormatInt(int64(s.TTL/time.Second), 10))
	}
	if !s.Expires.IsZero() {
		set(FieldExpires, s.Expires.UTC().Format(time.RFC3339Nano))
	}
	if s.Closed {
		set(FieldClosed, "true")
	}
}
