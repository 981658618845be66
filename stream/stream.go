package stream

import (
	"mime"
	"strings"
	"time"
)

// Name says which stream: one of a caller's own, by Path, or the output of a request.
type Name struct {
	Owner string // of a stream of its own; "" for an output
	// Path is what stands behind /v1/stream/ in its URL, decoded, or, of an output, the request:
	// lifecycle.Ref as a string.
	Path string
}

// Key is the name of the stream inside Hark, and of its channel in the hub: it is unique over both
// kinds and all owners.
func (n Name) Key() string {
	if n.Output() {
		return "output:" + n.Path
	}
	return "stream:" + n.Owner + "\x00" + n.Path // neither holds a NUL
}

// Output reports whether it is the output of a request.
func (n Name) Output() bool { return n.Owner == "" }

// ParseKey is the inverse of [Name.Key]; ok is false for what is none.
func ParseKey(key string) (n Name, ok bool) {
	kind, rest, _ := strings.Cut(key, ":")
	switch kind {
	case "output":
		return Name{Path: rest}, rest != ""
	case "stream":
		n.Owner, n.Path, ok = strings.Cut(rest, "\x00")
		return n, ok && n.Owner != "" && n.Path != ""
	}
	return Name{}, false
}

// MaxPath is how many bytes a path has at most.
const MaxPath = 1024

// ValidPath reports whether a stream may have this path: 1 to [MaxPath] bytes of printable UTF-8
// without control characters, no segment of which is empty, "." or "..".
func ValidPath(path string) bool {
	if path == "" || len(path) > MaxPath || !printable(path) {
		return false
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

// Stream is what is known of a stream beside its bytes. It is a value: whoever changes one has
// copied it.
type Stream struct {
	// Type is the media type, as it was given first; "" of an output that nobody has appended to.
	Type string
	Tail uint64 // how many bytes were appended, those that a fork inherits included
	// Closed: nothing will be appended any more. Of an output, that its request has ended; should
	// that be redriven, it is open again.
	Closed bool
	// Tag is a part of its offsets, see [Offset]: random, or that of the stream that it was forked
	// from, whose offsets are its own.
	Tag     string
	Created time.Time

	TTL     time.Duration // since Touched; 0: none
	Touched time.Time     // when it was read or written last, see [Stream.Touch]
	Expires time.Time     // zero: never

	Seq       string              // the last [Append.Seq]; they rise, byte by byte
	Producers map[string]Producer // see [Append.Producer]
	ClosedBy  *Stamp              // the append that closed it, if that had a producer

	Fork  *Fork // what it was forked from
	Forks int   // how many streams were forked from it, and are there
	// Deleted: it is kept only for those.
	Deleted bool

	Segments []Segment // of an output: where each attempt began to write, in order
}

// Producer is where somebody who appends with numbers is.
type Producer struct {
	Epoch, Seq int64
	At         time.Time // of its last append
}

// Stamp names one append of a producer.
type Stamp struct {
	ID         string
	Epoch, Seq int64
}

// Fork is where a stream was forked.
type Fork struct {
	From Name
	At   uint64 // it has the bytes of From up to here
	// Depth is how many streams its bytes come from besides itself, one behind the other.
	Depth int
	// What was asked for, by which a repetition is known.
	Offset uint64
	Sub    int64
}

// Segment is what one attempt of a request has written, up to where the next one begins.
type Segment struct {
	Attempt int
	Offset  uint64
}

// JSON reports whether the stream consists of JSON messages. They are kept with a line feed behind
// each, compact, so that a message begins at 0 and behind each line feed, and nowhere else.
func (s *Stream) JSON() bool { return essence(s.Type) == "application/json" }

// Text reports whether server-sent events carry its bytes as they are (PROTOCOL.md, section 5.8).
func (s *Stream) Text() bool { return strings.HasPrefix(essence(s.Type), "text/") }

// Due returns when it expires, zero if it does not.
func (s *Stream) Due() time.Time {
	if s.TTL > 0 {
		return s.Touched.Add(s.TTL)
	}
	return s.Expires
}

// Lost returns why the stream is not there for those who name it, at a time of the store's clock:
// [ErrNotFound] if its time has run out, and [ErrGone] if it is kept for its forks only. Nil: it is
// there.
func (s *Stream) Lost(now time.Time) error {
	due := s.Due()
	expired := !due.IsZero() && !now.Before(due)
	switch {
	case s.Deleted || expired && s.Forks > 0:
		return ErrGone
	case expired:
		return ErrNotFound
	}
	return nil
}

// Touched reads of a stream are stored only now and then: a TTL may end so much of it too early, or
// so long, whichever is less.
const (
	touchPart = 100
	touchMost = time.Second
)

// Touch returns whether a read at a time is to be stored as [Stream.Touched]: without a TTL never,
// and else unless that was done just before.
func (s *Stream) Touch(now time.Time) bool {
	return s.TTL > 0 && now.Sub(s.Touched) > min(s.TTL/touchPart, touchMost)
}

// essence is a media type without its parameters, in small letters.
func essence(mediaType string) string {
	e, _, err := mime.ParseMediaType(mediaType)
	if err != nil {
		e, _, _ = strings.Cut(mediaType, ";")
		e = strings.ToLower(strings.TrimSpace(e))
	}
	return e
}

// SameType reports whether two media types are the same, as an append and its stream have to be:
// parameters are not looked at.
func SameType(a, b string) bool { return essence(a) == essence(b) }

func printable(s string) bool {
	for _, c := range s {
		if c < 0x20 || c == 0x7f || c == '\uFFFD' {
			return false
		}
	}
	return true
}
