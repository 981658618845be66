package blackbox_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestNothingIsCached: what a cache in front may keep by default is for none. The fields that
// answers go by are in no cache's key: the 204 that ends an EventSource would be everybody's.
func TestNothingIsCached(t *testing.T) {
	s := start(t)
	id := s.submit("default", 1)
	attempt := s.call("POST", "/v1/work/"+id+"/start", nil).want(200).json()["attempt"].(float64)
	s.call("PUT", "/v1/work/"+id+"/result?attempt="+strconv.Itoa(int(attempt)), []byte("done")).want(200)
	after := s.call("GET", "/v1/requests/"+id+"/events", nil, "Accept: text/event-stream", "Last-Event-ID: 3").want(204)
	if got := after.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("204 behind the end: Cache-Control %q", got)
	}
	for path, want := range map[string]string{
		"/health/live": "no-store", "/health/ready": "no-store", "/metrics": "no-store", "/problems/not-found": "no-store",
		"/nowhere": "no-store", "/v1/requests/none": "no-store",
		"/openapi.yaml": "no-cache", "/asyncapi.yaml": "no-cache", "/": "no-cache",
		"/v1/requests/" + id: "no-cache", "/v1/requests/" + id + "/result": "no-cache", "/v1/requests/" + id + "/history": "no-cache",
	} {
		if got := s.call("GET", path, nil).header.Get("Cache-Control"); got != want {
			t.Errorf("%s: Cache-Control %q, want %q", path, got, want)
		}
	}
	l := s.line() // not even the answer to what is no HTTP
	l.send("GET", "")
	if res := l.want(400); res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("400: %v", res.Header)
	}
}

// TestCompressedTag: a proxy that compresses an answer changes its tag, and hands the changed one
// on when the client asks again: mod_deflate of Apache 2.4 and of lighttpd 1.4.85 make "3" to
// "3-gzip".
func TestCompressedTag(t *testing.T) {
	anywhere(t)
	s := start(t)
	for _, id := range []string{s.submit("default", 1), s.submit("default", 1, "id=nightly")} {
		tag := s.call("GET", "/v1/requests/"+id, nil).want(200).header.Get("ETag")
		version := strings.TrimSuffix(strings.TrimPrefix(tag, `W/"`), `"`)
		for known, status := range map[string]int{
			tag: 304, `W/"` + version + `-gzip"`: 304, `"` + version + `-br"`: 304, `W/"` + version + `;gzip"`: 304, `"x", "` + version + `--zstd"`: 304,
			`W/"` + version + `0"`: 200, `W/"` + version + `-"`: 200, `W/"0-gzip"`: 200, version + `-gzip`: 200, `"` + version + `.gzip"`: 200,
		} {
			s.call("GET", "/v1/requests/"+id, nil, "If-None-Match: "+known).want(status)
		}
		// It is the state that is known, so a long poll waits.
		began := time.Now()
		s.call("GET", "/v1/requests/"+id, nil, "Prefer: wait=1", `If-None-Match: W/"`+version+`-gzip"`).want(304)
		if waited := time.Since(began); waited < time.Second {
			t.Errorf("the poll came back after %v", waited)
		}
		s.call("POST", "/v1/work/"+id+"/start", nil).want(200)
		s.call("PUT", "/v1/work/"+id+"/result?attempt=1", []byte("done")).want(200)
		path := "/v1/requests/" + id + "/result"
		tag = s.call("GET", path, nil).want(200).header.Get("ETag")
		coded := strings.TrimSuffix(tag, `"`) + `-gzip"`
		s.call("GET", path, nil, "If-None-Match: "+coded).want(304)
		// The bytes of a compressed answer are others: a range of them, or a condition on them, is
		// not of these.
		s.call("GET", path, nil, "If-Match: "+coded).problem(412, "precondition-failed")
		if a := s.call("GET", path, nil, "Range: bytes=0-0", "If-Range: "+coded).want(200); string(a.body) != "done" {
			t.Errorf("If-Range: %q", a.body)
		}
	}
}

// TestHosts: a probe that says no host is no browser, and a page that is refused is told which
// names did not agree.
func TestHosts(t *testing.T) {
	anywhere(t)
	s := start(t, "--origins=https://friend.example")
	for head, status := range map[string]int{
		// HAProxy's option httpchk asks so.
		"GET /health/ready HTTP/1.0":                                                         200,
		"GET /health/ready HTTP/1.0\nHost:":                                                  200,
		"GET /health/ready HTTP/1.1\nHost: rebound.example":                                  403,
		"GET /v1/requests HTTP/1.0":                                                          200,
		"POST /v1/requests HTTP/1.0\nOrigin: https://evil.example\nContent-Length: 0":        403,
		"DELETE /v1/requests/none HTTP/1.1\nHost: localhost\nOrigin: http://localhost":       404,
		"DELETE /v1/requests/none HTTP/1.1\nHost: localhost:80\nOrigin: http://localhost":    404,
		"DELETE /v1/requests/none HTTP/1.1\nHost: localhost:443\nOrigin: https://localhost":  404,
		"DELETE /v1/requests/none HTTP/1.1\nHost: localhost:443\nOrigin: http://localhost":   403,
		"DELETE /v1/requests/none HTTP/1.1\nHost: localhost:8080\nOrigin: http://localhost":  403,
		"DELETE /v1/requests/none HTTP/1.1\nHost: localhost\nOrigin: ftp://localhost":        403,
		"DELETE /v1/requests/none HTTP/1.1\nHost: localhost\nOrigin: null":                   403,
		"DELETE /v1/requests/none HTTP/1.1\nHost: localhost\nOrigin: https://friend.example": 404,
	} {
		l := s.line()
		l.send(head, "")
		l.want(status)
	}
	problem := s.call("POST", "/v1/requests", `{"content":1}`, "Origin: https://app.example:8443").problem(403, "origin-not-allowed")
	host := strings.TrimPrefix(s.url, "http://")
	for _, want := range []string{`"` + host + `"`, `"https://app.example:8443"`, "--origins"} {
		if detail := problem["detail"].(string); !strings.Contains(detail, want) {
			t.Errorf("%q does not say %s", detail, want)
		}
	}
	long := s.call("POST", "/v1/requests", `{"content":1}`, "Origin: https://"+strings.Repeat("a", 4000)+".example").problem(http.StatusForbidden, "origin-not-allowed")
	if detail := long["detail"].(string); len(detail) > 700 {
		t.Errorf("a detail of %d bytes", len(detail))
	}
}

// TestRefusedHandshakeIsTheLast: a proxy that only copies bytes behind a handshake would pass on
// what follows, without looking at it.
func TestRefusedHandshakeIsTheLast(t *testing.T) {
	anywhere(t)
	s := start(t)
	for head, status := range map[string]int{
		"GET /v1/ws HTTP/1.1\nHost: localhost":                                                                        426,
		"GET /v1/ws HTTP/1.1\nHost: localhost\nConnection: Upgrade\nUpgrade: websocket":                               400,
		"GET /v1/ws HTTP/1.1\nHost: localhost\nConnection: Upgrade\nUpgrade: websocket\nOrigin: https://evil.example": 403,
	} {
		l := s.line()
		l.send(head, "")
		if res := l.want(status); !res.Close {
			t.Errorf("%d: the connection stays: %v", status, res.Header)
		}
	}
}
