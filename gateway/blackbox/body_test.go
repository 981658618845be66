package blackbox_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// line is a connection to a gateway on which a test says byte for byte what a client sends.
type line struct {
	t testing.TB
	net.Conn
	reader *bufio.Reader
}

func (s *server) line() *line {
	s.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(3 * time.Minute))
	return &line{t: s.t, Conn: c, reader: bufio.NewReader(c)}
}

// send sends a head, whose lines end like those of Go, and a body behind it.
func (l *line) send(head, body string) {
	l.t.Helper()
	if _, err := io.WriteString(l, strings.ReplaceAll(head, "\n", "\r\n")+"\r\n\r\n"+body); err != nil {
		l.t.Fatal(err)
	}
}

// answer reads the next answer, 100 included.
func (l *line) answer() *http.Response {
	l.t.Helper()
	res, err := http.ReadResponse(l.reader, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	return res
}

func (l *line) want(status int) *http.Response {
	l.t.Helper()
	res := l.answer()
	if res.StatusCode != status {
		body, _ := io.ReadAll(res.Body)
		l.t.Fatalf("status %d, want %d: %s", res.StatusCode, status, body)
	}
	return res
}

// closed fails the test unless the gateway ends the connection without another byte.
func (l *line) closed() {
	l.t.Helper()
	if rest, err := io.ReadAll(l.reader); err != nil || len(rest) > 0 {
		l.t.Fatalf("the connection goes on: %v %q", err, rest)
	}
}

// TestHeadDecides: what the head of a call decides is answered before anything of the body was
// sent, whether the client waits for leave to send it or not, and what it does not decide is read.
func TestHeadDecides(t *testing.T) {
	anywhere(t)
	s, _ := startKeyed(t, "--max-body=2000000")
	const host = "\nHost: localhost"
	client, worker := host+"\nAuthorization: Bearer "+aliceKey, host+"\nAuthorization: Bearer "+workerKey
	json, length, chunks := "\nContent-Type: application/json", "\nContent-Length: 1000000", "\nTransfer-Encoding: chunked"
	for _, c := range []struct {
		name, head string
		status     int
	}{
		{"nobody", "POST /v1/requests HTTP/1.1" + host + json + length, 401},
		{"nobody, in chunks", "POST /v1/requests HTTP/1.1" + host + json + chunks, 401},
		{"a wrong key", "POST /v1/batches HTTP/1.1" + host + "\nAuthorization: Bearer hark_nobody_0123456789" + json + length, 401},
		{"nobody with a report", "PUT /v1/work/x/result HTTP/1.1" + host + json + length, 401},
		{"nobody with a call", "PUT /v1/call/default/x HTTP/1.1" + host + json + length, 401},
		{"the wrong role", "PUT /v1/work/x/result HTTP/1.1" + client + json + length, 403},
		{"another origin", "POST /v1/requests HTTP/1.1" + client + "\nOrigin: https://evil.example" + json + length, 403},
		{"no such path", "POST /nowhere HTTP/1.1" + client + json + length, 404},
		{"no such path, nobody", "POST /nowhere HTTP/1.1" + host + json + length, 404},
		{"no such route", "POST /v1/call/nowhere/x HTTP/1.1" + client + json + length, 404},
		{"no such method", "PUT /v1/requests HTTP/1.1" + client + json + length, 405},
		{"a method of nobody", "BREW /v1/requests HTTP/1.1" + client + json + length, 405},
		{"too large", "POST /v1/requests HTTP/1.1" + client + json + "\nContent-Length: 2000001", 413},
		{"too large a call", "POST /v1/call/default HTTP/1.1" + client + "\nContent-Length: 2000001", 413},
		{"too large a batch", "POST /v1/batches HTTP/1.1" + client + json + "\nContent-Length: 2000001", 413},
		{"too large an endpoint", "POST /v1/webhooks HTTP/1.1" + client + json + "\nContent-Length: 1048577", 413},
		{"too large a report", "POST /v1/work/x/progress HTTP/1.1" + worker + json + "\nContent-Length: 1048577", 413},
		{"too large an error", "PUT /v1/work/x/error HTTP/1.1" + worker + json + "\nContent-Length: 1048577", 413},
		{"too large an order", "POST /v1/work/lease HTTP/1.1" + worker + json + "\nContent-Length: 1048577", 413},
		{"a batch as text", "POST /v1/batches HTTP/1.1" + client + "\nContent-Type: text/plain" + length, 415},
		{"an endpoint as text", "POST /v1/webhooks HTTP/1.1" + client + "\nContent-Type: text/plain" + length, 415},
		{"a report as text", "POST /v1/work/x/progress HTTP/1.1" + worker + "\nContent-Type: text/plain" + length, 415},
		{"compressed", "POST /v1/requests HTTP/1.1" + client + json + "\nContent-Encoding: gzip" + length, 415},
		{"no media type", "PUT /v1/call/default HTTP/1.1" + client + "\nContent-Type: nonsense" + length, 415},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, expect := range []string{"", "\nExpect: 100-continue", "\nExpect: 100-Continue"} {
				l := s.line()
				l.send(c.head+expect, "")
				l.want(c.status)
				l.endWrite()
				l.closed()
			}
		})
	}
	body := `{"content":1}`
	for name, head := range map[string]string{
		"submitted":    "POST /v1/requests HTTP/1.1" + client + json + "\nPrefer: respond-async\nContent-Length: 13",
		"other letter": "POST /v1/requests HTTP/1.1" + client + json + "\nPrefer: respond-async\nContent-Length: 13",
		"called":       "POST /v1/call/default HTTP/1.1" + client + "\nPrefer: respond-async\nContent-Length: 13",
	} {
		t.Run(name, func(t *testing.T) {
			expect := "\nExpect: 100-continue"
			if name == "other letter" {
				expect = "\nExpect: 100-CONTINUE"
			}
			l := s.line()
			for range 2 { // the connection is used again
				l.send(head+expect, "")
				l.want(100)
				_, _ = io.WriteString(l, body)
				l.want(202)
			}
			// Behind an earlier call, in one packet: the answers come in order.
			_, _ = io.WriteString(l, strings.ReplaceAll("GET /health/live HTTP/1.1"+host+"\n\n"+head+expect+"\n\n", "\n", "\r\n"))
			l.want(200)
			l.want(100)
			_, _ = io.WriteString(l, body)
			l.want(202)
		})
	}
	t.Run("nothing to wait for", func(t *testing.T) {
		l := s.line()
		l.send("GET /health/live HTTP/1.1"+host+"\nExpect: 100-continue", "")
		l.want(200)
		l.send("POST /v1/requests HTTP/1.0"+client+json+"\nPrefer: respond-async\nContent-Length: 13\nExpect: 100-continue", body)
		l.want(202) // HTTP/1.0 knows no 100
	})
}

// endWrite says that the client sends no more.
func (l *line) endWrite() {
	if err := l.Conn.(*net.TCPConn).CloseWrite(); err != nil { //nolint:forcetypeassert // line makes nothing else
		l.t.Fatal(err)
	}
}

// TestBodyNobodyReads: a short one is dropped and the connection used again; a long one is dropped
// too, so that the answer arrives at a client that reads it when it has sent everything, and then
// the connection ends.
func TestBodyNobodyReads(t *testing.T) {
	anywhere(t)
	s, _ := startKeyed(t, "--max-body=1048576")
	const host = "\nHost: localhost"
	short := s.line()
	for _, c := range []struct {
		head   string
		status int
	}{
		{"POST /v1/requests HTTP/1.1" + host + "\nContent-Length: 13", 401},
		{"POST /nowhere HTTP/1.1" + host + "\nContent-Length: 13", 404},
		{"GET /metrics HTTP/1.1" + host + "\nContent-Length: 13", 200},
		{"GET /health/live HTTP/1.1" + host + "\nContent-Length: 13", 200},
	} {
		short.send(c.head, `GET / HTTP/1.`)
		short.want(c.status)
	}
	for _, body := range []string{"d\r\nGET / HTTP/1.\r\n0\r\n\r\n", "0\r\nTrailer: x\r\n\r\n"} {
		short.send("POST /nowhere HTTP/1.1"+host+"\nTransfer-Encoding: chunked", body)
		short.want(404)
	}
	for _, c := range []struct {
		head   string
		status int
	}{
		{"POST /v1/requests HTTP/1.1" + host, 401},
		{"POST /nowhere HTTP/1.1" + host, 404},
		{"POST /v1/requests HTTP/1.1" + host + "\nAuthorization: Bearer " + aliceKey, 413},
	} {
		const size = 3 << 20
		for n := range 10 {
			head, body := "\nContent-Length: "+strconv.Itoa(size), strings.Repeat("x", size)
			if n%2 == 1 {
				head, body = "\nTransfer-Encoding: chunked", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", size, body)
			}
			long := s.line()
			long.send(c.head+head, body) // all of it, before it looks
			if res := long.want(c.status); !res.Close {
				t.Errorf("%s: the answer does not say that the connection is closed", c.head)
			}
			long.closed()
		}
	}
}

// TestRefusalThroughProxy: a proxy that is still sending a body sees the refusal, and does not take
// the gateway for one that has failed.
func TestRefusalThroughProxy(t *testing.T) {
	anywhere(t)
	program, err := exec.LookPath("nginx")
	if err != nil {
		t.Skip("nginx is not installed")
	}
	s := start(t, "--max-body=1048576")
	for _, buffering := range []string{"on", "off"} {
		t.Run("buffering "+buffering, func(t *testing.T) {
			dir, at := t.TempDir(), strings.TrimPrefix(closedPort(t), "http://")
			var config strings.Builder
			config.WriteString("daemon off; master_process off; pid nginx.pid; error_log stderr crit; events {}\nhttp { access_log off; client_max_body_size 0;\n")
			for _, name := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
				config.WriteString(name + "_temp_path " + name + ";\n")
			}
			config.WriteString("upstream gateway { server " + strings.TrimPrefix(s.url, "http://") + " max_fails=1 fail_timeout=30s; keepalive 8; }\n" +
				"server { listen " + at + "; location / { proxy_pass http://gateway; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header Host $http_host; proxy_request_buffering " + buffering + "; } } }\n")
			if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(config.String()), 0o600); err != nil {
				t.Fatal(err)
			}
			nginx := exec.Command(program, "-p", dir+"/", "-c", "nginx.conf", "-e", "stderr")
			nginx.Stderr = testWriter{t}
			if err := nginx.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = nginx.Process.Kill(); _ = nginx.Wait() })
			proxied := newServer(t, "http://"+at)
			defer proxied.http.CloseIdleConnections()
			proxied.eventually(func() bool {
				a, err := proxied.try("GET", "/health/live", nil)
				return err == nil && a.status == 200
			})
			for n := range 20 {
				l := proxied.line()
				l.send("POST /v1/requests HTTP/1.1\nHost: localhost\nContent-Length: 3145728"+[]string{"", "\nExpect: 100-continue"}[n%2], "")
				if _, err := l.Write(bytes.Repeat([]byte("x"), 3<<20)); err != nil {
					t.Fatal(err)
				}
				res := l.answer()
				for res.StatusCode == 100 {
					res = l.answer()
				}
				if res.StatusCode != 413 {
					t.Errorf("call %d is answered with %d", n, res.StatusCode)
				}
				proxied.call("GET", "/v1/requests", nil, "Host: localhost").want(200)
			}
		})
	}
}

// TestBrokenBody: a body that ended early is never taken for whole, whatever it ends in.
func TestBrokenBody(t *testing.T) {
	anywhere(t)
	s := start(t)
	const head = "POST /v1/requests?route=default HTTP/1.1\nHost: localhost\nContent-Type: text/plain\nPrefer: respond-async"
	for _, c := range [][2]string{
		{"\nContent-Length: 10", "12345"},
		{"\nTransfer-Encoding: chunked", "5\r\n12345\r\n"}, // where a chunk begins
		{"\nTransfer-Encoding: chunked", "5\r\n12345"},
		{"\nTransfer-Encoding: chunked", "5\r\n123"},
		{"\nTransfer-Encoding: chunked", "5"},
		{"\nTransfer-Encoding: chunked", ""},
		{"\nTransfer-Encoding: chunked", "x\r\n"},
		{"\nTransfer-Encoding: chunked", "5\r\n1234567\r\n0\r\n\r\n"},
	} {
		l := s.line()
		l.send(head+c[0], c[1])
		l.endWrite()
		res := l.want(400)
		if !res.Close {
			t.Errorf("%q: the connection goes on", c)
		}
		l.closed()
	}
	l := s.line()
	l.send(head+"\nTransfer-Encoding: chunked", "5;x=y\r\n12345\r\n0\r\n\r\n")
	l.endWrite()
	l.want(202)
	if all := s.call("GET", "/v1/requests", nil).json()["requests"].([]any); len(all) != 1 {
		t.Errorf("%d requests", len(all))
	}
}

// TestFraming: where a request ends is never in doubt for what comes behind it.
func TestFraming(t *testing.T) {
	anywhere(t)
	s := start(t)
	const host, behind = "\nHost: localhost", "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
	post := "POST /v1/requests?route=default HTTP/1.1" + host + "\nContent-Type: text/plain\nPrefer: respond-async"
	const chunks = "1\r\nx\r\n0\r\n\r\n"
	for _, c := range []struct {
		name, head, body string
		status           int
	}{
		{"both", post + "\nContent-Length: 1\nTransfer-Encoding: chunked", chunks, 400},
		{"both, the other way round", post + "\nTransfer-Encoding: chunked\ncontent-length: 100", chunks, 400},
		{"both, of nobody's path", "POST /nowhere HTTP/1.1" + host + "\nTransfer-Encoding: chunked\nContent-Length: 1", chunks, 400},
		{"chunks in HTTP/1.0", strings.Replace(post, "HTTP/1.1", "HTTP/1.0", 1) + "\nConnection: keep-alive\nTransfer-Encoding: chunked", chunks, 202},
		{"two lengths", post + "\nContent-Length: 1\nContent-Length: 2", "xy", 400},
		{"the same length twice", post + "\nContent-Length: 1\nContent-Length: 1", "x", 400},
		{"a list of lengths", post + "\nContent-Length: 1, 1", "x", 400},
		{"a signed length", post + "\nContent-Length: +1", "x", 400},
		{"a negative length", post + "\nContent-Length: -1", "x", 400},
		{"no length", post + "\nContent-Length: ", "x", 400},
		{"a length that is too long", post + "\nContent-Length: 99999999999999999999", "x", 400},
		{"chunked twice", post + "\nTransfer-Encoding: chunked\nTransfer-Encoding: chunked", chunks, 400},
		{"another encoding", post + "\nTransfer-Encoding: gzip, chunked", chunks, 400},
		{"chunked at the beginning", post + "\nTransfer-Encoding: chunked, identity", chunks, 400},
		{"space before the colon", post + "\nTransfer-Encoding : chunked", chunks, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := s.line()
			l.send(c.head, c.body+behind)
			if res := l.want(c.status); !res.Close {
				t.Error("the answer does not say that the connection is closed")
			}
			l.endWrite()
			l.closed()
		})
	}
	for name, c := range map[string][2]string{
		"chunks": {post + "\nTransfer-Encoding: chunked", chunks}, "letters": {post + "\ntransfer-encoding: Chunked", chunks}, "length": {post + "\nContent-Length: 1", "x"},
	} {
		l := s.line()
		l.send(c[0], c[1]+behind)
		if res := l.want(202); res.Close {
			t.Errorf("%s: the connection is closed", name)
		}
		l.want(200)
	}
}

// resident returns the memory that a process has and the most that it had, in bytes.
func (p *process) resident() (now, most int) {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Skip("there is no /proc: ", err)
	}
	for l := range strings.Lines(string(text)) {
		var kilobytes int
		if n, _ := fmt.Sscanf(l, "VmRSS: %d kB", &kilobytes); n == 1 {
			now = kilobytes << 10
		}
		if n, _ := fmt.Sscanf(l, "VmHWM: %d kB", &kilobytes); n == 1 {
			most = kilobytes << 10
		}
	}
	return now, most
}

// TestMemoryOfBodies: bodies of strangers cost nothing, and what somebody announces costs nothing
// before it arrives.
func TestMemoryOfBodies(t *testing.T) {
	anywhere(t)
	file := filepath.Join(t.TempDir(), "keys.yaml")
	writeKeys(t, file, allKeys)
	p := spawn(t, t.TempDir(), "--keys="+file)
	before, _ := p.resident()
	const size, callers = 30 << 20, 10
	body := bytes.Repeat([]byte("x"), size)
	var calling sync.WaitGroup
	for n := range callers {
		calling.Go(func() {
			path := "/v1/requests"
			if n%2 == 1 {
				path = "/nowhere"
			}
			l := p.line()
			l.send("POST "+path+" HTTP/1.1\nHost: localhost\nContent-Length: "+strconv.Itoa(size), "")
			if _, err := l.Write(body); err != nil {
				t.Error(err)
			}
			if res := l.answer(); res.StatusCode != 401 && res.StatusCode != 404 {
				t.Errorf("answered with %d", res.StatusCode)
			}
		})
	}
	calling.Wait()
	after, most := p.resident()
	t.Logf("bodies of strangers: from %d to %d MB, at most %d", before>>20, after>>20, most>>20)
	if most > before+100<<20 {
		t.Errorf("ten bodies of 30 MB that nobody wanted took memory from %d to %d MB", before>>20, most>>20)
	}

	heap := func() int { return p.metric("go_memstats_heap_inuse_bytes") }
	began := heap()
	const announcing = 40
	lines := make([]*line, announcing)
	for n := range lines {
		lines[n] = p.line()
		lines[n].send("POST /v1/requests HTTP/1.1\nHost: localhost\nAuthorization: Bearer "+aliceKey+"\nContent-Type: text/plain\nExpect: 100-continue\nContent-Length: "+strconv.Itoa(size), "")
		lines[n].want(100) // so it reads the body
		if _, err := lines[n].Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	grown := heap() - began
	t.Logf("announced: heap from %d MB by %d MB", began>>20, grown>>20)
	if grown > 100<<20 {
		t.Errorf("%d bodies of which one byte came took %d MB", announcing, grown>>20)
	}
	for _, l := range lines {
		_ = l.Close()
	}
	// What has arrived as a whole is taken, and given back.
	a := p.as(aliceKey).call("POST", "/v1/requests?route=default", body, "Content-Type: application/octet-stream", async).want(202)
	if a.json()["id"] == "" {
		t.Error("no id")
	}
}
