package stream

import "bytes"

// ChunkBytes is how many bytes a [Chunk] has at most, unless it is one JSON message that is longer.
const ChunkBytes = 16 << 10

// Cut cuts bytes that the stream has from a position on into chunks: of JSON into whole messages,
// as far as there are some, and of an output so that each is of one attempt.
func (s *Stream) Cut(from uint64, b []byte) (chunks []Chunk) {
	for len(b) > 0 {
		n := min(len(b), ChunkBytes)
		if s.JSON() {
			n = wholeMessages(b)
		}
		attempt, next := s.attemptAt(from)
		if next > from {
			n = int(min(uint64(n), next-from))
		}
		chunks = append(chunks, Chunk{
			From: from, To: from + uint64(n), Bytes: b[:n:n], Type: s.Type, Tag: s.Tag, Attempt: attempt,
		})
		b, from = b[n:], from+uint64(n)
	}
	return chunks
}

// wholeMessages returns how many bytes of b the messages have that fit into a chunk; those of the
// first one if that does not.
func wholeMessages(b []byte) int {
	if len(b) <= ChunkBytes {
		return len(b)
	}
	if last := bytes.LastIndexByte(b[:ChunkBytes], '\n'); last >= 0 {
		return last + 1
	}
	if end := bytes.IndexByte(b, '\n'); end >= 0 {
		return end + 1
	}
	return len(b)
}

// pageMessages is how many JSON messages a page has at most: each is told by itself to some.
const pageMessages = 1024

// firstMessages returns as many messages of whole ones as a page has.
func firstMessages(b []byte) []byte {
	end := 0
	for range pageMessages {
		n := bytes.IndexByte(b[end:], '\n')
		if n < 0 {
			return b
		}
		end += n + 1
	}
	return b[:end]
}

// attemptAt returns whose byte is at a position of an output, and where the next attempt begins, 0
// if none does.
func (s *Stream) attemptAt(position uint64) (attempt int, next uint64) {
	for _, segment := range s.Segments {
		if segment.Offset > position {
			return attempt, segment.Offset
		}
		attempt = segment.Attempt
	}
	return attempt, 0
}

// Page reads chunks from a position on, at most limit of them and most bytes, unless one JSON
// message is longer. read is [Store.ReadStream] of the stream.
func (s *Stream) Page(from uint64, limit, most int, read func(p []byte, from uint64) (int, error)) ([]Chunk, error) {
	if from >= s.Tail || limit <= 0 {
		return nil, nil
	}
	size := min(uint64(most), s.Tail-from, uint64(limit)*ChunkBytes)
	for {
		b := make([]byte, size)
		n, err := read(b, from)
		if err != nil {
			return nil, err
		}
		b = b[:n]
		if s.JSON() {
			whole := bytes.LastIndexByte(b, '\n')
			if size > uint64(most) { // it was made larger for one message
				whole = bytes.IndexByte(b, '\n')
			}
			if whole < 0 && n == int(size) && size < s.Tail-from { // which goes on
				size = min(2*size, s.Tail-from)
				continue
			}
			b = firstMessages(b[:whole+1])
		}
		chunks := s.Cut(from, b)
		return chunks[:min(limit, len(chunks))], nil
	}
}
