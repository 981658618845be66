package blackbox_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// gone waits until nobody knows the id any more.
func (s *server) gone(id string) {
	s.t.Helper()
	s.eventually(func() bool { return s.call("GET", "/v1/requests/"+id, nil).status == http.StatusNotFound })
}

// again submits a request with an id that is free, and returns its life, which is a new one.
func (s *server) again(id, fields string, known map[any]bool) string {
	s.t.Helper()
	doc := s.call("POST", "/v1/requests", `{"id":"`+id+`"`+fields+`}`, async).want(202).json()
	if doc["life"] == nil || known[doc["life"]] || doc["sequence"] != 1.0 {
		s.t.Fatalf("%v, after %v", doc, known)
	}
	known[doc["life"]] = true
	return doc["life"].(string)
}

// reports returns where a worker reports on what it has leased, as it is told to: with the attempt
// and the life.
func (w leased) reports(rest string) string { return w.path(rest) + "&life=" + w.Life }

// TestLivesOfWebhooks: each run of an id that is used day after day is delivered.
func TestLivesOfWebhooks(t *testing.T) {
	s := start(t, "--samples=false", allowed[0], allowed[1])
	r := newReceiver(t, nil)
	h := s.hook(r.url, map[string]any{"concurrency": 1})
	known, want := make(map[any]bool), 0
	began := time.Now().UTC().Format(time.RFC3339)
	var messages []string
	for n := range 4 {
		life := s.again("nightly", `,"content":1,"retention":"1s"`, known)
		for sequence := 1; sequence <= 3; sequence++ {
			messages = append(messages, fmt.Sprintf("nightly_%s_%d", life, sequence))
		}
		w := s.leaseOne("")
		s.call("PUT", w.reports("result"), fmt.Sprint(n)).want(200)
		s.gone("nightly")
		want += 3
		s.eventually(func() bool { return r.count() >= want })
	}
	h.settled()
	var got []string
	events := make(map[string]bool)
	for _, d := range r.all() {
		var event struct{ ID, Source string }
		if err := json.Unmarshal(d.body, &event); err != nil || events[event.Source+" "+event.ID] || event.Source != "/v1/requests/nightly" {
			t.Errorf("%v: %+v again", err, event)
		}
		events[event.Source+" "+event.ID] = true
		if !strings.Contains(d.id, fmt.Sprint("_", d.event.Data["life"], "_")) {
			t.Errorf("%s carries %v", d.id, d.event.Data)
		}
		got = append(got, d.id)
	}
	if !slices.Equal(got, messages) {
		t.Errorf("arrived %v, want %v", got, messages)
	}
	// Nothing is missing, and what is sent again is that of its own life.
	if n := s.call("POST", h.path+"/recover?since="+began, nil).want(202).json()["recovered"]; n != 0.0 {
		t.Errorf("%v recovered", n)
	}
	s.call("POST", h.path+"/deliveries/"+messages[2]+"/resend", nil).want(202)
	s.eventually(func() bool { return r.count() == want+1 })
	if last := r.all()[want]; last.id != messages[2] || string(last.body) != string(r.all()[2].body) {
		t.Errorf("sent again: %s %s", last.id, last.body)
	}
}

// TestLivesOfJobs: a message of a former life, of another route, or before its time starts nothing.
func TestLivesOfJobs(t *testing.T) {
	s := start(t, "--samples=false", "--routes=a,b,default")
	take := func(route, wait string) (work []leased) {
		t.Helper()
		var answer struct{ Work []leased }
		a := s.call("POST", "/v1/work/lease", `{"routes":["`+route+`"],"wait":"`+wait+`"}`).want(200)
		if err := json.Unmarshal(a.body, &answer); err != nil {
			t.Fatal(err)
		}
		return answer.Work
	}
	forget := func(id string) {
		t.Helper()
		s.call("POST", "/v1/requests/"+id+"/cancel", nil).want(200)
		s.call("DELETE", "/v1/requests/"+id, nil).want(204)
	}
	known := make(map[any]bool)
	s.again("x1", `,"route":"a","content":"first"`, known)
	forget("x1")
	life := s.again("x1", `,"route":"b","content":"second"`, known)
	if work := take("a", "500ms"); len(work) != 0 {
		t.Errorf("the worker of a gets %+v", work)
	}
	if work := take("b", "30s"); len(work) != 1 || work[0].Content != "second" || work[0].Life != life || work[0].Attempt != 1 {
		t.Errorf("the worker of b gets %+v", work)
	}

	s.again("x2", `,"route":"a","content":"early","delay":"700ms"`, known)
	forget("x2")
	s.again("x2", `,"route":"a","content":"late","delay":"60s"`, known)
	// It is due behind the first message of x2.
	s.again("x3", `,"route":"a","content":"now","delay":"900ms"`, known)
	if work := take("a", "30s"); len(work) != 1 || work[0].Content != "now" {
		t.Errorf("before its time comes %+v", work)
	}
	if doc := s.call("GET", "/v1/requests/x2", nil).want(200).json(); doc["status"] != "pending" || doc["attempt"] != 0.0 {
		t.Errorf("%v", doc)
	}
}

// TestLivesApart: whatever a client or a worker has kept of a former life finds nothing of the
// present one.
func TestLivesApart(t *testing.T) {
	s := start(t, "--samples=false")
	known := make(map[any]bool)
	first := s.again("x", `,"content":1,"topic":"t"`, known)
	old := s.leaseOne("")
	link := func(doc map[string]any, rel string) string {
		for _, l := range doc["links"].([]any) {
			if l := l.(map[string]any); l["rel"] == rel {
				return l["href"].(string)
			}
		}
		t.Fatalf("no link %s in %v", rel, doc)
		return ""
	}
	status := s.call("GET", "/v1/requests/x", nil).want(200)
	withTicket := link(s.call("GET", "/v1/requests/x?ticket=true", nil).want(200).json(), "events")
	s.call("POST", old.reports("progress"), `{"percent":10}`).want(200)
	s.call("PUT", old.reports("result"), `"one"`).want(200)
	result := s.call("GET", "/v1/requests/x/result", nil).want(200)
	var cursor string
	stream := s.stream("/v1/requests/x/events")
	for {
		e, err := stream.block()
		if err != nil || e.name == "end" {
			break
		}
		if e.name == "start" {
			continue
		}
		if cursor = e.id; !strings.HasSuffix(cursor, "-"+first) || !strings.Contains(e.data, `"id":"x/`+first+`/`) {
			t.Errorf("%+v of life %s", e, first)
		}
	}
	if cursor != "4-"+first {
		t.Errorf("it ends at %s", cursor)
	}
	list := s.call("GET", "/v1/requests/x/history?after=2-"+first, nil).want(200).json()
	if list["cursor"] != cursor || list["recovered"] != true || len(list["events"].([]any)) != 2 {
		t.Errorf("%v", list)
	}
	if res := s.call("GET", "/v1/requests/x/events", nil, "Accept: text/event-stream", "Last-Event-ID: "+cursor); res.status != 204 {
		t.Errorf("behind the end: %d", res.status)
	}

	s.call("DELETE", "/v1/requests/x", nil).want(204)
	second := s.again("x", `,"content":2,"topic":"t"`, known)
	now := s.leaseOne("")
	if now.Life != second || now.Attempt != old.Attempt {
		t.Errorf("%+v, want the first attempt of %s", now, second)
	}

	t.Run("reports", func(t *testing.T) {
		before := s.call("GET", "/v1/requests/x", nil).want(200).json()
		for _, call := range []struct{ method, rest, body string }{
			{"POST", "progress", `{"percent":99}`},
			{"PUT", "result", `"one"`},
			{"POST", "complete", ""},
			{"PUT", "error", `{"message":"m"}`},
			{"POST", "start", ""},
		} {
			var body any
			if call.body != "" {
				body = call.body
			}
			s.call(call.method, old.reports(call.rest), body).problem(404, "request-not-found")
			s.call(call.method, old.path(call.rest), body, "Hark-Life: "+first).problem(404, "request-not-found")
			s.call(call.method, old.path(call.rest), body, "Hark-Life: nonsense").want(422)
		}
		s.call("POST", "/v1/work/x/progress", `{"percent":99,"attempt":1,"life":"`+first+`"}`).problem(404, "request-not-found")
		s.call("PUT", "/v1/work/x/error", `{"message":"m","attempt":1,"life":"`+first+`"}`).problem(404, "request-not-found")
		s.call("POST", "/v1/work/x/start?redelivered=true&life="+first, nil).problem(404, "request-not-found")
		if after := s.call("GET", "/v1/requests/x", nil).want(200).json(); after["sequence"] != before["sequence"] || after["percent"] != nil {
			t.Errorf("%v, was %v", after, before)
		}
	})
	t.Run("validators", func(t *testing.T) {
		s.call("GET", "/v1/requests/x", nil, "If-None-Match: "+status.header.Get("ETag")).want(200)
		s.call("PUT", now.reports("result"), `"two"`).want(200)
		s.call("GET", "/v1/requests/x/result", nil, "If-None-Match: "+result.header.Get("ETag")).want(200)
		s.call("GET", "/v1/requests/x/result", nil, "If-Match: "+result.header.Get("ETag")).problem(412, "precondition-failed")
		if a := s.call("GET", "/v1/requests/x/result", nil, "Range: bytes=0-1", "If-Range: "+result.header.Get("ETag")).want(200); string(a.body) != `"two"` {
			t.Errorf("%s", a.body)
		}
	})
	t.Run("cursors", func(t *testing.T) {
		// Both have ended with three or four events; only the reset tells them apart.
		for _, path := range []string{"/v1/requests/x/events", "/v1/requests/x/events?lastEventId=" + cursor, "/v1/requests/x/events?after=1-" + first} {
			header := "Last-Event-ID: 3-" + first
			if strings.Contains(path, "?") {
				header = "X: y"
			}
			got := s.stream(path, header).rest()
			if len(got) != 2 || got[0] != "3-"+second+":reset" || got[1] != "end" {
				t.Errorf("%s: %v", path, got)
			}
		}
		if got := s.stream("/v1/requests/x/events", "Last-Event-ID: 1-"+second).rest(); len(got) != 3 {
			t.Errorf("in its own life: %v", got)
		}
		if got := s.stream("/v1/requests/x/events", "Last-Event-ID: 1").rest(); len(got) != 3 {
			t.Errorf("a number alone: %v", got)
		}
		list := s.call("GET", "/v1/requests/x/history?after="+cursor, nil).want(200).json()
		if list["recovered"] != false || list["oldest"] != 1.0 || len(list["events"].([]any)) != 3 || list["cursor"] != "3-"+second {
			t.Errorf("%v", list)
		}
		for after, events := range map[string]int{`"3-` + first + `"`: 1, `"1-` + second + `"`: 2, "1": 2} {
			conn := s.dial("")
			say(t, conn, `{"op":"subscribe","channel":"request:x","after":`+after+`}`)
			ops := make(map[string]int)
			for ops["end"] == 0 {
				_, text, err := conn.ReadMessage()
				if err != nil {
					t.Fatal(err)
				}
				var m struct{ Op string }
				_ = json.Unmarshal(text, &m)
				ops[m.Op]++
			}
			if ops["event"] != events {
				t.Errorf("after %s: %v", after, ops)
			}
			_ = conn.Close()
		}
	})
	t.Run("tickets", func(t *testing.T) {
		a := s.call("GET", withTicket, nil, "Accept: text/event-stream")
		a.problem(404, "request-not-found")
		a = s.call("GET", withTicket, nil, "Accept: text/event-stream", "Last-Event-ID: "+cursor)
		a.problem(404, "request-not-found")
	})
	t.Run("feed", func(t *testing.T) {
		list := s.call("GET", "/v1/topics/t/history", nil).want(200).json()
		ids := make(map[any]bool)
		for _, e := range list["events"].([]any) {
			ids[e.(map[string]any)["id"]] = true
		}
		if len(ids) != 7 || len(list["events"].([]any)) != 7 {
			t.Errorf("%v", ids)
		}
	})
}

// TestLifeOfAnIDThatHarkMade: it has none, and who says so reports on no request of a client that
// has chosen the same id since.
func TestLifeOfAnIDThatHarkMade(t *testing.T) {
	s := start(t, "--samples=false")
	id := s.submit("default", 1)
	old := s.leaseOne("")
	if old.Life != "none" || s.call("GET", "/v1/requests/"+id, nil).want(200).json()["life"] != nil {
		t.Errorf("%+v", old)
	}
	s.call("PUT", old.reports("error"), `{"message":"again","retry":true}`).want(200)
	s.call("POST", "/v1/requests/"+id+"/cancel", nil).want(200)
	s.call("DELETE", "/v1/requests/"+id, nil).want(204)
	s.again(id, `,"content":2`, make(map[any]bool))
	now := s.leaseOne("")
	s.call("PUT", old.reports("result"), `"old"`).problem(404, "request-not-found")
	s.call("PUT", now.reports("result"), `"new"`).want(200)
}

// TestLivesOfKeys: an idempotency key names the request that it came with, or met, and no later one
// with that id.
func TestLivesOfKeys(t *testing.T) {
	s := start(t, "--samples=false")
	known := make(map[any]bool)
	submit := func(key, content string) answer {
		t.Helper()
		return s.call("POST", "/v1/requests", `{"id":"k","content":`+content+`}`, async, "Idempotency-Key: "+key)
	}
	forget := func() {
		t.Helper()
		s.call("POST", "/v1/requests/k/cancel", nil).want(200)
		s.call("DELETE", "/v1/requests/k", nil).want(204)
	}
	first := submit("one", "1").want(202).json()
	if again := submit("one", "1").want(202); again.header.Get("Idempotency-Replayed") != "true" || again.json()["life"] != first["life"] {
		t.Errorf("%s", again.body)
	}
	forget()
	s.again("k", `,"content":1`, known)
	forget()
	if fresh := submit("one", "1").want(202); fresh.header.Get("Idempotency-Replayed") != "" || fresh.json()["life"] == first["life"] {
		t.Errorf("the key of one that is forgotten: %s", fresh.body)
	}
	forget()
	submit("one", "2").want(202) // and with another body, for it is free
	forget()

	// A key that meets an id which is there is bound to that.
	life := s.again("k", `,"content":1`, known)
	met := submit("two", "1").want(202)
	if met.json()["life"] != life || met.header.Get("Idempotency-Replayed") != "" {
		t.Errorf("%s", met.body)
	}
	if again := submit("two", "1").want(202); again.header.Get("Idempotency-Replayed") != "true" || string(again.body) != string(met.body) {
		t.Errorf("%s, want %s again", again.body, met.body)
	}
	s.call("POST", "/v1/requests", `{"content":"another"}`, async, "Idempotency-Key: two").problem(422, "idempotency-key-reused")
	submit("three", "1").want(202) // any number of them
	forget()
	for _, key := range []string{"two", "three"} {
		s.call("POST", "/v1/requests", `{"content":"another"}`, async, "Idempotency-Key: "+key).want(202)
	}
}

// TestLivesOfBatches: members count for the batch that they are of, whichever has its id by then.
func TestLivesOfBatches(t *testing.T) {
	s := start(t, "--samples=false")
	batch := func(content int) map[string]any {
		t.Helper()
		return s.call("POST", "/v1/batches", fmt.Sprintf(`{"id":"b","requests":[{"id":"m","content":%d},{"content":%d}]}`, content, content), async).want(202).json()
	}
	forget := func(id string) {
		t.Helper()
		s.eventually(func() bool { return s.call("DELETE", "/v1/requests/"+id, nil).status == 204 })
	}
	first := batch(1)
	old := s.leaseOne("")
	s.call("POST", "/v1/requests/b/cancel", nil)
	s.call("POST", old.reports("complete"), nil).want(200)
	s.eventually(func() bool { return s.call("GET", "/v1/requests/b", nil).json()["endedAt"] != nil })
	members := s.members("b")
	page := s.call("GET", "/v1/batches/b/requests?limit=1", nil).want(200).json()["next"].(string)
	if page != fmt.Sprint("1-", first["life"]) || len(s.call("GET", "/v1/batches/b/requests?cursor="+page, nil).want(200).json()["requests"].([]any)) != 1 {
		t.Errorf("the next page is %s", page)
	}
	forget("b")
	for _, m := range members {
		forget(m["id"].(string))
	}
	second := batch(2)
	if first["life"] == second["life"] {
		t.Errorf("%v", second)
	}
	// It is a page of another batch.
	s.call("GET", "/v1/batches/b/requests?cursor="+page, nil).problem(404, "request-not-found")
	for range 2 {
		w := s.leaseOne("")
		if w.Content != 2.0 {
			t.Errorf("%+v", w)
		}
		s.call("POST", old.reports("complete"), nil).problem(404, "request-not-found")
		s.call("POST", w.reports("complete"), nil).want(200)
	}
	if doc := s.ended("b"); doc["status"] != "succeeded" || doc["life"] != second["life"] || counts(doc) != [6]int{2, 0, 2} {
		t.Errorf("%v", doc)
	}
}

// TestReportAgain: a report whose answer was lost is made again and answered as the first time;
// another one is refused.
func TestReportAgain(t *testing.T) {
	s := start(t, "--samples=false")
	s.submit("default", 1)
	w := s.leaseOne("")
	first := s.call("PUT", w.path("result"), `{"a":1}`).want(200)
	for range 2 {
		if again := s.call("PUT", w.path("result"), `{"a":1}`).want(200); string(again.body) != string(first.body) {
			t.Errorf("%s, want %s", again.body, first.body)
		}
	}
	s.call("PUT", w.path("result"), `{"a":2}`).problem(409, "invalid-transition")
	s.call("POST", w.path("complete"), nil).problem(409, "invalid-transition")
	s.call("PUT", w.path("error"), `{"message":"m"}`).problem(409, "invalid-transition")
	// Which attempt's?
	s.call("PUT", "/v1/work/"+w.ID+"/result", `{"a":1}`).problem(409, "invalid-transition")
	if n := len(s.call("GET", "/v1/requests/"+w.ID+"/history", nil).want(200).json()["events"].([]any)); n != 3 {
		t.Errorf("%d events", n)
	}

	id := s.submit("default", 1)
	w = s.leaseOne("")
	retry := `{"code":"c","message":"again","retry":true}`
	s.call("PUT", w.path("error"), retry).want(200)
	if again := s.call("PUT", w.path("error"), retry).want(200).json(); again["sequence"] != 3.0 || again["status"] != "pending" || again["position"] != 0.0 {
		t.Errorf("%v", again)
	}
	s.call("PUT", w.path("error"), `{"code":"c","message":"other","retry":true}`).problem(409, "invalid-transition")
	next := s.leaseOne("")
	if next.ID != id || next.Attempt != 2 {
		t.Fatalf("%+v", next)
	}
	if again := s.call("PUT", w.path("error"), retry).want(200).json(); again["attempt"] != 2.0 || again["status"] != "processing" {
		t.Errorf("while the next attempt runs: %v", again)
	}
	s.call("PUT", w.path("result"), `1`).problem(409, "attempt-superseded")
	s.call("POST", next.path("complete"), nil).want(200)
	if again := s.call("POST", next.path("complete"), nil).want(200).json(); again["status"] != "succeeded" || again["sequence"] != 5.0 {
		t.Errorf("%v", again)
	}
}

// TestSupersede: who takes an attempt for dead says which, and has no luck if it lives.
func TestSupersede(t *testing.T) {
	s := start(t, "--samples=false")
	id := s.submit("default", 1)
	path := "/v1/work/" + id + "/start"
	s.call("POST", path, nil).want(200)
	s.call("POST", path, nil).problem(409, "invalid-transition")
	s.call("POST", path+"?supersede=0", nil).want(422)
	s.call("POST", path+"?supersede=2", nil).problem(409, "attempt-superseded")
	if doc := s.call("POST", path+"?supersede=1", nil).want(200).json(); doc["attempt"] != 2.0 {
		t.Errorf("%v", doc)
	}
	s.call("POST", path+"?supersede=1", nil).problem(409, "attempt-superseded")

	s.submit("default", 2)
	w := s.leaseOne(`,"lease":"1h"`)
	s.call("POST", w.path("progress"), nil).want(200)
	doc := s.call("POST", "/v1/work/"+w.ID+"/start?supersede=1", nil).problem(409, "invalid-transition")
	if !strings.Contains(doc["detail"].(string), "lease") {
		t.Errorf("%v", doc)
	}
	if doc := s.call("POST", "/v1/work/"+w.ID+"/start?redelivered=true", nil).want(200).json(); doc["attempt"] != 2.0 {
		t.Errorf("who insists: %v", doc)
	}
}
