// Package client speaks HTTP, server-sent events and WebSocket, and costs little beside a server
// that is measured.
package client

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Client makes calls to servers, each on a connection that it keeps for a later one. It has no
// goroutines between caller and connection, as the Transport of net/http has: a client that shares
// the machine with what it measures should cost little. Methods may be called concurrently.
type Client struct {
	From net.IP // the address that it calls from; nil: as the kernel chooses

	mu   sync.Mutex
	idle map[string][]*kept // by address; the last one was used last
}

// kept is a connection that is used for one call after the other.
type kept struct {
	net.Conn
	r    *bufio.Reader
	used time.Time
	last bool // the server closes it
}

// Timeout bounds a call, and the making of its connection.
const Timeout = time.Minute

// keepIdle is how long a connection is kept without a call. Servers keep them longer.
const keepIdle = 5 * time.Second

// New returns a client that has no connection yet.
func New() *Client { return &Client{idle: make(map[string][]*kept)} }

// StatusError is an answer that tells of no success.
type StatusError struct {
	url    string
	Status int
	answer []byte
}

// Error tells the URL, the status and the answer.
func (e *StatusError) Error() string { return fmt.Sprintf("%s: %d %s", e.url, e.Status, e.answer) }

// Post makes a call. headers are names and values in turn.
func Post(c *Client, url, contentType string, body []byte, headers ...string) error {
	_, err := Call(c, url, contentType, body, headers...)
	return err
}

// Call is post, for who wants the answer.
func Call(c *Client, url, contentType string, body []byte, headers ...string) (answer []byte, err error) {
	return c.Do(http.MethodPost, url, body, append([]string{"Content-Type", contentType, "Content-Length", strconv.Itoa(len(body))}, headers...))
}

// Get makes a call without a body.
func (c *Client) Get(url string) (answer []byte, err error) {
	return c.Do(http.MethodGet, url, nil, nil)
}

// Do makes a call. headers are names and values in turn; with a body Content-Length has to be one
// of them. If the connection turns out to have been closed meanwhile, the call is made again on a
// new one.
func (c *Client) Do(method, target string, body []byte, headers []string) (answer []byte, err error) {
	at, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	conn, err := c.take(at.Host)
	if err != nil {
		return nil, err
	}
	answer, status, err := conn.exchange(request(method, at, body, headers))
	if err != nil {
		_ = conn.Close()
		if !conn.used.IsZero() && gone(err) { // the server was restarted, say
			c.Rest()
			return c.Do(method, target, body, headers)
		}
		return nil, fmt.Errorf("%s: %w", target, err)
	}
	if conn.last {
		err = conn.Close()
	} else {
		c.put(at.Host, conn)
	}
	if status >= 300 {
		err = &StatusError{target, status, bytes.TrimSpace(answer)}
	}
	return answer, err
}

// gone reports whether err says that the server has closed the connection.
func gone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// request is the whole request, to leave in one write.
func request(method string, at *url.URL, body []byte, headers []string) []byte {
	out := fmt.Appendf(make([]byte, 0, 512+len(body)), "%s %s HTTP/1.1\r\nHost: %s\r\n", method, at.RequestURI(), at.Host)
	for i := 0; i+1 < len(headers); i += 2 {
		out = append(append(out, headers[i]...), ": "...)
		out = append(append(out, headers[i+1]...), "\r\n"...)
	}
	return append(append(out, "\r\n"...), body...)
}

// exchange sends a request and reads the answer to its end.
func (k *kept) exchange(request []byte) (answer []byte, status int, err error) {
	if err := k.SetDeadline(time.Now().Add(Timeout)); err != nil {
		return nil, 0, err
	}
	if _, err := k.Write(request); err != nil {
		return nil, 0, err
	}
	res, err := http.ReadResponse(k.r, nil)
	if err != nil {
		return nil, 0, err
	}
	k.last = res.Close
	answer, err = io.ReadAll(res.Body)
	return answer, res.StatusCode, errors.Join(err, res.Body.Close())
}

// take returns a connection to an address, a kept one if there is one.
func (c *Client) take(addr string) (*kept, error) {
	c.mu.Lock()
	for idle := c.idle[addr]; len(idle) > 0; idle = c.idle[addr] {
		k := idle[len(idle)-1]
		c.idle[addr] = idle[:len(idle)-1]
		if time.Since(k.used) < keepIdle {
			c.mu.Unlock()
			return k, nil
		}
		_ = k.Close()
	}
	c.mu.Unlock()
	dialer := net.Dialer{Timeout: Timeout}
	if c.From != nil {
		dialer.LocalAddr = &net.TCPAddr{IP: c.From}
	}
	conn, err := dialer.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &kept{Conn: conn, r: bufio.NewReaderSize(conn, 4096)}, nil
}

func (c *Client) put(addr string, k *kept) {
	k.used = time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle[addr] = append(c.idle[addr], k)
}

// Rest closes the connections that are kept.
func (c *Client) Rest() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, idle := range c.idle {
		for _, k := range idle {
			_ = k.Close()
		}
	}
	clear(c.idle)
}
