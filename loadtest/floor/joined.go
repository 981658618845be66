package main

import (
	"net"
	"sync"
)

// joined is a connection on which what is written while a write is under way leaves together in the
// next one, as on that of broker/rabbitmq: the library makes a system call for each message
// otherwise.
type joined struct {
	net.Conn

	mu             sync.Mutex
	waiting, spare []byte
	writing        bool
}

func dialJoined(network, addr string) (net.Conn, error) {
	conn, err := net.Dial(network, addr)
	return &joined{Conn: conn}, err
}

// Write implements net.Conn. It returns before the bytes have left.
func (c *joined) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = append(c.waiting, p...)
	if !c.writing {
		c.writing = true
		go c.flush()
	}
	return len(p), nil
}

// flush writes until nothing waits.
func (c *joined) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.waiting) > 0 {
		batch := c.waiting
		c.waiting = c.spare[:0]
		c.mu.Unlock()
		if _, err := c.Conn.Write(batch); err != nil {
			_ = c.Close() // so that the reader hears of it
		}
		c.mu.Lock()
		c.spare = batch
	}
	c.writing = false
}
