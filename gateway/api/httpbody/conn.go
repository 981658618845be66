package httpbody

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/hark-push/hark/gateway/hangup"
	"github.com/hark-push/hark/gateway/intake"
	"github.com/hark-push/hark/lifecycle/stall"
)

// SetUp has a server read bodies when they are asked for, and tell how what it cannot read ends. It
// is called last: what handles calls is wrapped by it. The listener is to be one of
// [Listen].
func SetUp(server *fasthttp.Server) {
	server.HeaderReceived, server.ExpectHandler = receiveHead, expect
	server.ConnState = func(c net.Conn, state fasthttp.ConnState) {
		if own, ok := c.(*Conn); ok && (state == fasthttp.StateIdle || state == fasthttp.StateClosed) {
			own.answered()
		}
		if state == fasthttp.StateIdle {
			intake.Of(c).End()
		}
	}
	refuse := server.ErrorHandler
	server.ErrorHandler = func(ctx *fasthttp.RequestCtx, err error) {
		refuse(ctx, withoutText(err))
		// What cannot be read has an end that nobody knows. Who says nothing is not waited for any
		// longer.
		timeout, ok := errors.AsType[net.Error](err)
		ConnOf(ctx).unread.Store(!ok || !timeout.Timeout())
	}
	handle := server.Handler
	server.Handler = func(ctx *fasthttp.RequestCtx) {
		c := open(ctx)
		c.place.Begin()
		defer c.finish(ctx)
		handle(ctx)
	}
}

// Listen returns a listener whose connections keep to bounds. stall, which may be
// nil, says for how long what has come is read although its time was over.
func Listen(l net.Listener, u *Bounds, stall *stall.Watch) net.Listener {
	return listener{l, u, stall}
}

// listener makes a [Conn] of each connection.
type listener struct {
	net.Listener
	bounds *Bounds
	stall  *stall.Watch
}

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: c, place: intake.Of(c), bounds: l.bounds, stall: l.stall}, nil
}

// Conn is a connection to a client. It knows the body of the call that is under way, and what is to
// happen to one that was not read. One goroutine uses it, but for Close.
type Conn struct {
	net.Conn
	place  *intake.Conn // nil if nobody counts it
	bounds *Bounds
	stall  *stall.Watch
	body   body

	// Caller is whose share of the bytes the call takes, "" if that is not known, and From the
	// network of its client, the zero value if that is not known. Each call begins without.
	Caller string
	From   netip.Addr
	// Role is that of who makes the call, and Method and Route the resource that it has reached, as
	// the table of resources names it; "" as long as that is not known.
	Role, Method, Route string

	held    bool        // the next 100 (Continue) of the server is kept back
	hurried bool        // a read returns at once
	ended   bool        // the client will send no more
	late    bool        // a read has waited until its deadline
	unread  atomic.Bool // something of a request may still come, which nobody reads

	// To be called if the client does not get the answer; nil: nobody wants to know.
	undelivered func()
	begun       bool // something of that answer was written
}

// ConnOf returns the connection of a call.
func ConnOf(ctx *fasthttp.RequestCtx) *Conn {
	c, ok := ctx.Conn().(*Conn)
	if !ok {
		panic("the API is served by something else than its Serve")
	}
	return c
}

// SetReadDeadline notes whether only what is there is to be read.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.hurried = !t.IsZero() && time.Since(t) > time.Hour
	return c.Conn.SetReadDeadline(t)
}

// UnsafeConn returns the connection beneath, as fasthttp's own wrapper does.
func (c *Conn) UnsafeConn() net.Conn { return c.Conn }

// settled is how long what has come to a connection while this process stood still may take to be
// read.
const settled = 2 * time.Second

// Read notices the end and a deadline, which fasthttp's reader of chunks does not tell from others.
// A deadline that passed while this process stood still ends nothing that has come meanwhile.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && !c.hurried && c.stall.Left() > 0 && c.Conn.SetReadDeadline(time.Now().Add(settled)) == nil {
		n, err = c.Conn.Read(p)
	}
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		c.ended = true
	default: // what it wraps, the reader of chunks does not tell
		timeout, ok := errors.AsType[net.Error](err)
		c.late = ok && timeout.Timeout()
	}
	return n, err
}

var continueLine = []byte("HTTP/1.1 100 Continue\r\n\r\n")

// Write keeps back the 100 (Continue) that the server writes of its own accord: body.read sends it,
// when a body is wanted.
func (c *Conn) Write(p []byte) (n int, err error) {
	if c.undelivered == nil {
		return c.write(p)
	}
	// The system takes what is written to a client that has closed its end, and finds out later.
	if hangup.Left(c) {
		c.Missed()
		return 0, net.ErrClosed
	}
	if n, err = c.write(p); err != nil {
		c.Missed()
	}
	c.begun = true
	return n, err
}

// Await has a function called if the client does not get the answer to the call that is under way,
// as far as that can be known: it has hung up before something was written, or the connection did
// not take all of it. What the connection took and the client never read is not noticed.
func (c *Conn) Await(undelivered func()) { c.undelivered, c.begun = undelivered, false }

// Missed says that the client does not get the answer that is under way.
func (c *Conn) Missed() {
	if f := c.undelivered; f != nil {
		c.undelivered = nil
		f()
	}
}

// answered says that the answer to a call has been written, or that the connection is closed and
// nothing more will be.
func (c *Conn) answered() {
	if !c.begun {
		c.Missed()
	}
	c.undelivered = nil
}

func (c *Conn) write(p []byte) (int, error) {
	if !c.held {
		return c.send(p)
	}
	c.held = false
	before, ok := bytes.CutSuffix(p, continueLine)
	if !ok {
		return c.send(p)
	}
	c.body.awaited = true
	if len(before) > 0 { // answers to earlier calls
		if n, err := c.Conn.Write(before); err != nil {
			return n, err
		}
	}
	return len(p), nil
}

// send writes what a client may read slowly, but not stop to read. What is short may wait in the
// buffers of the system, and of the server.
func (c *Conn) send(p []byte) (n int, err error) {
	const short = 4 << 10
	if len(p) < short {
		return c.Conn.Write(p)
	}
	for len(p) > 0 && err == nil {
		if err = c.SetWriteDeadline(time.Now().Add(c.bounds.Stall)); err != nil {
			return n, err
		}
		var m int
		m, err = c.Conn.Write(p[:min(len(p), PieceSize)])
		p, n = p[m:], n+m
	}
	if err == nil {
		err = c.SetWriteDeadline(time.Time{})
	}
	return n, err
}

// Close closes the connection, in a way that lets the client see the last answer.
func (c *Conn) Close() error {
	if c.unread.Load() {
		c.linger()
	}
	return c.Conn.Close()
}

// How long and for how much a connection is read on after its last answer.
const (
	lingerTime  = 10 * time.Second
	lingerPause = 2 * time.Second // between two pieces
	lingerBytes = 64 << 20
)

var lingerBuffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// linger says that nothing will follow, and drops what still comes, within bounds. To close a
// connection while there are bytes that nobody has read resets it, and the client, or the proxy in
// front, may lose the answer (RFC 9112, section 9.6).
func (c *Conn) linger() {
	raw := c.Conn
	if secured, ok := raw.(*tls.Conn); ok {
		_ = secured.CloseWrite()
		raw = secured.NetConn()
	}
	half, ok := raw.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	buffer := lingerBuffers.Get().(*[32 << 10]byte) //nolint:forcetypeassert // it makes nothing else
	defer lingerBuffers.Put(buffer)
	end := time.Now().Add(lingerTime)
	for left := lingerBytes; left > 0; {
		deadline := time.Now().Add(lingerPause)
		if deadline.After(end) {
			deadline = end
		}
		if raw.SetReadDeadline(deadline) != nil {
			return
		}
		n, err := raw.Read(buffer[:])
		if err != nil {
			return
		}
		left -= n
	}
}
