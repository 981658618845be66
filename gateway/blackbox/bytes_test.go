package blackbox_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMemoryOfManyBodies: what many calls send and get takes memory within bounds, whatever they do
// with it, and gives it back; others do not notice. One gateway has all of it, one after the other.
func TestMemoryOfManyBodies(t *testing.T) {
	anywhere(t)
	file := filepath.Join(t.TempDir(), "keys.yaml")
	writeKeys(t, file, allKeys)
	p := spawn(t, t.TempDir(), "--keys="+file, "--routes=default")
	alice, bob, worker := p.as(aliceKey), p.as(bobKey), p.as(workerKey)
	const (
		host  = "\nHost: localhost\nAuthorization: Bearer "
		large = 12 << 20
	)
	honest := func() {
		t.Helper()
		bob.call("POST", "/v1/requests", `{"content":1}`, async).want(202)
	}
	// grows tells by how many MB the heap has grown while something goes on. What is garbage by
	// then is gone a moment later, when nothing is asked of the gateway.
	grows := func(name string, most int, during func()) {
		t.Helper()
		before := p.metric("go_memstats_heap_inuse_bytes")
		during()
		grown := func() int { return (p.metric("go_memstats_heap_inuse_bytes") - before) >> 20 }
		now := grown()
		for range 5 {
			if now <= most {
				break
			}
			time.Sleep(2 * time.Second)
			now = grown()
		}
		t.Logf("%s: the heap grew by %d MB", name, now)
		if now > most {
			t.Errorf("%s took %d MB, more than %d", name, now, most)
		}
		honest()
	}
	released := func() { p.eventually(func() bool { return p.metric("hark_body_bytes") == 0 }) }

	for _, framing := range []string{"Content-Length: " + strconv.Itoa(large), "Transfer-Encoding: chunked"} {
		var sending sync.WaitGroup
		var lines []*line
		grows("40 bodies that do not end, "+framing, 150, func() {
			for range 40 {
				l := p.line()
				lines = append(lines, l)
				l.send("POST /v1/requests?route=default HTTP/1.1"+host+aliceKey+"\nContent-Type: text/plain\n"+framing, "")
				sending.Go(func() {
					chunk := fmt.Appendf(nil, "%x\r\n%s\r\n", 1<<16, bytes.Repeat([]byte("x"), 1<<16))
					if !strings.Contains(framing, "chunked") {
						chunk = bytes.Repeat([]byte("x"), 1<<16)
					}
					for range large>>16 - 1 {
						if _, err := l.Write(chunk); err != nil { // it is closed below, or refused
							return
						}
					}
				})
			}
			p.eventually(func() bool { return p.metric("hark_bodies_waiting") > 20 })
			honest()
		})
		for _, l := range lines {
			_ = l.Close()
		}
		sending.Wait()
		released()
	}

	id := alice.submit("default", 1)
	work := worker.call("POST", "/v1/work/"+id+"/start", nil).want(200).json()
	attempt := fmt.Sprint(work["attempt"])
	for n := range 100 { // a megabyte of events
		message := strings.Repeat("🂡", 1990) + strconv.Itoa(n)
		report := map[string]any{"attempt": work["attempt"], "message": message}
		worker.call("POST", "/v1/work/"+id+"/progress", report).want(200)
	}
	result := bytes.Repeat([]byte("0123456789abcdef"), large/16)
	const octets = "Content-Type: application/octet-stream"
	worker.call("PUT", "/v1/work/"+id+"/result?attempt="+attempt, result, octets).want(200)
	released()
	accepted := alice.call("POST", "/v1/requests?route=default", result, octets, async).want(202)
	content := accepted.json()["id"].(string)
	worker.call("POST", "/v1/work/"+content+"/start", nil).want(200)

	// A copy for each of them would be 240 MB, of events 130.
	slow := func(readers int, name, head, key string, status int) {
		t.Helper()
		lines := make([]*line, readers)
		grows(strconv.Itoa(readers)+" slow readers of "+name, 80, func() {
			for n := range lines {
				lines[n] = p.line()
				lines[n].send(head+host+key, "")
			}
			for n := range lines {
				var res *http.Response
				// Where many read from the store at the same time, those are told to come back that
				// are beyond the caller's share of the bytes, or that a slow machine kept waiting.
				p.eventually(func() (done bool) {
					var err error
					if res, err = http.ReadResponse(lines[n].reader, nil); err != nil {
						t.Fatal(err)
					}
					done = res.StatusCode != http.StatusTooManyRequests && res.StatusCode != http.StatusServiceUnavailable
					if !done {
						_ = lines[n].Close()
						lines[n] = p.line()
						lines[n].send(head+host+key, "")
					}
					return done
				})
				if res.StatusCode != status {
					t.Errorf("%s is answered with %d", name, res.StatusCode)
				}
				if _, err := io.CopyN(io.Discard, res.Body, 2); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
		for _, l := range lines {
			_ = l.Close()
		}
		released() // what they had is the next ones'
	}
	at := "GET /v1/requests/" + id
	slow(20, "a result", at+"/result HTTP/1.1", aliceKey, 200)
	slow(20, "a result that is compared", at+"/result HTTP/1.1\nIf-None-Match: \"x\"", aliceKey, 200)
	slow(20, "a range", at+"/result HTTP/1.1\nRange: bytes=1-", aliceKey, 206)
	slow(20, "a byte or two", at+"/result HTTP/1.1\nRange: bytes=1-2", aliceKey, 206)
	slow(20, "ranges", at+"/result HTTP/1.1\nRange: bytes=0-5000000,6000000-", aliceKey, 206)
	slow(150, "stored events", at+"/history HTTP/1.1", aliceKey, 200)
	slow(150, "events of the caller", "GET /v1/history HTTP/1.1", aliceKey, 200)
	slow(20, "the content of work", "POST /v1/work/"+content+"/start?attempt=1 HTTP/1.1\nContent-Length: 0", workerKey, 200)

	// And what is read to its end is right.
	path := "/v1/requests/" + id
	if a := alice.call("GET", path+"/result", nil).want(200); !bytes.Equal(a.body, result) {
		t.Errorf("the result has %d bytes, or others than it had", len(a.body))
	}
	a := alice.call("GET", path+"/result", nil, "Range: bytes=70000-9000000").want(206)
	if !bytes.Equal(a.body, result[70000:9000001]) {
		t.Errorf("the range has %d bytes, or others", len(a.body))
	}
	a = alice.call("GET", path+"/history", nil).want(200)
	if n := len(a.json()["events"].([]any)); n != 103 || a.header.Get("Content-Length") != "" {
		t.Errorf("%d events in %s bytes", n, a.header.Get("Content-Length"))
	}
	work = worker.call("POST", "/v1/work/"+content+"/start?attempt=1", nil).want(200).json()
	if work["contentBase64"] != base64.StdEncoding.EncodeToString(result) {
		t.Error("the work has another content")
	}
	// There is no body, and nothing of one behind the head.
	for _, path := range []string{"/result", "/history"} {
		l := p.line()
		l.send("HEAD /v1/requests/"+id+path+" HTTP/1.1"+host+aliceKey, "")
		if res, err := http.ReadResponse(l.reader, &http.Request{Method: "HEAD"}); err != nil || res.StatusCode != 200 {
			t.Fatalf("HEAD of %s: %v", path, err)
		}
		l.send("GET /health/live HTTP/1.1\nHost: localhost", "")
		if first, err := l.reader.Peek(4); string(first) != "HTTP" {
			t.Errorf("behind the head of %s stands %q, %v", path, first, err)
		}
		l.want(200)
	}
	released()
}

// TestSlowBody: a body that stands still, or comes too slowly, ends its call with 408 and the
// connection, however it is framed and wherever it stands still; one that comes takes as long as it
// likes.
func TestSlowBody(t *testing.T) {
	anywhere(t)
	s := start(t, "--body-stall=1s", "--routes=default")
	const head = "POST /v1/requests?route=default HTTP/1.1\nHost: localhost\nContent-Type: text/plain\nPrefer: respond-async"
	var all sync.WaitGroup
	for _, c := range [][2]string{
		{"\nContent-Length: 10", ""},
		{"\nContent-Length: 10", "12345"},
		{"\nContent-Length: 1000000", strings.Repeat("x", 500_000)},
		{"\nTransfer-Encoding: chunked", ""},
		{"\nTransfer-Encoding: chunked", "5"},
		{"\nTransfer-Encoding: chunked", "5\r\n123"},
		{"\nTransfer-Encoding: chunked", "5\r\n12345\r\n"},
		{"\nContent-Length: 10\nExpect: 100-continue", ""},
	} {
		all.Go(func() {
			l := s.line()
			l.send(head+c[0], c[1])
			if strings.Contains(c[0], "Expect") {
				l.want(100)
			}
			if res := l.want(408); !res.Close {
				t.Errorf("%q: the connection goes on", c)
			}
			l.closed()
		})
	}
	all.Go(func() { // a byte now and then is not enough
		l := s.line()
		l.send(head+"\nContent-Length: 100", "")
		told := make(chan struct{})
		go func() {
			defer close(told)
			l.want(408)
		}()
		for tick := time.NewTicker(100 * time.Millisecond); ; {
			select {
			case <-told:
				tick.Stop()
				return
			case <-tick.C:
				_, _ = l.Write([]byte("x"))
			}
		}
	})
	all.Go(func() { // more than a KiB a second is, for longer than a second
		l := s.line()
		const part = 400
		l.send(head+"\nContent-Length: "+strconv.Itoa(12*part), "")
		for range 12 {
			time.Sleep(200 * time.Millisecond) // which is the pace that is tried
			if _, err := l.Write(bytes.Repeat([]byte("x"), part)); err != nil {
				t.Error(err)
			}
		}
		l.want(202)
	})
	all.Wait()
}
