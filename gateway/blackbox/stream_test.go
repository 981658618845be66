package blackbox_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tmaxmax/go-sse"

	durable "github.com/hark-push/hark/stream"
)

const textType = "Content-Type: text/plain"

// TestStreams: a stream is made once, appended to, read from any offset, closed and deleted, and
// says with each answer where to go on.
func TestStreams(t *testing.T) {
	s := start(t)
	const path = "/v1/stream/a/b%20c"
	made := s.call("PUT", path, []byte("Hello"), textType, "Stream-TTL: 3600").want(201)
	if made.header.Get("Content-Type") != "text/plain" || made.header.Get("Location") != path {
		t.Errorf("%v", made.header)
	}
	s.call("PUT", path, nil, textType, "Stream-TTL: 3600").want(200)
	s.call("PUT", path, nil, "Content-Type: text/html", "Stream-TTL: 3600").problem(409, "stream-conflict")
	second := s.call("POST", path, []byte(" world"), textType).want(204).header.Get("Stream-Next-Offset")
	s.call("POST", path, []byte("x"), "Content-Type: text/html").problem(409, "stream-media-type")
	s.call("POST", path, []byte("x")).problem(400, "malformed-request")
	s.call("POST", path, nil).problem(400, "malformed-request")
	whole := s.call("GET", path, nil).want(200)
	if string(whole.body) != "Hello world" || whole.header.Get("Stream-Next-Offset") != second || whole.header.Get("Stream-Up-To-Date") != "true" || whole.header.Get("Content-Type") != "text/plain" {
		t.Errorf("%v %s", whole.header, whole.body)
	}
	for _, name := range []string{"X-Content-Type-Options", "Cross-Origin-Resource-Policy"} {
		if whole.header.Get(name) == "" {
			t.Errorf("no %s", name)
		}
	}
	tag := whole.header.Get("ETag")
	s.call("GET", path, nil, "If-None-Match: "+tag).want(304)
	// The offsets that the hub writes are those of package stream.
	if got := (&durable.Stream{Tag: second[17:]}).Offset(5); string(s.call("GET", path+"?offset="+got, nil).want(200).body) != " world" {
		t.Errorf("behind %s it goes on otherwise", got)
	}
	head := s.call("HEAD", path, nil).want(200)
	if head.header.Get("Stream-Next-Offset") != second || head.header.Get("Stream-TTL") != "3600" || head.header.Get("Content-Length") != "11" || head.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%v", head.header)
	}
	if closed := s.call("POST", path, nil, "Stream-Closed: true").want(204); closed.header.Get("Stream-Closed") != "true" {
		t.Errorf("%v", closed.header)
	}
	s.call("GET", path, nil, "If-None-Match: "+tag).want(200) // that it is closed is another answer
	if late := s.call("POST", path, []byte("x"), textType); late.problem(409, "stream-closed") == nil || late.header.Get("Stream-Closed") != "true" || late.header.Get("Stream-Next-Offset") != second {
		t.Errorf("%v", late.header)
	}
	s.call("DELETE", path, nil).want(204)
	for _, method := range []string{"GET", "POST", "DELETE"} {
		s.call(method, path, []byte("x"), textType).problem(404, "stream-not-found")
	}
	s.call("HEAD", path, nil).want(404)
}

// TestStreamOfJSON: messages are kept as such, and nobody reads from the middle of one.
func TestStreamOfJSON(t *testing.T) {
	s := start(t)
	const path = "/v1/stream/json"
	s.call("PUT", path, `[{"a": 1}, [2]]`).want(201)
	first := s.call("HEAD", path, nil).header.Get("Stream-Next-Offset")
	s.call("POST", path, "[]").problem(400, "malformed-request")
	s.call("POST", path, "{").problem(400, "malformed-request")
	s.call("POST", path, ` "x y" `).want(204)
	if got := s.call("GET", path, nil).want(200); string(got.body) != `[{"a":1},[2],"x y"]` || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("%s", got.body)
	}
	if got := s.call("GET", path+"?offset="+first, nil).want(200); string(got.body) != `["x y"]` {
		t.Errorf("%s", got.body)
	}
	if got := s.call("GET", path+"?offset=now", nil).want(200); string(got.body) != `[]` || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%v %s", got.header, got.body)
	}
	for _, live := range []string{"", "&live=sse", "&live=long-poll"} {
		s.call("GET", path+"?offset=0000000000000003_"+first[17:]+live, nil).problem(400, "malformed-request")
	}
}

// blocksOf reads an event stream to its end by the letter, and says whether it has ended well.
func blocksOf(t *testing.T, body io.Reader) (blocks []sseEvent, ended bool) {
	t.Helper()
	text, err := io.ReadAll(body)
	for block := range strings.SplitSeq(string(text), "\n\n") {
		var e sseEvent
		var data []string
		for line := range strings.SplitSeq(block, "\n") {
			switch name, value, _ := strings.Cut(line, ":"); name {
			case "event":
				e.name = strings.TrimPrefix(value, " ")
			case "data":
				data = append(data, strings.TrimPrefix(value, " "))
			case "id":
				e.id = strings.TrimPrefix(value, " ")
			}
		}
		if data != nil {
			e.data = strings.Join(data, "\n")
			blocks = append(blocks, e)
		}
	}
	return blocks, err == nil
}

// follow opens a stream of events.
func (s *server) follow(path string, headers ...string) *http.Response {
	s.t.Helper()
	r, _ := http.NewRequestWithContext(s.t.Context(), "GET", s.url+path, nil)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	res, err := s.http.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != 200 || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		s.t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	return res
}

// TestStreamIsFollowed: who follows gets what is there and what comes, each data with a control
// behind it, and a clean end when it is closed.
func TestStreamIsFollowed(t *testing.T) {
	s := start(t)
	for name, k := range map[string]struct {
		mime    string
		appends []string
		encoded bool
	}{
		"text":           {"text/plain", []string{"Hello", " world\n", "\n x", "\xe2\x82", "\xac"}, false},
		"bytes":          {"application/octet-stream", []string{"\x00\r\n", "\xff"}, true},
		"text with a CR": {"text/plain", []string{"a\r\n", "b"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := &server{t, s.url, s.http, s.stop}
			path := "/v1/stream/follow/" + strings.ReplaceAll(name, " ", "-")
			s.call("PUT", path, []byte(k.appends[0]), "Content-Type: "+k.mime).want(201)
			live := s.follow(path + "?offset=-1&live=sse")
			if got := live.Header.Get("Stream-Sse-Data-Encoding"); (got == "base64") != k.encoded {
				t.Errorf("encoded: %q", got)
			}
			for _, text := range k.appends[1:] {
				s.call("POST", path, []byte(text), "Content-Type: "+k.mime).want(204)
			}
			end := s.call("POST", path, nil, "Stream-Closed: true").want(204).header.Get("Stream-Next-Offset")
			blocks, ended := blocksOf(t, live.Body)
			var got []byte
			for i, b := range blocks {
				switch b.name {
				case "data":
					if i+1 == len(blocks) || blocks[i+1].name != "control" {
						t.Fatalf("data without control: %+v", blocks)
					}
					text := []byte(b.data)
					if k.encoded {
						text, _ = base64.StdEncoding.DecodeString(b.data)
					}
					got = append(got, text...)
				case "control":
					var c struct {
						StreamNextOffset string
						StreamClosed     bool
					}
					if err := json.Unmarshal([]byte(b.data), &c); err != nil || c.StreamNextOffset != b.id || c.StreamClosed != (i == len(blocks)-1) || c.StreamClosed && c.StreamNextOffset != end {
						t.Errorf("control %d of %d: %s, %v", i, len(blocks), b.data, err)
					}
				}
			}
			if string(got) != strings.Join(k.appends, "") || !ended {
				t.Errorf("%q, ended %v", got, ended)
			}
		})
	}
}

// TestTextThatTurnsOut: a text in which something comes that lines cannot say ends its reader's
// connection in front of that, behind a control, no earlier than a second after it began; from
// there on it comes in base64.
func TestTextThatTurnsOut(t *testing.T) {
	s := start(t)
	const path = "/v1/stream/turns"
	s.call("PUT", path, []byte("plain"), textType).want(201)
	began := time.Now()
	live := s.follow(path + "?offset=-1&live=sse")
	s.call("POST", path, []byte("a\rb"), textType).want(204)
	s.call("POST", path, []byte("c"), textType).want(204)
	blocks, ended := blocksOf(t, live.Body)
	if took := time.Since(began); took < time.Second || !ended || len(blocks) != 2 || blocks[0].data != "plain" || blocks[1].name != "control" {
		t.Fatalf("after %v, ended %v: %+v", took, ended, blocks)
	}
	s.call("POST", path, nil, "Stream-Closed: true").want(204)
	rest := s.follow(path + "?offset=" + blocks[1].id + "&live=sse")
	if rest.Header.Get("Stream-Sse-Data-Encoding") != "base64" {
		t.Errorf("%v", rest.Header)
	}
	blocks, _ = blocksOf(t, rest.Body)
	if got, err := base64.StdEncoding.DecodeString(blocks[0].data); string(got) != "a\rbc" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// TestStreamsDrain: a gateway that goes away ends its readers' connections cleanly, behind a
// control, and answers those that poll at once.
func TestStreamsDrain(t *testing.T) {
	s := start(t, "--long-poll=10m", "--drain=5s")
	const path = "/v1/stream/drain"
	s.call("PUT", path, []byte("x"), textType).want(201)
	live, native := s.follow(path+"?offset=-1&live=sse"), s.follow(path, "Accept: text/event-stream")
	var polled answer
	var polling sync.WaitGroup
	polling.Go(func() { polled = s.call("GET", path+"?offset=now&live=long-poll", nil) })
	s.eventually(func() bool { return s.call("GET", "/metrics", nil).want(200).status == 200 })
	go s.stop()
	blocks, ended := blocksOf(t, live.Body)
	if !ended || len(blocks) != 2 || blocks[1].name != "control" {
		t.Errorf("ended %v: %+v", ended, blocks)
	}
	if _, ended := blocksOf(t, native.Body); ended {
		t.Error("a native stream ended as if there was nothing more")
	}
	if polling.Wait(); polled.status != 204 && polled.status != 503 {
		t.Errorf("polled: %d", polled.status)
	}
	s.stop()
}

// TestEventSourceFollowsStream: a client of server-sent events that knows nothing of Durable
// Streams gets the bytes, comes back with its id, and is told of the end.
func TestEventSourceFollowsStream(t *testing.T) {
	s := start(t)
	const path = "/v1/stream/native"
	s.call("PUT", path, `[1,2]`).want(201)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	request, _ := http.NewRequestWithContext(ctx, "GET", s.url+path, nil)
	connection := (&sse.Client{HTTPClient: s.http}).NewConnection(request)
	var got []string
	second := make(chan struct{})
	connection.SubscribeMessages(func(e sse.Event) {
		if got = append(got, e.Data); len(got) == 2 {
			close(second)
		}
	})
	var last string
	connection.SubscribeEvent("end", func(e sse.Event) { last = e.LastEventID; cancel() })
	done := make(chan error, 1)
	go func() { done <- connection.Connect() }()
	<-second
	s.call("POST", path, `{"three":3}`).want(204)
	end := s.call("POST", path, nil, "Stream-Closed: true").want(204).header.Get("Stream-Next-Offset")
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the client ended with %v", err)
	}
	if strings.Join(got, " ") != `1 2 {"three":3}` || last != end {
		t.Errorf("%q, end at %s", got, last)
	}
	s.call("GET", path, nil, "Accept: text/event-stream", "Last-Event-ID: "+end).want(204)
	// In the middle it goes on behind the id.
	blocks, _ := blocksOf(t, s.follow(path, "Accept: text/event-stream", "Last-Event-ID: 0000000000000002_"+end[17:]).Body)
	if len(blocks) != 4 || blocks[0].name != "start" || blocks[1].data != "2" || blocks[3].name != "end" {
		t.Errorf("%+v", blocks)
	}
}

// TestStreamDeleted: who follows a stream that is deleted, or waits for it, finds out; one that
// comes later with its name is another one.
func TestStreamDeleted(t *testing.T) {
	s := start(t, "--long-poll=10m")
	const path = "/v1/stream/deleted"
	s.call("PUT", path, []byte("one"), textType).want(201)
	live, native := s.follow(path+"?offset=-1&live=sse"), s.follow(path, "Accept: text/event-stream")
	var polled answer
	var polling sync.WaitGroup
	offset := s.call("HEAD", path, nil).header.Get("Stream-Next-Offset")
	polling.Go(func() { polled = s.call("GET", path+"?live=long-poll&offset="+offset, nil) })
	s.call("DELETE", path, nil).want(204)
	s.call("PUT", path, []byte("another"), textType).want(201)
	blocks, ended := blocksOf(t, live.Body)
	if !ended || len(blocks) != 2 || strings.Contains(blocks[1].data, "streamClosed") {
		t.Errorf("ended %v: %+v", ended, blocks)
	}
	blocks, _ = blocksOf(t, native.Body)
	for _, b := range blocks {
		if b.name == "end" || b.name == "" && b.data != "one" {
			t.Errorf("%+v", blocks)
		}
	}
	if polling.Wait(); polled.status != 404 && polled.status != 400 { // it came before, or after
		t.Errorf("polled: %d", polled.status)
	}
	s.call("GET", path+"?offset="+offset, nil).problem(400, "malformed-request")
}

// TestStreamProducers: an append that is made again is there once, and tells which.
func TestStreamProducers(t *testing.T) {
	s := start(t)
	const path = "/v1/stream/producer"
	s.call("PUT", path, nil, textType).want(201)
	by := func(epoch, seq int) answer {
		return s.call("POST", path, fmt.Appendf(nil, "%d.%d;", epoch, seq), textType, "Producer-Id: p", fmt.Sprint("Producer-Epoch: ", epoch), fmt.Sprint("Producer-Seq: ", seq))
	}
	by(0, 0).want(200)
	if again := by(0, 0).want(204); again.header.Get("Producer-Seq") != "0" || again.header.Get("Producer-Epoch") != "0" {
		t.Errorf("%v", again.header)
	}
	if gap := by(0, 2); gap.problem(409, "producer-gap") == nil || gap.header.Get("Producer-Expected-Seq") != "1" || gap.header.Get("Producer-Received-Seq") != "2" {
		t.Errorf("%v", gap.header)
	}
	by(1, 1).problem(400, "malformed-request")
	by(1, 0).want(200)
	if stale := by(0, 1); stale.problem(403, "producer-stale") == nil || stale.header.Get("Producer-Epoch") != "1" {
		t.Errorf("%v", stale.header)
	}
	if got := s.call("GET", path, nil).want(200).body; string(got) != "0.0;1.0;" {
		t.Errorf("%q", got)
	}
}

// TestStreamBounds: what is too much is refused, and nothing of it stays.
func TestStreamBounds(t *testing.T) {
	s := start(t, "--max-chunk=1000", "--max-output=1500")
	const path = "/v1/stream/bounds"
	s.call("PUT", path, bytes.Repeat([]byte("x"), 1001), textType).problem(413, "content-too-large")
	s.call("PUT", path, bytes.Repeat([]byte("x"), 1000), textType).want(201)
	s.call("POST", path, bytes.Repeat([]byte("x"), 1001), textType).problem(413, "content-too-large")
	s.call("POST", path, bytes.Repeat([]byte("x"), 501), textType).problem(413, "content-too-large")
	s.call("POST", path, bytes.Repeat([]byte("x"), 500), textType).want(204)
	if got := s.call("GET", path, nil).want(200).body; len(got) != 1500 {
		t.Errorf("%d bytes", len(got))
	}
}

// TestStreamReadsAll: however much there is, and however it was appended, one read brings all of
// it.
func TestStreamReadsAll(t *testing.T) {
	s := start(t)
	want := make([]byte, 0, 5<<20)
	s.call("PUT", "/v1/stream/all", nil).want(201)
	s.call("PUT", "/v1/stream/messages", "[]").want(201)
	for n := 0; len(want) < 5<<20; n++ {
		part := bytes.Repeat(fmt.Append(nil, n, ","), 1<<18/len(fmt.Sprint(n, ",")))
		want = append(want, part...)
		s.call("POST", "/v1/stream/all", part, "Content-Type: application/octet-stream").want(204)
		s.call("POST", "/v1/stream/messages", fmt.Sprintf("[%q]", part)).want(204)
	}
	if got := s.call("GET", "/v1/stream/all", nil).want(200); !bytes.Equal(got.body, want) || got.header.Get("Stream-Up-To-Date") != "true" {
		t.Errorf("%d bytes, want %d", len(got.body), len(want))
	}
	var messages []string
	if err := json.Unmarshal(s.call("GET", "/v1/stream/messages", nil).want(200).body, &messages); err != nil || strings.Join(messages, "") != string(want) {
		t.Errorf("%d messages, %v", len(messages), err)
	}
	// So does one who follows, whose page ends within them.
	s.call("POST", "/v1/stream/messages", nil, "Stream-Closed: true").want(204)
	blocks, ended := blocksOf(t, s.follow("/v1/stream/messages?offset=-1&live=sse").Body)
	var got strings.Builder
	for _, b := range blocks {
		if b.name == "data" {
			var some []string
			if err := json.Unmarshal([]byte(b.data), &some); err != nil {
				t.Fatal(err)
			}
			got.WriteString(strings.Join(some, ""))
		}
	}
	if got.String() != string(want) || !ended {
		t.Errorf("%d bytes, ended %v", got.Len(), ended)
	}
}

// TestStreamsOfOrigins: pages that may call see what a reader needs to see, and may send what a
// writer has to send.
func TestStreamsOfOrigins(t *testing.T) {
	anywhere(t)
	s := start(t, "--origins=https://app.example")
	const origin = "Origin: https://app.example"
	s.call("PUT", "/v1/stream/cors", []byte("x"), textType, origin).want(201)
	live := s.follow("/v1/stream/cors?offset=-1&live=sse", origin)
	for what, header := range map[string]http.Header{"read": s.call("GET", "/v1/stream/cors", nil, origin).want(200).header, "followed": live.Header} {
		exposed := strings.ToLower(header.Get("Access-Control-Expose-Headers"))
		for _, name := range []string{
			"stream-next-offset", "stream-closed", "stream-up-to-date", "stream-cursor", "stream-sse-data-encoding", "retry-after", "etag",
			"producer-epoch", "producer-seq", "producer-expected-seq", "producer-received-seq",
		} {
			if !strings.Contains(exposed, name) {
				t.Errorf("%s: %s is hidden", what, name)
			}
		}
	}
	const asked = "content-type,authorization,if-none-match,stream-seq,stream-ttl,stream-expires-at,stream-closed,producer-id,producer-epoch,producer-seq"
	preflight := s.call("OPTIONS", "/v1/stream/cors", nil, origin, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: "+asked).want(204)
	if got := preflight.header.Get("Access-Control-Allow-Headers"); got != asked {
		t.Errorf("allowed are %q", got)
	}
}
