#!/bin/sh
# ShouldBind of gin reads a JSON body whose media type ends in +json as a form: the struct stays empty, and there is no error.
#
# Go gin v1.12.0, beside echo v4.16.4; Go 1.26.
#
# Guess: a media type with the suffix +json (RFC 6839) is bound as JSON, or else refused with an error, from which a handler makes a 415.
# Seen: every type that gin does not know is bound as a form, which a body that was not sent as one has no fields of.
#
#   application/json             gin order-42        echo order-42
#   application/cloudevents+json gin ""              echo 415
#   application/ld+json          gin ""              echo 415
#
# What to do: ShouldBindJSON, or GetRawData and json.Unmarshal; and binding:"required" on a field that is always there.
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
	"strings"

	"github.com/gin-gonic/gin"
	"github.com/labstack/echo/v4"
)

type event struct {
	ID string `json:"id"`
}

func request(contentType string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"id":"order-42"}`))
	r.Header.Set("Content-Type", contentType)
	return r
}

func withGin(contentType string) string {
	c, _ := gin.CreateTestContext(httptest.NewRecorder())
	c.Request = request(contentType)
	var e event
	if err := c.ShouldBind(&e); err != nil {
		return err.Error()
	}
	return name(e)
}

func withEcho(contentType string) string {
	var e event
	if err := echo.New().NewContext(request(contentType), httptest.NewRecorder()).Bind(&e); err != nil {
		return fmt.Sprint(err.(*echo.HTTPError).Code)
	}
	return name(e)
}

func name(e event) string {
	if e.ID == "" {
		return `""`
	}
	return e.ID
}

func main() {
	gin.SetMode(gin.ReleaseMode)
	var seen strings.Builder
	for _, contentType := range []string{"application/json", "application/cloudevents+json", "application/ld+json"} {
		fmt.Fprintf(&seen, "%-28s gin %-15s echo %s\n", contentType, withGin(contentType), withEcho(contentType))
	}
	fmt.Print(seen.String())
	const want = `application/json             gin order-42        echo order-42
application/cloudevents+json gin ""              echo 415
application/ld+json          gin ""              echo 415
`
	if seen.String() != want {
		os.Exit(1)
	}
}
EOF
go mod init finding >go.log 2>&1
go get github.com/gin-gonic/gin@v1.12.0 github.com/labstack/echo/v4@v4.16.4 >>go.log 2>&1
go build -o find . || {
	cat go.log
	exit 1
}
timeout 60 ./find
