package hub

import (
	"bytes"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// stream is the connection of a client that follows one channel: an outbox and its subscription,
// one allocation.
type stream struct {
	outbox
	sub     subscription
	attempt int32 // of the pieces that were sent last; told by native
	turned  bool  // nothing more is sent: its client has to come back
}

// StreamOptions of [Hub.ServeStream].
type StreamOptions struct {
	Header http.Header // sent besides the stream's own fields
	After  *Cursor     // the client's cursor, nil if it has none
	Caller string      // who connects, for [Options.PerCaller]
	// Address is where from, for [Options.PerAddress]; the zero value if that is not known.
	Address    netip.Addr
	Credential *Credential // until when the stream may stay; nil for ever
	// Transport is how it is written; nil for SSE in chunks.
	Transport StreamTransport
	// Heartbeats says that the client wants to see the heartbeats, the first one at once.
	Heartbeats bool
	// Cursor is the last one that the client of a durable stream has got, see [Durable].
	Cursor uint64
}

// ServeStream answers on conn with the events of a channel until the channel ends or the client
// goes away. It takes conn over and returns when the stream is live; from then on the stream holds
// no goroutine. Only the end of the channel ends the chunked body (RFC 9112, section 7.1): whatever
// else closes the connection leaves it incomplete, so that no client takes that for the end;
// [Durable] is the exception. A stream that is one too many is told to come back much later.
func (h *Hub) ServeStream(conn net.Conn, c Channel, o StreamOptions) {
	if !h.enter() {
		_ = conn.Close()
		return
	}
	defer h.tasks.Done()
	transport := o.Transport
	if transport == nil {
		transport = SSE(true, false)
	}
	place, met := h.admission.admit(o.Caller, o.Address, false, h.stats.openNow())
	if met != nil {
		h.stats.shed()
		_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
		// If it does not arrive, it is lost on somebody who has gone.
		_, _ = conn.Write(transport.refusal(o.Header, h.stats.meets(met), h.shedRetry()))
		_ = conn.Close()
		return
	}
	after := o.After
	s := new(stream)
	h.join(c, s, &s.sub, transport.form())
	defer h.release(s.sub.ch)
	fresh := c.Live && after == nil
	var err error
	if fresh {
		// Before the head: what is published once a client has that belongs to its stream.
		after, err = h.end(h.ctx, s.sub.ch)
	}
	s.tells = o.Heartbeats
	s.init(h, conn, transport.form(), s, place, o.Credential)
	h.cursors.pass(o.Cursor)
	if s.write(append(streamHead(transport, o.Header), s.opening(transport, after, fresh)...), true) != nil {
		return
	}
	if transport.form().ofStream() && s.sub.ch.epoch != c.Epoch {
		// Others follow a stream yet that had the name before, and are about to be told.
		s.dismiss(farewellSource)
		return
	}
	if h.draining.Load() {
		s.goAway()
		return
	}
	if live := err == nil && fresh && s.sub.release(after.Offset); err == nil && !live {
		err = h.follow(h.ctx, &s.sub, c, after)
	}
	if err != nil {
		if !errors.Is(err, errClosed) {
			s.broken(&s.sub, err)
		}
		return
	}
	if err := s.watch(); err != nil && !hasPoller && s.conn != nil {
		// What it says is dropped, as by readable.
		h.tasks.Go(func() { s.readBlocking(make([]byte, 512), func([]byte) { s.silence() }) })
	}
	// On Linux, under TLS, the heartbeat finds out who has gone: no other connection has a
	// goroutine there.
}

// opening returns how it begins at once, behind a cursor if the client has one or follows from now
// on; a channel that is followed from its beginning has none.
func (s *stream) opening(t StreamTransport, after *Cursor, fresh bool) []byte {
	if after == nil && !fresh {
		after = &Cursor{Epoch: s.sub.ch.epoch}
	}
	about := ""
	if s.tells {
		about = s.hub.signs.about
	}
	return t.opening(after, s.hub.retry(), about)
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

// StreamHeader returns the fields of a stream's answer, besides those that say how its body is
// framed.
func StreamHeader(t StreamTransport) http.Header {
	caches := "no-store"
	if t.form().ofStream() { // there are readers of streams that look for this, too
		caches = "no-cache, no-store"
	}
	return http.Header{
		"Content-Type":      {t.mediaType()},
		"Cache-Control":     {caches},
		"X-Accel-Buffering": {"no"}, // nginx: pass on at once
	}
}

// streamHead is the head of the answer to a client that is served, or shed.
func streamHead(t StreamTransport, header http.Header) []byte {
	var head bytes.Buffer
	head.WriteString("HTTP/1.1 200 OK\r\n")
	_ = StreamHeader(t).Write(&head) // a buffer takes everything
	head.WriteString("Date: " + time.Now().UTC().Format(http.TimeFormat) + "\r\n")
	if t.chunks() {
		head.WriteString("Transfer-Encoding: chunked\r\n")
	}
	head.WriteString("Connection: close\r\n")
	_ = header.Write(&head)
	head.WriteString("\r\n")
	return head.Bytes()
}

// retry returns how long a client should wait before it reconnects: jittered, so
// that those who were closed together do not come back together.
func (h *Hub) retry() time.Duration {
	return time.Duration(float64(h.opts.Retry) * (2 + 2*rand.Float64()) / 3)
}

// transport returns that of the stream.
func (s *stream) transport() StreamTransport { return transports[s.form].(StreamTransport) }

// begin implements follower. What opens a stream of events has said it; of others one that has all
// there is is told so, because it may be long until something comes.
func (s *stream) begin(_ *subscription, at, top uint64, recovered bool) {
	if t, ok := transports[s.form].(durable); ok && recovered && at == top {
		// A failure has closed the outbox.
		_ = s.write(t.caughtUp(at, s.sub.ch.epoch, s.hub.cursors.next()), true)
	}
}

// send implements follower. What the transport cannot say ends the connection in front of it: its
// client comes back, and is answered in another one.
func (s *stream) send(sub *subscription, b *batch, history bool) {
	if !s.form.ofStream() {
		s.outbox.send(sub, b, history)
		return
	}
	if s.turned {
		return
	}
	n := transports[s.form].(interface{ fits([]Message, string) int }).fits(b.messages, b.epoch)
	if n > 0 {
		if t, ok := transports[s.form].(native); ok {
			if attempt := int32(b.messages[0].Piece.Attempt); attempt != s.attempt {
				_ = s.write(t.attempt(b.messages[0].first()-1, b.epoch, int(attempt)), history)
			}
			s.attempt = int32(b.messages[n-1].Piece.Attempt)
		}
		part := b
		if n < len(b.messages) {
			part = new(b.head(n))
		}
		s.outbox.send(sub, part, history)
	}
	if n < len(b.messages) {
		s.turned = true
		s.dismiss(farewellTurn)
	}
}

func (s *stream) ended(_ *subscription, offset uint64) {
	if s.turned {
		return
	}
	s.finish(s.transport().end(Cursor{offset, s.sub.ch.epoch}), reasonEnded)
}

func (s *stream) broken(_ *subscription, err error) {
	if s.hub.ctx.Err() == nil {
		s.hub.log.Warn("stream closed: its channel could not be read", slog.String("channel", s.sub.ch.name), slog.Any("error", err))
	}
	s.dismiss(farewellSource)
}
