package main

import (
	"bytes"
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

// TestMemoryOfManyBodies: what many calls send and get takes memory within bounds, whatever they do with it, and gives it back; others do not
// notice. One gateway has all of it, one after the other.
func TestMemoryOfManyBodies(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.yaml")
	writeKeys(t, file, allKeys)
	p := spawn(t, t.TempDir(), "--keys="+file, "--routes=default")
	alice, bob, worker := p.as(aliceKey), p.as(bobKey), p.as(workerKey)
	const (
		host  = "\nHost: localhost\nAuthorization: Bearer "
		large = 20 << 20
	)
	honest := func() {
		t.Helper()
		bob.call("POST", "/v1/requests", `{"content":1}`, async).want(202)
	}
	// grows tells by how many MB the heap grows while something goes on.
	grows := func(name string, most int, during func()) {
		t.Helper()
		before := p.metric("go_memstats_heap_inuse_bytes")
		during()
		grown := (p.metric("go_memstats_heap_inuse_bytes") - before) >> 20
		t.Logf("%s: the heap grew by %d MB", name, grown)
		if grown > most {
			t.Errorf("%s took %d MB, more than %d", name, grown, most)
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
					chunk := []byte(fmt.Sprintf("%x\r\n%s\r\n", 1<<16, bytes.Repeat([]byte("x"), 1<<16)))
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
	for n := range 150 { // some megabytes of events
		worker.call("POST", "/v1/work/"+id+"/progress", map[string]any{"attempt": work["attempt"], "message": strings.Repeat("ä", 1990) + strconv.Itoa(n)}).want(200)
	}
	result := bytes.Repeat([]byte("0123456789abcdef"), large/16)
	worker.call("PUT", "/v1/work/"+id+"/result?attempt="+attempt, result, "Content-Type: application/octet-stream").want(200)
	released()
	content := alice.call("POST", "/v1/requests?route=default", result, "Content-Type: application/octet-stream", async).want(202).json()["id"].(string)
	worker.call("POST", "/v1/work/"+content+"/start", nil).want(200)

	slow := func(name, head, key string, most int, statuses ...int) {
		t.Helper()
		lines := make([]*line, 20)
		grows("20 slow readers of "+name, most, func() {
			for n := range lines {
				lines[n] = p.line()
				lines[n].send(head+host+key, "")
			}
			for _, l := range lines {
				res, err := http.ReadResponse(l.reader, nil)
				if err != nil {
					t.Fatal(err)
				}
				if ok := bytes.Contains([]byte(fmt.Sprint(statuses)), []byte(strconv.Itoa(res.StatusCode))); !ok {
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
	}
	at := "GET /v1/requests/" + id
	slow("a result", at+"/result HTTP/1.1", aliceKey, 20, 200)
	slow("a result that is compared", at+"/result HTTP/1.1\nIf-None-Match: \"x\"", aliceKey, 20, 200)
	slow("a range", at+"/result HTTP/1.1\nRange: bytes=1-", aliceKey, 20, 206)
	slow("a byte or two", at+"/result HTTP/1.1\nRange: bytes=1-2", aliceKey, 20, 206)
	slow("ranges", at+"/result HTTP/1.1\nRange: bytes=0-9000000,10000000-", aliceKey, 20, 206)
	slow("stored events", at+"/history HTTP/1.1", aliceKey, 20, 200)
	slow("events of the caller", "GET /v1/history HTTP/1.1", aliceKey, 20, 200)
	slow("the content of work", "POST /v1/work/"+content+"/start?attempt=1 HTTP/1.1\nContent-Length: 0", workerKey, 120, 200)

	// And what is read to its end is right.
	if a := alice.call("GET", "/v1/requests/"+id+"/result", nil).want(200); !bytes.Equal(a.body, result) {
		t.Errorf("the result has %d bytes, or others than it had", len(a.body))
	}
	if a := alice.call("GET", "/v1/requests/"+id+"/result", nil, "Range: bytes=70000-9000000").want(206); !bytes.Equal(a.body, result[70000:9000001]) {
		t.Errorf("the range has %d bytes, or others", len(a.body))
	}
	if a := alice.call("GET", "/v1/requests/"+id+"/history", nil).want(200); len(a.json()["events"].([]any)) != 153 || a.header.Get("Content-Length") != "" {
		t.Errorf("%d events in %s bytes", len(a.json()["events"].([]any)), a.header.Get("Content-Length"))
	}
	if a := worker.call("POST", "/v1/work/"+content+"/start?attempt=1", nil).want(200); a.json()["contentBase64"] == nil {
		t.Error("the work has no content")
	}
	released()
}

// TestSlowBody: a body that stands still, or comes too slowly, ends its call with 408 and the connection, however it is framed and wherever it stands
// still; one that comes takes as long as it likes.
func TestSlowBody(t *testing.T) {
	s := start(t, "--body-stall=1s", "--routes=default")
	const head = "POST /v1/requests?route=default HTTP/1.1\nHost: localhost\nContent-Type: text/plain\nPrefer: respond-async"
	var all sync.WaitGroup
	for _, c := range [][2]string{
		{"\nContent-Length: 10", ""}, {"\nContent-Length: 10", "12345"}, {"\nContent-Length: 1000000", strings.Repeat("x", 500_000)},
		{"\nTransfer-Encoding: chunked", ""}, {"\nTransfer-Encoding: chunked", "5"}, {"\nTransfer-Encoding: chunked", "5\r\n123"}, {"\nTransfer-Encoding: chunked", "5\r\n12345\r\n"},
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
