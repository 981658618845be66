package wal

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
)

// NewGeneration returns the number of a generation of the other file, which is drawn anew at each
// checkpoint and never 0.
func NewGeneration() uint64 {
	for {
		var n [8]byte
		_, _ = rand.Read(n[:]) // never fails
		if g := binary.BigEndian.Uint64(n[:]); g != 0 {
			return g
		}
	}
}

// Header is what a log says of itself. It stands in front of the frames, twice, and the two are
// written in turn.
type Header struct {
	Identity   [IdentitySize]byte // of the other file
	Generation uint64             // of that, too
	Next       uint64             // of a checkpoint that has begun; 0 for none
	Base       uint64             // the last frame that the other file had at the last checkpoint
	// The last frame that is known to be in the log as a whole, or in the other file.
	Sealed uint64
	Laid   uint64 // up to where the log reaches at least, in bytes
	Turn   uint64 // rises with each header that is written
}

// Sizes and offsets in the file, in bytes.
const (
	IdentitySize = 16
	HeaderBlock  = 4 << 10 // in front of the frames
	HeaderSlot   = 2 << 10 // where the second header is
	headerSize   = 8 + IdentitySize + 6*8 + 4
)

var headerMagic = []byte("HARKLOG1")

// Append appends h as it is stored: magic, identity, the numbers, CRC-32C.
func (h *Header) Append(dst []byte) []byte {
	from := len(dst)
	dst = append(append(dst, headerMagic...), h.Identity[:]...)
	for _, n := range []uint64{h.Generation, h.Next, h.Base, h.Sealed, h.Laid, h.Turn} {
		dst = binary.BigEndian.AppendUint64(dst, n)
	}
	return binary.BigEndian.AppendUint32(dst, checksum(dst[from:]))
}

// DecodeHeader returns the newer one that is whole of the two headers of a log; nil if there is
// none.
func DecodeHeader(log []byte) *Header {
	var newest *Header
	for at := 0; at <= HeaderSlot; at += HeaderSlot {
		if len(log) < at+headerSize {
			break
		}
		raw := log[at : at+headerSize]
		sum := raw[headerSize-4:]
		if !bytes.HasPrefix(raw, headerMagic) || binary.BigEndian.Uint32(sum) != checksum(raw[:headerSize-4]) {
			continue
		}
		h := new(Header)
		rest := raw[len(headerMagic)+copy(h.Identity[:], raw[len(headerMagic):]):]
		for _, n := range []*uint64{&h.Generation, &h.Next, &h.Base, &h.Sealed, &h.Laid, &h.Turn} {
			*n, rest = binary.BigEndian.Uint64(rest), rest[8:]
		}
		if newest == nil || h.Turn > newest.Turn {
			newest = h
		}
	}
	return newest
}
