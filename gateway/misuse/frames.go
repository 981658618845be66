package misuse

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Talk is what a client of a WebSocket sends behind its handshake, and what it is told.
type Talk struct {
	Kind     string
	Name     string
	Sends    []byte
	Step     int      // bytes in each write; 0: all
	Receives []string // as [Line.Receive] says it; of "a|b" either, and "?a" or not
	Close    string   // codes that it may be closed with, "1002|1007"; "": it stays open
}

// The opcodes of RFC 6455, section 5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA

	final = 0x80 // FIN
)

// frame returns a frame as a client sends it.
func frame(first byte, payload string) []byte {
	return framed(first, payload, shortest(len(payload)), true)
}

func shortest(n int) int {
	switch {
	case n < 126:
		return 0
	case n < 1<<16:
		return 2
	}
	return 8
}

// framed is frame with so many bytes of extended length, and masked or not.
func framed(first byte, payload string, extended int, masked bool) []byte {
	b := []byte{first, 0}
	n := len(payload)
	switch extended {
	case 0:
		b[1] = byte(n)
	case 2:
		b[1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	case 8:
		b[1] = 127
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	if !masked {
		return append(b, payload...)
	}
	b[1] |= 0x80
	mask := []byte{0x37, 0xfa, 0x21, 0x3d}
	b = append(b, mask...)
	for i := range len(payload) {
		b = append(b, payload[i]^mask[i&3])
	}
	return b
}

type talks struct{ all []Talk }

func (t *talks) closes(kind, name, code string, sends ...[]byte) {
	t.all = append(t.all, Talk{Kind: kind, Name: name, Sends: slices.Concat(sends...), Close: code})
}

func (t *talks) receives(kind, name string, receives []string, sends ...[]byte) {
	t.all = append(t.all, Talk{Kind: kind, Name: name, Sends: slices.Concat(sends...), Receives: receives})
}

const ping = `{"op":"ping"}`

// Talks returns what clients may do wrong by WebSocket (RFC 6455), and the edges of what is right.
// most is how many bytes a message may have; request is the id of a request that is pending.
func Talks(most int, request string) []Talk {
	t := new(talks)
	t.heads()
	t.controls()
	t.fragments()
	t.lengths(most)
	t.closing()
	t.text()
	t.commands(request)
	// What is told does not depend on how the bytes arrive.
	for _, talk := range slices.Clone(t.all) {
		if len(talk.Sends) <= 200 && talk.Kind != "a command" {
			talk.Kind, talk.Step = talk.Kind+", byte by byte", 1
			t.all = append(t.all, talk)
		}
	}
	return t.all
}

// heads are first bytes of frames: reserved bits, reserved opcodes, no mask.
func (t *talks) heads() {
	known := map[string]byte{"text": opText, "binary": opBinary, "continuation": opContinuation, "close": opClose, "ping": opPing, "pong": opPong}
	for name, op := range known {
		for bits := byte(1); bits < 8; bits++ {
			t.closes("reserved bits", fmt.Sprintf("%03b of %s", bits, name), "1002", frame(final|bits<<4|op, "x"))
		}
		for _, n := range []int{0, 1, 125, 126, 1000} {
			if n > 125 && op >= opClose {
				continue
			}
			t.closes("no mask", fmt.Sprintf("%s of %d bytes", name, n), "1002", framed(final|op, strings.Repeat("x", n), shortest(n), false))
		}
	}
	for op := byte(3); op < 16; op++ {
		if op >= opClose && op <= opPong {
			continue
		}
		for _, first := range []byte{final | op, op} {
			for _, payload := range []string{"", "x", strings.Repeat("x", 200)} {
				t.closes("reserved opcodes", fmt.Sprintf("%#x with %d bytes", first, len(payload)), "1002", frame(first, payload))
			}
		}
	}
	t.closes("a binary message", "with a command in it", "4500", frame(final|opBinary, ping))
	t.closes("a binary message", "empty", "4500", frame(final|opBinary, ""))
	t.closes("a binary message", "in fragments", "4500", frame(opBinary, "x"), frame(final|opContinuation, "y"))
}

// controls are control frames (section 5.5).
func (t *talks) controls() {
	for name, op := range map[string]byte{"close": opClose, "ping": opPing, "pong": opPong} {
		t.closes("control frames", name+" in fragments", "1002", frame(op, ""))
		t.closes("control frames", name+" in fragments, with bytes", "1002", frame(op, "ab"), frame(final|opContinuation, "c"))
		for _, n := range []int{126, 127, 200, 1000, 65535, 65536} {
			payload := strings.Repeat("x", n)
			if op == opClose {
				payload = "\x03\xe8" + payload[2:]
			}
			t.closes("control frames", fmt.Sprint(name, " of ", n, " bytes"), "1002", frame(final|op, payload))
		}
		t.closes("control frames", name+" with a long length that is short", "1002", framed(final|op, "", 2, true))
		t.closes("control frames", name+" with a very long length that is short", "1002", framed(final|op, "", 8, true))
	}
	for _, n := range []int{0, 1, 2, 64, 124, 125} {
		payload := strings.Repeat("p", n)
		t.receives("pings", fmt.Sprint(n, " bytes"), []string{"pong:" + payload}, frame(final|opPing, payload))
		t.receives("pings", fmt.Sprint("a pong of ", n, " bytes, which nobody asked for"), nil, frame(final|opPong, payload))
	}
	t.receives("pings", "bytes that are no text", []string{"pong:\x00\xff\xfe"}, frame(final|opPing, "\x00\xff\xfe"))
	// Only the last of them has to be answered (section 5.5.3).
	t.receives("pings", "three, in order", []string{"?pong:1", "?pong:2", "pong:3"}, frame(final|opPing, "1"), frame(final|opPing, "2"), frame(final|opPing, "3"))
	t.receives("pings", "between fragments", []string{"pong:1", "op:pong"}, frame(opText, ping[:3]), frame(final|opPing, "1"), frame(final|opContinuation, ping[3:]))
}

// fragments are messages in parts (section 5.4).
func (t *talks) fragments() {
	for _, end := range []byte{opContinuation, final | opContinuation} {
		for _, payload := range []string{"", "x"} {
			t.closes("fragments", fmt.Sprintf("%#x of nothing, with %d bytes", end, len(payload)), "1002", frame(end, payload))
			t.closes("fragments", fmt.Sprintf("%#x behind a message, with %d bytes", end, len(payload)), "op:pong 1002", frame(final|opText, ping), frame(end, payload))
		}
	}
	for name, next := range map[string]byte{"text": opText, "the last of text": final | opText, "binary": opBinary, "the last of binary": final | opBinary} {
		t.closes("fragments", name+" in a message", "1002", frame(opText, "x"), frame(next, "y"))
		t.closes("fragments", name+" in a message, after a continuation", "1002", frame(opText, "x"), frame(opContinuation, "y"), frame(next, "z"))
	}
	for at := range len(ping) + 1 {
		t.receives("fragments", fmt.Sprint("a command in two, at byte ", at), []string{"op:pong"}, frame(opText, ping[:at]), frame(final|opContinuation, ping[at:]))
	}
	single := frame(opText, "")
	for i := range len(ping) {
		single = append(single, frame(opContinuation, ping[i:i+1])...)
	}
	t.receives("fragments", "a byte in each", []string{"op:pong"}, single, frame(final|opContinuation, ""))
	t.receives("fragments", "nothing in all", []string{"error:malformed-message"}, frame(opText, ""), frame(opContinuation, ""), frame(final|opContinuation, ""))
	t.closes("fragments", "close in a message", "1000", frame(opText, "x"), frame(final|opClose, "\x03\xe8"))
}

// lengths are those that frames have (section 5.2): in the shortest form, and not more than a
// message may have.
func (t *talks) lengths(most int) {
	for _, n := range []int{0, 1, 125} {
		t.closes("lengths", fmt.Sprint(n, " in 16 bits"), "1002", framed(final|opText, strings.Repeat(" ", n), 2, true))
		t.closes("lengths", fmt.Sprint(n, " in 64 bits"), "1002", framed(final|opText, strings.Repeat(" ", n), 8, true))
	}
	t.closes("lengths", "200 in 64 bits", "1002", framed(final|opText, strings.Repeat(" ", 200), 8, true))
	for _, top := range []byte{0x80, 0xff, 0xc0} {
		t.closes("lengths", fmt.Sprintf("64 bits that begin with %#x", top), "1002", []byte{final | opText, 0xff, top, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4})
	}
	for _, n := range []uint64{uint64(most) + 1, 1 << 20, 1 << 31, 1 << 32, 1 << 40, 1<<63 - 1} {
		head := []byte{final | opText, 0xff}
		if n < 1<<16 {
			head[1] = 0xfe
			head = binary.BigEndian.AppendUint16(head, uint16(n))
		} else {
			head = binary.BigEndian.AppendUint64(head, n)
		}
		t.closes("lengths", fmt.Sprint("announces ", n), "1009", head, []byte{1, 2, 3, 4})
	}
	fits := ping + strings.Repeat(" ", most-len(ping))
	t.receives("lengths", "as long as a message may be", []string{"op:pong"}, frame(final|opText, fits))
	t.receives("lengths", "as long as a message may be, in two", []string{"op:pong"}, frame(opText, fits[:most/2]), frame(final|opContinuation, fits[most/2:]))
	t.closes("lengths", "a byte longer", "1009", frame(final|opText, fits+" "))
	t.closes("lengths", "a byte longer, in two", "1009", frame(opText, fits), frame(final|opContinuation, " "))
	many := frame(opText, ping)
	for range most/100 + 1 {
		many = append(many, frame(opContinuation, strings.Repeat(" ", 100))...)
	}
	t.closes("lengths", "longer, in many", "1009", many)
	for _, n := range []int{126, 127, 128, 255, 256, 1000} {
		t.receives("lengths", fmt.Sprint("a command of ", n, " bytes"), []string{"op:pong"}, frame(final|opText, ping+strings.Repeat(" ", n-len(ping))))
	}
}

// closing are close frames (sections 5.5.1 and 7.4).
func (t *talks) closing() {
	code := func(n int) string { return string([]byte{byte(n >> 8), byte(n)}) }
	t.closes("close frames", "empty", "none", frame(final|opClose, ""))
	t.closes("close frames", "of one byte", "1002", frame(final|opClose, "\x03"))
	for _, n := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4500, 4999} {
		for _, reason := range []string{"", "bye", "é", strings.Repeat("r", 123)} {
			t.closes("close frames", fmt.Sprintf("%d with %d bytes", n, len(reason)), strconv.Itoa(n), frame(final|opClose, code(n)+reason))
		}
	}
	for _, n := range []int{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 5001, 10000, 65535} {
		for _, reason := range []string{"", "bye"} {
			t.closes("close frames", fmt.Sprintf("%d with %d bytes", n, len(reason)), "1002", frame(final|opClose, code(n)+reason))
		}
	}
	for _, bad := range notUTF8 {
		t.closes("close frames", fmt.Sprintf("a reason of %q", bad), "1002|1007", frame(final|opClose, code(1000)+bad))
	}
	t.closes("close frames", "and then a command", "1000", frame(final|opClose, code(1000)), frame(final|opText, ping))
	t.closes("close frames", "and then a bad frame", "1000", frame(final|opClose, code(1000)), frame(0x7f, "x"))
}

// text are messages that are not UTF-8 (section 8.1), and such as are.
func (t *talks) text() {
	for _, bad := range notUTF8 {
		t.closes("not UTF-8", fmt.Sprintf("%q", bad), "1007", frame(final|opText, bad))
		in := `{"op":"ping","x":"` + bad + `"}`
		t.closes("not UTF-8", fmt.Sprintf("%q in a command", bad), "1007", frame(final|opText, in))
		for at := 1; at < len(bad); at++ {
			t.closes("not UTF-8", fmt.Sprintf("%q in fragments, at byte %d", bad, at), "1007", frame(opText, bad[:at]), frame(final|opContinuation, bad[at:]))
		}
	}
	for _, good := range []string{"é", "€", "💥", "\ufeff", "\uffff", "\U0010ffff", "\u0080", "\ud7ff", "\ue000"} {
		message := `{"op":"` + good + `"}`
		for at := range len(message) + 1 {
			if at < len(message) && utf8.RuneStart(message[at]) {
				continue // only where a character is torn
			}
			t.receives("UTF-8", fmt.Sprintf("%q, at byte %d", good, at), []string{"error:unknown-op"}, frame(opText, message[:at]), frame(final|opContinuation, message[at:]))
		}
		t.closes("not UTF-8", fmt.Sprintf("%q, torn at the end", good), "1007", frame(final|opText, good[:len(good)-1]))
	}
}
