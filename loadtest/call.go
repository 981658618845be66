package main

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

// client makes calls to servers, each on a connection that it keeps for a later one. It has no goroutines
// between caller and connection, as the Transport of net/http has: a client that shares the machine with what it
// measures should cost little. Methods may be called concurrently.
type client struct {
	from net.IP // the address that it calls from; nil: as the kernel chooses

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

const (
	callTimeout = time.Minute
	keepIdle    = 5 * time.Second // servers keep connections longer
)

func newClient() *client { return &client{idle: make(map[string][]*kept)} }

// statusError is an answer that tells of no success.
type statusError struct {
	url    string
	status int
	answer []byte
}

func (e *statusError) Error() string { return fmt.Sprintf("%s: %d %s", e.url, e.status, e.answer) }

// post makes a call. headers are names and values in turn.
func post(c *client, url, contentType string, body []byte, headers ...string) error {
	_, err := call(c, url, contentType, body, headers...)
	return err
}

// call is post, for who wants the answer.
func call(c *client, url, contentType string, body []byte, headers ...string) (answer []byte, err error) {
	return c.do(http.MethodPost, url, body, append([]string{"Content-Type", contentType, "Content-Length", strconv.Itoa(len(body))}, headers...))
}

// get makes a call without a body.
func (c *client) get(url string) (answer []byte, err error) {
	return c.do(http.MethodGet, url, nil, nil)
}

func (c *client) do(method, target string, body []byte, headers []string) (answer []byte, err error) {
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
			c.rest()
			return c.do(method, target, body, headers)
		}
		return nil, fmt.Errorf("%s: %w", target, err)
	}
	if conn.last {
		err = conn.Close()
	} else {
		c.put(at.Host, conn)
	}
	if status >= 300 {
		err = &statusError{target, status, bytes.TrimSpace(answer)}
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
	if err := k.SetDeadline(time.Now().Add(callTimeout)); err != nil {
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
func (c *client) take(addr string) (*kept, error) {
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
	dialer := net.Dialer{Timeout: callTimeout}
	if c.from != nil {
		dialer.LocalAddr = &net.TCPAddr{IP: c.from}
	}
	conn, err := dialer.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &kept{Conn: conn, r: bufio.NewReaderSize(conn, 4096)}, nil
}

func (c *client) put(addr string, k *kept) {
	k.used = time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle[addr] = append(c.idle[addr], k)
}

// rest closes the connections that are kept.
func (c *client) rest() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, idle := range c.idle {
		for _, k := range idle {
			_ = k.Close()
		}
	}
	clear(c.idle)
}
