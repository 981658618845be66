#!/bin/sh
# fasthttp keeps a connection open whose client says that it closes, unless it says just "close".
#
# github.com/valyala/fasthttp 1.73.0.
#
# Guess: "close" is an option of a list, in any case (RFC 9110, section 7.6.1; RFC 9112, section 9.6),
#        so the server closes behind its answer however it is written.
# Seen: only the one word in small letters does. With "Close", or in a list, the connection is kept,
#       and the answer says nothing of it. A client that reads to the end of the connection, as one may
#       that has said so, hangs until the server's idle timeout, by default for ever.
#
#   "close": closed
#   "Close": kept
#   "CLOSE": kept
#   "TE, close": kept
#   "keep-alive, close": kept
#
# What to do: look at the list before the handler, and call SetConnectionClose.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"
cat >main.go <<'EOF'
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"github.com/valyala/fasthttp"
)

// kept reports whether a second call is answered on a connection whose first one had the field.
func kept(addr, field string) bool {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	from := bufio.NewReader(conn)
	call := func(field string) error {
		_, _ = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: %s\r\n\r\n", field)
		answer, err := http.ReadResponse(from, nil)
		if err == nil {
			_, err = io.Copy(io.Discard, answer.Body)
		}
		return err
	}
	if err := call(field); err != nil {
		panic(err)
	}
	return call("close") == nil
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go func() { _ = fasthttp.Serve(listener, func(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("abc") }) }()
	seen := true
	for _, c := range []struct {
		field string
		kept  bool
	}{{"close", false}, {"Close", true}, {"CLOSE", true}, {"TE, close", true}, {"keep-alive, close", true}} {
		got := kept(listener.Addr().String(), c.field)
		fmt.Printf("%q: %s\n", c.field, map[bool]string{true: "kept", false: "closed"}[got])
		seen = seen && got == c.kept
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
