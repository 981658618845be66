package hub

import (
	"bytes"
	"encoding/json"
	"io"
	"strconv"
	"testing"
)

// FuzzEncoded: whatever events hold, the messages of every transport can be told apart again, each
// with its event, and the chunks of a stream are what a client reads without them.
func FuzzEncoded(f *testing.F) {
	f.Add([]byte(`{"n":1}`), []byte(`{"n":2}`), uint64(1))
	f.Add([]byte("x"), bytes.Repeat([]byte("y"), 70_000), ^uint64(1))
	f.Add([]byte("0\r\r0"), []byte("id: 7"), uint64(0xfff))
	f.Fuzz(func(t *testing.T, first, second []byte, offset uint64) {
		if len(first) == 0 || len(second) == 0 || bytes.ContainsRune(append(first, second...), '\n') {
			t.Skip("an event is one line")
		}
		b := &batch{channel: "request:a", messages: []Message{
			{Offset: offset, Event: first, Thin: shortly(strconv.Itoa(len(first)))}, {Offset: offset + 1, Event: second},
		}}
		for f, transport := range transports[:eventForms] {
			rest := b.encoded(form(f))
			for _, m := range b.messages {
				size := transport.first(rest)
				event := m.Event
				if m.Thin != nil && form(f).thin() { // its brace stands elsewhere in a frame
					event = m.Thin.AppendThin(nil, b.channel)[1:]
				}
				if !bytes.Contains(rest[:size], event) {
					t.Errorf("transport %d: %q does not hold %q", f, rest[:size], event)
				}
				rest = rest[size:]
			}
			if len(rest) > 0 {
				t.Errorf("transport %d: %q is left over", f, rest)
			}
		}
		if frame := b.encoded(formThinSocket); json.Valid(second) {
			for range b.messages {
				text := frame[:frameSize(frame)]
				if text = text[bytes.Index(text, []byte(`{"op"`)):]; !json.Valid(text) {
					t.Errorf("%q is no JSON", text)
				}
				frame = frame[frameSize(frame):]
			}
		}
		chunks := NewChunks(bytes.NewReader(append(bytes.Clone(b.encoded(formSSE)), lastChunk...)))
		if text, err := io.ReadAll(chunks); err != nil || !chunks.Ended || !bytes.Equal(text, b.encoded(formPlain)) {
			t.Errorf("%v, ended %v: %q, want %q", err, chunks.Ended, text, b.encoded(formPlain))
		}
	})
}
