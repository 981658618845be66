package bolt

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
)

// newGeneration returns a number that no other generation of the file has had, and that is not 0.
func newGeneration() uint64 {
	for {
		var n [8]byte
		_, _ = rand.Read(n[:]) // never fails
		if g := binary.BigEndian.Uint64(n[:]); g != 0 {
			return g
		}
	}
}

// header is what the log says of itself. It stands in front of the frames, twice, and the two are
// written in turn.
type header struct {
	identity   [identitySize]byte // of the file that it belongs to
	generation uint64             // of that file
	next       uint64             // of a checkpoint that has begun; 0 for none
	base       uint64             // the last frame of which the file had what it holds, at the last checkpoint
	sealed     uint64             // the last frame that is known to be in the log as a whole, or in the file
	laid       uint64             // up to where the log reaches at least, in bytes
	turn       uint64             // rises with each that is written
}

const (
	identitySize = 16
	headerBlock  = 4 << 10 // in front of the frames
	headerSlot   = 2 << 10 // where the second one is
	headerSize   = 8 + identitySize + 6*8 + 4
)

var headerMagic = []byte("HARKLOG1")

// append appends h as it is stored: magic, identity, the numbers, CRC-32C.
func (h *header) append(dst []byte) []byte {
	from := len(dst)
	dst = append(append(dst, headerMagic...), h.identity[:]...)
	for _, n := range []uint64{h.generation, h.next, h.base, h.sealed, h.laid, h.turn} {
		dst = binary.BigEndian.AppendUint64(dst, n)
	}
	return binary.BigEndian.AppendUint32(dst, checksum(dst[from:]))
}

// decodeHeader returns the newer one that is whole of the two headers of a log; nil if there is
// none.
func decodeHeader(log []byte) *header {
	var newest *header
	for at := 0; at <= headerSlot; at += headerSlot {
		if len(log) < at+headerSize {
			break
		}
		raw := log[at : at+headerSize]
		sum := raw[headerSize-4:]
		if !bytes.HasPrefix(raw, headerMagic) || binary.BigEndian.Uint32(sum) != checksum(raw[:headerSize-4]) {
			continue
		}
		h := new(header)
		rest := raw[len(headerMagic)+copy(h.identity[:], raw[len(headerMagic):]):]
		for _, n := range []*uint64{&h.generation, &h.next, &h.base, &h.sealed, &h.laid, &h.turn} {
			*n, rest = binary.BigEndian.Uint64(rest), rest[8:]
		}
		if newest == nil || h.turn > newest.turn {
			newest = h
		}
	}
	return newest
}
