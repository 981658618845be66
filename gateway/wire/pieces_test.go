package wire_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/stream"
)

// streams is a store of one stream, which hands out pages that end anywhere.
type streams struct {
	bytes  []byte
	page   int // bytes
	closed bool
	mime   string
	tell   func(channel string, m lifecycle.Message)
}

const streamKey = "stream:o\x00p"

func (s *streams) message(from, to int) lifecycle.Message {
	return lifecycle.Message{
		Offset: uint64(to), Span: uint64(to-from) - 1,
		Chunk: &stream.Chunk{From: uint64(from), To: uint64(to), Bytes: s.bytes[from:to:to], Type: s.mime, Tag: "tag"},
	}
}

func (s *streams) end() lifecycle.Message {
	n := uint64(len(s.bytes))
	return lifecycle.Message{Offset: n + 1, Last: true, Chunk: &stream.Chunk{From: n, To: n, Type: s.mime, Tag: "tag"}}
}

func (s *streams) append(text []byte) {
	from := len(s.bytes)
	s.bytes = append(s.bytes, text...)
	s.tell(streamKey, s.message(from, len(s.bytes)))
}

func (s *streams) Read(_ context.Context, _ string, after uint64, limit int) (lifecycle.History, error) {
	h := lifecycle.History{Top: uint64(len(s.bytes)), Ended: s.closed}
	if s.closed {
		h.Top++
	}
	at := int(min(after, uint64(len(s.bytes))))
	for len(h.Messages) < limit && at < len(s.bytes) && at-int(after) < 3*s.page {
		to := min(at+s.page, len(s.bytes))
		h.Messages = append(h.Messages, s.message(at, to))
		at = to
	}
	if s.closed && at == len(s.bytes) && len(h.Messages) < limit {
		h.Messages = append(h.Messages, s.end())
	}
	return h, nil
}

func (s *streams) Reset(context.Context, string) (lifecycle.Message, error) {
	return lifecycle.Message{}, stream.ErrNotFound
}
func (s *streams) Watch(context.Context, string) error                { return nil }
func (s *streams) Unwatch(string)                                     {}
func (s *streams) Listen(f func(channel string, m lifecycle.Message)) { s.tell = f }

// gather puts pieces together that follow on a position, and holds each against its kind.
type gather struct {
	t     *testing.T
	at    uint64
	bytes []byte
	ended bool
}

func (g *gather) take(m hub.Message, kind hub.PieceKind) {
	g.t.Helper()
	if m.Last {
		if m.Offset != g.at+1 || len(m.Event) > 0 || m.Event == nil || m.Piece.Gone {
			g.t.Fatalf("an end %+v at %d", m, g.at)
		}
		g.ended = true
		g.at++
		return
	}
	if m.Offset-m.Span != g.at+1 || uint64(len(m.Event)) != m.Span+1 || m.Piece.Kind != kind || m.Piece.Epoch != "tag" {
		g.t.Fatalf("%+v (%d bytes, %+v) follows on %d", m, len(m.Event), m.Piece, g.at)
	}
	switch kind {
	case hub.PieceJSON:
		for line := range bytes.Lines(m.Event) {
			if !json.Valid(line) || !bytes.HasSuffix(line, []byte{'\n'}) {
				g.t.Fatalf("%q is no whole message", line)
			}
		}
	case hub.PieceText:
		if want := utf8.Valid(m.Event) && !bytes.ContainsAny(m.Event, "\r\ufeff"); m.Piece.Plain != want {
			g.t.Fatalf("%q is plain: %v", m.Event, m.Piece.Plain)
		}
	}
	g.at = m.Offset
	g.bytes = append(g.bytes, m.Event...)
}

// TestPieces: however a stream was appended to, and wherever pages of it end, who reads it and who
// hears of it get the same bytes, of JSON in whole messages, of a text in whole characters; what is
// not whole waits, at most until the end.
func TestPieces(t *testing.T) {
	for _, k := range []struct {
		mime    string
		kind    hub.PieceKind
		appends []string
	}{
		{"text/plain", hub.PieceText, []string{"a", "\xe2", "\x82", "\xac€", "é\xc3", "\xa9", "💥"[:3], "💥"[3:], "\r", "\ufeff", "\xff", "x\xe2\x82"}},
		{"text/plain; charset=utf-8", hub.PieceText, []string{"\x82\xac", "abc", strings.Repeat("€", 50)}},
		{"application/json", hub.PieceJSON, []string{"1\n", "{\"a\":[1,2]}\n\"x\"\n", fmt.Sprintf("%q\n", strings.Repeat("y", 200)), "null\n"}},
		{"application/octet-stream", hub.PieceBytes, []string{"\xe2", "\n\n", "abc", "\x00"}},
	} {
		for page := 1; page < 90; page += 1 + rand.IntN(7) {
			store := &streams{page: page, mime: k.mime}
			source := wire.Source(store)
			live := gather{t: t}
			source.Listen(func(_ string, m hub.Message) { live.take(m, k.kind) })
			if err := source.Watch(t.Context(), streamKey); err != nil {
				t.Fatal(err)
			}
			for _, text := range k.appends {
				store.append([]byte(text))
				if got := readAll(t, source, k.kind); got.ended || !bytes.HasPrefix(store.bytes, got.bytes) || len(store.bytes)-len(got.bytes) > 3 || string(got.bytes) != string(live.bytes) {
					t.Fatalf("%s, pages of %d: read %q, told %q, of %q", k.mime, page, got.bytes, live.bytes, store.bytes)
				}
			}
			store.closed = true
			store.tell(streamKey, store.end())
			if got := readAll(t, source, k.kind); !got.ended || !live.ended || !bytes.Equal(got.bytes, store.bytes) || !bytes.Equal(live.bytes, store.bytes) {
				t.Fatalf("%s, pages of %d: read %q to the end %v, told %q to the end %v, of %q", k.mime, page, got.bytes, got.ended, live.bytes, live.ended, store.bytes)
			}
		}
	}
}

// readAll reads as a hub does: until it has come to the top.
func readAll(t *testing.T, source hub.Source, kind hub.PieceKind) gather {
	t.Helper()
	got := gather{t: t}
	for {
		before := got.at
		h, err := source.Read(t.Context(), streamKey, got.at, 4)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range h.Messages {
			got.take(m, kind)
		}
		if got.at >= h.Top {
			return got
		}
		if got.at == before {
			t.Fatalf("nothing follows on %d of %d", got.at, h.Top)
		}
	}
}

// TestNotificationIsMissed: what follows on one that did not come is passed on by itself, so that
// its follower sees the gap.
func TestNotificationIsMissed(t *testing.T) {
	store := &streams{page: 100, mime: "text/plain"}
	source := wire.Source(store)
	var told []hub.Message
	source.Listen(func(_ string, m hub.Message) { told = append(told, m) })
	if err := source.Watch(t.Context(), streamKey); err != nil {
		t.Fatal(err)
	}
	store.append([]byte("a\xe2"))
	tell := store.tell
	store.tell = func(string, lifecycle.Message) {}
	store.append([]byte("\x82"))
	store.tell = tell
	store.append([]byte("\xacb"))
	if len(told) != 2 || told[0].Offset != 1 || told[1].Offset-told[1].Span != 4 {
		t.Errorf("%+v", told)
	}
	store.tell(streamKey, lifecycle.Message{Offset: 9}) // its end was replaced
	store.tell(streamKey, lifecycle.Message{Offset: 6, Last: true, Chunk: &stream.Chunk{Gone: true}})
	if m := told[2]; m.Event != nil || m.Piece != nil {
		t.Errorf("%+v", m)
	}
	if m := told[3]; m.Piece == nil || !m.Piece.Gone || m.Offset != 6 {
		t.Errorf("%+v", m)
	}
	if m, err := source.Reset(t.Context(), streamKey); err != nil || m.Piece == nil || !m.Piece.Gone {
		t.Errorf("%+v, %v", m, err)
	}
}
