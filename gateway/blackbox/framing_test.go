package blackbox_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// rawStream asks for a stream by a version of HTTP, and returns the answer's head.
func (s *server) rawStream(version, path string) *http.Response {
	s.t.Helper()
	res, _ := s.raw(http.MethodGet, version, path)
	if chunked := strings.Join(res.TransferEncoding, ",") == "chunked"; chunked != (version == "1.1") || !res.Close || res.ContentLength >= 0 || res.StatusCode != 200 {
		s.t.Errorf("HTTP/%s: %s, %v, length %d, closes: %v", version, res.Status, res.TransferEncoding, res.ContentLength, res.Close)
	}
	return res
}

// raw makes a call with its own connection, and returns the head of the answer and what follows it.
func (s *server) raw(method, version, path string, fields ...string) (*http.Response, *bufio.Reader) {
	s.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(3 * time.Minute))
	fields = append(fields, "Host: "+conn.RemoteAddr().String(), "Accept: text/event-stream")
	if _, err := fmt.Fprintf(conn, "%s %s HTTP/%s\r\n%s\r\n\r\n", method, path, version, strings.Join(fields, "\r\n")); err != nil {
		s.t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		s.t.Fatal(err)
	}
	return res, r
}

// TestHeadOfAStream: HEAD is answered with the fields of GET, without a length and without a body.
func TestHeadOfAStream(t *testing.T) {
	anywhere(t)
	s := start(t, "--origins=https://app.example")
	id := s.submit("default", 1)
	for _, version := range []string{"1.0", "1.1"} {
		for _, path := range []string{"/v1/requests/" + id + "/events", "/v1/events", "/v1/topics/t/events?after=0"} {
			get, _ := s.raw(http.MethodGet, version, path, "Origin: https://app.example")
			head, rest := s.raw(http.MethodHead, version, path, "Origin: https://app.example")
			for _, res := range []*http.Response{get, head} {
				if date, err := http.ParseTime(res.Header.Get("Date")); err != nil || time.Since(date).Abs() > time.Minute {
					t.Errorf("%s of HTTP/%s: dated %v", path, version, res.Header["Date"])
				}
				res.Header.Del("Date")
				res.Header.Del("Server")
			}
			if !reflect.DeepEqual(head.Header, get.Header) || get.Header.Get("Access-Control-Allow-Origin") == "" || get.Header.Get("Vary") == "" {
				t.Errorf("%s of HTTP/%s: HEAD has %v, GET has %v", path, version, head.Header, get.Header)
			}
			if head.StatusCode != 200 || head.ContentLength != -1 || head.Close != get.Close || !slices.Equal(head.TransferEncoding, get.TransferEncoding) {
				t.Errorf("%s of HTTP/%s: %+v", path, version, head)
			}
			if body, err := io.ReadAll(rest); err != nil || len(body) > 0 {
				t.Errorf("%s of HTTP/%s: %q, %v behind the head", path, version, body, err)
			}
		}
		s.process(s.submit("default", 2))
	}
	s.call("POST", "/v1/requests/"+id+"/cancel", nil).want(200)
	if res, _ := s.raw(http.MethodHead, "1.1", "/v1/requests/"+id+"/events?lastEventId=2"); res.StatusCode != 204 {
		t.Errorf("behind the end: %s", res.Status)
	}
}

// TestOnlyTheEndCompletesAStream: by HTTP/1.1 an answer is complete behind the end and in no other
// case; HTTP/1.0 has no way to say that.
func TestOnlyTheEndCompletesAStream(t *testing.T) {
	anywhere(t)
	for _, version := range []string{"1.0", "1.1"} {
		cut := io.ErrUnexpectedEOF
		if version == "1.0" {
			cut = nil
		}
		t.Run(version, func(t *testing.T) {
			s := start(t, "--max-connections=2", "--max-per-address=2")
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
			if _, err := fmt.Sscanf(string(body), "event: busy\ndata: {\"retry\":%d,\"violated-policies\":[\"connections\"],\"detail\":\"too many connections (--max-connections, or the limit of open files), try later\"}\nretry: %d\n\n", &first, &second); err != nil || first != second || first < 20_000 {
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
