package stream

import (
	"context"
	"time"
)

// Store keeps streams. Every method may be called from many goroutines and, over a shared server,
// from many processes at once. An error that wraps lifecycle.ErrUnavailable means that nothing was
// changed, or, if the connection broke while waiting, that it is unknown whether it was; what has
// returned without error survives the death of the process. The store has the clock.
//
// Names of a caller's own and those of outputs are kept by the same methods; of outputs only
// AppendStream, StreamState and ReadStream are called: they are there as soon as their request is,
// empty and without a type, [Stream.Closed] exactly while it has ended, and are forgotten with it.
//
// A stream whose time has run out, see [Stream.Due], is not there: ErrNotFound, and its name is
// free. Those that others were forked from are kept for them, see [Stream.Deleted].
type Store interface {
	// CreateStream makes a stream, in one atomic step with its first bytes, or finds that it is
	// there and as c wants it: made is false then. [ErrConflict] if it is there and different, or
	// kept for its forks; what [New] and [NewFork] refuse; of a fork [ErrNotFound] without a
	// source, [ErrConflict] if that is deleted or of another type, [ErrOffset] for one beyond its
	// end.
	CreateStream(ctx context.Context, n Name, c Create) (s Stream, made bool, err error)

	// AppendStream appends and closes as [Stream.Append] decides, in one atomic step, and wakes
	// whoever follows the stream. Of an output it is refused with a *lifecycle.TransitionError
	// unless the request is being worked on in the attempt that a names, see
	// lifecycle.AppendOutput, and lifecycle.ErrNoOutput, which wraps [ErrNotFound], if there is no
	// such request; Close is not looked at.
	AppendStream(ctx context.Context, n Name, a Append) (Appended, error)

	// StreamState returns a stream. [ErrNotFound]; [ErrGone] if it is kept for its forks only. With
	// touch its TTL begins anew.
	StreamState(ctx context.Context, n Name, touch bool) (Stream, error)

	// ReadStream fills p with the bytes of a stream from a position on, those that a fork inherits
	// included, as far as there are any, and returns how many that were: fewer than len(p) only at
	// the end. Errors as StreamState has them, and *lifecycle.DamageError if what was stored does
	// not have its sum.
	ReadStream(ctx context.Context, n Name, p []byte, from uint64) (int, error)

	// DeleteStream forgets a stream, or keeps it for its forks only. Whoever follows it is told:
	// [Chunk.Gone]. [ErrNotFound], [ErrGone].
	DeleteStream(ctx context.Context, n Name) error
}

// Chunk is a part of what was appended to a stream, as its followers hear of it. A stream is a
// channel with the key [Name.Key]. An offset of that channel is a position in the stream, and one
// more at the end of a stream that is closed: the channel ends with the offset Tail+1. So the chunk
// of the positions from From up to To covers the offsets From+1 to To, and the end is a message of
// its own.
type Chunk struct {
	From, To uint64
	Bytes    []byte // To-From of them; nobody changes them
	Type     string // of the stream, as is the tag of its offsets
	Tag      string
	Attempt  int  // of an output: whose they are
	Gone     bool // the stream was deleted; there are no bytes
}

// Create says what stream is to be made.
type Create struct {
	Type    string // "" for application/octet-stream, or what the source of a fork has
	TTL     time.Duration
	Expires time.Time
	Closed  bool
	Body    []byte // its first bytes; JSON as it came
	Fork    *ForkOf
	Quota   Quota
	ready   *ready
}

// ForkOf says what a stream is to be forked from.
type ForkOf struct {
	From   Name
	Offset string // as [Stream.Offset] of the source has it; "": its end
	Sub    int64  // so many bytes, or messages, more
}

// Append says what is to be appended.
type Append struct {
	Body  []byte // JSON as it came; empty only with Close
	Type  string
	Close bool
	Seq   string // rises with each append that has one; "" for none
	// Producer makes repetitions harmless: what it has appended already is not appended again.
	Producer *Stamp
	Attempt  int // of an output: who appends
	Quota    Quota
	ready    *ready
}

// Quota is what a stream, and its owner, may take. Zero: any.
type Quota struct {
	Size   int64 // bytes of one stream
	Stored int64 // bytes of all that the owner has stored, requests included
}

// Appended is the outcome of an append.
type Appended struct {
	Stream Stream // after it
	// Repeated: it was appended before; nothing was changed.
	Repeated bool
	Seq      int64 // of its producer, the highest that was appended
}
