package wire

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"unicode/utf8"

	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/stream"
)

// Stores tell of a stream in chunks, which end where an append ended, or a page. Who reads gets
// them as pieces that can be understood by themselves: of JSON whole messages, of a text whole
// characters. What is not whole waits for its rest, and of a text for the end of the stream: then
// it is told as it is.

// cutter makes pieces of the chunks of a channel, as they come. The zero value is ready.
type cutter struct {
	mu   sync.Mutex
	rest []byte // not told yet, because it is not whole
	at   uint64 // where it begins
	of   stream.Chunk

	mediaType string // of which kind is
	kind      hub.PieceKind
}

// tell passes on a message that the store tells of, as none or several. What follows on no rest is
// passed on by itself: who follows sees the gap then, and reads.
func (c *cutter) tell(m lifecycle.Message, f func(hub.Message)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.Chunk == nil {
		c.rest = nil
		f(hub.Message{Offset: m.Offset})
		return
	}
	c.add(m, f)
}

// add passes on what is whole with a chunk.
func (c *cutter) add(m lifecycle.Message, f func(hub.Message)) {
	chunk := m.Chunk
	if chunk.Gone {
		c.rest = nil
		gone := gone()
		gone.Offset = m.Offset
		f(gone)
		return
	}
	if m.Last {
		c.flush(f)
		f(hub.Message{Offset: m.Offset, Event: []byte{}, Last: true, Piece: &hub.Piece{Kind: c.kind, Plain: true, Attempt: chunk.Attempt, Epoch: chunk.Tag}})
		return
	}
	data, from := chunk.Bytes, chunk.From
	switch {
	case len(c.rest) == 0:
	case c.at+uint64(len(c.rest)) != from:
		c.rest = nil
	case c.of.Attempt != chunk.Attempt:
		c.flush(f)
	default:
		data, from = slices.Concat(c.rest, data), c.at
	}
	c.of = stream.Chunk{Type: chunk.Type, Tag: chunk.Tag, Attempt: chunk.Attempt}
	n := whole(c.kindOf(chunk.Type), data)
	c.rest, c.at = bytes.Clone(data[n:]), from+uint64(n)
	c.pass(data[:n], from, f)
}

// flush passes on what is not whole, because its rest does not come.
func (c *cutter) flush(f func(hub.Message)) {
	rest := c.rest
	c.rest = nil
	c.pass(rest, c.at, f)
}

func (c *cutter) pass(data []byte, from uint64, f func(hub.Message)) {
	if len(data) == 0 {
		return
	}
	kind := c.kindOf(c.of.Type)
	f(hub.Message{
		Offset: from + uint64(len(data)), Span: uint64(len(data)) - 1, Event: data,
		Piece: &hub.Piece{Kind: kind, Plain: kind == hub.PieceText && plain(data), Attempt: c.of.Attempt, Epoch: c.of.Tag},
	})
}

// kindOf returns how the bytes of a media type are told.
func (c *cutter) kindOf(mediaType string) hub.PieceKind {
	if mediaType != c.mediaType {
		c.mediaType, c.kind = mediaType, PieceKind(mediaType)
	}
	return c.kind
}

// PieceKind returns how the bytes of a stream of a media type are told by server-sent events.
func PieceKind(mediaType string) hub.PieceKind {
	switch s := (&stream.Stream{Type: mediaType}); {
	case s.JSON():
		return hub.PieceJSON
	case s.Text():
		return hub.PieceText
	}
	return hub.PieceBytes
}

// whole returns how many bytes there are up to the end of the last message, or character.
func whole(kind hub.PieceKind, data []byte) int {
	switch kind {
	case hub.PieceJSON:
		return bytes.LastIndexByte(data, '\n') + 1
	case hub.PieceText:
		for n := 1; n < utf8.UTFMax && n <= len(data); n++ {
			if begin := len(data) - n; utf8.RuneStart(data[begin]) {
				if !utf8.FullRune(data[begin:]) {
					return begin
				}
				break
			}
		}
	}
	return len(data)
}

// plain reports whether a text survives as lines of server-sent events (WHATWG HTML, section
// 9.2.5): there CR ends a line as LF does, what is no UTF-8 is replaced, and decoders drop U+FEFF.
func plain(text []byte) bool {
	return bytes.IndexByte(text, '\r') < 0 && utf8.Valid(text) && !bytes.Contains(text, []byte("\ufeff"))
}

// readStream is Read for the channel of a stream. Its answer ends where a piece does, also if more
// is there: with so many bytes that are not whole that is the top.
func (s *source) readStream(ctx context.Context, channel string, after uint64, limit int) (hub.History, error) {
	var c cutter
	var out hub.History
	take := func(m hub.Message) { out.Messages = append(out.Messages, m) }
	for at := after; ; {
		h, err := s.from.Read(ctx, channel, at, limit)
		if err != nil {
			return hub.History{}, err
		}
		out.Top, out.Ended = h.Top, h.Ended
		if limit == 0 || at > h.Top {
			return out, nil
		}
		for _, m := range h.Messages {
			if m.Chunk == nil { // a store says that only of what it tells
				continue
			}
			at = m.Offset
			c.add(m, take)
		}
		if at >= h.Top {
			out.Top -= uint64(len(c.rest))
			return out, nil
		}
		if len(out.Messages) > 0 || len(h.Messages) == 0 {
			return out, nil
		}
	}
}

// gone is told to who follows a stream that was deleted, or whose end was lost: what it has read
// does not hold any more.
func gone() hub.Message {
	return hub.Message{Event: []byte{}, Last: true, Piece: &hub.Piece{Gone: true}}
}
