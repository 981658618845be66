// Package httpbody is how bodies come in and leave: read when a handler asks for them, within what
// all calls together may take, and sent piece by piece to who takes them slowly. It knows the
// connections of the server, and nothing of what bodies are about.
package httpbody

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/gateway/budget"
)

// A body is read when a handler asks for it, and not before: what the head of a call decides (who
// calls, whether the path and the method exist, the media type, the announced size) is decided
// while the body waits in the socket, or at the client, if that sent Expect: 100-continue.
//
// fasthttp reads up to 8 KB of a body before it calls a handler, unless it comes in chunks. So
// receiveHead makes fasthttp believe that each body does; its stream looks at the header again with
// each read, and open puts the length back.

// body is that of the call under way on a connection.
type body struct {
	stream  io.Reader // nil: there is none
	length  int       // as announced, in bytes; unknownLength if it comes in chunks
	got     int       // bytes that were taken off the stream
	whole   bool      // all of it was
	failed  bool      // the stream cannot be read on
	awaited bool      // the client waits for 100 (Continue) before it sends it

	reservation *budget.Reservation // on the memory for it; nil: it is so small that it needs none
}

// unknownLength is that of a body in chunks.
const unknownLength = -1

// lengthField holds the announced length between receiveHead and open. No client can send a field
// of that name.
const lengthField = ":length"

// receiveHead is called with each head, before anything is read behind it.
func receiveHead(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	// A target that begins with two slashes is a path (RFC 9112, section 3.2.1). If :// is
	// somewhere in it fasthttp takes the host out of it, as in //localhost/v1/requests?x=://, and
	// so lets a page choose under which name it calls.
	if target := h.RequestURI(); bytes.HasPrefix(target, []byte("//")) {
		h.SetRequestURIBytes(append([]byte("/."), target...))
	}
	length := h.ContentLength()
	// A length beside chunks, or chunks in HTTP/1.0, is what smuggled requests are made of: the
	// connection is used for nothing after it (RFC 9112, section 6.1).
	if length == unknownLength && (!h.IsHTTP11() || hasField(h.RawHeaders(), fiber.HeaderContentLength)) {
		h.SetConnectionClose()
	}
	if expect := h.Peek(fiber.HeaderExpect); len(expect) > 0 {
		switch {
		case !h.IsHTTP11(): // has no such thing (RFC 9110, section 10.1.1)
			h.Del(fiber.HeaderExpect)
		case strings.EqualFold(string(expect), "100-continue"):
			h.Set(fiber.HeaderExpect, "100-continue") // the one spelling that fasthttp knows
		}
	}
	if length > 0 {
		h.Set(lengthField, strconv.Itoa(length))
		h.SetContentLength(unknownLength)
	}
	return fasthttp.RequestConfig{}
}

// hasField reports whether there is a field of a name in a head as it was sent.
func hasField(head []byte, name string) bool {
	for line := range strings.Lines(string(head)) {
		if field, _, ok := strings.Cut(line, ":"); ok && strings.EqualFold(field, name) {
			return true
		}
	}
	return false
}

// expect answers Expect: 100-continue, or so the server thinks: see conn.Write.
func expect(ctx *fasthttp.RequestCtx) int {
	ConnOf(ctx).held = true
	return fasthttp.StatusContinue
}

// open begins a call.
func open(ctx *fasthttp.RequestCtx) *Conn {
	c, h := ConnOf(ctx), &ctx.Request.Header
	c.Caller, c.From, c.late = "", netip.Addr{}, false
	c.Role, c.Method, c.Route = "", "", ""
	length := h.ContentLength()
	if length == unknownLength {
		if announced := h.Peek(lengthField); len(announced) > 0 {
			length, _ = strconv.Atoi(string(announced)) // as receiveHead wrote it
			h.Del(lengthField)
			h.SetContentLength(length)
		}
	}
	c.body = body{stream: ctx.Request.BodyStream(), length: length, awaited: c.body.awaited}
	if c.body.stream == nil || length == 0 {
		c.body = body{whole: true}
	}
	return c
}

// bodyOf returns the body of a call, which has not been read.
func bodyOf(c *fiber.Ctx) *body { return &ConnOf(c.Context()).body }

// Announced reports whether there is a body, as far as its head tells: one in chunks may turn out
// to be empty.
func Announced(c *fiber.Ctx) bool { return bodyOf(c).length != 0 }

// Read reads the body of a call, once. What it returns is the caller's. It may have at most
// that many bytes: a larger one is refused by its length if it says that, else when the bound is
// passed. Errors are problems.
//
// The memory is reserved before it is taken, and what is reserved held until the call ends, or
// [Released].
func Read(c *fiber.Ctx, most int) ([]byte, error) {
	conn := ConnOf(c.Context())
	b := &conn.body
	if b.length > most {
		return nil, tooLarge(most)
	}
	if b.whole {
		return nil, nil
	}
	if b.awaited {
		b.awaited = false
		if _, err := conn.Conn.Write(continueLine); err != nil {
			b.failed = true
			return nil, brokenBody(conn, err)
		}
	}
	room := b.length
	if room == unknownLength {
		room = most + 1 // with the byte that is one too many
	}
	data := make([]byte, 0, min(room, unreserved))
	pace := pace{limit: conn.bounds.Stall}
	for {
		if len(data) == cap(data) && len(data) < room {
			next := nextRoom(len(data), room)
			if err := conn.reserveRoom(next, room); err != nil {
				return nil, err
			}
			// Its memory is not touched before something arrives, as that which append would take
			// is.
			more := make([]byte, len(data), next)
			copy(more, data)
			data = more
		}
		if err := pace.before(conn, len(data)); err != nil {
			return nil, brokenBody(conn, err)
		}
		n, err := b.take(conn, data[len(data):cap(data)])
		data = data[:len(data)+n]
		b.reservation.Fill(int64(len(data)))
		switch {
		case err != nil:
			return nil, brokenBody(conn, err)
		case len(data) > most:
			return nil, tooLarge(most)
		case b.whole:
			return data, nil
		}
	}
}

// take reads some of the body. Nothing is left when it is whole.
func (b *body) take(c *Conn, p []byte) (int, error) {
	n, err := b.stream.Read(p)
	b.got += n
	switch {
	case err == io.EOF && (c.ended || b.length != unknownLength && b.got != b.length):
		err = io.ErrUnexpectedEOF // the connection ended before the body did
	case err == io.EOF:
		b.whole, err = true, nil
	case err == nil && b.got == b.length:
		b.whole = true
	}
	b.failed = err != nil
	return n, err
}

func tooLarge(most int) *problem.Details {
	return &problem.Details{Kind: problem.TooLarge, Detail: fmt.Sprintf("The body may have at most %d bytes here.", most)}
}

// brokenBody is the problem of a body that did not arrive.
func brokenBody(c *Conn, err error) *problem.Details {
	if c.body.reservation.Slow() {
		return &problem.Details{Kind: problem.Timeout, Detail: "The body came so slowly that others had to wait for its room. Send it again, in smaller parts if the line is slow."}
	}
	if timeout, ok := errors.AsType[net.Error](err); c.late || ok && timeout.Timeout() {
		return &problem.Details{Kind: problem.Timeout, Detail: "The body stood still, or came too slowly. Send it again, in smaller parts if the line is slow."}
	}
	return &problem.Details{Kind: problem.Malformed, Detail: "The body ended early, or its chunks are broken."}
}

// What is dropped of a body that nobody wanted, so that the connection can be used again.
const (
	dropBytes = 256 << 10
	dropTime  = 50 * time.Millisecond // it is on its way, right behind its head
)

// finish ends a call. Of a body that nobody read a short rest is dropped; if there is more of it,
// the connection is closed after the answer, because the next request stands behind it.
func (c *Conn) finish(ctx *fasthttp.RequestCtx) {
	c.body.release()
	if c.body.whole || c.body.drop(c) {
		c.body = body{}
		return
	}
	c.body = body{}
	if ctx.Hijacked() { // the connection is a stream's, which drops whatever its client sends
		return
	}
	c.unread.Store(true)
	ctx.SetConnectionClose()
}

// drop reads the rest and reports whether it was short.
func (b *body) drop(c *Conn) bool {
	if b.failed || b.awaited || b.length-b.got > dropBytes || c.SetReadDeadline(time.Now().Add(dropTime)) != nil {
		return false
	}
	buffer := lingerBuffers.Get().(*[32 << 10]byte) //nolint:forcetypeassert // it makes nothing else
	defer lingerBuffers.Put(buffer)
	for end := b.got + dropBytes; b.got <= end && !b.whole; {
		if _, err := b.take(c, buffer[:]); err != nil {
			return false
		}
	}
	return b.whole
}

// Pending reports whether a call has a body, or says that one comes.
func Pending(c *fiber.Ctx) bool { return !ConnOf(c.Context()).body.whole }

// Forget drops what nobody reads before something else does that would read all of it.
func Forget(c *fiber.Ctx) {
	conn := ConnOf(c.Context())
	conn.finish(c.Context())
	conn.body.whole = true
	c.Request().ResetBody()
}
