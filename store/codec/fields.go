package codec

import (
	"encoding/binary"
	"errors"
	"time"
)

// The functions that follow append a field. Except for appendBytes they leave out what is zero.

func appendTag(dst []byte, field, wire uint64) []byte {
	return binary.AppendUvarint(dst, field<<3|wire)
}

func appendBytes(dst []byte, field uint64, s string) []byte {
	dst = binary.AppendUvarint(appendTag(dst, field, wireBytes), uint64(len(s)))
	return append(dst, s...)
}

func appendText(dst []byte, field uint64, s string) []byte {
	if s == "" {
		return dst
	}
	return appendBytes(dst, field, s)
}

// appendTexts appends fields from 1 on.
func appendTexts(dst []byte, all ...string) []byte {
	for i, s := range all {
		dst = appendText(dst, uint64(i)+1, s)
	}
	return dst
}

// appendNumber appends n as its two's complement, like an int64.
func appendNumber(dst []byte, field uint64, n int64) []byte {
	if n == 0 {
		return dst
	}
	return binary.AppendUvarint(appendTag(dst, field, wireVarint), uint64(n))
}

func appendMark(dst []byte, field uint64, is bool) []byte {
	if !is {
		return dst
	}
	return append(appendTag(dst, field, wireVarint), 1)
}

// appendTime appends how long after epoch t is.
func appendTime(dst []byte, field uint64, t, epoch time.Time) []byte {
	if t.IsZero() {
		return dst
	}
	return binary.AppendVarint(appendTag(dst, field, wireVarint), t.UnixNano()-epoch.UnixNano())
}

// appendNested appends a message in the message. It is written first and its length put before it
// then: nested messages are rare.
func appendNested(dst []byte, field uint64, write func([]byte) []byte) []byte {
	return appendBytes(dst, field, string(write(nil)))
}

var errDamaged = errors.New("the record is damaged")

// message is what is left of one.
type message struct{ rest string }

// field is one of a message; of bytes and varint one holds its value.
type field struct {
	number uint64
	bytes  string
	varint uint64
}

// next takes a field out of a message that has one. It reports false if that is not a field.
func (m *message) next() (f field, ok bool) {
	tag, ok := m.varint()
	if !ok {
		return f, false
	}
	f.number = tag >> 3
	switch tag & 7 {
	case wireVarint:
		f.varint, ok = m.varint()
		return f, ok
	case wireFixed64:
		if len(m.rest) < 8 {
			return f, false
		}
		f.varint, m.rest = binary.LittleEndian.Uint64([]byte(m.rest[:8])), m.rest[8:]
		return f, true
	case wireBytes:
		n, ok := m.varint()
		if !ok || n > uint64(len(m.rest)) {
			return f, false
		}
		f.bytes, m.rest = m.rest[:n], m.rest[n:]
		return f, true
	default:
		return f, false
	}
}

func (m *message) varint() (n uint64, ok bool) {
	for i := range min(len(m.rest), binary.MaxVarintLen64) {
		b := m.rest[i]
		n |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			m.rest = m.rest[i+1:]
			return n, i < binary.MaxVarintLen64-1 || b <= 1
		}
	}
	return 0, false
}

func (f field) int64() int64 { return int64(f.varint) }
func (f field) int() int     { return int(f.int64()) }

// signed is the value of an sint64.
func (f field) signed() int64 { return int64(f.varint>>1) ^ -int64(f.varint&1) }

func (f field) time(epoch int64) time.Time { return time.Unix(0, epoch+f.signed()).UTC() }

// nested reads the message in a field.
func (f field) nested(read func(field)) bool {
	for m := (message{f.bytes}); m.rest != ""; {
		inner, ok := m.next()
		if !ok {
			return false
		}
		read(inner)
	}
	return true
}

// texts reads the message in a field of which the fields from 1 on are strings.
func (f field) texts(to ...*string) bool {
	return f.nested(func(inner field) {
		if i := inner.number - 1; i < uint64(len(to)) {
			*to[i] = inner.bytes
		}
	})
}
