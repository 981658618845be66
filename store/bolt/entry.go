package bolt

import (
	"encoding/binary"
	"errors"
)

// What a frame holds: of each change its kind, the mark of the table, and the key and the value with their lengths in front, as
// varints; of a sequence the number.
const (
	putEntry byte = iota + 1
	deleteEntry
	sequenceEntry
)

const entryHeader = 2 + 2*binary.MaxVarintLen32 // at most

func appendField(dst, field []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(field))), field...)
}

var errEntry = errors.New("the log is damaged: a change cannot be read")

// replay makes the changes of a frame. It keeps slices of it.
func replay(tables map[*byte]table, entries []byte) error {
	field := func() ([]byte, bool) {
		size, n := binary.Uvarint(entries)
		if n <= 0 || size > uint64(len(entries)-n) {
			return nil, false
		}
		f := entries[n : n+int(size) : n+int(size)]
		entries = entries[n+int(size):]
		return f, true
	}
	for len(entries) > 0 {
		if len(entries) < 2 || int(entries[1]) >= len(tableNames) {
			return errEntry
		}
		kind, t := entries[0], tables[&tableNames[entries[1]][0]]
		entries = entries[2:]
		if t.Bucket == nil { // of a layout before it
			return errEntry
		}
		if kind == sequenceEntry {
			number, n := binary.Uvarint(entries)
			if n <= 0 {
				return errEntry
			}
			entries = entries[n:]
			if err := t.SetSequence(number); err != nil {
				return err
			}
			continue
		}
		key, ok := field()
		if !ok {
			return errEntry
		}
		switch kind {
		case putEntry:
			value, ok := field()
			if !ok {
				return errEntry
			}
			if err := t.Put(key, value); err != nil {
				return err
			}
		case deleteEntry:
			if err := t.Delete(key); err != nil {
				return err
			}
		default:
			return errEntry
		}
	}
	return nil
}
