#!/bin/sh
# Shutdown of Go's HTTP server reads the whole first request of a connection that was accepted before, and drops it without an answer.
#
# Go 1.26, net/http.
#
# Guess: what was accepted is answered: "gracefully shuts down the server without interrupting any active connections" closes idle ones, and waits for the others.
# Seen: a connection on which the first request has not been read whole is waited for, for up to 5 seconds, but only to be closed when the request is there. Its
#       handler is not called, and the client gets no byte; Shutdown returns nil. With TLS, where a connection is new for as long as the handshake takes, it hits many.
#
#   the handler runs: 200, Shutdown <nil>
#   the head is on its way: EOF, handlers 0, Shutdown <nil>
#   nothing was sent yet: EOF, handlers 0, Shutdown <nil>
#
# What to do: close the listener by yourself, let what was accepted be answered (ReadHeaderTimeout bounds it), and call Shutdown after that. A client repeats what is safe to repeat.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"
cat >main.go <<'EOF'
package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// shutDown sends the first part of a request, begins to shut down, and sends the second part. It says what the client got.
func shutDown(first, second string) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	var handled atomic.Int64
	accepted, stopping, running := make(chan struct{}), make(chan struct{}), make(chan struct{}, 1)
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			handled.Add(1)
			running <- struct{}{}
			<-stopping
			_, _ = fmt.Fprint(w, "done")
		}),
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				close(accepted)
			}
		},
	}
	server.RegisterOnShutdown(func() { close(stopping) })
	go func() { _ = server.Serve(listener) }()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		panic(err)
	}
	defer client.Close()
	<-accepted
	if first != "" {
		_, _ = client.Write([]byte(first))
	}
	if second == "" {
		<-running
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Shutdown(context.Background()) }()
	<-stopping
	if second != "" {
		_, _ = client.Write([]byte(second))
	}
	_ = client.SetReadDeadline(time.Now().Add(20 * time.Second))
	response, err := http.ReadResponse(bufio.NewReader(client), nil)
	if err != nil {
		if err.Error() == "unexpected EOF" { // as ReadResponse calls it
			err = fmt.Errorf("EOF")
		}
		return fmt.Sprintf("%v, handlers %d, Shutdown %v", err, handled.Load(), <-ended)
	}
	response.Body.Close()
	return fmt.Sprintf("%d, Shutdown %v", response.StatusCode, <-ended)
}

func main() {
	const head, end = "GET / HTTP/1.1\r\nHost: localhost\r\n", "\r\n"
	seen := true
	for _, c := range []struct{ what, first, second, want string }{
		{"the handler runs", head + end, "", "200, Shutdown <nil>"},
		{"the head is on its way", head, end, "EOF, handlers 0, Shutdown <nil>"},
		{"nothing was sent yet", "", head + end, "EOF, handlers 0, Shutdown <nil>"},
	} {
		got := shutDown(c.first, c.second)
		fmt.Printf("%s: %s\n", c.what, got)
		seen = seen && got == c.want
	}
	if !seen {
		os.Exit(1)
	}
}
EOF
cat >go.mod <<'EOF'
module finding

go 1.26
EOF
timeout 60 go run .
