#!/bin/sh
# The client of event streams that ogen generates comes back after a cut, and cancels the context of the very request by which it did: the
# stream ends soon after, silently, as if the server had ended it.
#
# Go github.com/ogen-go/ogen v1.25.0, Go 1.26.
#
# Guess: what comes back is read on as the first connection was; its README says that generated clients handle reconnection automatically.
# Seen: what has arrived with the head of the new answer is read, then Next returns context.Canceled although nobody has canceled
# anything, and All ends without an error. The context that is canceled is made for the attempt, but the body of the answer hangs on it.
#
#   first connection: 1
#   cut, came back behind 1: 2
#   All ended, state 2 (closed), latest error: context canceled
#   never read: 3
#
# What to do: give NewClient an http.Client, by WithClient, that sends requests with Accept: text/event-stream, which only attempts to come
# back have, with context.WithoutCancel; or follow in a loop of your own.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"
cat >openapi.yaml <<'EOF'
openapi: 3.1.0
info: { title: events, version: '1' }
paths:
  /events:
    get:
      operationId: follow
      responses:
        '200':
          description: A stream.
          content:
            text/event-stream:
              x-ogen-sse-event-shape: data-only
              schema: { type: string }
EOF
cat >ogen.yml <<'EOF'
generator:
  features:
    disable_all: true
    enable: [paths/client]
EOF
cat >main.go <<'EOF'
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"finding/api"

	"github.com/ogen-go/ogen/sse"
)

func main() {
	came, read := "", make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		say := func(n int) {
			_, _ = fmt.Fprintf(w, "retry: 100\ndata: %d\nid: %d\n\n", n, n)
			w.(http.Flusher).Flush()
		}
		w.Header().Set("Content-Type", "text/event-stream")
		if came = r.Header.Get("Last-Event-ID"); came == "" {
			say(1)
			<-read
			panic(http.ErrAbortHandler) // cut
		}
		say(2)
		select { // as long as the client is there
		case <-time.After(3 * time.Second):
			say(3)
		case <-r.Context().Done():
		}
	}))
	client, err := api.NewClient(server.URL)
	if err != nil {
		panic(err)
	}
	ctx := context.Background() // nobody cancels it
	stream, err := client.Follow(ctx)
	if err != nil {
		panic(err)
	}
	var seen []string
	for event, err := range stream.All(ctx) {
		if err != nil {
			panic(err)
		}
		switch event.Data {
		case "1":
			fmt.Println("first connection: 1")
			close(read)
		default:
			fmt.Printf("cut, came back behind %s: %s\n", came, event.Data)
		}
		if seen = append(seen, event.Data); event.Data == "3" {
			break
		}
	}
	state, err := stream.State()
	fmt.Printf("All ended, state %d (closed), latest error: %v\n", state, err)
	if len(seen) != 2 || state != sse.StateClosed || !errors.Is(err, context.Canceled) {
		fmt.Println("this is not what was seen: it has read", seen)
		os.Exit(1)
	}
	fmt.Println("never read: 3")
}
EOF
{
	go mod init finding
	go get -tool github.com/ogen-go/ogen/cmd/ogen@v1.25.0
	go tool ogen --config ogen.yml --target api --package api openapi.yaml
	go mod tidy
	go build -o find .
} >go.log 2>&1 || {
	cat go.log
	exit 1
}
timeout 60 ./find
