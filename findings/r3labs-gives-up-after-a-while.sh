#!/bin/sh
# Subscribe of r3labs/sse comes back after a cut only within 15 minutes of its call: the first cut of a stream that was well for longer is its end.
#
# Go r3labs/sse v2.10.0 with gopkg.in/cenkalti/backoff.v1 v1.1.0, which it uses; Go 1.26.
#
# Guess: a connection that is made begins the time anew, so that the limit holds for a row of failures.
# Seen: MaxElapsedTime, by default 15 minutes, counts from the call. Here it is 2 seconds, to see it sooner, and the stream is cut after 1 and after 3 seconds.
#
#   default MaxElapsedTime 15m0s
#   cut after 1s: came back
#   cut after 3s: returned unexpected EOF
#
# What to do: client.ReconnectStrategy = an ExponentialBackOff with MaxElapsedTime 0, or call Subscribe again; LastEventID is kept.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"
cat >main.go <<'EOF'
package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"github.com/r3labs/sse/v2"
	"gopkg.in/cenkalti/backoff.v1"
)

// follow subscribes to a stream that is cut once it has been there for a time, and says what becomes of that.
func follow(healthy time.Duration) string {
	asked, back, leave := 0, make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		_, _ = fmt.Fprint(w, "id: 1\ndata: a\n\n")
		w.(http.Flusher).Flush()
		if asked > 1 {
			close(back)
			<-leave
		}
		time.Sleep(healthy)
		panic(http.ErrAbortHandler)
	}))
	client := sse.NewClient(server.URL)
	strategy := backoff.NewExponentialBackOff()
	strategy.MaxElapsedTime = 2 * time.Second
	client.ReconnectStrategy = strategy
	returned := make(chan error, 1)
	go func() { returned <- client.SubscribeRaw(func(*sse.Event) {}) }()
	select {
	case err := <-returned:
		return fmt.Sprintf("returned %v", err)
	case <-back:
		return "came back"
	case <-time.After(20 * time.Second):
		return "neither came back nor returned"
	}
}

func main() {
	limit := backoff.NewExponentialBackOff().MaxElapsedTime
	early, late := follow(time.Second), follow(3*time.Second)
	fmt.Printf("default MaxElapsedTime %v\ncut after 1s: %s\ncut after 3s: %s\n", limit, early, late)
	if limit != 15*time.Minute || early != "came back" || late != "returned unexpected EOF" {
		os.Exit(1)
	}
}
EOF
go mod init finding >go.log 2>&1
go get github.com/r3labs/sse/v2@v2.10.0 gopkg.in/cenkalti/backoff.v1@v1.1.0 >>go.log 2>&1
go build -o find . || {
	cat go.log
	exit 1
}
timeout 60 ./find
