package hub_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hark-push/hark/hub"
)

// rawStream asks for a stream with a version of HTTP.
func rawStream(t *testing.T, addr, version string, query url.Values) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(3 * time.Minute))
	if _, err := fmt.Fprintf(conn, "GET /sse?%s HTTP/%s\r\nHost: x\r\n\r\n", query.Encode(), version); err != nil {
		t.Fatal(err)
	}
	return conn
}

// bodyOf reads an answer to the end of its connection: its text, and whether it says itself that it
// is complete.
func bodyOf(t *testing.T, conn net.Conn, version string) (text string, complete bool) {
	t.Helper()
	all, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ := bytes.Cut(all, []byte("\r\n\r\n"))
	chunked := strings.Contains(string(head), "\r\nTransfer-Encoding: chunked\r\n")
	if chunked != (version == "1.1") || !strings.Contains(string(head)+"\r\n", "\r\nConnection: close\r\n") {
		t.Errorf("HTTP/%s: %s", version, head)
	}
	if !chunked {
		return string(body), false
	}
	chunks := hub.NewChunks(bytes.NewReader(body))
	b, err := io.ReadAll(chunks)
	if chunks.Ended != (err == nil) || err != nil && err != io.ErrUnexpectedEOF || chunks.Cut {
		t.Errorf("the body ends with %v, within a chunk: %v: %.300q", err, chunks.Cut, body)
	}
	return string(b), chunks.Ended
}

// checkBlocks holds the body of a stream that the hub has closed to it that a client which
// dispatches whatever it has when it is cut, even a block without data or half of one, shows
// nothing that is empty. last is the name of the last block.
func checkBlocks(t *testing.T, text, last string) {
	t.Helper()
	whole, rest := text, ""
	if i := strings.LastIndex(text, "\n\n"); i >= 0 {
		whole, rest = text[:i], text[i+2:]
	}
	if strings.Trim(rest, ":\n") != "" {
		t.Errorf("half a block is left over: %q", rest)
	}
	name := ""
	for block := range strings.SplitSeq(whole, "\n\n") {
		data, fields := "", make(map[string]bool)
		name = ""
		for line := range strings.Lines(block + "\n") {
			field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			fields[field] = true
			switch field {
			case "event":
				name = value
			case "data":
				data = value
			}
		}
		var told struct {
			Offset, Retry, Interval *uint64
			Detail                  string
		}
		if err := json.Unmarshal([]byte(data), &told); err != nil {
			t.Errorf("%v: block %q", err, block)
		}
		switch name {
		case "", "start", "end":
			if !fields["id"] || name != "" && told.Offset == nil {
				t.Errorf("block %q", block)
			}
		case "busy", "restart", "unavailable":
			if fields["id"] || !fields["retry"] || told.Retry == nil || *told.Retry == 0 {
				t.Errorf("block %q", block)
			}
		case "heartbeat":
			if fields["id"] || told.Interval == nil || *told.Interval == 0 {
				t.Errorf("block %q", block)
			}
		case "unauthenticated":
			if fields["id"] || told.Detail == "" {
				t.Errorf("block %q", block)
			}
		default:
			t.Errorf("block %q", block)
		}
	}
	if name != last {
		t.Errorf("the last block has the name %q, want %q: %q", name, last, text)
	}
	if name == "end" && !strings.HasSuffix(text, "\nretry: 3600000\n\n") {
		t.Errorf("the end is %q", text)
	}
}

// TestOnlyTheEndEndsTheBody closes streams for every reason that there is: only the end of the
// channel says to a client that its answer is complete, and whatever was sent before the others is
// whole.
func TestOnlyTheEndEndsTheBody(t *testing.T) {
	request := url.Values{"channel": {"request-a"}}
	for name, c := range map[string]struct {
		options hub.Options
		query   url.Values
		// close makes the hub close the stream, which has got what is stored.
		close func(t *testing.T, h *hub.Hub, source *memorySource)
		// before is done before the stream is asked for.
		before func(t *testing.T, h *hub.Hub, addr string, source *memorySource)
		until  time.Duration // the stream's credential holds so long; 0: for ever
		last   string        // the name of what is told last; "" if that is an event
		ends   bool
		beats  bool // there are heartbeats
	}{
		"end": {query: request, close: func(_ *testing.T, _ *hub.Hub, s *memorySource) { s.append("request-a", true) }, last: "end", ends: true},
		"end that was stored": {
			query: request, before: func(_ *testing.T, _ *hub.Hub, _ string, s *memorySource) { s.append("request-a", true) }, last: "end", ends: true,
		},
		"end that is known": {
			query:  url.Values{"channel": {"request-a"}, "after": {"2"}},
			before: func(_ *testing.T, _ *hub.Hub, _ string, s *memorySource) { s.append("request-a", true) }, last: "end", ends: true,
		},
		"end behind a loss": {
			query:  url.Values{"channel": {"request-a"}, "after": {"7"}},
			before: func(_ *testing.T, _ *hub.Hub, _ string, s *memorySource) { s.append("request-a", true) }, last: "end", ends: true,
		},
		"drain": {query: request, last: "restart", close: func(t *testing.T, h *hub.Hub, _ *memorySource) { h.Drain(t.Context(), 0) }},
		"drain of a feed": {
			query: url.Values{"channel": {"feed-a"}}, last: "restart", close: func(t *testing.T, h *hub.Hub, _ *memorySource) { h.Drain(t.Context(), 0) },
		},
		"late": {query: request, last: "restart", before: func(t *testing.T, h *hub.Hub, _ string, _ *memorySource) { h.Drain(t.Context(), 0) }},
		"shed": {
			options: hub.Options{Connections: 1}, query: request, last: "busy",
			before: func(t *testing.T, h *hub.Hub, addr string, _ *memorySource) {
				rawStream(t, addr, "1.1", request)
				eventually(t, func() bool { return h.Stats().Streams == 1 })
			},
		},
		"expired":                   {query: request, until: time.Millisecond, last: "unauthenticated"},
		"expired behind heartbeats": {options: hub.Options{Heartbeat: time.Second}, query: request, until: 2500 * time.Millisecond, last: "unauthenticated", beats: true},
		"source that fails": {
			query: request, last: "unavailable", before: func(_ *testing.T, _ *hub.Hub, _ string, s *memorySource) { s.fail = io.ErrUnexpectedEOF },
		},
		"slow": {
			options: hub.Options{QueueBytes: 64 << 10}, query: request,
			close: func(t *testing.T, h *hub.Hub, s *memorySource) {
				eventually(t, func() bool {
					s.appendFat("request-a", 16<<10)
					return h.Stats().Slow == 1
				})
			},
		},
		"closed hub": {query: request, close: func(_ *testing.T, h *hub.Hub, _ *memorySource) { h.Close() }},
	} {
		for _, version := range []string{"1.0", "1.1"} {
			t.Run(name+" by "+version, func(t *testing.T) {
				source := newMemorySource()
				h := hub.New(source, c.options)
				addr := serve(t, h)
				source.append("request-a", false)
				if c.before != nil {
					c.before(t, h, addr, source)
				}
				query := c.query
				if c.until > 0 {
					query = url.Values{"until": {in(c.until)}, "channel": query["channel"]}
				}
				conn := rawStream(t, addr, version, query)
				if c.close != nil {
					// It is live: what is appended from now on is pushed.
					eventually(t, func() bool { return h.Stats().Reads == 1 && h.Stats().Streams == 1 })
					c.close(t, h, source)
				}
				text, complete := bodyOf(t, conn, version)
				checkBlocks(t, text, c.last)
				if want := c.ends && version == "1.1"; complete != want {
					t.Errorf("complete: %v, want %v: %q", complete, want, text)
				}
				if beats := strings.Contains(text, "\n:\n"); beats != c.beats {
					t.Errorf("heartbeats: %v, want %v: %q", beats, c.beats, text)
				}
				if ended := strings.Contains(text, "event: end\n"); ended != c.ends {
					t.Errorf("tells of the end: %v, want %v: %q", ended, c.ends, text)
				}
			})
		}
	}
}

// TestHTTPClientTellsCutFromEnd: what Go's client says at the end of a body.
func TestHTTPClientTellsCutFromEnd(t *testing.T) {
	source := newMemorySource()
	h := hub.New(source, hub.Options{})
	addr := serve(t, h)
	source.append("request-over", true)
	source.append("request-on", false)
	// The order matters: draining lasts.
	for _, channel := range []string{"request-over", "request-on"} {
		var want error
		if channel == "request-on" {
			want = io.ErrUnexpectedEOF
		}
		r, _ := http.NewRequestWithContext(t.Context(), "GET", "http://"+addr+"/sse?channel="+channel, nil)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if want != nil {
			go h.Drain(context.WithoutCancel(t.Context()), 0)
		}
		if _, err := io.ReadAll(res.Body); err != want {
			t.Errorf("%s: %v, want %v", channel, err, want)
		}
		_ = res.Body.Close()
	}
}
