package client

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

func TestCall(t *testing.T) {
	var connections atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		switch r.URL.Path {
		case "/echo":
			_, _ = io.WriteString(w, r.Method+" "+r.URL.RawQuery+" "+r.Header.Get("X-Key")+" "+string(body))
		case "/chunks":
			for range 3 {
				_, _ = io.WriteString(w, strings.Repeat("x", 3000))
				w.(http.Flusher).Flush()
			}
		case "/close":
			w.Header().Set("Connection", "close")
		case "/cut": // as an idle connection is when a server goes
			w.Header().Set("Content-Length", "0")
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_ = conn.Close()
			}
		default:
			http.NotFound(w, r)
		}
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	c := New()
	defer c.Rest()

	for _, want := range []struct{ path, body, answer string }{
		{"/echo?a=1", "body", "POST a=1 k body"},
		{"/chunks", "", strings.Repeat("x", 9000)},
		{"/close", "", ""},
		{"/echo", "", "POST  k "},
		{"/cut", "", ""},
		{"/echo", "again", "POST  k again"},
	} {
		answer, err := Call(c, server.URL+want.path, "text/plain", []byte(want.body), "X-Key", "k")
		if err != nil || string(answer) != want.answer {
			t.Errorf("%s: %.20q, %v", want.path, answer, err)
		}
	}
	if answer, err := c.Get(server.URL + "/echo"); err != nil || string(answer) != "GET   " {
		t.Errorf("%q, %v", answer, err)
	}
	var refused *StatusError
	if err := Post(c, server.URL+"/none", "text/plain", nil); !errors.As(err, &refused) || refused.Status != http.StatusNotFound {
		t.Error(err)
	}
	if n := connections.Load(); n != 3 {
		t.Errorf("%d connections, want two that the server closed and one", n)
	}
}
