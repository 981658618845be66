package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync/atomic"
)

// follower is one push connection, as thin as it gets, so that the client costs
// little beside the server.
type follower struct {
	addr     string
	conn     net.Conn
	r        *bufio.Reader
	received int64                                             // bytes, for whoever reads
	rest     []byte                                            // of a frame with several messages in it
	data     []byte                                            // of a server-sent event, kept for the next one
	named    bool                                              // that event has a name
	message  func(f *follower) (id, message []byte, err error) // of the wire

	// number finds a message's number in its channel; id is that of the wire.
	number func(id, message []byte) (int, bool)
	// skip, if there is one, says which messages are none of the channel.
	skip func(message []byte) bool
}

var dials atomic.Uint32

// dial opens a connection. They come from several loopback addresses, so that ports do
// not run out.
func dial(addr string) (*follower, error) {
	n := dials.Add(1)
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+n%8))}}
	conn, err := dialer.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	f := &follower{addr: addr, conn: conn}
	f.r = bufio.NewReaderSize(f, 4096)
	return f, nil
}

// Read reads from the connection and counts what it reads.
func (f *follower) Read(p []byte) (int, error) {
	n, err := f.conn.Read(p)
	f.received += int64(n)
	return n, err
}

// consumed returns the bytes that have been taken out of the reader as well.
func (f *follower) consumed() int64 { return f.received - int64(f.r.Buffered()) }

// stream asks for server-sent events.
func (f *follower) stream(path string) error {
	f.message = (*follower).event
	return f.ask(http.StatusOK, path, "Accept: text/event-stream")
}

// socket asks for a WebSocket.
func (f *follower) socket(path, protocol string) error {
	f.message = (*follower).frame
	headers := []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}
	if protocol != "" {
		headers = append(headers, "Sec-WebSocket-Protocol: "+protocol)
	}
	return f.ask(http.StatusSwitchingProtocols, path, headers...)
}

// ask makes the request. If it is not answered as wanted, the connection is closed.
func (f *follower) ask(want int, path string, headers ...string) (err error) {
	defer func() {
		if err != nil {
			_ = f.conn.Close()
		}
	}()
	_, err = fmt.Fprintf(f.conn, "GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n\r\n", path, f.addr, strings.Join(headers, "\r\n"))
	if err != nil {
		return err
	}
	status, err := f.r.ReadString('\n')
	if err != nil {
		return err
	}
	if fields := strings.Fields(status); len(fields) < 2 || fields[1] != strconv.Itoa(want) {
		return fmt.Errorf("%s: %s", path, status)
	}
	chunked := false
	for {
		line, err := f.r.ReadString('\n')
		if err != nil {
			return err
		}
		if line == "\r\n" {
			break
		}
		chunked = chunked || strings.EqualFold(strings.TrimSpace(line), "Transfer-Encoding: chunked")
	}
	if chunked { // a chunk may end in the middle of a line
		f.r = bufio.NewReaderSize(httputil.NewChunkedReader(f.r), 4096)
	}
	return nil
}

// next returns the number of the next message.
func (f *follower) next() (int, error) {
	id, message, err := f.read()
	if err != nil {
		return 0, err
	}
	n, ok := f.number(id, message)
	if !ok {
		return 0, fmt.Errorf("a message without a number: %s %s", id, message)
	}
	return n, nil
}

// read returns the next message of the channel, and its id if the wire has one. Both hold until the next call.
func (f *follower) read() (id, message []byte, err error) {
	for {
		id, message, err = f.message(f)
		if err != nil || f.skip == nil || !f.skip(message) {
			return id, message, err
		}
	}
}

// event reads a server-sent event of one data line, of which the id may stand in front or behind. What it returns holds
// until the next call.
func (f *follower) event() (id, data []byte, err error) {
	f.data, f.named = f.data[:0], false
	for got := false; ; {
		line, err := f.r.ReadSlice('\n')
		if err != nil {
			return nil, nil, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if value, ok := bytes.CutPrefix(line, []byte("id:")); ok {
			id = bytes.Clone(bytes.TrimPrefix(value, []byte(" "))) // the next line may move the buffer
		} else if value, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			f.data, got = append(f.data, value...), true
		} else if bytes.HasPrefix(line, []byte("event:")) {
			f.named = true
		} else if len(line) == 0 && got {
			return id, f.data, nil
		}
	}
}

// frame reads a data frame of a WebSocket.
func (f *follower) frame() (_, payload []byte, err error) {
	for {
		var head [10]byte
		if _, err := io.ReadFull(f.r, head[:2]); err != nil {
			return nil, nil, err
		}
		n := int(head[1])
		switch n {
		case 126:
			if _, err := io.ReadFull(f.r, head[2:4]); err != nil {
				return nil, nil, err
			}
			n = int(binary.BigEndian.Uint16(head[2:]))
		case 127:
			if _, err := io.ReadFull(f.r, head[2:10]); err != nil {
				return nil, nil, err
			}
			n = int(binary.BigEndian.Uint64(head[2:]))
		}
		if payload, err = f.r.Peek(n); err != nil {
			return nil, nil, err
		}
		_, _ = f.r.Discard(n) // it was peeked
		switch opcode := head[0] & 0xf; opcode {
		case 1, 2:
			return nil, payload, nil
		case 9:
			if err := f.write(10, payload); err != nil {
				return nil, nil, err
			}
		}
	}
}

// line reads a message of which a frame may hold several, a line each.
func (f *follower) line() (_, message []byte, err error) {
	for len(f.rest) == 0 {
		if _, f.rest, err = f.frame(); err != nil {
			return nil, nil, err
		}
	}
	message, f.rest, _ = bytes.Cut(f.rest, []byte{'\n'})
	return nil, message, nil
}

// write sends a frame of less than 64 KB.
func (f *follower) write(opcode byte, payload []byte) error {
	out := append(make([]byte, 0, 8+len(payload)), 0x80|opcode)
	if n := len(payload); n < 126 {
		out = append(out, 0x80|byte(n))
	} else {
		out = binary.BigEndian.AppendUint16(append(out, 0x80|126), uint16(n))
	}
	var mask [4]byte
	_, _ = rand.Read(mask[:])
	out = append(out, mask[:]...)
	for i, b := range payload {
		out = append(out, b^mask[i%4])
	}
	_, err := f.conn.Write(out)
	return err
}

// after returns the number behind a key in JSON, less an amount.
func after(message []byte, key string, less int) (int, bool) {
	_, rest, ok := bytes.Cut(message, []byte(key))
	if !ok {
		return 0, false
	}
	end := bytes.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	n, err := strconv.Atoi(string(rest[:max(end, 0)]))
	return n - less, err == nil
}
