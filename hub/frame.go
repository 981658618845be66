package hub

import (
	"encoding/binary"
	"encoding/json"
	"strconv"
	"time"
)

// webSocket is the transport of WebSockets (RFC 6455): a text frame for each message.
type webSocket struct {
	thin bool // what it says of events
}

func (webSocket) converses() bool      { return true }
func (webSocket) stays() time.Duration { return 0 }

func (w webSocket) messages(b *batch) []byte {
	if w.thin {
		return b.thinned().thinFrames()
	}
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
	return dst
}

// thinFrames returns messages in thin form: there the members of the event stand beside those that
// say where it is.
func (b *batch) thinFrames() []byte {
	size := 0
	for i := range b.messages {
		size += maxFrameHeader + len(`{"op":"event","channel":"","offset":,"event":}`) + 20 + 2*len(b.channel) + len(b.messages[i].Event)
	}
	dst := make([]byte, 0, size)
	var scratch [512]byte
	for _, m := range b.messages {
		h := appendJSONString(append(scratch[:0], `{"op":"event","channel":`...), b.channel)
		h = strconv.AppendUint(append(h, `,"offset":`...), m.Offset, 10)
		if m.Thin == nil {
			h = append(h, `,"event":`...)
			dst = appendFrameHeader(dst, opText, len(h)+len(m.Event)+1)
			dst = append(append(append(dst, h...), m.Event...), '}')
			continue
		}
		h = append(h, ',') // in place of the brace
		dst = appendFrameHeader(dst, opText, len(h)+len(m.Event)-1)
		dst = append(append(dst, h...), m.Event[1:]...)
	}
	return dst
}

func (webSocket) first(b []byte) int { return frameSize(b) }

// heartbeat implements transport. A page sees no pings, and asks for a pong if it wants one, see
// signs.
func (webSocket) heartbeat(string) []byte { return []byte{opPing, 0} }

func (webSocket) farewell(f *farewell, _ time.Duration) []byte {
	return closeFrame(uint16(f.code), f.text)
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
