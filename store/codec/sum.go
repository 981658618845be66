package codec

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"strings"

	"github.com/hark-push/hark/lifecycle"
)

// What is stored where nothing else has a sum has one in front, CRC-32C: of a record in a field of
// its own, which a program that does not know it skips; of a body behind a mark that no length of a
// type begins with. What is from before there were sums has none, and is read as it is.

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrSum: the bytes are not those that were stored.
var ErrSum = errors.New("its bytes are not those that were stored")

const (
	fieldSum  = 39
	sumTag    = "\xba\x02\x04" // fieldSum, wireBytes, 4 bytes
	sumSize   = len(sumTag) + 4
	bodyMark  = "\x80\x00sums\x01\xff" // begins with 0 as no varint is written
	bodyStart = len(bodyMark) + 4

	// BodyChunk is how many bytes of a body have a sum of their own, so that a piece can be
	// read alone and held against it.
	BodyChunk = 64 << 10
)

// AppendSummed appends a field with the sum of head and record, and the record of r, where head is
// what dst has from an offset on.
func AppendSummed(dst []byte, head int, r *lifecycle.Request) []byte {
	sum := crc32.Checksum(dst[head:], castagnoli)
	dst = append(dst, sumTag+"\x00\x00\x00\x00"...)
	at := len(dst)
	dst = AppendRecord(dst, r)
	binary.BigEndian.PutUint32(dst[at-4:], crc32.Update(sum, castagnoli, dst[at:]))
	return dst
}

// DecodeSummed reads what AppendSummed wrote behind head, or what AppendRecord did.
func DecodeSummed(head, data string, r *lifecycle.Request) error {
	if !strings.HasPrefix(data, sumTag) || len(data) < sumSize {
		if data != "" && data[0] != fieldOwner<<3|wireBytes && data[0] != fieldRoute<<3|wireBytes && data[0] != fieldStatus<<3|wireVarint {
			return ErrSum // no record begins like that
		}
		return DecodeRecord(data, r)
	}
	rest := data[sumSize:]
	sum := crc32.Update(crc32.Checksum([]byte(head), castagnoli), castagnoli, []byte(rest))
	if binary.BigEndian.Uint32([]byte(data[len(sumTag):sumSize])) != sum {
		return ErrSum
	}
	return DecodeRecord(rest, r)
}

// SealBody returns a body as it is stored with sums: mark, sum of the rest of the head, length of
// its type, the type, how many chunks there are, the sum of each; and behind this head the bytes.
func SealBody(c lifecycle.Content) []byte {
	chunks := (len(c.Data) + BodyChunk - 1) / BodyChunk
	value := make([]byte, bodyStart, bodyStart+2*binary.MaxVarintLen32+len(c.Type)+4*chunks+len(c.Data))
	copy(value, bodyMark)
	value = binary.AppendUvarint(value, uint64(len(c.Type)))
	value = append(value, c.Type...)
	value = binary.AppendUvarint(value, uint64(chunks))
	for chunk := range slices.Chunk(c.Data, BodyChunk) {
		value = binary.BigEndian.AppendUint32(value, crc32.Checksum(chunk, castagnoli))
	}
	binary.BigEndian.PutUint32(value[len(bodyMark):], crc32.Checksum(value[bodyStart:], castagnoli))
	return append(value, c.Data...)
}

// BodyHead is what stands before the bytes of a body.
type BodyHead struct {
	Type  string
	Begin int    // where the bytes begin
	sums  []byte // of the chunks
	older bool   // it is from before there were any
}

// ReadBodyHead reads the head of what SealBody or EncodeBody wrote. If value has not all of it,
// need is how many bytes it takes, at least; otherwise 0.
func ReadBodyHead(value []byte) (h BodyHead, need int, err error) {
	marked, damaged := hasMark(value)
	if damaged {
		return h, 0, ErrSum
	}
	if !marked {
		length, n := binary.Uvarint(value)
		if n == 0 {
			return h, len(value) + binary.MaxVarintLen32, nil
		}
		if n < 0 || length > maxTypeSize || n > 1 && value[n-1] == 0 { // as no varint is written
			return h, 0, errBody
		}
		if h.Begin = n + int(length); h.Begin > len(value) {
			return h, h.Begin, nil
		}
		h.Type, h.older = string(value[n:h.Begin]), true
		return h, 0, nil
	}
	at := bodyStart
	length, n := binary.Uvarint(value[min(at, len(value)):])
	if n < 0 || length > maxTypeSize {
		return h, 0, ErrSum
	}
	begin := at + n
	if at = begin + int(length); n == 0 || at >= len(value) {
		return h, max(at, len(value)) + binary.MaxVarintLen32, nil
	}
	chunks, n := binary.Uvarint(value[at:])
	if n < 0 || chunks > 1<<40/BodyChunk {
		return h, 0, ErrSum
	}
	h.Begin = at + n + 4*int(chunks)
	switch {
	case n == 0:
		return h, len(value) + binary.MaxVarintLen32, nil
	case h.Begin > len(value):
		return h, h.Begin, nil
	case binary.BigEndian.Uint32(value[len(bodyMark):]) != crc32.Checksum(value[bodyStart:h.Begin], castagnoli):
		return h, 0, ErrSum
	}
	h.Type, h.sums = string(value[begin:at]), value[at+n:h.Begin:h.Begin]
	return h, 0, nil
}

// hasMark reports whether a body begins with the mark, or with what was it once: one from before
// there were sums has nothing like it.
func hasMark(value []byte) (marked, damaged bool) {
	same := 0
	for i := range min(len(value), len(bodyMark)) {
		if value[i] == bodyMark[i] {
			same++
		}
	}
	return same == len(bodyMark), same < len(bodyMark) && same >= len(bodyMark)-2
}

// maxTypeSize is more than any type of a body has.
const maxTypeSize = 1 << 20

// Chunks returns which bytes have to be read to hold those from an offset to an end against their
// sums: from where, and to where. The end is not bounded by that of the body.
func (h *BodyHead) Chunks(offset, end int64) (from, to int64) {
	return offset / BodyChunk * BodyChunk, (end + BodyChunk - 1) / BodyChunk * BodyChunk
}

// Check holds bytes of a body, from a whole chunk on, against their sums. whole: they go to its
// end.
func (h *BodyHead) Check(data []byte, from int64, whole bool) error {
	if h.older {
		return nil
	}
	sums := h.sums[min(from/BodyChunk*4, int64(len(h.sums))):]
	for chunk := range slices.Chunk(data, BodyChunk) {
		if len(sums) == 0 || binary.BigEndian.Uint32(sums) != crc32.Checksum(chunk, castagnoli) {
			return ErrSum
		}
		sums = sums[4:]
	}
	if whole && len(sums) > 0 {
		return ErrSum
	}
	return nil
}

// OpenBody reads what SealBody wrote, or EncodeBody. The data are a part of value.
func OpenBody(value []byte) (lifecycle.Content, error) {
	h, need, err := ReadBodyHead(value)
	if err == nil && need > 0 {
		err = ErrSum
	}
	if err != nil {
		return lifecycle.Content{}, err
	}
	data := value[h.Begin:]
	return lifecycle.Content{Type: h.Type, Data: data}, h.Check(data, 0, true)
}
