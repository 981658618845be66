#!/bin/sh
# Behind gin's recovery, which gin.Default() has, a ReverseProxy cannot cut its client: when its target's connection breaks in the middle of a body, the
# client gets the last chunk, and takes what was cut for complete. The same behind those of gorilla/handlers and of Sentry.
#
# Go gin v1.12.0, gorilla/handlers v1.5.2, sentry-go v0.50.0, beside chi v5.5.0 and echo v4.16.4; Go 1.26.
#
# Guess: a recovery passes http.ErrAbortHandler on, "a sentinel panic value to abort a handler" (net/http). ReverseProxy panics with it so that the server
# breaks the client's connection, and that is no fault to recover from.
# Seen: gin knows it, but takes it for the sign of a client that has left, and just returns. The other two take it for a fault. For net/http the handler
# has then returned, so it completes the body. The target sends one event and breaks its connection:
#
#   net/http         "data: 1\n\n" unexpected EOF
#   chi              "data: 1\n\n" unexpected EOF
#   echo             "data: 1\n\n" unexpected EOF
#   gin              "data: 1\n\n" complete
#   gorilla          "data: 1\n\n" complete
#   Sentry           "data: 1\n\n" complete
#   gin, passed on   "data: 1\n\n" unexpected EOF
#   Sentry, Repanic  "data: 1\n\n" unexpected EOF
#
# What to do: in gin a handler before the recovery that panics again if c.Errors ends with http.ErrAbortHandler (below); sentryhttp.Options{Repanic: true};
# or serve the proxy beside the router.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"
cat >main.go <<'EOF'
package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"

	sentryhttp "github.com/getsentry/sentry-go/http"
	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/gorilla/handlers"
	"github.com/labstack/echo/v4"
	echomiddleware "github.com/labstack/echo/v4/middleware"
)

func main() {
	quiet := log.New(io.Discard, "", 0)
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: 1\n\n")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}))
	to, _ := url.Parse(target.URL)
	proxy := &httputil.ReverseProxy{ErrorLog: quiet, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}

	gin.SetMode(gin.ReleaseMode)
	withGin := func(before ...gin.HandlerFunc) http.Handler {
		engine := gin.New()
		engine.Use(append(before, gin.RecoveryWithWriter(io.Discard))...)
		engine.GET("/", gin.WrapH(proxy))
		return engine
	}
	withEcho := echo.New()
	withEcho.Use(echomiddleware.Recover())
	withEcho.GET("/", echo.WrapHandler(proxy))

	var seen strings.Builder
	for _, row := range []struct {
		name    string
		handler http.Handler
	}{
		{"net/http", proxy},
		{"chi", middleware.Recoverer(proxy)},
		{"echo", withEcho},
		{"gin", withGin()},
		{"gorilla", handlers.RecoveryHandler(handlers.RecoveryLogger(quiet))(proxy)},
		{"Sentry", sentryhttp.New(sentryhttp.Options{}).Handle(proxy)},
		{"gin, passed on", withGin(func(c *gin.Context) {
			c.Next()
			if last := c.Errors.Last(); last != nil && errors.Is(last.Err, http.ErrAbortHandler) {
				panic(http.ErrAbortHandler)
			}
		})},
		{"Sentry, Repanic", sentryhttp.New(sentryhttp.Options{Repanic: true}).Handle(proxy)},
	} {
		server := httptest.NewServer(row.handler)
		answer, err := http.Get(server.URL)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		body, err := io.ReadAll(answer.Body)
		said := "complete"
		if err != nil {
			said = err.Error()
		}
		fmt.Fprintf(&seen, "%-16s %q %s\n", row.name, body, said)
		server.Close()
	}
	fmt.Print(seen.String())
	const want = `net/http         "data: 1\n\n" unexpected EOF
chi              "data: 1\n\n" unexpected EOF
echo             "data: 1\n\n" unexpected EOF
gin              "data: 1\n\n" complete
gorilla          "data: 1\n\n" complete
Sentry           "data: 1\n\n" complete
gin, passed on   "data: 1\n\n" unexpected EOF
Sentry, Repanic  "data: 1\n\n" unexpected EOF
`
	if seen.String() != want {
		os.Exit(1)
	}
}
EOF
go mod init finding >go.log 2>&1
go get github.com/gin-gonic/gin@v1.12.0 github.com/go-chi/chi/v5@v5.5.0 github.com/gorilla/handlers@v1.5.2 github.com/labstack/echo/v4/middleware@v4.16.4 \
	github.com/getsentry/sentry-go/http@v0.50.0 >>go.log 2>&1
go build -o find . || {
	cat go.log
	exit 1
}
timeout 60 ./find
