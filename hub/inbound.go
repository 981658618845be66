package hub

import (
	"encoding/binary"
	"unicode/utf8"
)

// inbound is what a WebSocket client has sent of a message that is not complete. A
// connection has one only meanwhile.
type inbound struct {
	buffer     []byte // the beginning of a frame
	message    []byte // the fragments before it
	fragmented bool
}

// frame is one frame from a client, unmasked.
type frame struct {
	op      byte // without FIN
	fin     bool
	payload []byte // shares the bytes that were parsed
}

// Opcodes of RFC 6455, section 5.2.
const (
	frameContinuation = 0x0
	frameText         = 0x1
	frameBinary       = 0x2
	frameClose        = 0x8
	framePing         = 0x9
	framePong         = 0xA
)

// Close codes of RFC 6455, section 7.4.1, about what a client sent.
const (
	closeBadFrame CloseCode = 1002
	closeBadText  CloseCode = 1007
)

const maxControlPayload = 125 // bytes (RFC 6455, section 5.5)

// wireError is a breach of the protocol: how to close.
type wireError struct {
	code   CloseCode
	reason string
}

func (e *wireError) Error() string { return e.reason }

// parseFrame takes one frame off b and unmasks it in place. n is how many bytes it
// had, 0 if there is more to come. limit bounds the payload of a data frame.
func parseFrame(b []byte, limit int64) (f frame, n int, err error) {
	if len(b) < 2 {
		return f, 0, nil
	}
	f.op, f.fin = b[0]&0x0f, b[0]&0x80 != 0
	control := f.op&0x8 != 0
	length, head := int64(b[1]&0x7f), 2
	switch {
	case b[0]&0x70 != 0:
		return f, 0, &wireError{closeBadFrame, "reserved bits are set"}
	case f.op > frameBinary && f.op < frameClose || f.op > framePong:
		return f, 0, &wireError{closeBadFrame, "unknown opcode"}
	case b[1]&0x80 == 0:
		return f, 0, &wireError{closeBadFrame, "a client must mask"}
	case control && (!f.fin || length > maxControlPayload):
		return f, 0, &wireError{closeBadFrame, "bad control frame"}
	}
	// What is below least has a shorter form: a length has one form (RFC 6455, section 5.2).
	least := int64(0)
	switch length {
	case 126:
		if len(b) < 4 {
			return f, 0, nil
		}
		length, head, least = int64(binary.BigEndian.Uint16(b[2:])), 4, 126
	case 127:
		if len(b) < 10 {
			return f, 0, nil
		}
		// A negative one has its first bit set.
		length, head, least = int64(binary.BigEndian.Uint64(b[2:])), 10, 1<<16
	}
	if length < least {
		return f, 0, &wireError{closeBadFrame, "bad length"}
	}
	if !control && length > limit {
		return f, 0, &wireError{CloseTooBig, "message too big"}
	}
	total := head + 4 + int(length)
	if len(b) < total {
		return f, 0, nil
	}
	mask := b[head : head+4]
	f.payload = b[head+4 : total]
	for i := range f.payload {
		f.payload[i] ^= mask[i&3]
	}
	return f, total, nil
}

// take takes bytes that arrived, calls message for each text message and control for each
// control frame that is complete, and returns what must be kept for later, nil if
// nothing. An error is a *wireError.
func (in *inbound) take(b []byte, limit int64, message func([]byte), control func(frame) error) (*inbound, error) {
	if in == nil {
		in = new(inbound)
	}
	in.buffer = append(in.buffer, b...)
	for {
		f, n, err := parseFrame(in.buffer, limit-int64(len(in.message)))
		if err != nil {
			return nil, err
		}
		if n == 0 {
			break
		}
		in.buffer = in.buffer[n:]
		if f.op >= frameClose {
			if err := control(f); err != nil {
				return nil, err
			}
			continue
		}
		if (f.op == frameContinuation) != in.fragmented {
			return nil, &wireError{closeBadFrame, "bad continuation"}
		}
		if f.op == frameBinary {
			return nil, &wireError{CloseProtocol, "want text messages"}
		}
		text := f.payload
		if in.fragmented || !f.fin {
			in.message = append(in.message, f.payload...)
			text = in.message
		}
		if in.fragmented = !f.fin; in.fragmented {
			continue
		}
		in.message = nil
		if !utf8.Valid(text) {
			return nil, &wireError{closeBadText, "text that is not UTF-8"}
		}
		message(text)
	}
	if len(in.buffer) == 0 && !in.fragmented {
		return nil, nil
	}
	in.buffer = append([]byte(nil), in.buffer...) // lets go of what was handled
	return in, nil
}

// closeReply returns how to answer a client's close frame: with its own code.
func closeReply(f frame) ([]byte, error) {
	if len(f.payload) == 0 {
		return []byte{opClose, 0}, nil
	}
	if len(f.payload) == 1 || !utf8.Valid(f.payload[2:]) {
		return nil, &wireError{closeBadFrame, "bad close frame"}
	}
	code := binary.BigEndian.Uint16(f.payload)
	if code < 1000 || code >= 5000 || (code >= 1004 && code <= 1006) || (code >= 1015 && code < 3000) {
		return nil, &wireError{closeBadFrame, "bad close code"}
	}
	return closeFrame(code, ""), nil
}
