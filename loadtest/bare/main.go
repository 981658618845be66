//go:build linux

// Command bare is the floor under every push server: it keeps raw connections and, when told to
// publish, writes the same bytes to each that follows the channel, with one write(2) each that does
// not block.
//
//	bare HOST:PORT BYTES
//
// BYTES is the length of a message on the wire, with the framing of server-sent events or of a
// WebSocket. It stores nothing, checks nothing and sends no heartbeats; whoever does not take a
// message whole is cut off.
//
//	GET  /CHANNEL    follow, by server-sent events or, with the handshake, by WebSocket
//	POST /CHANNEL/N  publish message N; answered when it is written to all
package main

import (
	"bufio"
	"crypto/sha1" // RFC 6455 wants it
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: bare HOST:PORT BYTES")
		os.Exit(2)
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, os.Interrupt)
	go func() {
		<-ended
		os.Exit(0)
	}()
	fmt.Fprintln(os.Stderr, "bare:", run(os.Args[1], os.Args[2]))
	os.Exit(1)
}

// run serves until that fails.
func run(addr, bytes string) error {
	size, err := strconv.Atoi(bytes)
	if err != nil {
		return err
	}
	f, err := newFanout(size)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go serve(f, conn.(*net.TCPConn))
	}
}

// serve answers the calls of a connection until it follows or ends.
func serve(f *fanout, conn *net.TCPConn) {
	defer func() { _ = conn.Close() }()
	r := bufio.NewReaderSize(conn, 1024)
	for {
		method, path, key, err := readHead(r)
		if err != nil {
			return
		}
		if method == "GET" {
			_ = f.follow(conn, strings.TrimPrefix(path, "/"), key)
			return
		}
		channel, n, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
		f.publish(channel, n)
		if _, err := io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n"); err != nil {
			return
		}
	}
}

// readHead reads a request without a body; key is that of a WebSocket's handshake, if it is one.
func readHead(r *bufio.Reader) (method, path, key string, err error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return "", "", "", err
	}
	fields := strings.Fields(string(line))
	if len(fields) != 3 {
		return "", "", "", fmt.Errorf("not HTTP: %q", line)
	}
	method, path = fields[0], fields[1]
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return "", "", "", err
		}
		if len(line) <= 2 {
			return method, path, key, nil
		}
		const name = "sec-websocket-key:"
		if len(line) > len(name) && strings.EqualFold(string(line[:len(name)]), name) {
			key = strings.TrimSpace(string(line[len(name):]))
		}
	}
}

// welcome returns the head of the answer to whoever follows.
func welcome(key string) []byte {
	if key == "" {
		return []byte("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return []byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(sum[:]) + "\r\n\r\n")
}
