package hub

import (
	"bytes"
	"net/http"
	"strconv"
	"time"
)

// sse are Server-Sent Events (WHATWG HTML, section 9.2).
type sse struct {
	body
	thin bool // what it says of events
}

// SSE returns the transport of text/event-stream (WHATWG HTML, section 9.2), in chunks or, for a
// client of HTTP/1.0, which knows none, so that the close of the connection ends the body; with
// events in thin form, or in full.
func SSE(chunked, thin bool) StreamTransport { return sse{body{chunked}, thin} }

func (t sse) form() form {
	switch {
	case t.thin && t.chunked:
		return formThinSSE
	case t.thin:
		return formThinPlain
	case t.chunked:
		return formSSE
	}
	return formPlain
}

func (sse) mediaType() string    { return "text/event-stream" }
func (sse) converses() bool      { return false }
func (sse) stays() time.Duration { return 0 }

// refusal implements [StreamTransport]: with any other status than 200 an EventSource would never
// come back.
func (t sse) refusal(header http.Header, f *farewell, retry time.Duration) []byte {
	return append(streamHead(t, header), t.farewell(f, retry)...)
}

// What stands around event and offset in a server-sent event.
const (
	dataSSE = "data: "
	idSSE   = "\nid: "
	endSSE  = "\n\n"
)

// messages implements transport. An event holds no line break, so each is one data line. The id
// comes last: many clients take it as soon as they have read its line, and one that is cut off in
// the middle of an event must not come back with the id of what it did not get.
func (t sse) messages(b *batch) []byte {
	if t.thin {
		b = b.thinned()
	}
	var scratch [64]byte
	size := 0
	for _, m := range b.messages {
		size += len(dataSSE+idSSE+endSSE) + len(Cursor{m.Offset, b.epoch}.append(scratch[:0])) + len(m.Event) + maxChunkFrame
	}
	dst := make([]byte, 0, size)
	for _, m := range b.messages {
		id := Cursor{m.Offset, b.epoch}.append(scratch[:0])
		dst = t.open(dst, len(dataSSE)+len(m.Event)+len(idSSE)+len(id)+len(endSSE))
		dst = append(dst, dataSSE...)
		dst = append(dst, m.Event...)
		dst = append(dst, idSSE...)
		dst = append(dst, id...)
		dst = append(dst, endSSE...)
		dst = t.close(dst)
	}
	return dst
}

func (t sse) first(b []byte) int {
	if t.chunked {
		return chunkSize(b)
	}
	return bytes.Index(b, []byte(endSSE)) + len(endSSE) // an event holds no line break
}

// Every block that leaves has data. By the standard (WHATWG HTML, section 9.2.6) one without is not
// dispatched and its id is kept, but several clients dispatch an empty message, and Firefox, WebKit
// and others forget the id. What is no event of the channel has a name, so that the onmessage of an
// EventSource does not see it.

// namedBlock returns a block with a name, one line of data and further fields, a line each.
func namedBlock(name, data, fields string) string {
	return "event: " + name + "\ndata: " + data + "\n" + fields + "\n"
}

func retryField(d time.Duration) string {
	return "retry: " + strconv.FormatInt(d.Milliseconds(), 10) + "\n"
}

func idField(c Cursor) string { return "id: " + c.String() + "\n" }

func heartbeatBlock(about string) string { return namedBlock(nameHeartbeat, "{"+about, "") }

// heartbeat implements transport. A comment is a heartbeat that the EventSource of a browser tells
// nobody of.
func (t sse) heartbeat(about string) []byte {
	if about == "" {
		return t.framed(":\n")
	}
	return t.framed(heartbeatBlock(about))
}

func (t sse) farewell(f *farewell, retry time.Duration) []byte {
	switch {
	case f.name == "":
		return nil
	case !f.returns:
		return t.framed(namedBlock(f.name, f.data(retry), ""))
	}
	return t.framed(namedBlock(f.name, f.data(retry), retryField(retry)))
}

// opening implements [StreamTransport]. A stream begins at once, because some clients take an
// answer for begun only when they have read something of its body.
//
// WebKit's EventSource keeps what it has read of an event whose connection was reset, and reads the
// next stream on from there: whatever comes first is lost with it. So first comes a comment, which
// ends a line that was torn, and then a block with a name, which swallows the rest and repeats the
// client's id, should the torn one have been read. A client that is cut off before its first event
// knows from it where it was.
func (t sse) opening(at *Cursor, retry time.Duration, about string) []byte {
	const mend = ":\n"
	text := mend + retryField(retry)
	if at != nil {
		text = mend + namedBlock(nameStart, offsetData(at.Offset), retryField(retry)+idField(*at))
	}
	if about != "" {
		text += heartbeatBlock(about)
	}
	return t.framed(text)
}

// retryEnded is how long a client is told to wait that comes back behind the end, to be answered
// with 204: there are those that do so again and again.
const retryEnded = time.Hour

func (t sse) end(at Cursor) []byte {
	return append(t.framed(namedBlock(nameEnd, offsetData(at.Offset), idField(at)+retryField(retryEnded))), t.last()...)
}
