package blackbox_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

var recordWire = flag.Bool("record-wire", false, "write testdata/wire.txt and wire-thin.txt anew, for a change of the wire that is meant")

// TestWire: what clients get is what testdata/wire.txt has, and wire-thin.txt of those who follow
// in thin form, which was recorded: each byte of heads and bodies, streams and messages, but for
// times, names that are made up, and addresses.
func TestWire(t *testing.T) {
	if onServers() {
		t.Skip("recorded with the embedded store")
	}
	full, thin := wireStory(t)
	compareWire(t, "testdata/wire.txt", full)
	compareWire(t, "testdata/wire-thin.txt", thin)
}

// compareWire holds what came against what was recorded.
func compareWire(t *testing.T, path, got string) {
	t.Helper()
	if *recordWire {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	were, are := strings.Split(string(want), "\n"), strings.Split(got, "\n")
	for i := range max(len(were), len(are)) {
		var was, is string
		if i < len(were) {
			was = were[i]
		}
		if i < len(are) {
			is = are[i]
		}
		if was != is {
			t.Fatalf("line %d of %s is\n%s\nand was\n%s\nbehind\n%s", i+1, path, is, was, strings.Join(are[max(0, i-5):min(i, len(are))], "\n"))
		}
	}
}

// wire writes down what a gateway answers.
type wire struct {
	t     testing.TB
	host  string
	out   strings.Builder
	names map[string]string // made-up names, by themselves
}

func wireStory(t *testing.T) (full, thin string) {
	s := start(t, "--samples=false", "--routes=default,echo", "--heartbeat=10m", "--retry=2s", "--webhook-allow-http", "--webhook-allow-cidrs=127.0.0.0/8")
	w := &wire{t: t, host: strings.TrimPrefix(s.url, "http://"), names: make(map[string]string)}
	const asJSON, async = "Content-Type: application/json", "Prefer: respond-async"

	w.call("submit", "POST /v1/requests", `{"id":"wire-1","route":"echo","topic":"t","priority":3,"content":{"a":[1,"ä"]}}`, asJSON, async)
	w.call("again", "POST /v1/requests", `{"id":"wire-1","route":"echo","topic":"t","priority":3,"content":{"a":[1,"ä"]}}`, asJSON, async)
	w.call("a conflict", "POST /v1/requests", `{"id":"wire-1","route":"echo","content":2}`, asJSON, async)
	w.call("pending", "GET /v1/requests/wire-1", "")
	w.call("no result yet", "GET /v1/requests/wire-1/result", "")
	w.call("start", "POST /v1/work/wire-1/start", "")
	w.call("progress", "POST /v1/work/wire-1/progress", `{"step":"resize","percent":40,"message":"half of it"}`, asJSON)
	w.call("processing", "GET /v1/requests/wire-1", "")
	w.call("result", "PUT /v1/work/wire-1/result", `{"done":true}`, asJSON)
	w.call("result again", "PUT /v1/work/wire-1/result", `{"done":true}`, asJSON)
	w.call("done", "GET /v1/requests/wire-1", "")
	w.call("its result", "GET /v1/requests/wire-1/result", "")
	w.call("a range", "GET /v1/requests/wire-1/result", "", "Range: bytes=2-5")
	w.call("its head", "HEAD /v1/requests/wire-1/result", "")
	w.call("history", "GET /v1/requests/wire-1/history", "")
	w.call("its events", "GET /v1/requests/wire-1/events", "", "Accept: text/event-stream")
	w.call("its last events", "GET /v1/requests/wire-1/events", "", "Accept: text/event-stream", "Last-Event-ID: 2")
	w.call("events beyond all", "GET /v1/requests/wire-1/events", "", "Accept: text/event-stream", "Last-Event-ID: 99")

	w.call("opaque content", "POST /v1/requests?route=echo", "\x00\x01 bytes", "Content-Type: application/octet-stream", async, "Idempotency-Key: \"one\"")
	w.call("the same key", "POST /v1/requests?route=echo", "\x00\x01 bytes", "Content-Type: application/octet-stream", async, "Idempotency-Key: \"one\"")
	w.call("the same key for something else", "POST /v1/requests?route=echo", "other", "Content-Type: application/octet-stream", async, "Idempotency-Key: \"one\"")
	w.call("to fail", "POST /v1/requests", `{"id":"wire-2","route":"echo","content":1,"maxAttempts":1}`, asJSON, async)
	w.call("start it", "POST /v1/work/wire-2/start", "")
	w.call("error", "PUT /v1/work/wire-2/error", `{"code":"broken","message":"it did not work"}`, asJSON)
	w.call("failed", "GET /v1/requests/wire-2", "")
	w.call("result of what failed", "GET /v1/requests/wire-2/result", "")
	w.call("to cancel", "POST /v1/requests", `{"id":"wire-3","route":"echo","content":1}`, asJSON, async)
	w.call("cancel", "POST /v1/requests/wire-3/cancel", "")
	w.call("forget", "DELETE /v1/requests/wire-3", "")
	w.call("forgotten", "GET /v1/requests/wire-3", "")
	w.call("not to delete", "POST /v1/requests", `{"id":"wire-4","route":"echo","content":1}`, asJSON, async)
	w.call("not ended", "DELETE /v1/requests/wire-4", "")

	w.call("to ask", "POST /v1/requests", `{"id":"wire-5","route":"echo","content":1}`, asJSON, async)
	w.call("answer before a question", "POST /v1/requests/wire-5/input", `{"answer":1}`, asJSON)
	w.call("start what asks", "POST /v1/work/wire-5/start", "")
	w.call("question", "PUT /v1/work/wire-5/question", `{"name":"go","message":"Shall it <go> on?","schema":{"type":"boolean"},"default":null,"timeout":"30m"}`, asJSON)
	w.call("waiting", "GET /v1/requests/wire-5", "")
	w.call("no result while it waits", "GET /v1/requests/wire-5/result", "")
	w.call("answer to another question", "POST /v1/requests/wire-5/input", `{"answer":1,"question":"stop"}`, asJSON)
	w.call("answer", "POST /v1/requests/wire-5/input", `{"answer":{"yes":true},"question":"go"}`, asJSON)
	w.call("a second answer", "POST /v1/requests/wire-5/input", `{"answer":{"yes":true},"question":"go"}`, asJSON)
	w.call("it goes on", "POST /v1/work/wire-5/start", "")
	w.call("asked again", "PUT /v1/work/wire-5/question", `{"name":"go","message":"Shall it <go> on?"}`, asJSON)
	w.call("all of that", "GET /v1/requests/wire-5/history", "")
	w.call("cancel what asked", "POST /v1/requests/wire-5/cancel", "")

	w.call("batch", "POST /v1/batches", `{"id":"wire-b","requests":[{"id":"wire-b1","route":"echo","content":1},{"id":"wire-b2","route":"default","content":"x"}]}`, asJSON, async)
	w.call("its state", "GET /v1/batches/wire-b", "")
	w.call("its requests", "GET /v1/batches/wire-b/requests", "")
	w.call("start one", "POST /v1/work/wire-b1/start", "")
	w.call("its result", "PUT /v1/work/wire-b1/result", "text", "Content-Type: text/plain")
	w.call("cancel the batch", "POST /v1/requests/wire-b/cancel", "")
	w.call("events of a request of it", "GET /v1/requests/wire-b2/events", "", "Accept: text/event-stream")

	w.call("batch that fans in", "POST /v1/batches", `{"id":"wire-f","result":"joined","onFailure":"cancel","requests":[{"id":"wire-f1","route":"echo","content":1},{"id":"wire-f2","route":"echo","content":2}],"then":{"route":"default","content":"x"}}`, asJSON, async)
	w.call("start what is joined", "POST /v1/work/wire-f1/start", "")
	w.call("a result of it", "PUT /v1/work/wire-f1/result", "text", "Content-Type: text/plain")
	w.call("start what fails", "POST /v1/work/wire-f2/start", "")
	w.call("a failure of it", "PUT /v1/work/wire-f2/error", `{"message":"broken"}`, asJSON)
	w.call("how it fanned in", "GET /v1/requests/wire-f/events?after=0", "", "Accept: text/event-stream")
	w.call("what was joined", "GET /v1/requests/wire-f/result", "")

	w.call("topic", "GET /v1/topics/t/history", "")
	w.call("list", "GET /v1/requests?topic=t", "")
	w.socket("", []said{
		{`{"op":"subscribe","channel":"request:wire-1","after":0}`, 6},
		{`{"op":"subscribe","channel":"topic:t","after":1}`, 4},
		{`{"op":"unsubscribe","channel":"topic:t"}`, 1},
		{`{"op":"ping"}`, 1},
		{`{"op":"subscribe","channel":"request:none"}`, 1},
		{`{"op":"shout"}`, 1},
	})

	w.call("endpoint", "POST /v1/webhooks", `{"url":"http://127.0.0.1:9/hook?a=b","events":["request.succeeded"],"description":"d"}`, asJSON)
	w.call("endpoints", "GET /v1/webhooks", "")
	w.call("a bad endpoint", "POST /v1/webhooks", `{"url":"ftp://127.0.0.1/","colour":1}`, asJSON)

	for _, wrong := range [][]string{
		{"no such path", "GET /v1/nothing", ""},
		{"no such method", "PUT /v1/requests", "", asJSON},
		{"no such request", "GET /v1/requests/none", ""},
		{"no such route", "POST /v1/requests", `{"route":"ecko","content":1}`, asJSON},
		{"no JSON", "POST /v1/requests", `{"content":`, asJSON},
		{"unknown members", "POST /v1/requests", `{"content":1,"piority":3,"delay":-1}`, asJSON},
		{"an unknown option", "POST /v1/requests?piority=3", "x", "Content-Type: text/plain"},
		{"no type", "POST /v1/requests", `{"content":1}`},
		{"no percent-encoding", "GET /v1/requests?topic=%zz", ""},
		{"a bad cursor", "GET /v1/requests?cursor=x", ""},
		{"no such work", "POST /v1/work/none/start", ""},
		{"no stream", "GET /v1/events", "", "Accept: image/png"},
	} {
		w.call(wrong[0], wrong[1], wrong[2], wrong[3:]...)
	}
	w.call("to put off", "POST /v1/requests", `{"id":"wire-6","route":"echo","content":1,"maxAttempts":1}`, asJSON, async)
	w.call("start what is put off", "POST /v1/work/wire-6/start", "")
	w.call("release", "POST /v1/work/wire-6/release", `{"attempt":1,"retryAfter":"10m"}`, asJSON)
	w.call("release again", "POST /v1/work/wire-6/release", `{"attempt":1,"retryAfter":"10m"}`, asJSON)
	w.call("put off", "GET /v1/requests/wire-6", "")
	w.call("what has failed", "GET /v1/dead", "")
	w.call("on one route", "GET /v1/dead/echo", "")
	w.call("redrive", "POST /v1/requests/wire-2/redrive", "")
	w.call("redrive again", "POST /v1/requests/wire-2/redrive", "")
	w.call("start it once more", "POST /v1/work/wire-2/start", "")
	w.call("it fails again", "PUT /v1/work/wire-2/error", `{"code":"broken","message":"it did not work"}`, asJSON)
	w.call("all that came of it", "GET /v1/requests/wire-2/history", "")
	w.call("redrive what has succeeded", "POST /v1/requests/wire-1/redrive", "")
	w.call("redrive all", "POST /v1/dead/echo/redrive?before=2020-01-01T00:00:00Z", "")
	w.call("purge", "DELETE /v1/dead/echo?limit=1", "")
	w.call("messages that were put aside", "GET /v1/dead/echo/messages", "")
	w.call("of no route", "GET /v1/dead/ecko", "")
	w.call("what was submitted", "GET /v1/requests/wire-2/submission", "")
	w.call("figures of no route", "GET /v1/routes/ecko", "")
	w.call("options", "OPTIONS /v1/requests", "", "Origin: https://app.example", "Access-Control-Request-Method: POST")
	full = w.out.String()
	w.out.Reset()

	for _, id := range []string{"wire-1", "wire-2", "wire-5", "wire-f"} {
		w.call("history", "GET /v1/requests/"+id+"/history?form=thin", "")
	}
	w.call("some events", "GET /v1/requests/wire-1/events?form=thin&after=1&limit=2", "", "Accept: application/json")
	w.call("its events", "GET /v1/requests/wire-1/events?form=thin", "", "Accept: text/event-stream")
	w.call("its last events", "GET /v1/requests/wire-1/events?form=thin", "", "Accept: text/event-stream", "Last-Event-ID: 2")
	w.call("events beyond all", "GET /v1/requests/wire-1/events?form=thin", "", "Accept: text/event-stream", "Last-Event-ID: 99")
	w.call("topic", "GET /v1/topics/t/history?form=thin", "")
	w.call("all", "GET /v1/history?form=thin&limit=12", "")
	w.call("no such form", "GET /v1/history?form=thim", "")
	w.call("no such form of a stream", "GET /v1/requests/wire-1/events?form=thick", "", "Accept: text/event-stream")
	w.socket("?form=thin", []said{
		{`{"op":"subscribe","channel":"request:wire-1","after":0}`, 6},
		{`{"op":"subscribe","channel":"topic:t","after":1}`, 4},
		{`{"op":"unsubscribe","channel":"topic:t"}`, 1},
		{`{"op":"subscribe","channel":"topic:t","after":1,"form":"full"}`, 4},
		{`{"op":"subscribe","channel":"topic:t","form":"thim"}`, 1},
	})
	w.call("endpoint", "POST /v1/webhooks", `{"url":"http://127.0.0.1:9/hook","form":"thin"}`, asJSON)
	w.call("an endpoint of no form", "POST /v1/webhooks", `{"url":"http://127.0.0.1:9/hook","form":"thim"}`, asJSON)
	return full, w.out.String()
}

// call makes one call on a connection of its own, and writes down all that comes until it ends.
func (w *wire) call(what, line, body string, fields ...string) {
	w.t.Helper()
	conn, err := net.Dial("tcp", w.host)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(3 * time.Minute))
	method, _, _ := strings.Cut(line, " ")
	var head strings.Builder
	head.WriteString(line + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n")
	for _, f := range fields {
		head.WriteString(f + "\r\n")
	}
	if body != "" || method == http.MethodPost || method == http.MethodPut {
		_, _ = fmt.Fprintf(&head, "Content-Length: %d\r\n", len(body))
	}
	if _, err := io.WriteString(conn, head.String()+"\r\n"+body); err != nil {
		w.t.Fatal(err)
	}
	answer, err := io.ReadAll(bufio.NewReader(conn))
	if err != nil && !errors.Is(err, net.ErrClosed) {
		w.t.Fatalf("%s: %v behind %q", what, err, answer)
	}
	w.write(what+": "+line, ordered(string(answer)))
}

// ordered returns an answer with the fields of its head in order: theirs has no meaning (RFC 9110,
// section 5.3).
func ordered(answer string) string {
	head, body, _ := strings.Cut(answer, "\r\n\r\n")
	fields := strings.Split(head, "\r\n")
	slices.Sort(fields[1:])
	return strings.Join(fields, "\r\n") + "\r\n\r\n" + body
}

// said is a message, and how many answer it.
type said struct {
	say    string
	expect int
}

// socket talks over a WebSocket.
func (w *wire) socket(query string, messages []said) {
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, "ws://"+w.host+"/v1/ws"+query, &websocket.DialOptions{Subprotocols: []string{"hark.v1"}})
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	for _, c := range messages {
		if err := conn.Write(ctx, websocket.MessageText, []byte(c.say)); err != nil {
			w.t.Fatal(err)
		}
		var received []string
		for range c.expect {
			_, message, err := conn.Read(ctx)
			if err != nil {
				received = append(received, err.Error())
				break
			}
			received = append(received, string(message))
		}
		w.write("socket: "+c.say, strings.Join(received, "\n"))
	}
}

var (
	wireTimes = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z|[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT`)
	wireNames = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|whsec_[A-Za-z0-9+/=]+|\b[A-Za-z0-9_-]{20,}\b|\b[a-z0-9]{10}\b`)
	wireSizes = regexp.MustCompile(`(?m)^(Content-Length: \d+|[0-9a-f]+)\r$`) // of what holds times
	// A life may be without a digit.
	wireLives = regexp.MustCompile(`"life":"([a-z0-9]{10})"`)
	// The pace is given give or take a third.
	wireRetry = regexp.MustCompile(`(?m)^retry: \d+`)
)

func (w *wire) write(what, text string) {
	if _, body, _ := strings.Cut(text, "\r\n\r\n"); wireTimes.MatchString(body) {
		text = wireSizes.ReplaceAllString(text, "<size>\r")
	}
	text = wireTimes.ReplaceAllString(text, "<time>")
	text = wireRetry.ReplaceAllString(text, "retry: <ms>")
	text = strings.ReplaceAll(text, w.host, "<host>")
	lives := make(map[string]bool)
	for _, life := range wireLives.FindAllStringSubmatch(text, -1) {
		lives[life[1]] = true
	}
	text = wireNames.ReplaceAllStringFunc(text, func(name string) string {
		word := !strings.ContainsAny(name, "0123456789") || strings.Trim(name, "0123456789") == ""
		word = word && !strings.HasPrefix(name, "ep_") // whose digits are few
		if word && !lives[name] && w.names[name] == "" {
			return name
		}
		if w.names[name] == "" {
			w.names[name] = fmt.Sprintf("<name %d>", len(w.names)+1)
		}
		return w.names[name]
	})
	_, _ = fmt.Fprintf(&w.out, "=== %s\n%s\n", what, strings.ReplaceAll(text, "\r\n", "\n"))
}
