package bolt

import (
	"encoding/binary"
	"errors"
	"iter"
)

// entry is a change to a table. A frame holds them one behind the other: the kind, the mark of the table, and the key and
// the value with their lengths in front, as varints; of a sequence the number.
type entry struct {
	kind   byte
	table  byte // its mark
	key    []byte
	value  []byte // of putEntry
	number uint64 // of sequenceEntry
}

// The kinds of entries.
const (
	putEntry byte = iota + 1
	deleteEntry
	sequenceEntry // the number that was given last in the table
)

const entryHeader = 2 + 2*binary.MaxVarintLen32 // at most

// appendPut appends what stands before a value of so many bytes.
func appendPut(dst []byte, table byte, key []byte, size int) []byte {
	return binary.AppendUvarint(appendField(append(dst, putEntry, table), key), uint64(size))
}

func appendDelete(dst []byte, table byte, key []byte) []byte {
	return appendField(append(dst, deleteEntry, table), key)
}

func appendSequence(dst []byte, table byte, n uint64) []byte {
	return binary.AppendUvarint(append(dst, sequenceEntry, table), n)
}

func appendField(dst, field []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(field))), field...)
}

var errEntry = errors.New("the log is damaged: a change cannot be read")

// entries yields what a frame holds behind its header, up to what cannot be read. The slices are those of held.
func entries(held []byte) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		for len(held) > 0 {
			e, rest, ok := cutEntry(held)
			if !ok {
				yield(entry{}, errEntry)
				return
			}
			if !yield(e, nil) {
				return
			}
			held = rest
		}
	}
}

func cutEntry(held []byte) (e entry, rest []byte, ok bool) {
	if len(held) < 2 {
		return e, nil, false
	}
	e.kind, e.table, held = held[0], held[1], held[2:]
	switch e.kind {
	case putEntry:
		if e.key, held, ok = cutField(held); ok {
			e.value, held, ok = cutField(held)
		}
	case deleteEntry:
		e.key, held, ok = cutField(held)
	case sequenceEntry:
		var n int
		e.number, n = binary.Uvarint(held)
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
