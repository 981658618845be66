package blackbox_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// everyEvent has requests of a topic go through events of all types, and returns the ids of those
// that have ended.
func (s *server) everyEvent(topic string) (ended []string) {
	s.t.Helper()
	submit := func(more map[string]any) string {
		body := map[string]any{"content": 1, "route": "default", "topic": topic}
		maps.Copy(body, more)
		return s.call("POST", "/v1/requests", body, async).want(202).json()["id"].(string)
	}
	work := func(id, method, report string, body any) {
		s.t.Helper()
		s.call(method, "/v1/work/"+id+"/"+report, body).want(200)
	}
	// It asks, gets an answer and goes on to succeed.
	one := submit(nil)
	work(one, "POST", "start", nil)
	work(one, "POST", "progress", map[string]any{"step": "resizing", "percent": 40, "message": strings.Repeat("m", 165)})
	work(one, "PUT", "question", `{"name":"go","message":"Shall it go on?"}`)
	s.call("POST", "/v1/requests/"+one+"/input", `{"answer":true}`).want(200)
	work(one, "POST", "start", nil)
	work(one, "POST", "progress", map[string]any{"step": "storing", "percent": 62.5, "message": strings.Repeat("n", 165)})
	work(one, "PUT", "result", `{"done":true}`)
	// It is tried again, fails, and is redriven to fail once more.
	two := submit(map[string]any{"maxAttempts": 2, "retryDelay": "1ms"})
	for range 2 {
		s.eventually(func() bool { return s.call("POST", "/v1/work/"+two+"/start", nil).status == 200 })
		work(two, "PUT", "error", `{"code":"broken","message":"it did not work","retry":true}`)
	}
	s.call("POST", "/v1/requests/"+two+"/redrive", nil).want(202)
	s.eventually(func() bool { return s.call("POST", "/v1/work/"+two+"/start", nil).status == 200 })
	work(two, "PUT", "error", `{"code":"broken","message":"it did not work"}`)
	three := submit(nil)
	s.call("POST", "/v1/requests/"+three+"/cancel", nil).want(200)
	four := submit(map[string]any{"timeout": "50ms"})
	ended = []string{one, two, three, four}
	for _, id := range ended {
		s.eventually(func() bool { return s.call("GET", "/v1/requests/"+id, nil).json()["endedAt"] != nil })
	}
	return ended
}

// blocksOf returns how many bytes each event of a stream takes with all that stands around it, from
// the first to that of an offset, and its data.
func (s *server) blocksOf(path string, last uint64) (sizes []int, data []string) {
	s.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n", path); err != nil {
		s.t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	for line := ""; line != "\r\n"; {
		if line, err = r.ReadString('\n'); err != nil {
			s.t.Fatal(err)
		}
	}
	for {
		head, err := r.ReadString('\n')
		if err != nil {
			s.t.Fatal(err)
		}
		n, err := strconv.ParseUint(strings.TrimSpace(head), 16, 32)
		if err != nil {
			s.t.Fatal(err)
		}
		chunk := make([]byte, n+2)
		if _, err := io.ReadFull(r, chunk); err != nil {
			s.t.Fatal(err)
		}
		text := string(chunk[:n])
		if !strings.HasPrefix(text, "data: ") {
			continue
		}
		event, id, _ := strings.Cut(strings.TrimPrefix(text, "data: "), "\nid: ")
		sizes, data = append(sizes, len(head)+len(chunk)), append(data, event)
		if strings.TrimSpace(id) == strconv.FormatUint(last, 10) {
			return sizes, data
		}
	}
}

// frames returns how many bytes the frame of each event of a channel has, with its header,
// likewise, and its members but those that say where it is.
func (s *server) frames(query, channel string, last uint64) (sizes []int, data []string) {
	s.t.Helper()
	conn := s.dial(query + "&after=0&channel=" + url.QueryEscape(channel))
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	for {
		_, text, err := conn.ReadMessage()
		if err != nil {
			s.t.Fatal(err)
		}
		var m struct {
			Op, Channel string
			Offset      uint64
		}
		if err := json.Unmarshal(text, &m); err != nil {
			s.t.Fatal(err)
		}
		if m.Op != "event" {
			continue
		}
		header := 2
		if len(text) > 125 {
			header = 4
		}
		where := fmt.Sprintf(`{"op":"event","channel":%q,"offset":%d,`, channel, m.Offset)
		sizes, data = append(sizes, header+len(text)), append(data, "{"+strings.TrimPrefix(string(text), where))
		if m.Offset == last {
			return sizes, data
		}
	}
}

// TestThinForm: in thin form an event takes on the wire what it may, over Server-Sent Events and
// over WebSocket, of one request, of a topic and of all of an owner's; and it says the same there,
// when it is read from the history, and when a follower resumes.
func TestThinForm(t *testing.T) {
	s := start(t, "--samples=false")
	ended := s.everyEvent("order-42")
	feeds := map[string]string{"owner:anonymous": "/v1", "topic:order-42": "/v1/topics/order-42"}
	for _, id := range ended {
		feeds["request:"+id] = "/v1/requests/" + id
	}
	types := make(map[string]bool)
	for channel, path := range feeds {
		var list struct {
			Events []json.RawMessage
			Offset uint64
		}
		var full struct{ Events []map[string]any }
		answer := s.call("GET", path+"/history?form=thin", nil).want(200).body
		if err := json.Unmarshal(answer, &list); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(s.call("GET", path+"/history?form=full", nil).want(200).body, &full); err != nil {
			t.Fatal(err)
		}
		var history []string
		lifecycle := make([]int, 0, 2) // positions of what is no progress
		for i, e := range list.Events {
			var says struct{ Type, ID string }
			if err := json.Unmarshal(e, &says); err != nil {
				t.Fatal(err)
			}
			whole := full.Events[i]
			if says.Type != whole["type"] || strings.HasPrefix(channel, "request:") != (says.ID == "") || says.ID != "" && says.ID != whole["id"] {
				t.Errorf("%s: %s, in full form %v", channel, e, whole)
			}
			types[says.Type] = true
			if says.Type != "request.progress" {
				lifecycle = append(lifecycle, i)
			}
			history = append(history, string(e))
		}
		sseSizes, streamed := s.blocksOf(path+"/events?form=thin&after=0", list.Offset)
		frameSizes, framed := s.frames("?form=thin", channel, list.Offset)
		if !slices.Equal(streamed, history) || !slices.Equal(framed, history) {
			t.Errorf("%s: the history has\n%s\nthe stream\n%s\nthe socket\n%s", channel, history, streamed, framed)
		}
		for wire, sizes := range map[string][]int{"SSE": sseSizes, "WebSocket": frameSizes} {
			sum := 0
			for i, size := range sizes {
				if slices.Contains(lifecycle, i) {
					sum += size
				} else if size > 340 {
					t.Errorf("%s, %s: progress with a message of 165 bytes takes %d: %s", channel, wire, size, history[i])
				}
			}
			if mean := sum / len(lifecycle); mean > 260 {
				t.Errorf("%s, %s: what is no progress takes %d bytes on average", channel, wire, mean)
			}
			t.Logf("%-46s %-9s progress %v, others %d on average", channel, wire, progressOf(sizes, lifecycle), sum/len(lifecycle))
		}
		// Behind the second one the same follow.
		if _, resumed := s.blocksOf(path+"/events?form=thin&after="+strconv.FormatUint(list.Offset-1, 10), list.Offset); !slices.Equal(resumed, history[len(history)-1:]) {
			t.Errorf("%s: resumed with %s", channel, resumed)
		}
	}
	for _, name := range []string{"accepted", "started", "progress", "retrying", "waiting", "answered", "redriven", "succeeded", "failed", "canceled", "expired"} {
		if !types["request."+name] {
			t.Errorf("there was no event of the type %s", name)
		}
	}

	// Live, beside one who follows in full form.
	thin, full := s.stream("/v1/events?form=thin"), s.stream("/v1/events")
	conn := s.dial("?channel=owner:anonymous&form=thin")
	expect(t, conn, `{"op":"subscribed","channel":"owner:anonymous"}`)
	id := s.submit("default", 1)
	if e := full.next(); cloudEvent(t, []byte(e.data)).ID() != id+"/1" {
		t.Errorf("%s", e.data)
	}
	e := thin.next()
	if !strings.HasPrefix(e.data, `{"type":"request.accepted","id":"`+id+`/1","time":"`) || !strings.HasSuffix(e.data, `Z","position":0,"route":"default"}`) {
		t.Errorf("%s", e.data)
	}
	expect(t, conn, `{"op":"event","channel":"owner:anonymous","offset":`+e.id+`,"type":"request.accepted","id":"`+id+`/1","route":"default"}`)

	// An id that its client has chosen has a life, which the cursor says.
	s.call("POST", "/v1/requests", `{"id":"chosen","route":"default","content":1}`, async).want(202)
	life := s.call("GET", "/v1/requests/chosen", nil).json()["life"].(string)
	expect(t, s.dial("?channel=request:chosen&form=thin"), `{"op":"subscribed","channel":"request:chosen","life":"`+life+`"}`)
	if e := s.stream("/v1/requests/chosen/events?form=thin").next(); e.id != "1-"+life || strings.Contains(e.data, life) {
		t.Errorf("%+v", e)
	}
	if e := thin.next(); !strings.Contains(e.data, `"id":"chosen/`+life+`/1"`) {
		t.Errorf("%+v", e)
	}
	// What is gone is told in thin form, too, with the state of now.
	if e := s.stream("/v1/requests/chosen/events?form=thin&after=9").next(); !strings.HasPrefix(e.data, `{"type":"request.reset","time":"`) ||
		!strings.Contains(e.data, `"status":"pending","attempt":0,"position":`) {
		t.Errorf("%+v", e)
	}
	if e := s.stream("/v1/events?form=thin&after=99999").next(); e.data != `{"type":"feed.reset"}` {
		t.Errorf("%+v", e)
	}
	s.call("POST", "/v1/requests/chosen/cancel", nil).want(200)
	s.call("DELETE", "/v1/requests/chosen", nil).want(204)
	if a := s.call("GET", "/v1/history?form=thin", nil).want(200); strings.Count(string(a.body), `{"type":"feed.forgotten"}`) != 2 {
		t.Errorf("%s", a.body)
	}

	for _, path := range []string{"/v1/history?form=thim", "/v1/events?form=THIN", "/v1/requests/" + id + "/events?form=1", "/v1/topics/order-42/history?form=full,thin"} {
		s.call("GET", path, nil, "Accept: application/json").pointers(t, "?form")
		if strings.Contains(path, "/events") {
			s.call("GET", path, nil, "Accept: text/event-stream").pointers(t, "?form")
		}
	}
	says(t, string(s.call("GET", "/v1/history?form=thim", nil).want(422).body), "full or thin", `did you mean \"thin\"?`)
	say(t, conn, `{"op":"subscribe","channel":"owner:anonymous","form":"thim"}`)
	for { // behind what the feed has brought meanwhile
		var m map[string]any
		if err := conn.ReadJSON(&m); err != nil {
			t.Fatal(err)
		}
		if m["op"] == "error" {
			says(t, fmt.Sprint(m), "malformed-message", "pointer:/form", `must be full or thin (did you mean "thin"?)`)
			break
		}
	}
}

// progressOf returns the sizes that are not of those.
func progressOf(sizes, others []int) (of []int) {
	for i, size := range sizes {
		if !slices.Contains(others, i) {
			of = append(of, size)
		}
	}
	return of
}

// TestThinWebhook: an endpoint of the thin form gets CloudEvents of the same id and source as
// another one beside it, which say less; also what is enqueued for it afterwards, and what a
// request has sent to a URL of its own.
func TestThinWebhook(t *testing.T) {
	s := startHooks(t)
	thin, full, own, late := newReceiver(t, nil), newReceiver(t, nil), newReceiver(t, nil), newReceiver(t, nil)
	h := s.hook(thin.url, map[string]any{"form": "thin", "concurrency": 1})
	s.hook(full.url, map[string]any{"concurrency": 1})
	if doc := h.get(); doc["form"] != "thin" {
		t.Errorf("%v", doc)
	}
	id := s.call("POST", "/v1/requests", map[string]any{
		"route": "default", "topic": "t", "content": 1, "webhook": map[string]any{"url": own.url, "form": "thin", "events": []string{"request.succeeded"}},
	}, async).want(202).json()["id"].(string)
	s.process(id)
	s.eventually(func() bool { return thin.count() == 4 && full.count() == 4 && own.count() == 1 })
	want := []string{`{"position":0,"route":"default"}`, `{}`, `{"percent":50,"step":"half"}`, `{"percent":100,"step":"half","result":{"type":"application/json","size":11}}`}
	for i, got := range thin.all() {
		e, whole := cloudEvent(t, got.body), cloudEvent(t, full.all()[i].body)
		if e.ID() != whole.ID() || e.Source() != whole.Source() || e.Type() != whole.Type() || e.Subject() != "t" || !e.Time().Equal(whole.Time()) || string(e.Data()) != want[i] ||
			got.id != full.all()[i].id {
			t.Errorf("%s, want %s, in full form %s", got.body, want[i], whole)
		}
	}
	if got := own.all()[0]; string(got.body) != string(thin.all()[3].body) {
		t.Errorf("%s", got.body)
	}
	// A store keeps what is enqueued later as its text, once for all endpoints.
	l := s.hook(late.url, map[string]any{"form": "thin", "concurrency": 1})
	s.call("POST", l.path+"/recover?since=2026-01-01T00:00:00Z", nil).want(202)
	s.eventually(func() bool { return late.count() == 4 })
	for i, got := range late.all() {
		if string(got.body) != string(thin.all()[i].body) {
			t.Errorf("%s, want %s", got.body, thin.all()[i].body)
		}
	}
	sent := s.call("POST", l.path+"/test", nil).want(202)
	s.eventually(func() bool { return late.count() == 5 })
	if e := cloudEvent(t, late.all()[4].body); e.Type() != "webhook.test" {
		t.Errorf("%s: %s", sent.body, e)
	}
	// Members of a batch share an endpoint if all of it is the same.
	both := newReceiver(t, nil)
	to := func(form string) map[string]any {
		return map[string]any{"route": "default", "content": 1, "webhook": map[string]any{"url": both.url, "form": form, "events": []string{"request.accepted"}}}
	}
	s.call("POST", "/v1/batches", map[string]any{"requests": []any{to("thin"), to("full")}}, async).want(202)
	s.eventually(func() bool { return both.count() == 2 })
	forms := map[bool]int{}
	for _, got := range both.all() {
		forms[strings.Contains(string(got.body), `"links"`)]++
	}
	if forms[false] != 1 || forms[true] != 1 {
		t.Errorf("of two members with other forms %v came in full", forms)
	}
	// It may be changed, for what is delivered from then on.
	if doc := s.call("PATCH", l.path, `{"form":"full"}`).want(200).json(); doc["form"] != nil {
		t.Errorf("%v", doc)
	}
	s.call("PATCH", l.path, `{"form":"thick"}`).pointers(t, "/form")
	says(t, string(s.call("PATCH", l.path, `{"form":"thim"}`).want(422).body), `did you mean \"thin\"?`)
	s.call("POST", "/v1/requests", map[string]any{"content": 1, "webhook": map[string]any{"url": own.url, "form": 1}}, async).pointers(t, "/webhook/form")
	s.call("POST", "/v1/requests", map[string]any{"content": 1, "webhook": map[string]any{"url": own.url, "form": "thick"}}, async).pointers(t, "/webhook/form")
}
