package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
)

// follower is one push connection, as thin as it gets, so that the client costs
// little beside the server.
type follower struct {
	conn net.Conn
	r    *bufio.Reader
	wire string
}

var dials atomic.Uint32

// follow opens a connection. path is that of the events, channel their name on the
// WebSocket. Connections come from several loopback addresses, so that ports do
// not run out.
func (g *gateway) follow(wire, path, channel string) (*follower, error) {
	n := dials.Add(1)
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+n%8))}}
	conn, err := dialer.Dial("tcp", g.addr)
	if err != nil {
		return nil, err
	}
	f := &follower{conn: conn, r: bufio.NewReaderSize(conn, 4096), wire: wire}
	want := http.StatusOK
	if wire == "ws" {
		want = http.StatusSwitchingProtocols
		_, err = fmt.Fprintf(conn, "GET /v1/ws?channel=%s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: hark.v1\r\n\r\n", channel, g.addr)
	} else {
		_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n\r\n", path, g.addr)
	}
	if err != nil {
		return nil, err
	}
	status, err := f.r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	if fields := strings.Fields(status); len(fields) < 2 || fields[1] != strconv.Itoa(want) {
		return nil, fmt.Errorf("%s: %s", path, status)
	}
	for {
		line, err := f.r.ReadString('\n')
		if err != nil {
			return nil, err
		}
		if line == "\r\n" {
			return f, nil
		}
	}
}

// next returns the offset of the next event.
func (f *follower) next() (offset uint64, err error) {
	if f.wire == "ws" {
		return f.nextFrame()
	}
	for {
		line, err := f.line()
		if err != nil {
			return 0, err
		}
		if id, ok := strings.CutPrefix(string(line[:min(len(line), 24)]), "id: "); ok {
			if offset, err = strconv.ParseUint(strings.TrimSpace(id), 10, 64); err != nil {
				return 0, err
			}
		} else if len(line) > 6 && line[0] == 'd' {
			return offset, nil
		}
	}
}

func (f *follower) line() ([]byte, error) { return f.r.ReadSlice('\n') }

func (f *follower) nextFrame() (uint64, error) {
	for {
		var head [10]byte
		if _, err := io.ReadFull(f.r, head[:2]); err != nil {
			return 0, err
		}
		n := int(head[1])
		switch n {
		case 126:
			if _, err := io.ReadFull(f.r, head[2:4]); err != nil {
				return 0, err
			}
			n = int(binary.BigEndian.Uint16(head[2:]))
		case 127:
			if _, err := io.ReadFull(f.r, head[2:10]); err != nil {
				return 0, err
			}
			n = int(binary.BigEndian.Uint64(head[2:]))
		}
		payload, err := f.r.Peek(n)
		if err != nil {
			return 0, err
		}
		_, _ = f.r.Discard(n) // it was peeked
		_, rest, ok := strings.Cut(string(payload[:min(n, 512)]), `"offset":`)
		if !strings.HasPrefix(string(payload[:min(n, 20)]), `{"op":"event"`) || !ok {
			continue
		}
		digits := strings.IndexAny(rest, ",}")
		return strconv.ParseUint(rest[:digits], 10, 64)
	}
}
