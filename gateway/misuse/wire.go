package misuse

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// Client sends cases, one after the other, on a connection that it keeps as long as the gateway
// does.
type Client struct {
	Address string
	Wait    time.Duration // for an answer

	conn net.Conn
	r    *bufio.Reader
}

// Send sends a case as it is and returns its answer.
func (c *Client) Send(k *Case) (a Answer, err error) {
	fresh := c.conn == nil
	if k.Cut {
		c.Close() // it takes its connection along
		fresh = true
	}
	if c.conn == nil {
		if c.conn, err = new(net.Dialer).DialContext(context.Background(), "tcp", c.Address); err != nil {
			return a, err
		}
		c.r = bufio.NewReader(c.conn)
	}
	a, last, err := c.exchange(k)
	if last || err != nil || k.Cut || a.Status < 400 { // which may be a stream
		c.Close()
	}
	if err != nil && !fresh { // the connection may have ended before
		return c.Send(k)
	}
	return a, err
}

func (c *Client) exchange(k *Case) (a Answer, last bool, err error) {
	if err := c.conn.SetDeadline(time.Now().Add(c.Wait)); err != nil {
		return a, true, err
	}
	// It may be refused while it is sent.
	_, writeErr := c.conn.Write(k.Raw)
	if half, ok := c.conn.(*net.TCPConn); ok && k.Cut && writeErr == nil {
		_ = half.CloseWrite()
	}
	res, err := http.ReadResponse(c.r, &http.Request{Method: k.Method})
	if err != nil {
		return a, true, fmt.Errorf("no answer: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	a = Answer{Status: res.StatusCode, Header: res.Header}
	if a.Status < 400 && !strings.HasPrefix(res.Header.Get("Content-Type"), "application/") {
		return a, true, nil
	}
	a.Body, err = io.ReadAll(res.Body)
	return a, res.Close, err
}

// Close ends the connection.
func (c *Client) Close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// Show returns what is sent as one can read it.
func (k *Case) Show() string {
	const most = 400
	raw := k.Raw
	if len(raw) > most {
		raw = append(bytes.Clone(raw[:most]), fmt.Sprintf("… %d bytes", len(k.Raw))...)
	}
	return fmt.Sprintf("%q", raw)
}
