package hub

import (
	"encoding/binary"
	"encoding/json"
	"strconv"
)

// batch is a run of messages without a gap that goes to many followers. Each wire's
// bytes are made at most once and then shared by all of them.
type batch struct {
	channel  string
	epoch    string // of its offsets, see [Channel]
	messages []Message
	round    *round // in which sockets may gather it; nil: it leaves at once

	sse, plain, socket []byte
}

// after returns the part of b behind an offset that it holds.
func (b *batch) after(offset uint64) batch {
	skip := int(offset + 1 - b.messages[0].Offset)
	return batch{channel: b.channel, epoch: b.epoch, messages: b.messages[skip:], round: b.round}
}

// encoded returns the messages as a wire has them.
func (b *batch) encoded(w wire) []byte {
	switch w {
	case wireSSE:
		return b.SSE()
	case wirePlain:
		return b.Plain()
	default:
		return b.Socket()
	}
}

// encodeAll makes the bytes of every wire, so that goroutines may share b.
func (b *batch) encodeAll() {
	for w := range wires {
		b.encoded(w)
	}
}

// SSE returns the messages as server-sent events, a chunk each.
func (b *batch) SSE() []byte {
	if b.sse == nil {
		b.sse = b.events(true)
	}
	return b.sse
}

// Plain returns the messages as server-sent events without chunks.
func (b *batch) Plain() []byte {
	if b.plain == nil {
		b.plain = b.events(false)
	}
	return b.plain
}

// events returns the messages as server-sent events. An event holds no line break, so each is one data
// line. The id comes last: many clients take it as soon as they have read its line, and one that is cut off in
// the middle of an event must not come back with the id of what it did not get.
func (b *batch) events(chunked bool) []byte {
	var scratch [64]byte
	size := 0
	for _, m := range b.messages {
		size += len(dataSSE+idSSE+endSSE) + len(b.id(scratch[:0], m.Offset)) + len(m.Event)
		if chunked {
			size += maxChunkFrame
		}
	}
	dst := make([]byte, 0, size)
	for _, m := range b.messages {
		id := b.id(scratch[:0], m.Offset)
		if chunked {
			dst = appendChunkHeader(dst, len(dataSSE)+len(m.Event)+len(idSSE)+len(id)+len(endSSE))
		}
		dst = append(dst, dataSSE...)
		dst = append(dst, m.Event...)
		dst = append(dst, idSSE...)
		dst = append(dst, id...)
		dst = append(dst, endSSE...)
		if chunked {
			dst = append(dst, chunkEnd...)
		}
	}
	return dst
}

func (b *batch) id(dst []byte, offset uint64) []byte { return Cursor{offset, b.epoch}.append(dst) }

// What stands around event and offset in a server-sent event.
const (
	dataSSE = "data: "
	idSSE   = "\nid: "
	endSSE  = "\n\n"
)

// Socket returns the messages as WebSocket text frames, one each.
func (b *batch) Socket() []byte {
	if b.socket == nil {
		size := 0
		for _, m := range b.messages {
			size += maxFrameHeader + len(`{"op":"event","channel":"","offset":,"event":}`) + 20 + 2*len(b.channel) + len(m.Event)
		}
		dst := make([]byte, 0, size)
		for _, m := range b.messages {
			var head [512]byte
			h := append(head[:0], `{"op":"event","channel":`...)
			h = appendJSONString(h, b.channel)
			h = append(h, `,"offset":`...)
			h = strconv.AppendUint(h, m.Offset, 10)
			h = append(h, `,"event":`...)
			dst = appendFrameHeader(dst, opText, len(h)+len(m.Event)+1)
			dst = append(dst, h...)
			dst = append(dst, m.Event...)
			dst = append(dst, '}')
		}
		b.socket = dst
	}
	return b.socket
}

// WebSocket opcodes with the FIN bit (RFC 6455, section 5.2).
const (
	opText  = 0x80 | 0x1
	opClose = 0x80 | 0x8
	opPing  = 0x80 | 0x9
	opPong  = 0x80 | 0xA
)

const maxFrameHeader = 10 // bytes; a server does not mask

// appendFrameHeader appends the header of an unmasked frame with n bytes.
func appendFrameHeader(dst []byte, op byte, n int) []byte {
	switch {
	case n < 126:
		return append(dst, op, byte(n))
	case n < 1<<16:
		return append(dst, op, 126, byte(n>>8), byte(n))
	default:
		dst = append(dst, op, 127)
		return binary.BigEndian.AppendUint64(dst, uint64(n))
	}
}

// frameSize returns how many bytes the first of our own frames has, with its header.
func frameSize(b []byte) int {
	switch n := int(b[1]); n {
	case 126:
		return 4 + int(binary.BigEndian.Uint16(b[2:]))
	case 127:
		return 10 + int(binary.BigEndian.Uint64(b[2:]))
	default:
		return 2 + n
	}
}

// textFrame returns one text frame with the payload.
func textFrame(payload []byte) []byte {
	dst := make([]byte, 0, maxFrameHeader+len(payload))
	return append(appendFrameHeader(dst, opText, len(payload)), payload...)
}

// closeFrame returns a close frame (RFC 6455, section 5.5.1).
func closeFrame(code uint16, reason string) []byte {
	dst := appendFrameHeader(make([]byte, 0, 4+len(reason)), opClose, 2+len(reason))
	dst = binary.BigEndian.AppendUint16(dst, code)
	return append(dst, reason...)
}

func appendJSONString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			quoted, err := json.Marshal(s)
			if err != nil { // a string always marshals
				panic(err)
			}
			return append(dst, quoted...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}
