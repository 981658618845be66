package hub

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// durable are server-sent events as Durable Streams has them (PROTOCOL.md, section 5.8): each piece
// is an event "data", with an event "control" behind it that says where its reader is, in one
// write, because a reader hands out what it has read when that comes. A native EventSource that
// reads them finds the id where it looks for it.
//
// Its readers take a connection that breaks off for broken, and come back after one that has ended.
// So whatever ends one that can be resumed ends the body, too, behind a control event; and never
// before a second is over, because a reader to which that happens again and again takes the
// transport for one that does not get through, and polls.
type durable struct{ pieces }

// Durable returns the transport of server-sent events by Durable Streams; with base64 the bytes of
// a text are told in that, as those of other media types are anyway, and only those of JSON are
// not. Cursors, see [StreamOptions], are in its control events.
func Durable(chunked, base64 bool) StreamTransport {
	return durable{pieces{body{chunked}, base64}}
}

func (t durable) form() form { return t.place(formDurable) }

// place returns the place of one of the four transports that begin with first.
func (p pieces) place(first form) form {
	if !p.chunked {
		first++
	}
	if p.base64 {
		first += 2
	}
	return first
}

// stays implements transport.
func (durable) stays() time.Duration { return time.Second }

func (t durable) messages(b *batch) []byte {
	size := 0
	for i := range b.messages {
		m := &b.messages[i]
		size += maxChunkFrame + 160 + 2*len(b.epoch) + len(m.Event)*4/3 + bytes.Count(m.Event, []byte{'\n'})*(len(dataLine)+1)
	}
	dst, block := make([]byte, 0, size), make([]byte, 0, size/len(b.messages)+64)
	for i := range b.messages {
		m := &b.messages[i]
		if m.ends() && i > 0 { // which the control in front of it has said
			continue
		}
		c := control{position: m.Offset, epoch: b.epoch, cursor: b.cursor, attempt: m.Piece.Attempt, upToDate: m.Offset >= b.top}
		block = block[:0]
		if m.ends() {
			c.position, c.closed = m.Offset-1, true
		} else {
			block = t.appendEvent(block, m)
			c.closed = i+1 < len(b.messages) && b.messages[i+1].ends()
		}
		dst = t.appendBlock(dst, c.append(block))
	}
	return dst
}

// appendEvent appends the event with the bytes of a piece.
func (t durable) appendEvent(dst []byte, m *Message) []byte {
	dst = append(dst, "event: data\n"...)
	if m.Piece.Kind != PieceJSON {
		return append(t.appendData(dst, m), '\n')
	}
	// JSON has no line feed in it, so each of those that stand behind a message becomes a comma.
	dst = append(append(dst, dataLine...), '[')
	begin := len(dst)
	dst = append(dst, m.Event...)
	for i := begin; i < len(dst); i++ {
		if dst[i] == '\n' {
			dst[i] = ','
		}
	}
	dst[len(dst)-1] = ']'
	return append(dst, "\n\n"...)
}

// control is what a reader is told of where it is.
type control struct {
	position uint64
	epoch    string
	cursor   uint64
	attempt  int
	upToDate bool // there was no more
	closed   bool // there will be no more
}

// append appends the control event.
func (c *control) append(dst []byte) []byte {
	dst = appendOffset(append(dst, `event: control`+"\n"+dataLine+`{"streamNextOffset":"`...), c.position, c.epoch)
	if c.closed {
		dst = append(dst, `","streamClosed":true,"upToDate":true`...)
	} else {
		dst = append(strconv.AppendUint(append(dst, `","streamCursor":"`...), c.cursor, 10), '"')
		if c.upToDate {
			dst = append(dst, `,"upToDate":true`...)
		}
	}
	if c.attempt > 0 {
		dst = strconv.AppendInt(append(dst, `,"attempt":`...), int64(c.attempt), 10)
	}
	return append(appendID(append(dst, "}\n"...), c.position, c.epoch), '\n')
}

// caughtUp says to a reader that comes that it has all there is.
func (t durable) caughtUp(position uint64, epoch string, cursor uint64) []byte {
	c := control{position: position, epoch: epoch, cursor: cursor, upToDate: true}
	return t.appendBlock(nil, c.append(nil))
}

// opening implements [StreamTransport]: the first control event says what there is to say.
func (t durable) opening(*Cursor, time.Duration, string) []byte { return nil }

// end implements [StreamTransport]: the last control event has said it.
func (t durable) end(Cursor) []byte { return []byte(t.last()) }

// farewell implements transport.
func (t durable) farewell(*farewell, time.Duration) []byte { return []byte(t.last()) }

// refusal implements [StreamTransport]: its readers know what 503 means.
func (t durable) refusal(header http.Header, f *farewell, retry time.Duration) []byte {
	text := `{"type":"/problems/unavailable","title":"Temporarily unavailable","status":503,"detail":` + strconv.Quote(f.text) + "}"
	var head bytes.Buffer
	fmt.Fprintf(&head, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\nCache-Control: no-store\r\nRetry-After: %d\r\nConnection: close\r\n",
		len(text), int64((retry+time.Second-1)/time.Second))
	for name, values := range header {
		if name != "Cache-Control" && name != EncodingField {
			_ = http.Header{name: values}.Write(&head) // a buffer takes everything
		}
	}
	return append(head.Bytes(), "\r\n"+text...)
}

// EncodingField is the field that says that the data events of an answer are in base64
// (PROTOCOL.md, section 5.8).
const EncodingField = "Stream-Sse-Data-Encoding"
