package hub

import (
	"bytes"
	"strconv"
)

// A stream's body is chunked (RFC 9112, section 7.1), so that its client can tell the end of the
// channel from a connection that was closed for another reason: only the end is followed by the
// last chunk. Each message is a chunk of its own, so that one which is dropped from a backlog takes
// its framing with it.

// lastChunk ends a body.
const lastChunk = "0\r\n\r\n"

// maxChunkFrame is how many bytes stand around the data of a chunk of less than 4 GB at most.
const maxChunkFrame = 8 + len("\r\n"+chunkEnd)

// appendChunkHeader appends what stands in front of n bytes of data, which chunkEnd follows.
func appendChunkHeader(dst []byte, n int) []byte {
	return append(strconv.AppendUint(dst, uint64(n), 16), "\r\n"...)
}

const chunkEnd = "\r\n"

// chunkSize returns how many bytes the first of our own chunks has, with what stands around its
// data.
func chunkSize(b []byte) int {
	digits := bytes.IndexByte(b, '\r')
	n, err := strconv.ParseUint(string(b[:digits]), 16, 63)
	if err != nil { // we made it
		panic(err)
	}
	return digits + len("\r\n") + int(n) + len(chunkEnd)
}

// body is how the end of a stream's body is told.
type body struct{ chunked bool }

func (b body) chunks() bool { return b.chunked }

// open appends what stands in front of n bytes of the body that belong together, and close what
// stands behind them.
func (b body) open(dst []byte, n int) []byte {
	if !b.chunked {
		return dst
	}
	return appendChunkHeader(dst, n)
}

func (b body) close(dst []byte) []byte {
	if !b.chunked {
		return dst
	}
	return append(dst, chunkEnd...)
}

// framed returns a part of the body as it is sent.
func (b body) framed(text string) []byte {
	return b.close(append(b.open(make([]byte, 0, len(text)+maxChunkFrame), len(text)), text...))
}

// last returns what stands behind the body.
func (b body) last() string {
	if !b.chunked {
		return ""
	}
	return lastChunk
}
