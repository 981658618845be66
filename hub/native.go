package hub

import (
	"bytes"
	"net/http"
	"strconv"
	"time"
)

// native are server-sent events for the EventSource of a browser (WHATWG HTML, section 9.2), which
// comes back by itself with the id that it has got last: a block for each piece, or for each
// message of JSON, with nothing but the bytes and the id. The beginning, another attempt and the
// end have names, as those of events have.
type native struct{ pieces }

// Native returns the transport of streams for an EventSource; with base64 the bytes of a text are
// told in that, as those of other media types are anyway, and only those of JSON are not.
func Native(chunked, base64 bool) StreamTransport {
	return native{pieces{body{chunked}, base64}}
}

func (t native) form() form                    { return t.place(formNative) }
func (native) stays() time.Duration            { return 0 }
func (t native) events() sse                   { return sse{body: t.body} }
func (t native) heartbeat(about string) []byte { return t.events().heartbeat(about) }

func (t native) messages(b *batch) []byte {
	size := 0
	for i := range b.messages {
		m := &b.messages[i]
		lines := 1 + bytes.Count(m.Event, []byte{'\n'})
		each := len(dataLine) + 1
		if m.Piece.Kind == PieceJSON {
			each += maxChunkFrame + 24 + len(b.epoch)
		}
		size += maxChunkFrame + 32 + len(b.epoch) + len(m.Event)*4/3 + lines*each
	}
	dst, block := make([]byte, 0, size), make([]byte, 0, 256)
	for i := range b.messages {
		m := &b.messages[i]
		if i > 0 && m.Piece.Attempt != b.messages[i-1].Piece.Attempt {
			dst = append(dst, t.attempt(m.first()-1, b.epoch, m.Piece.Attempt)...)
		}
		switch {
		case m.ends():
		case m.Piece.Kind == PieceJSON:
			position := m.first() - 1
			for line := range bytes.Lines(m.Event) {
				position += uint64(len(line))
				block = append(append(block[:0], dataLine...), line...)
				dst = t.appendBlock(dst, append(appendID(block, position, b.epoch), '\n'))
			}
		default:
			block = t.appendData(block[:0], m)
			dst = t.appendBlock(dst, append(appendID(block, m.Offset, b.epoch), '\n'))
		}
	}
	return dst
}

// attempt says that what follows is of another attempt at the request. What came before stays.
func (t native) attempt(position uint64, epoch string, attempt int) []byte {
	block := append([]byte("event: attempt\n"+dataLine+`{"attempt":`), strconv.Itoa(attempt)...)
	block = appendOffset(append(block, `,"offset":"`...), position, epoch)
	return t.appendBlock(nil, append(appendID(append(block, "\"}\n"...), position, epoch), '\n'))
}

// opening implements [StreamTransport], see that of events.
func (t native) opening(at *Cursor, retry time.Duration, about string) []byte {
	text := ":\n" + retryField(retry)
	if at != nil {
		data := `{"offset":"` + string(appendOffset(nil, at.Offset, at.Epoch)) + `"`
		if t.base64 {
			data += `,"encoding":"base64"`
		}
		text = ":\n" + namedBlock(nameStart, data+"}", retryField(retry)+string(appendID(nil, at.Offset, at.Epoch)))
	}
	if about != "" {
		text += heartbeatBlock(about)
	}
	return t.framed(text)
}

// end implements [StreamTransport]. The end has an offset of its own, one behind the last position.
func (t native) end(at Cursor) []byte {
	data := `{"offset":"` + string(appendOffset(nil, at.Offset-1, at.Epoch)) + `"}`
	block := namedBlock(nameEnd, data, string(appendID(nil, at.Offset-1, at.Epoch))+retryField(retryEnded))
	return append(t.framed(block), t.last()...)
}

func (t native) farewell(f *farewell, retry time.Duration) []byte {
	return t.events().farewell(f, retry)
}

func (t native) refusal(header http.Header, f *farewell, retry time.Duration) []byte {
	return append(streamHead(t, header), t.farewell(f, retry)...)
}
