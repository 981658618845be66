package hub

import (
	"bytes"
	"encoding/base64"
	"strconv"
)

// pieces is what the transports of streams have in common.
type pieces struct {
	body
	base64 bool // the bytes of a text are told in base64, too
}

func (pieces) mediaType() string { return "text/event-stream" }
func (pieces) converses() bool   { return false }

// first implements transport. It is not asked: of a stream nothing is left out.
func (pieces) first(b []byte) int { return len(b) }

func (p pieces) heartbeat(string) []byte { return p.framed(":\n") }

// fits returns how many messages of a channel with an epoch can be told: those in front of a text
// that does not survive, of the loss of the stream, and of another one of its name.
func (p pieces) fits(messages []Message, epoch string) int {
	for i := range messages {
		piece := messages[i].Piece
		if piece.Gone || piece.Epoch != epoch || piece.Kind == PieceText && !piece.Plain && !p.base64 {
			return i
		}
	}
	return len(messages)
}

// encoded says how data blocks tell the bytes of a piece.
func (p pieces) encoded(kind PieceKind) bool {
	return kind == PieceBytes || kind == PieceText && p.base64
}

// appendData appends the data lines of a block (WHATWG HTML, section 9.2.6). What stands in front
// of the bytes of a line is as short as it can be: one space there is dropped by who reads, so it
// has to be there only in front of another one. So a reader that looks for "data:" finds it.
func (p pieces) appendData(dst []byte, m *Message) []byte {
	if p.encoded(m.Piece.Kind) {
		return append(base64.StdEncoding.AppendEncode(append(dst, dataLine...), m.Event), '\n')
	}
	for line := range bytes.SplitSeq(m.Event, []byte{'\n'}) {
		dst = append(dst, dataLine...)
		if len(line) > 0 && line[0] == ' ' {
			dst = append(dst, ' ')
		}
		dst = append(append(dst, line...), '\n')
	}
	return dst
}

const (
	dataLine = "data:"
	idLine   = "id:"
)

// positionDigits is how wide positions are in offsets.
const positionDigits = 16

// appendOffset appends an offset as clients of a stream have it: a position with its digits, and
// the tag of the stream, which is the epoch of its channel. It is stream.Stream.Offset, of which
// this package knows nothing; a test holds the two together.
func appendOffset(dst []byte, position uint64, epoch string) []byte {
	var digits [20]byte
	text := strconv.AppendUint(digits[:0], position, 10)
	for n := len(text); n < positionDigits; n++ {
		dst = append(dst, '0')
	}
	return append(append(append(dst, text...), '_'), epoch...)
}

// appendID appends the line with the id of a block: where its reader is.
func appendID(dst []byte, position uint64, epoch string) []byte {
	return append(appendOffset(append(dst, idLine...), position, epoch), '\n')
}

// appendBlock appends a block as it is sent.
func (p pieces) appendBlock(dst, block []byte) []byte {
	return p.close(append(p.open(dst, len(block)), block...))
}
