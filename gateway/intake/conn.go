package intake

import (
	"container/list"
	"crypto/tls"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// Conn is a connection that a [Listener] counts. Its methods may be called concurrently.
type Conn struct {
	net.Conn
	listener *Listener
	from     netip.Addr  // whose share it takes; the zero value if nobody's
	held     atomic.Bool // it waits for a place; changed under listener.mu

	// Under listener.mu.
	counted bool
	since   time.Time     // when it became idle
	place   *list.Element // among all idle ones, nil while a call is under way
	there   *list.Element // among those of its address
	address *address      // nil if it takes nobody's share
}

// UnsafeConn returns the connection beneath, by the name that fasthttp's wrappers have for it.
func (c *Conn) UnsafeConn() net.Conn { return c.Conn }

// Read waits for a place first if there was none yet when the connection came, for a second at
// most. If there is none then either, the client has been told so, and the error is net.ErrClosed.
func (c *Conn) Read(p []byte) (int, error) {
	if c.held.Load() {
		if err := c.listener.settle(c); err != nil {
			return 0, err
		}
	}
	return c.Conn.Read(p)
}

// CloseWrite tells the client that nothing follows.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return net.ErrClosed
}

// Close closes the connection, which then counts no more.
func (c *Conn) Close() error {
	c.Release()
	return c.Conn.Close()
}

// Begin says that a call is under way, so that the connection is not idle.
func (c *Conn) Begin() {
	if c == nil {
		return
	}
	c.listener.mu.Lock()
	defer c.listener.mu.Unlock()
	c.listener.markBusy(c)
}

// End says that the call has been answered.
func (c *Conn) End() {
	if c == nil {
		return
	}
	c.listener.mu.Lock()
	defer c.listener.mu.Unlock()
	c.listener.markIdle(c, time.Now())
	c.listener.free() // who waits may have it
}

// Release takes the connection out of the count, because it is somebody else's who counts it
// himself.
func (c *Conn) Release() {
	if c == nil {
		return
	}
	c.listener.mu.Lock()
	defer c.listener.mu.Unlock()
	c.listener.release(c)
	c.listener.leave(c)
}

// Of returns what counts a connection, which may be wrapped, by TLS too; nil if nothing does. The
// methods of a nil Conn do nothing, but for those of [net.Conn].
func Of(c net.Conn) *Conn {
	for {
		if found, ok := c.(*Conn); ok {
			return found
		}
		switch wrapped := c.(type) {
		case *tls.Conn:
			c = wrapped.NetConn()
		case interface{ UnsafeConn() net.Conn }:
			c = wrapped.UnsafeConn()
		default:
			return nil
		}
	}
}
