package hub

import (
	"bytes"
	"strconv"
)

// A stream's body is chunked (RFC 9112, section 7.1), so that its client can tell the end of the channel from a connection
// that was closed for another reason: only the end is followed by the last chunk. Each message is a chunk of its own, so
// that one which is dropped from a backlog takes its framing with it.

// lastChunk ends a body.
const lastChunk = "0\r\n\r\n"

// maxChunkFrame is how many bytes stand around the data of a chunk of less than 4 GB at most.
const maxChunkFrame = 8 + len("\r\n"+chunkEnd)

// appendChunkHeader appends what stands in front of n bytes of data, which chunkEnd follows.
func appendChunkHeader(dst []byte, n int) []byte {
	return append(strconv.AppendUint(dst, uint64(n), 16), "\r\n"...)
}

const chunkEnd = "\r\n"

// chunkSize returns how many bytes the first of our own chunks has: those in front of its data, and all.
func chunkSize(b []byte) (head, all int) {
	digits := bytes.IndexByte(b, '\r')
	n, err := strconv.ParseUint(string(b[:digits]), 16, 63)
	if err != nil { // we made it
		panic(err)
	}
	head = digits + len("\r\n")
	return head, head + int(n) + len(chunkEnd)
}

// framed returns a part of a stream's body as the wire has it.
func (w wire) framed(b []byte) []byte {
	if w != wireSSE {
		return b
	}
	dst := appendChunkHeader(make([]byte, 0, len(b)+maxChunkFrame), len(b))
	return append(append(dst, b...), chunkEnd...)
}
