package rabbitmq

import (
	"net"
	"sync"
	"time"
)

// joined is a connection on which what is written while a write is under way leaves together in the
// next one: the library makes a system call, and the server wakes up, for each publication and each
// acknowledgment otherwise. Nothing waits for company.
//
// Write returns before the bytes have left. If they cannot leave within writeTimeout, the
// connection is closed, and with it ends what was written: a publication is not confirmed, what is
// not acknowledged is delivered again.
type joined struct {
	net.Conn

	mu      sync.Mutex
	room    sync.Cond // when a write has ended
	waiting []byte    // not handed to a write yet
	spare   []byte    // of the last write
	writing bool
	closing bool
	err     error // why no write will come
}

// mostWaiting is how many bytes wait before Write does.
const mostWaiting = 256 << 10

func newJoined(conn net.Conn) *joined {
	c := &joined{Conn: conn}
	c.room.L = &c.mu
	return c
}

// Write implements net.Conn. It may be called concurrently.
func (c *joined) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.waiting) >= mostWaiting && c.err == nil {
		c.room.Wait()
	}
	if c.err != nil {
		return 0, c.err
	}
	c.waiting = append(c.waiting, p...)
	if !c.writing {
		c.writing = true
		go c.flush() // ends with the connection at the latest
	}
	return len(p), nil
}

// flush writes until nothing waits.
func (c *joined) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.waiting) > 0 && c.err == nil {
		batch := c.waiting
		c.waiting = c.spare[:0]
		bound := writeTimeout
		if c.closing {
			bound = closeTimeout
		}
		c.mu.Unlock()
		err := c.SetWriteDeadline(time.Now().Add(bound))
		if err == nil {
			_, err = c.Conn.Write(batch)
		}
		if err != nil {
			_ = c.Conn.Close() // so that the reader hears of it
		}
		c.mu.Lock()
		c.spare, c.err = nil, err
		if cap(batch) <= mostWaiting {
			c.spare = batch
		}
		c.room.Broadcast()
	}
	c.writing = false
	c.room.Broadcast()
}

// Close implements net.Conn. What was written before leaves, within closeTimeout: it may be the
// last word of the protocol.
func (c *joined) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writing && !c.closing {
		_ = c.SetWriteDeadline(time.Now().Add(closeTimeout)) // of the write that is under way
	}
	c.closing = true
	for c.writing {
		c.room.Wait()
	}
	if c.err == nil {
		c.err = net.ErrClosed
	}
	c.room.Broadcast()
	return c.Conn.Close()
}
