#!/bin/sh
# fasthttp ends the answer to a HEAD, if its body is a stream of unknown length, with two bytes that stand where the next answer begins.
#
# github.com/valyala/fasthttp 1.73.0; as a client Go 1.26, net/http.
#
# Guess: an answer to HEAD ends with the empty line behind its fields (RFC 9110, section 9.3.2), with a stream as with bytes.
# Seen: behind the head of a body of unknown length comes CRLF, which ends the (empty) trailer of the chunks that are left out. The connection is kept. Go's
#       client reports an unsolicited response and closes it, so that each HEAD costs a connection; a client that reads on strictly takes the two bytes for the
#       beginning of the next answer. With a length, or a body that is no stream, there are none.
#
#   bytes: 0 bytes behind the head "", 1 connections for 3 calls
#   stream of a known length: 0 bytes behind the head "", 1 connections for 3 calls
#   stream of an unknown length: 2 bytes behind the head "\r\n", 3 connections for 3 calls
#
# What to do: give HEAD no stream: set the length if it is known, or SkipBody and a body of no bytes; or close the connection behind it.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"
cat >main.go <<'EOF'
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// counting counts the connections that are accepted.
type counting struct {
	net.Listener
	n atomic.Int64
}

func (c *counting) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.n.Add(1)
	}
	return conn, err
}

// behind returns what comes behind the head of an answer to HEAD before the answer to the next call.
func behind(addr string) string {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(conn, "HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	r := bufio.NewReader(conn)
	for line := ""; line != "\r\n"; {
		if line, err = r.ReadString('\n'); err != nil {
			panic(err)
		}
	}
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	var found bytes.Buffer
	for !bytes.HasSuffix(found.Bytes(), []byte("HTTP/")) {
		b, err := r.ReadByte()
		if err != nil {
			panic(err)
		}
		found.WriteByte(b)
	}
	return strings.TrimSuffix(found.String(), "HTTP/")
}

func main() {
	log.SetOutput(io.Discard) // net/http tells there of what it did not ask for
	seen := true
	for _, c := range []struct {
		what, behind string
		connections  int64
		answer       func(*fasthttp.RequestCtx)
	}{
		{"bytes", "", 1, func(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("abc") }},
		{"stream of a known length", "", 1, func(ctx *fasthttp.RequestCtx) { ctx.SetBodyStream(strings.NewReader("abc"), 3) }},
		{"stream of an unknown length", "\r\n", 3, func(ctx *fasthttp.RequestCtx) { ctx.SetBodyStream(strings.NewReader("abc"), -1) }},
	} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			panic(err)
		}
		counted := &counting{Listener: listener}
		go func() { _ = fasthttp.Serve(counted, c.answer) }()
		addr := listener.Addr().String()
		got := behind(addr)
		before := counted.n.Load()
		client := http.Client{Transport: &http.Transport{}}
		for range 3 {
			response, err := client.Head("http://" + addr)
			if err != nil {
				panic(err)
			}
			response.Body.Close()
			time.Sleep(200 * time.Millisecond) // the two bytes are read meanwhile
		}
		n := counted.n.Load() - before
		fmt.Printf("%s: %d bytes behind the head %q, %d connections for 3 calls\n", c.what, len(got), got, n)
		seen = seen && got == c.behind && n == c.connections
	}
	if !seen {
		os.Exit(1)
	}
}
EOF
cat >go.mod <<'EOF'
module finding

go 1.26

require github.com/valyala/fasthttp v1.73.0
EOF
go mod tidy 2>/dev/null
timeout 60 go run .
