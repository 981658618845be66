package client

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

// Follower is one push connection, as thin as it gets, so that the client costs
// little beside the server.
type Follower struct {
	addr     string
	Conn     net.Conn
	r        *bufio.Reader
	Received int64 // bytes, for whoever reads
	// The rest of a frame with several messages in it.
	rest []byte
	// The data of a server-sent event, kept for the next one.
	data    []byte
	Named   bool                                              // that event has a name
	Message func(f *Follower) (id, message []byte, err error) // of the wire

	// Number finds a message's number in its channel; id is that of the wire.
	Number func(id, message []byte) (int, bool)
	// Skip, if there is one, says which messages are none of the channel.
	Skip func(message []byte) bool
}

var dials atomic.Uint32

// Dial opens a connection. They come from several loopback addresses, so that ports do
// not run out.
func Dial(addr string) (*Follower, error) {
	n := dials.Add(1)
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+n%8))}}
	conn, err := dialer.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	f := &Follower{addr: addr, Conn: conn}
	f.r = bufio.NewReaderSize(f, 4096)
	return f, nil
}

// Read reads from the connection and counts what it reads.
func (f *Follower) Read(p []byte) (int, error) {
	n, err := f.Conn.Read(p)
	f.Received += int64(n)
	return n, err
}

// Consumed returns the bytes that have been taken out of the reader as well.
func (f *Follower) Consumed() int64 { return f.Received - int64(f.r.Buffered()) }

// Stream asks for server-sent events.
func (f *Follower) Stream(path string) error {
	f.Message = (*Follower).event
	return f.ask(http.StatusOK, path, "Accept: text/event-stream")
}

// Socket asks for a WebSocket.
func (f *Follower) Socket(path, protocol string) error {
	f.Message = (*Follower).frame
	headers := []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}
	if protocol != "" {
		headers = append(headers, "Sec-WebSocket-Protocol: "+protocol)
	}
	return f.ask(http.StatusSwitchingProtocols, path, headers...)
}

// ask makes the request. If it is not answered as wanted, the connection is closed.
func (f *Follower) ask(want int, path string, headers ...string) (err error) {
	defer func() {
		if err != nil {
			_ = f.Conn.Close()
		}
	}()
	_, err = fmt.Fprintf(f.Conn, "GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n\r\n", path, f.addr, strings.Join(headers, "\r\n"))
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

// Next returns the number of the next message.
func (f *Follower) Next() (int, error) {
	id, message, err := f.Receive()
	if err != nil {
		return 0, err
	}
	n, ok := f.Number(id, message)
	if !ok {
		return 0, fmt.Errorf("a message without a number: %s %s", id, message)
	}
	return n, nil
}

// Receive returns the next message of the channel, and its id if the wire has one. Both hold until
// the next call.
func (f *Follower) Receive() (id, message []byte, err error) {
	for {
		id, message, err = f.Message(f)
		if err != nil || f.Skip == nil || !f.Skip(message) {
			return id, message, err
		}
	}
}

// event reads a server-sent event of one data line, of which the id may stand in front or behind.
// What it returns holds until the next call.
func (f *Follower) event() (id, data []byte, err error) {
	f.data, f.Named = f.data[:0], false
	for got := false; ; {
		line, err := f.r.ReadSlice('\n')
		if err != nil {
			return nil, nil, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if value, ok := bytes.CutPrefix(line, []byte("id:")); ok {
			// The next line may move the buffer.
			id = bytes.Clone(bytes.TrimPrefix(value, []byte(" ")))
		} else if value, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			f.data, got = append(f.data, value...), true
		} else if bytes.HasPrefix(line, []byte("event:")) {
			f.Named = true
		} else if len(line) == 0 && got {
			return id, f.data, nil
		}
	}
}

// frame reads a data frame of a WebSocket.
func (f *Follower) frame() (_, payload []byte, err error) {
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
			if err := f.Write(10, payload); err != nil {
				return nil, nil, err
			}
		}
	}
}

// Line reads a message of which a frame may hold several, a line each.
func (f *Follower) Line() (_, message []byte, err error) {
	for len(f.rest) == 0 {
		if _, f.rest, err = f.frame(); err != nil {
			return nil, nil, err
		}
	}
	message, f.rest, _ = bytes.Cut(f.rest, []byte{'\n'})
	return nil, message, nil
}

// Write sends a frame of less than 64 KB.
func (f *Follower) Write(opcode byte, payload []byte) error {
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
	_, err := f.Conn.Write(out)
	return err
}

// After returns the number behind a key in JSON, less an amount.
func After(message []byte, key string, less int) (int, bool) {
	_, rest, ok := bytes.Cut(message, []byte(key))
	if !ok {
		return 0, false
	}
	end := bytes.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	n, err := strconv.Atoi(string(rest[:max(end, 0)]))
	return n - less, err == nil
}
