package wal

import (
	"encoding/binary"
	"errors"
	"iter"
)

// Entry is a change to a table. A frame holds them one behind the other: the kind, the mark of the
// table, and the key and the value with their lengths in front, as varints; of a Sequence the
// number.
type Entry struct {
	Kind   byte
	Table  byte // its mark
	Key    []byte
	Value  []byte // of a Put
	Number uint64 // of a Sequence
}

// The kinds of entries.
const (
	Put byte = iota + 1
	Delete
	Sequence // the number that was given last in the table
)

// EntryHeader is how much an entry takes beside key and value at most, in bytes.
const EntryHeader = 2 + 2*binary.MaxVarintLen32

// AppendPut appends a Put but for its value, of so many bytes, which is to follow.
func AppendPut(dst []byte, table byte, key []byte, size int) []byte {
	return binary.AppendUvarint(appendField(append(dst, Put, table), key), uint64(size))
}

// AppendDelete appends a Delete.
func AppendDelete(dst []byte, table byte, key []byte) []byte {
	return appendField(append(dst, Delete, table), key)
}

// AppendSequence appends a Sequence.
func AppendSequence(dst []byte, table byte, n uint64) []byte {
	return binary.AppendUvarint(append(dst, Sequence, table), n)
}

func appendField(dst, field []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(field))), field...)
}

// ErrEntry is an entry that is none.
var ErrEntry = errors.New("the log is damaged: a change cannot be read")

// Entries yields what a frame holds behind its header, or ErrEntry in the place of the first that
// is none. Keys and values are slices of held.
func Entries(held []byte) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for len(held) > 0 {
			e, rest, ok := cutEntry(held)
			if !ok {
				yield(Entry{}, ErrEntry)
				return
			}
			if !yield(e, nil) {
				return
			}
			held = rest
		}
	}
}

func cutEntry(held []byte) (e Entry, rest []byte, ok bool) {
	if len(held) < 2 {
		return e, nil, false
	}
	e.Kind, e.Table, held = held[0], held[1], held[2:]
	switch e.Kind {
	case Put:
		if e.Key, held, ok = cutField(held); ok {
			e.Value, held, ok = cutField(held)
		}
	case Delete:
		e.Key, held, ok = cutField(held)
	case Sequence:
		var n int
		e.Number, n = binary.Uvarint(held)
		ok, held = n > 0, held[max(n, 0):]
	}
	return e, held, ok
}

func cutField(held []byte) (field, rest []byte, ok bool) {
	size, n := binary.Uvarint(held)
	if n <= 0 || size > uint64(len(held)-n) {
		return nil, nil, false
	}
	end := n + int(size)
	return held[n:end:end], held[end:], true
}
