package stream

import (
	"errors"
	"fmt"
)

// Errors of a [Store] and of what decides. Test for them with [errors.Is] and [errors.As].
var (
	ErrNotFound = errors.New("stream not found")
	// ErrGone: it was deleted, and is kept only for those that were forked from it.
	ErrGone = errors.New("the stream was deleted; others that were forked from it still use it")
	// ErrConflict: a stream of that name is there and is not as it is wanted, or the source of a
	// fork cannot be one.
	ErrConflict = errors.New("there is another stream of that name")
	// ErrDepth: the source of a fork comes from too many others already, see [MaxDepth].
	ErrDepth = errors.New("the source was forked from too many others, one behind the other")
	// ErrType: the append is of another media type than the stream.
	ErrType = errors.New("the stream has another media type")
	// ErrSeq: the sequence of the append does not lie behind that of the one before.
	ErrSeq = errors.New("the sequence number was used before")
	// ErrEmpty: nothing to append.
	ErrEmpty = errors.New("there is nothing to append")
	// ErrJSON: the stream is of JSON messages and this is none. It is wrapped with what is wrong.
	ErrJSON = errors.New("no valid JSON")
	// ErrOffset: the stream has no such offset.
	ErrOffset = errors.New("the stream has no such offset")
	// ErrEpoch: a producer's new epoch begins with another number than 0.
	ErrEpoch = errors.New("a new epoch of a producer begins with sequence number 0")
)

// ClosedError is the error of an append to a stream that is closed.
type ClosedError struct{ Stream Stream }

func (e *ClosedError) Error() string { return "the stream is closed" }

// StaleError is the error of an append by a producer whose epoch has ended.
type StaleError struct{ Epoch int64 } // the one that holds

func (e *StaleError) Error() string {
	return fmt.Sprintf("the epoch of the producer has ended: it is %d now", e.Epoch)
}

// GapError is the error of an append by a producer before which others are missing.
type GapError struct{ Expected, Received int64 }

func (e *GapError) Error() string {
	return fmt.Sprintf("the producer's sequence number is %d, and %d comes next", e.Received, e.Expected)
}

// SizeError is the error of an append for which the stream, or what its owner has stored, has no
// room. Nothing of it was stored.
type SizeError struct {
	What  string // "stream" or "owner"
	Limit int64  // bytes
}

func (e *SizeError) Error() string {
	if e.What == "owner" {
		return fmt.Sprintf("the owner may have %d bytes stored", e.Limit)
	}
	return fmt.Sprintf("a stream may have %d bytes", e.Limit)
}
