package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// rawStream asks for a stream by a version of HTTP, and returns the answer's head.
func (s *server) rawStream(version, path string) *http.Response {
	s.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/%s\r\nHost: %s\r\nAccept: text/event-stream\r\n\r\n", path, version, conn.RemoteAddr()); err != nil {
		s.t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if chunked := strings.Join(res.TransferEncoding, ",") == "chunked"; chunked != (version == "1.1") || !res.Close || res.ContentLength >= 0 || res.StatusCode != 200 {
		s.t.Errorf("HTTP/%s: %s, %v, length %d, closes: %v", version, res.Status, res.TransferEncoding, res.ContentLength, res.Close)
	}
	return res
}

// TestOnlyTheEndCompletesAStream: by HTTP/1.1 an answer is complete behind the end and in no other case; HTTP/1.0 has no way to say that.
func TestOnlyTheEndCompletesAStream(t *testing.T) {
	for _, version := range []string{"1.0", "1.1"} {
		cut := io.ErrUnexpectedEOF
		if version == "1.0" {
			cut = nil
		}
		t.Run(version, func(t *testing.T) {
			s := start(t, "--max-connections=2")
			path := "/v1/requests/" + s.submit("default", 1) + "/events"
			rest := func(res *http.Response, what string, wantErr error, tail string) {
				t.Helper()
				body, err := io.ReadAll(res.Body)
				if err != wantErr || !strings.HasSuffix(string(body), tail) {
					t.Errorf("%s: %v, want %v: %q, want %q", what, err, wantErr, body, tail)
				}
			}
			ends, feed := s.rawStream(version, path), s.rawStream(version, "/v1/events")
			shed := s.rawStream(version, path)
			body, err := io.ReadAll(shed.Body)
			var first, second int
			if _, err := fmt.Sscanf(string(body), "event: busy\ndata: {\"retry\":%d}\nretry: %d\n\n", &first, &second); err != nil || first != second || first < 20_000 {
				t.Errorf("shed: %q, %v", body, err)
			}
			if err != cut {
				t.Errorf("shed: %v", err)
			}
			s.process(strings.Split(path, "/")[3])
			rest(ends, "end", nil, "\nid: 4\n\nevent: end\ndata: {\"offset\":4}\nid: 4\nretry: 3600000\n\n")
			s.stop()
			body, err = io.ReadAll(feed.Body)
			if _, last, _ := strings.Cut(string(body), "\nid: 4\n\nevent: restart\n"); err != cut || !strings.HasPrefix(last, `data: {"retry":`) || strings.Count(last, "\n\n") != 1 {
				t.Errorf("drain: %v: %q", err, body)
			}
		})
	}
}
