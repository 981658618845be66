package hub

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// block is what a reader of server-sent events dispatches.
type block struct{ name, data, id string }

// dispatched reads an event stream by the letter of WHATWG HTML, section 9.2.6: any of the three
// ends of a line, one space behind the colon dropped, data joined by line feeds, what is not UTF-8
// replaced.
func dispatched(text string) (all []block) {
	text = strings.ToValidUTF8(text, "\uFFFD")
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	var b block
	var data []string
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "":
			if data != nil {
				b.data = strings.Join(data, "\n")
				all = append(all, b)
			}
			b, data = block{id: b.id}, nil
		case name == "event":
			b.name = value
		case name == "data":
			data = append(data, value)
		case name == "id":
			b.id = value
		}
	}
	return all
}

// wantedPieces makes messages of a stream out of bytes: cut at the places that cuts says, of that
// kind, closed or not.
func wantedPieces(data []byte, cuts []byte, kind PieceKind, at uint64, closed bool) (messages []Message) {
	add := func(piece []byte) {
		at += uint64(len(piece))
		messages = append(messages, Message{
			Offset: at, Span: uint64(len(piece)) - 1, Event: piece,
			Piece: &Piece{Kind: kind, Plain: utf8.Valid(piece) && !bytes.ContainsAny(piece, "\r\ufeff"), Attempt: len(messages) / 2, Epoch: "tag"},
		})
	}
	for _, n := range cuts {
		n := int(n)
		if kind == PieceJSON {
			n = bytes.IndexByte(data, '\n') + 1
		}
		if n > 0 && n < len(data) {
			add(data[:n])
			data = data[n:]
		}
	}
	if len(data) > 0 {
		add(data)
	}
	if closed {
		messages = append(messages, Message{Offset: at + 1, Event: []byte{}, Last: true, Piece: &Piece{Kind: kind, Plain: true, Epoch: "tag"}})
	}
	return messages
}

// FuzzPieces: whatever a stream holds, and wherever it was cut, a reader of server-sent events gets
// its bytes again, in both forms and with and without chunks, with the offset behind them, and is
// told of the end. What cannot be told as text is not.
func FuzzPieces(f *testing.F) {
	f.Add([]byte("Hello world\n\n and  more\n"), []byte{5, 1, 2}, byte(PieceText), uint64(0), true)
	f.Add([]byte("event: control\ndata: {}\n\nid: 7\n: x\r\n"), []byte{3}, byte(PieceText), uint64(1<<40), false)
	f.Add([]byte("\ufeffa"), []byte{}, byte(PieceText), uint64(9), false)
	f.Add([]byte("\x00\xff\r\n\n"), []byte{1}, byte(PieceBytes), uint64(1), true)
	f.Add([]byte("{\"a\":\"\\n, ]\"}\n[1]\n"), []byte{1, 1}, byte(PieceJSON), uint64(4), true)
	f.Add([]byte{}, []byte{}, byte(PieceText), uint64(3), true)
	f.Fuzz(func(t *testing.T, data, cuts []byte, of byte, at uint64, closed bool) {
		kind := PieceKind(of % 3)
		at %= 1e15
		if kind == PieceJSON {
			var lines bytes.Buffer
			for line := range bytes.SplitSeq(data, []byte{'\n'}) {
				// As package stream keeps it.
				if utf8.Valid(line) && json.Compact(&lines, line) == nil && len(line) > 0 {
					lines.WriteByte('\n')
				}
			}
			data = lines.Bytes()
		}
		messages := wantedPieces(data, cuts, kind, at, closed)
		if len(messages) == 0 {
			t.Skip("nothing to tell")
		}
		top := messages[len(messages)-1].Offset
		b := &batch{channel: "stream:a", epoch: "tag", messages: messages, top: top, cursor: 77}
		for form := formDurable; form < forms; form++ {
			transport := transports[form].(StreamTransport)
			n := transports[form].(interface{ fits([]Message, string) int }).fits(messages, "tag")
			if plain := slices.IndexFunc(messages, func(m Message) bool { return !m.Piece.Plain }); kind != PieceText || plain < 0 || strings.Contains(fmt.Sprintf("%+v", transport), "base64:true") {
				if n != len(messages) {
					t.Fatalf("transport %d tells %d of %d messages", form, n, len(messages))
				}
			} else if n != plain {
				t.Fatalf("transport %d tells %d messages, and number %d cannot be told", form, n, plain)
			}
			if n == 0 {
				continue
			}
			part := b.head(n)
			text := transport.messages(&part)
			if ended := messages[n-1].Last; ended {
				text = append(slices.Clone(text), transport.end(Cursor{messages[n-1].Offset, b.epoch})...)
			} else if transport.chunks() {
				text = append(slices.Clone(text), lastChunk...)
			}
			if transport.chunks() {
				plain, err := io.ReadAll(NewChunks(bytes.NewReader(text)))
				if err != nil {
					t.Fatalf("transport %d: %v: %q", form, err, text)
				}
				text = plain
			}
			var got readPieces
			var err error
			if _, ok := transports[form].(durable); ok {
				err = got.durable(dispatched(string(text)), kind, form >= formDurableBase64, b.epoch)
			} else {
				err = got.native(dispatched(string(text)), kind, form >= formNativeBase64, b.epoch)
			}
			want := data
			if n < len(messages) {
				want = data[:messages[n].first()-1-at]
			}
			if err != nil || !bytes.Equal(got.bytes, want) || got.closed != messages[n-1].Last || got.offset != string(appendOffset(nil, at+uint64(len(want)), "tag")) {
				t.Fatalf("transport %d: %v, %q closed %v at %s, want %q closed %v: %q", form, err, got.bytes, got.closed, got.offset, want, messages[n-1].Last, text)
			}
			if _, ok := transports[form].(durable); ok && !got.closed && got.upToDate != (n == len(messages)) {
				t.Fatalf("transport %d says up to date: %v, of %d of %d messages", form, got.upToDate, n, len(messages))
			}
		}
	})
}

// readPieces is what somebody has read.
type readPieces struct {
	bytes            []byte
	offset           string
	closed, upToDate bool
}

func (r *readPieces) take(data string, kind PieceKind, encoded bool) error {
	switch {
	case kind == PieceBytes || encoded && kind == PieceText:
		raw, err := base64.StdEncoding.DecodeString(data)
		r.bytes = append(r.bytes, raw...)
		return err
	default:
		r.bytes = append(r.bytes, data...)
		return nil
	}
}

func (r *readPieces) durable(blocks []block, kind PieceKind, encoded bool, _ string) error {
	for i, b := range blocks {
		switch b.name {
		case "data":
			if i+1 == len(blocks) || blocks[i+1].name != "control" {
				return errors.New("data without control")
			}
			if kind != PieceJSON {
				if err := r.take(b.data, kind, encoded); err != nil {
					return err
				}
				continue
			}
			var messages []json.RawMessage
			if err := json.Unmarshal([]byte(b.data), &messages); err != nil {
				return err
			}
			for _, m := range messages {
				r.bytes = append(append(r.bytes, m...), '\n')
			}
		case "control":
			var c struct {
				StreamNextOffset, StreamCursor string
				UpToDate, StreamClosed         bool
				Attempt                        int
			}
			if err := json.Unmarshal([]byte(b.data), &c); err != nil {
				return err
			}
			if c.StreamNextOffset != b.id || r.closed || c.StreamClosed != (c.StreamCursor == "") {
				return fmt.Errorf("a control event %+v with the id %s", c, b.id)
			}
			r.offset, r.upToDate, r.closed = c.StreamNextOffset, c.UpToDate, c.StreamClosed
		default:
			return fmt.Errorf("an event %s", b.name)
		}
	}
	return nil
}

func (r *readPieces) native(blocks []block, kind PieceKind, encoded bool, _ string) error {
	for _, b := range blocks {
		r.offset = b.id
		switch b.name {
		case "attempt":
		case "end":
			var c struct{ Offset string }
			if err := json.Unmarshal([]byte(b.data), &c); err != nil || c.Offset != b.id {
				return fmt.Errorf("an end %s with the id %s, %w", b.data, b.id, err)
			}
			r.closed = true
		case "":
			if kind == PieceJSON {
				b.data += "\n"
			}
			if err := r.take(b.data, kind, encoded); err != nil {
				return err
			}
		default:
			return fmt.Errorf("an event %s", b.name)
		}
	}
	return nil
}

// TestOverhead: around a chunk of a text an EventSource gets no more than 60 bytes.
func TestOverhead(t *testing.T) {
	text := []byte("twenty bytes of text")
	b := &batch{epoch: "abcdefgh", messages: []Message{{Offset: 20, Span: 19, Event: text, Piece: &Piece{Kind: PieceText, Plain: true}}}}
	if n := len(b.encoded(formNative)) - len(text); n > 60 {
		t.Errorf("%d bytes: %q", n, b.encoded(formNative))
	}
}
