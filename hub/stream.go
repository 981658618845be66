package hub

import (
	"bytes"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"
)

// stream is one Server-Sent Events connection: an outbox and its subscription, one
// allocation.
type stream struct {
	outbox
	sub   subscription
	fresh bool // of a feed, without a cursor
	tells bool // its heartbeats are blocks, see [StreamOptions]
}

// StreamOptions of [Hub.ServeStream].
type StreamOptions struct {
	Header http.Header // sent besides the stream's own fields
	After  *Cursor     // the client's cursor, nil if it has none
	Caller string      // who connects, for [Options.PerCaller]
	// Address is where from, for [Options.PerAddress]; the zero value if that is not known.
	Address netip.Addr
	Pass    *Pass // until when the stream may stay; nil for ever
	Plain   bool  // the client speaks HTTP/1.0 and takes no chunks
	// Heartbeats says that the client wants to see the heartbeats: as a block with a name, the first one at once, instead of comments, which the
	// EventSource of a browser tells nobody of.
	Heartbeats bool
}

// ServeStream answers on conn with the events of a channel as text/event-stream
// (WHATWG HTML, section 9.2) until the channel ends or the client goes away. It
// takes conn over and returns when the stream is live; from then on the stream
// holds no goroutine. Only the end of the channel ends the chunked body (RFC 9112, section 7.1): whatever else closes
// the connection leaves it incomplete, so that no client takes that for the end. A stream that is one too many is told to come back much later: with
// any other answer than 200 an EventSource would never come back.
func (h *Hub) ServeStream(conn net.Conn, c Channel, o StreamOptions) {
	if !h.enter() {
		_ = conn.Close()
		return
	}
	defer h.tasks.Done()
	wire := wireSSE
	if o.Plain {
		wire = wirePlain
	}
	place, met := h.admission.admit(o.Caller, o.Address, false, h.stats.openNow())
	if met != nil {
		h.stats.shed(wire)
		_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = conn.Write(append(streamHead(wire, o.Header), wire.framed(met.refusal(h.shedRetry()))...)) // if it does not arrive, it is lost on somebody who has gone
		_ = conn.Close()
		return
	}
	after := o.After
	s := &stream{fresh: c.Live && after == nil, tells: o.Heartbeats}
	h.join(c, s, &s.sub)
	defer h.release(s.sub.ch)
	s.init(h, conn, wire, s, place, o.Pass)
	first := s.opening(after, h.retry())
	if s.tells {
		first = append(first, h.signs.block...)
	}
	if err := s.write(append(streamHead(wire, o.Header), wire.framed(first)...), true); err != nil {
		return
	}
	if h.draining.Load() {
		s.goAway()
		return
	}
	if err := h.follow(h.ctx, &s.sub, c, after); err != nil {
		if !errors.Is(err, errClosed) {
			s.broken(&s.sub, err)
		}
		return
	}
	if err := s.watch(); err != nil && !hasPoller && s.conn != nil {
		h.tasks.Go(func() { s.readBlocking(make([]byte, 512), func([]byte) { s.silence() }) }) // what it says is dropped, as by readable
	}
	// On Linux, under TLS, the heartbeat finds out who has gone: no other connection has a goroutine there.
}

// heartbeat implements connection.
func (s *stream) heartbeat() []byte {
	if s.tells {
		return s.hub.signs.blocks[s.wire]
	}
	return comments[s.wire]
}

// leave implements connection.
func (s *stream) leave() { s.sub.ch.remove(&s.sub) }

// readable implements connection: a client of a stream has nothing to say, so it
// has gone, or what it says is dropped.
func (s *stream) readable() {
	var drop [512]byte
	for {
		n, closed := s.tryRead(drop[:])
		if closed {
			s.abort(reasonGone)
			return
		}
		if n == 0 {
			_ = s.watch() // as it was the first time
			return
		}
		s.silence()
	}
}

// silence ends the connection of a client that does not stop to talk.
func (s *stream) silence() {
	if s.talkative(streamReads) {
		s.abort(reasonProtocol)
	}
}

// StreamHeader returns the fields of a stream's answer, besides those that say how its body is framed.
func StreamHeader() http.Header {
	return http.Header{
		"Content-Type":      {"text/event-stream"},
		"Cache-Control":     {"no-store"},
		"X-Accel-Buffering": {"no"}, // nginx: pass on at once
	}
}

// streamFields are those of StreamHeader as they are sent.
var streamFields = func() string {
	var fields bytes.Buffer
	_ = StreamHeader().Write(&fields) // a buffer takes everything
	return fields.String()
}()

// streamHead is the head of the answer to a client that is served, or shed.
func streamHead(w wire, header http.Header) []byte {
	var head bytes.Buffer
	head.WriteString("HTTP/1.1 200 OK\r\n" + streamFields)
	head.WriteString("Date: " + time.Now().UTC().Format(http.TimeFormat) + "\r\n")
	if w == wireSSE {
		head.WriteString("Transfer-Encoding: chunked\r\n")
	}
	head.WriteString("Connection: close\r\n")
	_ = header.Write(&head) // a buffer takes everything
	head.WriteString("\r\n")
	return head.Bytes()
}

// retry returns how long a client should wait before it reconnects: jittered, so
// that those who were closed together do not come back together.
func (h *Hub) retry() time.Duration {
	return time.Duration(float64(h.opts.Retry) * (2 + 2*rand.Float64()) / 3)
}

// Every block that leaves has data. By the standard (WHATWG HTML, section 9.2.6) one without is not dispatched and its id is kept, but
// several clients dispatch an empty message, and Firefox, WebKit and others forget the id. What is no event of the channel has a name, so that
// the onmessage of an EventSource does not see it.
const (
	nameStart       = "start"           // the channel is followed from here on
	nameHeartbeat   = "heartbeat"       // a sign of life, for those who want to see it
	nameEnd         = "end"             // nothing follows
	nameBusy        = "busy"            // there are too many connections: come back after retry
	nameRestart     = "restart"         // this node goes away: come back
	nameUnavailable = "unavailable"     // the channel cannot be read: come back
	nameUnproven    = "unauthenticated" // what the client was let in with holds no longer
)

// namedBlock returns a block with a name, one line of data and further fields, a line each.
func namedBlock(name, data, fields string) []byte {
	return []byte("event: " + name + "\ndata: " + data + "\n" + fields + "\n")
}

// farewell is what is said to a client that is to come back.
func farewell(name string, retry time.Duration) []byte { return leaving(name, retry, "") }

// refusal is what is said to a client that has met the limit.
func (l *limit) refusal(retry time.Duration) []byte {
	return leaving(nameBusy, retry, `,"violated-policies":["`+l.policy+`"],"detail":"`+l.detail+`"`)
}

// leaving is farewell with further members of its data.
func leaving(name string, retry time.Duration, members string) []byte {
	milliseconds := strconv.FormatInt(retry.Milliseconds(), 10)
	return namedBlock(name, `{"retry":`+milliseconds+members+`}`, "retry: "+milliseconds+"\n")
}

func offsetData(offset uint64) string { return `{"offset":` + strconv.FormatUint(offset, 10) + `}` }

func idField(c Cursor) string { return "id: " + c.String() + "\n" }

// offsetAnd returns an offset as data, and as the id.
func (s *stream) offsetAnd(offset uint64) (data, id string) {
	return offsetData(offset), idField(Cursor{offset, s.sub.ch.epoch})
}

// opening is what a stream begins with at once, because some clients take an answer for begun only when they have read something of its body.
//
// WebKit's EventSource keeps what it has read of an event whose connection was reset, and reads the next stream on from there: whatever comes first
// is lost with it. So first comes a comment, which ends a line that was torn, and then a block with a name, which swallows the rest and repeats the
// client's id, should the torn one have been read. Of a new feed that block comes when it is known where it begins.
func (s *stream) opening(after *Cursor, retry time.Duration) []byte {
	const mend = ":\n"
	again := string(retryField(retry))
	if s.fresh {
		return []byte(mend + again)
	}
	at := Cursor{Epoch: s.sub.ch.epoch}
	if after != nil {
		at = *after
	}
	return append([]byte(mend), namedBlock(nameStart, offsetData(at.Offset), again+idField(at))...)
}

// retryField is the field of that name, as a line.
func retryField(d time.Duration) []byte {
	b := append([]byte("retry: "), strconv.FormatInt(d.Milliseconds(), 10)...)
	return append(b, '\n')
}

func (s *stream) begin(_ *subscription, at, _ uint64, _ bool) {
	if s.fresh {
		// A client that is cut off before its first event knows where it was.
		data, id := s.offsetAnd(at)
		_ = s.write(s.wire.framed(namedBlock(nameStart, data, id)), true)
	}
}

// retryEnded is how long a client is told to wait that comes back behind the end, to be answered with 204: there are those
// that do so again and again.
const retryEnded = time.Hour

func (s *stream) ended(_ *subscription, offset uint64) {
	data, id := s.offsetAnd(offset)
	b := s.wire.framed(namedBlock(nameEnd, data, id+string(retryField(retryEnded))))
	if s.wire == wireSSE {
		b = append(b, lastChunk...)
	}
	s.finish(b, reasonEnded)
}

func (s *stream) broken(_ *subscription, err error) {
	if s.hub.ctx.Err() == nil {
		s.hub.log.Warn("stream closed: its channel could not be read", slog.Any("error", err))
	}
	s.finish(s.wire.framed(farewell(nameUnavailable, s.hub.retry())), reasonSource)
}
