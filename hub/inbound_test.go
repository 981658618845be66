package hub

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// masked returns a frame as a client sends it.
func masked(first byte, payload string) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	mask := []byte{1, 2, 3, 4}
	b = append(b, mask...)
	for i := range len(payload) {
		b = append(b, payload[i]^mask[i&3])
	}
	return b
}

// received is what came out of bytes: "t:text", "p:ping", "c:code", or "!code" of an error.
func received(b []byte, step int) (got []string) {
	var in *inbound
	message := func(text []byte) { got = append(got, "t:"+string(text)) }
	control := func(f frame) error {
		switch f.op {
		case framePing:
			got = append(got, "p:"+string(f.payload))
		case frameClose:
			reply, err := closeReply(f)
			if err != nil {
				return err
			}
			got = append(got, "c:"+string(reply[2:]))
		}
		return nil
	}
	for len(b) > 0 {
		n := min(step, len(b))
		var err error
		in, err = in.take(bytes.Clone(b[:n]), 1000, message, control)
		if w, ok := errors.AsType[*wireError](err); ok {
			return append(got, "!"+string(rune(w.code)))
		}
		b = b[n:]
	}
	if in != nil {
		got = append(got, "…")
	}
	return got
}

func TestInboundFrames(t *testing.T) {
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	unmasked := []byte{0x81, 1, 'x'}
	bad := func(code CloseCode) []string { return []string{"!" + string(rune(code))} }
	for name, c := range map[string]struct {
		bytes []byte
		want  []string
	}{
		"text":             {masked(0x81, "hello"), []string{"t:hello"}},
		"empty":            {masked(0x81, ""), []string{"t:"}},
		"two":              {join(masked(0x81, "a"), masked(0x81, "b")), []string{"t:a", "t:b"}},
		"medium":           {masked(0x81, strings.Repeat("m", 300)), []string{"t:" + strings.Repeat("m", 300)}},
		"fragments":        {join(masked(0x01, "a"), masked(0x00, "b"), masked(0x80, "c")), []string{"t:abc"}},
		"ping between":     {join(masked(0x01, "a"), masked(0x89, "?"), masked(0x80, "b")), []string{"p:?", "t:ab"}},
		"split rune":       {join(masked(0x01, "\xc3"), masked(0x80, "\xbc")), []string{"t:ü"}},
		"pong":             {masked(0x8a, "x"), nil},
		"close":            {masked(0x88, "\x03\xe8bye"), []string{"c:\x03\xe8"}},
		"empty close":      {masked(0x88, ""), []string{"c:"}},
		"incomplete":       {masked(0x81, "hello")[:7], []string{"…"}},
		"unfinished":       {masked(0x01, "a"), []string{"…"}},
		"too big":          {masked(0x81, strings.Repeat("x", 1001)), bad(CloseTooBig)},
		"too big in parts": {join(masked(0x01, strings.Repeat("x", 600)), masked(0x80, strings.Repeat("x", 600))), bad(CloseTooBig)},
		"huge":             {[]byte{0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, bad(CloseTooBig)},
		"negative":         {[]byte{0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, bad(closeBadFrame)},
		"long length":      {[]byte{0x81, 0xfe, 0, 125}, bad(closeBadFrame)},
		"longer length":    {[]byte{0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, bad(closeBadFrame)},
		"unmasked":         {unmasked, bad(closeBadFrame)},
		"reserved bit":     {masked(0xc1, "x"), bad(closeBadFrame)},
		"unknown opcode":   {masked(0x83, "x"), bad(closeBadFrame)},
		"unknown control":  {masked(0x8b, "x"), bad(closeBadFrame)},
		"fragmented ping":  {masked(0x09, "x"), bad(closeBadFrame)},
		"long ping":        {masked(0x89, strings.Repeat("x", 126)), bad(closeBadFrame)},
		"no beginning":     {masked(0x80, "x"), bad(closeBadFrame)},
		"no end":           {join(masked(0x01, "a"), masked(0x81, "b")), bad(closeBadFrame)},
		"binary":           {masked(0x82, "x"), bad(CloseProtocol)},
		"not UTF-8":        {masked(0x81, "\xff"), bad(closeBadText)},
		"bad close":        {masked(0x88, "x"), bad(closeBadFrame)},
		"close code 1005":  {masked(0x88, "\x03\xed"), bad(closeBadFrame)},
		"close code 999":   {masked(0x88, "\x03\xe7"), bad(closeBadFrame)},
		"close code 4000":  {masked(0x88, "\x0f\xa0"), []string{"c:\x0f\xa0"}},
	} {
		for _, step := range []int{1, 3, 1 << 20} {
			if got := received(c.bytes, step); strings.Join(got, "|") != strings.Join(c.want, "|") {
				t.Errorf("%s, %d bytes at a time: %q, want %q", name, step, got, c.want)
			}
		}
	}
}

// FuzzInbound: whatever a client sends, and however it is cut into pieces, comes out the same.
func FuzzInbound(f *testing.F) {
	f.Add(masked(0x81, "hello"), 3)
	f.Add(append(masked(0x01, "a"), masked(0x80, "b")...), 1)
	f.Add(masked(0x88, "\x03\xe8bye"), 2)
	f.Fuzz(func(t *testing.T, b []byte, step int) {
		if step < 1 {
			return
		}
		whole, pieces := received(b, len(b)+1), received(b, step)
		if strings.Join(whole, "|") != strings.Join(pieces, "|") {
			t.Errorf("whole %q, in pieces of %d %q", whole, step, pieces)
		}
	})
}
