package blackbox_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/gorilla/websocket"
	"github.com/tmaxmax/go-sse"
)

// cloudEvent parses an event with the CloudEvents SDK, which also validates it.
func cloudEvent(t testing.TB, text []byte) event.Event {
	t.Helper()
	var e event.Event
	if err := json.Unmarshal(text, &e); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if err := e.Validate(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return e
}

// short returns the types of events without their prefix.
func short(types []string) string {
	for i := range types {
		types[i] = strings.TrimPrefix(types[i], "request.")
	}
	return strings.Join(types, " ")
}

// process works on a request over HTTP: start, one progress, a result.
func (s *server) process(id string) {
	s.t.Helper()
	s.call("POST", "/v1/work/"+id+"/start", nil).want(200)
	s.call("POST", "/v1/work/"+id+"/progress", `{"step":"half","percent":50}`).want(200)
	s.call("PUT", "/v1/work/"+id+"/result", `{"ok":true}`).want(200)
}

func TestStreamWithIndependentClient(t *testing.T) {
	s := start(t)
	id := s.submit("default", 1, "topic=t")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	request, _ := http.NewRequestWithContext(ctx, "GET", s.url+"/v1/requests/"+id+"/events", nil)
	connection := (&sse.Client{HTTPClient: s.http}).NewConnection(request)
	var types []string
	var ids []string
	first := make(chan struct{})
	connection.SubscribeMessages(func(e sse.Event) {
		var ce event.Event
		if err := json.Unmarshal([]byte(e.Data), &ce); err != nil {
			t.Errorf("%v: %q", err, e.Data)
			return
		}
		types, ids = append(types, ce.Type()), append(ids, e.LastEventID)
		if ce.Source() != "/v1/requests/"+id || ce.Subject() != "t" || ce.ID() != id+"/"+e.LastEventID || ce.Extensions()["sequence"] != fmt.Sprintf("%010s", e.LastEventID) {
			t.Errorf("event %v", ce)
		}
		if len(types) == 1 {
			close(first)
		}
	})
	// It closes there: whoever does not is told to come back in an hour, for a 204.
	connection.SubscribeEvent("end", func(e sse.Event) {
		if e.LastEventID != "4" || e.Data != `{"offset":4}` {
			t.Errorf("end: %+v", e)
		}
		cancel()
	})
	done := make(chan error, 1)
	go func() { done <- connection.Connect() }()
	<-first
	s.process(id)
	<-ctx.Done()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the client ended with %v", err)
	}
	// Who comes back with its cursor is told to stay away.
	s.call("GET", "/v1/requests/"+id+"/events", nil, "Accept: text/event-stream", "Last-Event-ID: "+ids[len(ids)-1]).want(204)
	if got := short(types); got != "accepted started progress succeeded" || !slices.Equal(ids, []string{"1", "2", "3", "4"}) {
		t.Errorf("%s %v", got, ids)
	}
}

// stream is an open event stream, read by hand.
type stream struct {
	t     testing.TB
	res   *http.Response
	r     *bufio.Reader
	begun bool // the first comment was read
}

func (s *server) stream(path string, headers ...string) *stream {
	s.t.Helper()
	r, _ := http.NewRequest("GET", s.url+path, nil)
	r.Header.Set("Accept", "text/event-stream")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	res, err := s.http.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = res.Body.Close() })
	st := newStream(res)
	st.t = s.t
	return st
}

func newStream(res *http.Response) *stream { return &stream{res: res, r: bufio.NewReader(res.Body)} }

type sseEvent struct{ id, name, data, retry, comment string }

// block reads up to the next empty line.
func (s *stream) block() (e sseEvent, err error) {
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return e, err
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch field {
		case "":
			return e, nil
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			e.data = value
		case "retry":
			e.retry = value
		case ":":
			if !s.begun { // what ends a line that was torn
				s.begun = true
				continue
			}
			return sseEvent{comment: "heartbeat"}, nil
		}
	}
}

// next returns the next event of the channel.
func (s *stream) next() sseEvent {
	s.t.Helper()
	for {
		e, err := s.block()
		if err != nil {
			s.t.Fatalf("stream: %v", err)
		}
		if e.data != "" && e.name == "" {
			return e
		}
	}
}

// rest returns types and ids of all events until the stream is closed.
func (s *stream) rest() (got []string) {
	s.t.Helper()
	for {
		e, err := s.block()
		if err != nil {
			return got
		}
		if e.name != "" {
			if e.name != "start" {
				got = append(got, e.name)
			}
		} else if e.data != "" {
			got = append(got, e.id+":"+strings.TrimPrefix(cloudEvent(s.t, []byte(e.data)).Type(), "request."))
		}
	}
}

func TestStreamResumes(t *testing.T) {
	s := start(t)
	id := s.submit("default", 1)
	path := "/v1/requests/" + id + "/events"
	live := s.stream(path)
	if live.res.Header.Get("Content-Type") != "text/event-stream" || live.res.Header.Get("Cache-Control") != "no-store" || live.res.Header.Get("X-Accel-Buffering") != "no" {
		t.Errorf("head: %v", live.res.Header)
	}
	if b, err := live.block(); err != nil || !live.begun || b.name != "start" || b.data != `{"offset":0}` || b.id != "0" || b.retry == "" {
		t.Errorf("first block: %+v %v", b, err)
	}
	// Whoever comes back is told of what it knows: WebKit loses the first block behind an event
	// that was torn, and may have taken half of its id.
	if b, err := s.stream(path, "Last-Event-ID: 0").block(); err != nil || b.name != "start" || b.data != `{"offset":0}` || b.id != "0" {
		t.Errorf("first block of who comes back: %+v %v", b, err)
	}
	s.process(id)
	all := "1:accepted 2:started 3:progress 4:succeeded end"
	for name, c := range map[string]struct {
		s    *stream
		want string
	}{
		"live":             {live, all},
		"replay":           {s.stream(path), all},
		"header":           {s.stream(path, "Last-Event-ID: 2"), "3:progress 4:succeeded end"},
		"query":            {s.stream(path + "?lastEventId=3"), "4:succeeded end"},
		"other query":      {s.stream(path + "?last_event_id=1"), "2:started 3:progress 4:succeeded end"},
		"header wins":      {s.stream(path+"?lastEventId=1", "Last-Event-ID: 3"), "4:succeeded end"},
		"zero":             {s.stream(path, "Last-Event-ID: 0"), all},
		"beyond the top":   {s.stream(path, "Last-Event-ID: 9"), "4:reset end"},
		"never given out":  {s.stream(path, "Last-Event-ID: x"), "4:reset end"},
		"negative":         {s.stream(path, "Last-Event-ID: -1"), "4:reset end"},
		"larger than fits": {s.stream(path, "Last-Event-ID: 99999999999999999999"), "4:reset end"},
	} {
		if got := strings.Join(c.s.rest(), " "); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	s.call("GET", path, nil, "Accept: text/event-stream", "Last-Event-ID: 4").want(204)
	s.call("GET", "/v1/requests/unknown/events", nil, "Accept: text/event-stream").problem(404, "request-not-found")

	stored := s.call("GET", path+"?after=2", nil, "Accept: application/json").want(200).json()
	if events := stored["events"].([]any); len(events) != 2 || stored["offset"] != 4.0 {
		t.Errorf("stored: %v", stored)
	}
	s.call("GET", path+"?after=x", nil, "Accept: application/json").problem(422, "invalid-request")
	for name, a := range map[string]answer{
		"header": s.call("GET", path+"?after=0", nil, "Accept: application/json", "Last-Event-ID: 3"),
		"query":  s.call("GET", path+"?lastEventId=3", nil, "Accept: Application/JSON"),
	} {
		if events := a.want(200).json()["events"].([]any); len(events) != 1 {
			t.Errorf("stored after the %s: %s", name, a.body)
		}
	}
	s.call("GET", path, nil, "Accept: application/json", "Last-Event-ID: x").problem(422, "invalid-request")
	// Who takes anything gets the stream, or what is stored if asking for it.
	if got := strings.Join(s.stream(path, "Accept: */*").rest(), " "); got != all {
		t.Errorf("any: %s", got)
	}
	if stored := s.call("GET", path+"?after=0", nil, "Accept: */*").want(200).json(); len(stored["events"].([]any)) != 4 {
		t.Errorf("stored for any: %v", stored)
	}
}

func TestHistoryThatIsGoneIsTold(t *testing.T) {
	s := start(t)
	id := s.submit("default", 1)
	s.call("POST", "/v1/work/"+id+"/start", nil).want(200)
	for n := range 400 { // more than is kept
		s.call("POST", "/v1/work/"+id+"/progress", fmt.Sprintf(`{"percent":%d}`, n%100)).want(200)
	}
	late := s.stream("/v1/requests/"+id+"/events", "Last-Event-ID: 3")
	e := late.next()
	ce := cloudEvent(t, []byte(e.data))
	var doc map[string]any
	if err := ce.DataAs(&doc); err != nil || ce.Type() != "request.reset" || e.id != "402" || doc["sequence"] != 402.0 {
		t.Errorf("reset: %+v", e)
	}
	s.call("POST", "/v1/work/"+id+"/complete", nil).want(200)
	if got := strings.Join(late.rest(), " "); got != "403:succeeded end" {
		t.Errorf("after the reset: %s", got)
	}
}

// TestHistoryTellsWhatIsGone: who polls is told that events are missing between what it knows and
// what it gets, as a stream tells by a reset.
func TestHistoryTellsWhatIsGone(t *testing.T) {
	s := start(t, "--history=16", "--feed-history=24")
	empty := s.call("GET", "/v1/topics/none/history", nil).want(200)
	if string(empty.body) != `{"events":[],"offset":0,"cursor":"0","recovered":true}` || empty.header.Get("Cache-Control") != "no-cache" {
		t.Errorf("%s %v", empty.body, empty.header)
	}
	if a := s.call("GET", "/v1/topics/none/history?after=5", nil).want(200); string(a.body) != `{"events":[],"offset":0,"cursor":"0","recovered":false,"oldest":1}` {
		t.Errorf("of another life: %s", a.body)
	}
	id := s.submit("default", 1, "topic=t")
	s.call("POST", "/v1/work/"+id+"/start", nil).want(200)
	const top = 60
	for n := range top - 2 {
		s.call("POST", "/v1/work/"+id+"/progress", fmt.Sprintf(`{"percent":%d}`, n)).want(200)
	}
	for path, kept := range map[string]int{"/v1/requests/" + id: 16, "/v1/topics/t": 24, "/v1": 24} {
		ask := func(query string) (first, n, offset int, recovered bool, oldest int) {
			t.Helper()
			a := s.call("GET", path+"/history"+query, nil, "Accept: */*").want(200)
			if b := s.call("GET", path+"/events"+query, nil, "Accept: application/json").want(200); string(a.body) != string(b.body) {
				t.Errorf("%s%s:\n%s as history,\n%s as events", path, query, a.body, b.body)
			}
			var list struct {
				Events    []struct{ Data struct{ Sequence int } }
				Offset    int
				Recovered *bool
				Oldest    int
			}
			if err := json.Unmarshal(a.body, &list); err != nil || list.Recovered == nil {
				t.Fatalf("%v: %s", err, a.body)
			}
			// Each of them has the same number in all of these channels.
			if n = len(list.Events); n > 0 {
				if first = list.Events[0].Data.Sequence; list.Events[n-1].Data.Sequence != first+n-1 || list.Offset != first+n-1 {
					t.Errorf("%s%s: %s", path, query, a.body)
				}
			}
			return first, n, list.Offset, *list.Recovered, list.Oldest
		}
		oldest, n, offset, recovered, told := ask("")
		if n < kept || n > kept+kept/8 || offset != top || recovered || told != oldest || oldest != top-n+1 {
			t.Errorf("%s: %d events from %d to %d, recovered %v, oldest %d", path, n, oldest, offset, recovered, told)
		}
		for query, want := range map[string]string{
			"?after=0":                                  fmt.Sprint(oldest, n, top, false, oldest),
			fmt.Sprint("?after=", oldest-2):             fmt.Sprint(oldest, n, top, false, oldest),
			fmt.Sprint("?limit=3&after=", oldest-2):     fmt.Sprint(oldest, 3, oldest+2, false, oldest),
			fmt.Sprint("?after=", oldest-1):             fmt.Sprint(oldest, n, top, true, 0),
			fmt.Sprint("?limit=3&after=", oldest-1):     fmt.Sprint(oldest, 3, oldest+2, true, 0),
			fmt.Sprint("?after=", top-1):                fmt.Sprint(top, 1, top, true, 0),
			fmt.Sprint("?after=", top):                  fmt.Sprint(0, 0, top, true, 0),
			fmt.Sprint("?after=", top+1):                fmt.Sprint(0, 0, top, false, oldest),
			"?after=18446744073709551615":               fmt.Sprint(0, 0, top, false, oldest),
			fmt.Sprint("?lastEventId=", top+1):          fmt.Sprint(0, 0, top, false, oldest),
			fmt.Sprint("?limit=1000&after=", oldest+3):  fmt.Sprint(oldest+4, n-4, top, true, 0),
			fmt.Sprint("?last_event_id=", oldest+3):     fmt.Sprint(oldest+4, n-4, top, true, 0),
			fmt.Sprint("?limit=1&lastEventId=", oldest): fmt.Sprint(oldest+1, 1, oldest+1, true, 0),
		} {
			first, n, offset, recovered, told := ask(query)
			if got := fmt.Sprint(first, n, offset, recovered, told); got != want {
				t.Errorf("%s%s: %s, want %s", path, query, got, want)
			}
		}
		s.call("GET", path+"/history?after=x", nil).problem(422, "invalid-request")
		s.call("GET", path+"/history?limit=1001", nil).problem(422, "invalid-request")
	}
	s.call("GET", "/v1/requests/unknown/history", nil).problem(404, "request-not-found")
}

func TestFeeds(t *testing.T) {
	s := start(t)
	before := s.submit("default", 1, "topic=t1")
	topic, all := s.stream("/v1/topics/t1/events"), s.stream("/v1/events")
	// The cursor of one who has seen nothing yet.
	for _, f := range []*stream{topic, all} {
		if b, err := f.block(); err != nil || b.id != "1" || b.name != "start" || b.data != `{"offset":1}` || b.retry == "" {
			t.Errorf("cursor: %+v, %v", b, err)
		}
	}
	other := s.submit("default", 2, "topic=t2")
	after := s.submit("default", 3, "topic=t1")
	if e := topic.next(); e.id != "2" || !strings.Contains(e.data, after) {
		t.Errorf("topic: %+v", e)
	}
	for n, id := range []string{other, after} {
		if e := all.next(); e.id != fmt.Sprint(n+2) || !strings.Contains(e.data, id) {
			t.Errorf("all: %+v", e)
		}
	}
	if e := s.stream("/v1/topics/t1/events?lastEventId=0").next(); e.id != "1" || !strings.Contains(e.data, before) {
		t.Errorf("replay: %+v", e)
	}
	if e := s.stream("/v1/events", "Last-Event-ID: 77").next(); e.id != "3" || !strings.Contains(e.data, "feed.reset") {
		t.Errorf("reset: %+v", e)
	}
}

// dial connects a WebSocket client that is not ours.
func (s *server) dial(query string) *websocket.Conn {
	s.t.Helper()
	d := websocket.Dialer{Subprotocols: []string{"hark.v1"}}
	conn, res, err := d.Dial("ws"+strings.TrimPrefix(s.url, "http")+"/v1/ws"+query, nil)
	if err != nil {
		s.t.Fatal(err, res)
	}
	if conn.Subprotocol() != "hark.v1" {
		s.t.Errorf("subprotocol %q", conn.Subprotocol())
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// say sends a message and expect reads one and compares its members.
func say(t testing.TB, conn *websocket.Conn, message string) {
	t.Helper()
	if err := conn.WriteMessage(websocket.TextMessage, []byte(message)); err != nil {
		t.Fatal(err)
	}
}

func expect(t testing.TB, conn *websocket.Conn, want string) map[string]any {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(3 * time.Minute))
	var got, wanted map[string]any
	if err := conn.ReadJSON(&got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(want), &wanted); err != nil {
		t.Fatal(err)
	}
	for key, value := range wanted {
		if fmt.Sprint(got[key]) != fmt.Sprint(value) {
			t.Fatalf("%s: %v, want %v, in %v", key, got[key], value, got)
		}
	}
	return got
}

func TestSocketWithIndependentClient(t *testing.T) {
	s := start(t)
	id := s.submit("default", 1, "topic=t")
	channel := "request:" + id
	conn := s.dial("?channel=" + channel)
	expect(t, conn, `{"op":"subscribed","channel":"`+channel+`","offset":1,"recovered":true}`)
	m := expect(t, conn, `{"op":"event","channel":"`+channel+`","offset":1}`)
	text, _ := json.Marshal(m["event"])
	if cloudEvent(t, text).Type() != "request.accepted" {
		t.Errorf("%s", text)
	}
	say(t, conn, `{"op":"subscribe","channel":"topic:t"}`)
	expect(t, conn, `{"op":"subscribed","channel":"topic:t","offset":1,"recovered":true}`)
	say(t, conn, `{"op":"ping"}`)
	expect(t, conn, `{"op":"pong"}`)
	s.process(id)
	ops := map[string]int{}
	for range 7 { // three events each, and the end of one
		m := expect(t, conn, `{}`)
		ops[fmt.Sprint(m["op"], " ", m["channel"])]++
	}
	if ops["event "+channel] != 3 || ops["event topic:t"] != 3 || ops["end "+channel] != 1 {
		t.Errorf("%v", ops)
	}
	say(t, conn, `{"op":"unsubscribe","channel":"topic:t"}`)
	expect(t, conn, `{"op":"unsubscribed","channel":"topic:t"}`)

	for message, problem := range map[string]string{
		`{"op":"unsubscribe","channel":"topic:t"}`:      "/problems/not-subscribed",
		`{"op":"subscribe","channel":"request:no"}`:     "/problems/request-not-found",
		`{"op":"subscribe","channel":"owner:somebody"}`: "/problems/channel-not-found",
		`{"op":"subscribe","channel":"nonsense"}`:       "/problems/channel-not-found",
		`{"op":"subscribe"}`:                            "/problems/channel-not-found",
		`{"op":"dance"}`:                                "/problems/unknown-op",
		`{"op":"auth","token":"x"}`:                     "/problems/tokens-not-used",
		`{"op":7}`:                                      "/problems/malformed-message",
		`{"op":"subscribe","after":-1}`:                 "/problems/malformed-message",
		`[]`:                                            "/problems/malformed-message",
		`{`:                                             "/problems/malformed-message",
	} {
		say(t, conn, message)
		got := expect(t, conn, `{"op":"error"}`)
		if p := got["problem"].(map[string]any); p["type"] != problem {
			t.Errorf("%s: %v, want %s", message, p, problem)
		}
	}

	// Resuming: from the middle, at the end, beyond it.
	say(t, conn, `{"op":"subscribe","channel":"`+channel+`","after":3}`)
	expect(t, conn, `{"op":"subscribed","offset":4,"recovered":true}`)
	expect(t, conn, `{"op":"event","offset":4}`)
	expect(t, conn, `{"op":"end","offset":4}`)
	say(t, conn, `{"op":"subscribe","channel":"`+channel+`","after":4}`)
	expect(t, conn, `{"op":"subscribed","offset":4,"recovered":true}`)
	expect(t, conn, `{"op":"end","offset":4}`)
	say(t, conn, `{"op":"subscribe","channel":"`+channel+`","after":9}`)
	expect(t, conn, `{"op":"subscribed","offset":4,"recovered":false}`)
	if m := expect(t, conn, `{"op":"event","offset":4}`); m["event"].(map[string]any)["type"] != "request.reset" {
		t.Errorf("%v", m)
	}
	expect(t, conn, `{"op":"end","offset":4}`)
	say(t, conn, `{"op":"subscribe","channel":"owner"}`)
	expect(t, conn, `{"op":"subscribed","channel":"owner","offset":4}`)
}

func TestSocketIsClosedWithACode(t *testing.T) {
	anywhere(t)
	s := start(t)
	closed := func(conn *websocket.Conn) int {
		_ = conn.SetReadDeadline(time.Now().Add(3 * time.Minute))
		for {
			if _, _, err := conn.ReadMessage(); err != nil {
				if c, ok := errors.AsType[*websocket.CloseError](err); ok {
					return c.Code
				}
				t.Errorf("closed without a code: %v", err)
				return 0
			}
		}
	}
	conn := s.dial("")
	if err := conn.WriteMessage(websocket.BinaryMessage, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if code := closed(conn); code != 4500 {
		t.Errorf("binary: %d", code)
	}
	conn = s.dial("")
	say(t, conn, `{"op":"`+strings.Repeat("x", 40<<10)+`"}`)
	if code := closed(conn); code != 1009 {
		t.Errorf("too big: %d", code)
	}
	conn = s.dial("")
	if err := conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""), time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if code := closed(conn); code != 1000 {
		t.Errorf("goodbye: %d", code)
	}
	conn = s.dial("")
	say(t, conn, `{"op":"ping"}`)
	expect(t, conn, `{"op":"pong"}`)
	stream := s.stream("/v1/events")
	if b, err := stream.block(); err != nil || b.name != "start" {
		t.Errorf("%+v, %v", b, err)
	}
	go s.stop()
	if code := closed(conn); code != 1012 {
		t.Errorf("restart: %d", code)
	}
	if got := strings.Join(stream.rest(), " "); got != "restart" {
		t.Errorf("stream at restart: %v", got)
	}
	s.stop()
}

// TestSpeaksBeforeItListens sends frames right behind the handshake, in one packet.
func TestSpeaksBeforeItListens(t *testing.T) {
	s := start(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ping := []byte{0x81, 0x80 | 13, 0, 0, 0, 0}
	ping = append(ping, `{"op":"ping"}`...)
	_, err = fmt.Fprintf(conn, "GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n%s%s", ping, ping)
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	_ = conn.SetReadDeadline(time.Now().Add(3 * time.Minute))
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != 101 || res.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("%v %v", err, res)
	}
	const pong = `{"op":"pong","interval":25,"retry":2000}`
	want := strings.Repeat("\x81"+string(rune(len(pong)))+pong, 2)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Errorf("%v %q", err, got)
	}
}

func TestHeartbeat(t *testing.T) {
	anywhere(t)
	s := start(t, "--heartbeat=1s")
	stream := s.stream("/v1/events")
	for {
		b, err := stream.block()
		if err != nil {
			t.Fatal(err)
		}
		if b.comment != "" {
			break
		}
	}
	for _, path := range []string{"/v1/events", "/v1/topics/t/events", "/v1/requests/" + s.submit("default", 1) + "/events"} {
		told := s.stream(path + "?heartbeat=event")
		b, err := told.block()
		if b.name == "start" {
			b, err = told.block()
		}
		if err != nil || b.name != "heartbeat" || b.data != `{"interval":1,"retry":2000}` || b.id != "" {
			t.Errorf("%s begins with %+v, %v", path, b, err)
		}
		s.call("GET", path+"?heartbeat=yes", nil, "Accept: text/event-stream").problem(422, "invalid-request")
	}
	asked := s.dial("")
	say(t, asked, `{"op":"ping"}`)
	expect(t, asked, `{"op":"pong","interval":1,"retry":2000}`)
	conn := s.dial("")
	pinged := make(chan struct{}, 1)
	conn.SetPingHandler(func(string) error {
		pinged <- struct{}{}
		return io.EOF
	})
	_, _, _ = conn.ReadMessage()
	<-pinged
}

func TestForeignPageMayNotConnect(t *testing.T) {
	anywhere(t)
	s := start(t, "--origins=https://app.example")
	dial := func(origin string) int {
		_, res, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(s.url, "http")+"/v1/ws", http.Header{"Origin": {origin}})
		if err != nil && res == nil {
			t.Fatal(err)
		}
		return res.StatusCode
	}
	if a, b, c := dial("https://evil.example"), dial("https://app.example"), dial(s.url); a != 403 || b != 101 || c != 101 {
		t.Errorf("%d %d %d", a, b, c)
	}
	if a := s.call("GET", "/v1/requests", nil, "Origin: https://app.example").want(200); a.header.Get("Access-Control-Allow-Origin") != "https://app.example" {
		t.Errorf("%v", a.header)
	}
	for range 2 {
		a := s.call("POST", "/v1/requests", []byte(`{"content":1}`), "Origin: https://app.example", "Idempotency-Key: k", "Content-Type: application/json", "Prefer: respond-async").want(202)
		for name := range a.header {
			own := !strings.HasPrefix(name, "Access-Control-") && !slices.Contains([]string{"Content-Length", "Content-Type", "Cache-Control", "Date", "Vary"}, name)
			if exposed := a.header.Get("Access-Control-Expose-Headers"); own && !strings.Contains(exposed, name) {
				t.Errorf("a page does not see %s: it may see %s", name, exposed)
			}
		}
	}
	if a := s.stream("/v1/events", "Origin: https://app.example"); a.res.Header.Get("Access-Control-Allow-Origin") != "https://app.example" {
		t.Errorf("%v", a.res.Header)
	}
	r, _ := http.NewRequest("GET", s.url+"/v1/requests", nil)
	r.Host = "evil.example"
	res, err := s.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != 403 {
		t.Errorf("rebound name: %d", res.StatusCode)
	}
}

// TestPagesOfOtherOrigins: pages of an origin that is named may send what clients send, see what is
// answered, refusals included, and use credentials; others may not.
func TestPagesOfOtherOrigins(t *testing.T) {
	anywhere(t)
	file := filepath.Join(t.TempDir(), "keys.yaml")
	writeKeys(t, file, allKeys)
	s := start(t, "--origins=https://app.example,https://Other.example:8443", "--keys="+file)
	preflight := func(origin, method, headers string) answer {
		return s.call("OPTIONS", "/v1/requests/x/events", nil, "Origin: "+origin, "Access-Control-Request-Method: "+method, "Access-Control-Request-Headers: "+headers)
	}
	for name, headers := range map[string]string{
		"hark.js":                       "authorization,content-type,idempotency-key,prefer",
		"@microsoft/fetch-event-source": "authorization,last-event-id",
		"polyfills of EventSource":      "cache-control,pragma,x-requested-with,last-event-id",
		"OpenTelemetry":                 "baggage,traceparent,tracestate",
		"conditions and parts":          "if-match,if-none-match,if-range,range",
		"what vendors add":              "sentry-trace,x-b3-traceid,x-correlation-id,x-datadog-trace-id,x-request-id",
	} {
		for _, origin := range []string{"https://app.example", "https://other.example:8443"} {
			a := preflight(origin, "POST", headers).want(204)
			if a.header.Get("Access-Control-Allow-Headers") != headers || a.header.Get("Access-Control-Allow-Origin") != origin || a.header.Get("Access-Control-Allow-Credentials") != "true" ||
				!strings.Contains(a.header.Get("Access-Control-Allow-Methods"), "POST") {
				t.Errorf("%s: %v", name, a.header)
			}
			for _, vary := range []string{"Origin", "Access-Control-Request-Headers", "Access-Control-Request-Method"} {
				if !strings.Contains(strings.Join(a.header.Values("Vary"), ", "), vary) {
					t.Errorf("Vary: %v lacks %s", a.header.Values("Vary"), vary)
				}
			}
		}
		for _, origin := range []string{"https://evil.example", "http://app.example", "https://app.example.evil.example", "https://app.example:8443", "null"} {
			if a := preflight(origin, "POST", headers); a.header.Get("Access-Control-Allow-Origin") != "" || a.header.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("%s may: %v", origin, a.header)
			}
		}
	}
	const origin = "Origin: https://app.example"
	for _, a := range []answer{
		s.call("GET", "/v1/requests", nil, origin).want(401),
		s.call("GET", "/nowhere", nil, origin).want(404),
		s.call("PUT", "/v1/requests", nil, origin).want(405),
		s.as(aliceKey).call("GET", "/v1/requests", nil, origin).want(200),
		s.as(aliceKey).call("POST", "/v1/requests", `{"content":1}`, async, origin).want(202),
		s.as(aliceKey).call("POST", "/v1/requests", `{"content":1}`, async, "Origin: https://other.example:8443").want(202),
	} {
		if h := a.header; !strings.HasSuffix(h.Get("Access-Control-Allow-Origin"), ".example") && !strings.HasSuffix(h.Get("Access-Control-Allow-Origin"), ":8443") ||
			h.Get("Access-Control-Allow-Credentials") != "true" || !strings.Contains(h.Get("Vary"), "Origin") || !strings.Contains(h.Get("Access-Control-Expose-Headers"), "WWW-Authenticate") {
			t.Errorf("%d: %v", a.status, h)
		}
	}
	if a := s.as(aliceKey).call("POST", "/v1/requests", `{"content":1}`, "Origin: https://evil.example"); a.problem(403, "origin-not-allowed") == nil || a.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("%v", a.header)
	}
	if a := s.as(aliceKey).call("GET", "/v1/requests", nil).want(200); a.header.Get("Access-Control-Allow-Origin") != "" || a.header.Get("Vary") != "Origin" {
		t.Errorf("without an origin: %v", a.header)
	}
}

// TestSlowReaderMissesOnlySupersededProgress: a client that does not read while its request
// reports more progress than its queue holds is not cut off. When it reads at last, it gets
// events in order, and the newest progress and the end for certain.
func TestSlowReaderMissesOnlySupersededProgress(t *testing.T) {
	anywhere(t)
	s := start(t)
	id := s.submit("default", 1)
	slow := s.stream("/v1/requests/" + id + "/events")
	s.call("POST", "/v1/work/"+id+"/start", nil).want(200)
	message := strings.Repeat("\x01", 2000) // as long as it may be, and six bytes each in JSON
	var enough atomic.Bool
	var reporting sync.WaitGroup
	for range 8 {
		reporting.Go(func() {
			for !enough.Load() {
				a, err := s.try("POST", "/v1/work/"+id+"/progress", map[string]any{"message": message})
				if err != nil || a.status != http.StatusOK {
					t.Errorf("progress: %d, %v", a.status, err)
					return
				}
			}
		})
	}
	figure := func(name string) (n float64) {
		for line := range strings.Lines(string(s.call("GET", "/metrics", nil).want(200).body)) {
			if rest, ok := strings.CutPrefix(line, name+" "); ok {
				_, _ = fmt.Sscan(rest, &n)
			}
		}
		return n
	}
	// What was dropped is more than twice what may wait.
	for late := time.Now().Add(patience); figure("hark_messages_coalesced_total") < 200 && !t.Failed(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(late) {
			t.Errorf("nothing was dropped: %s", s.call("GET", "/metrics", nil).body)
		}
	}
	enough.Store(true)
	reporting.Wait()
	s.call("POST", "/v1/work/"+id+"/progress", `{"message":"the last"}`).want(200)
	top := uint64(s.call("PUT", "/v1/work/"+id+"/result", `{"ok":true}`).want(200).json()["sequence"].(float64))
	// Once for certain; a system that gives the socket more room meanwhile fills it again.
	if full, closed := figure("hark_sockets_full_total"), figure(`hark_connections_closed_total{reason="slow"}`); full < 1 || closed != 0 {
		t.Errorf("full %v times, %v closed", full, closed)
	}
	dropped := uint64(figure("hark_messages_coalesced_total"))
	got := slow.rest()
	if len(got) < 3 {
		t.Fatal(got)
	}
	var at, missing uint64
	for _, e := range got[:len(got)-1] {
		text, kind, _ := strings.Cut(e, ":")
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil || n <= at || n > at+1 && kind != "progress" && kind != "succeeded" {
			t.Fatalf("%s after %d", e, at)
		}
		missing += n - at - 1
		at = n
	}
	if end := short(got[len(got)-3:]); end != fmt.Sprintf("%d:progress %d:succeeded end", top-1, top) || missing != dropped {
		t.Errorf("ends with %s; %d of %d are missing, %d were dropped", end, missing, top, dropped)
	}
}

// TestStreamWithABody: what a client sends behind the head of a GET does not keep it from its
// stream, however late it comes; in front of the frames of a WebSocket it has no place.
func TestStreamWithABody(t *testing.T) {
	s := start(t, "--samples=false")
	id := s.submit("default", 1)
	for _, head := range []string{"Content-Length: 2", "Transfer-Encoding: chunked", "Content-Length: 2\r\nExpect: 100-continue"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprintf(conn, "GET /v1/requests/%s/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n%s\r\n\r\n", id, head)
		_ = conn.SetReadDeadline(time.Now().Add(3 * time.Minute))
		r := bufio.NewReader(conn)
		for line := ""; !strings.HasPrefix(line, "data: "); {
			if line, err = r.ReadString('\n'); err != nil {
				t.Fatalf("%s: %v", head, err)
			}
		}
		_, _ = io.WriteString(conn, "{}")
		_ = conn.Close()
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, "GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nContent-Length: 2\r\n\r\n")
	_ = conn.SetReadDeadline(time.Now().Add(3 * time.Minute))
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 400 ") {
		t.Errorf("%q, %v", line, err)
	}
}
