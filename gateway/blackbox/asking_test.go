package blackbox_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// waits returns the document of a request once it waits for an answer.
func (s *server) waits(id string) map[string]any {
	s.t.Helper()
	var doc map[string]any
	s.eventually(func() bool {
		doc = s.call("GET", "/v1/requests/"+id, nil).want(200).json()
		return doc["status"] == "waiting"
	})
	return doc
}

// asked is an event that tells of a question, as it has to be on every way.
func asked(t *testing.T, way string, event map[string]any, want string) {
	t.Helper()
	data, _ := event["data"].(map[string]any)
	question, _ := data["question"].(map[string]any)
	if event["type"] != "request.waiting" || data["status"] != "waiting" || question["message"] != want || question["expiresAt"] != data["expiresAt"] {
		t.Errorf("%s: %v", way, event)
	}
}

// TestAsking follows a request that asks something: the question is pushed and goes to webhooks,
// the processor that has asked is rid of it, and whoever gets it next goes on with the answer.
func TestAsking(t *testing.T) {
	s := startHooks(t, "--samples=false")
	r := newReceiver(t, nil)
	h := s.hook(r.url, map[string]any{"events": []string{"request.waiting", "request.answered"}})
	id := s.submit("default", map[string]any{"text": "hello"}, "topic=t")
	stream, feed := s.stream("/v1/requests/"+id+"/events"), s.stream("/v1/topics/t/events?after=0")
	socket := s.dial("?channel=request:" + id)
	expect(t, socket, `{"op":"subscribed"}`)

	w := s.leaseOne(`,"lease":"1s"`)
	s.call("POST", "/v1/requests/"+id+"/input", `{"answer":1}`).problem(409, "invalid-transition")
	s.call("POST", w.path("progress"), `{"percent":40,"step":"looking"}`).want(200)
	report := `{"name":"publish","message":"Publish <it>?\nNow?","schema":{
		"type":"boolean"},"timeout":"30m"}`
	doc := s.call("PUT", w.path("question"), report).want(200).json()
	asked(t, "the report", map[string]any{"type": "request.waiting", "data": doc}, "Publish <it>?\nNow?")
	if href := links(doc)["input"]; href != "/v1/requests/"+id+"/input" || doc["attempt"] != 1.0 || doc["percent"] != 40.0 || doc["eta"] != nil {
		t.Errorf("%v", doc)
	}
	if again := s.call("PUT", w.path("question"), report).want(200).json(); again["sequence"] != doc["sequence"] {
		t.Errorf("the same report again: %v", again)
	}
	// It is nobody's: neither its lease runs out, nor does any report of it count.
	s.eventually(func() bool { return s.metric("hark_leases") == 0 })
	s.call("PUT", w.path("question"), `{"message":"Another?"}`).problem(409, "invalid-transition")
	s.call("PUT", w.path("result"), "1").problem(409, "invalid-transition")
	s.call("POST", w.path("progress"), `{}`).problem(409, "invalid-transition")
	s.call("POST", "/v1/work/"+id+"/start?redelivered=true", nil).problem(409, "invalid-transition")
	if work := s.lease(`,"wait":"100ms"`); len(work) != 0 {
		t.Errorf("%v was handed out", work)
	}
	s.call("GET", "/v1/requests/"+id+"/result", nil).problem(404, "result-not-ready")
	s.call("DELETE", "/v1/requests/"+id, nil).problem(409, "not-ended")
	page := s.call("GET", "/v1/requests?status=waiting&topic=t", nil).want(200).json()["requests"].([]any)
	if len(page) != 1 || page[0].(map[string]any)["id"] != id {
		t.Errorf("waiting are %v", page)
	}
	got := s.call("GET", "/v1/requests/"+id, nil).want(200)
	if got.header.Get("Retry-After") == "" || got.json()["status"] != "waiting" {
		t.Errorf("%v %s", got.header, got.body)
	}

	for _, bad := range []string{`{"answer":1,"question":"other"}`, `{"answer":1,"question":"question"}`} {
		if p := s.call("POST", "/v1/requests/"+id+"/input", bad).problem(409, "invalid-transition"); p["requestStatus"] != "waiting" {
			t.Errorf("%v", p)
		}
	}
	s.call("POST", "/v1/requests/"+id+"/input", `{"answer":"`+strings.Repeat("x", 64<<10)+`"}`).problem(422, "invalid-request")
	answer := s.call("POST", "/v1/requests/"+id+"/input", `{"answer": {"yes": true, "n": 1.0}, "question": "publish"}`, "Idempotency-Key: once").want(200).json()
	if answer["status"] != "pending" || answer["question"] != nil || answer["position"] != 0.0 {
		t.Errorf("%v", answer)
	}
	for _, again := range []string{`{"answer":{"yes":true,"n":1.0},"question":"publish"}`, `{"answer":1}`, `{"answer":null,"question":"publish"}`} {
		p := s.call("POST", "/v1/requests/"+id+"/input", again, "Idempotency-Key: once").problem(409, "question-answered")
		if !strings.Contains(p["detail"].(string), "answered already") {
			t.Errorf("%v", p)
		}
	}

	var next struct {
		Work []struct {
			leased
			Answers json.RawMessage
		}
	}
	a := s.call("POST", "/v1/work/lease", `{"routes":["default"],"wait":"30s"}`).want(200)
	if err := json.Unmarshal(a.body, &next); err != nil || len(next.Work) != 1 || next.Work[0].Attempt != 1 || string(next.Work[0].Answers) != `{"publish":{"yes":true,"n":1.0}}` {
		t.Fatalf("%v: %s", err, a.body)
	}
	again := s.call("POST", w.path("start"), nil).want(200).json() // the same attempt
	if fmt.Sprint(again["answers"]) != "map[publish:map[n:1 yes:true]]" {
		t.Errorf("%v", again)
	}
	s.call("PUT", w.path("question"), report).problem(409, "question-answered")
	doc = s.call("GET", "/v1/requests/"+id, nil).want(200).json()
	if doc["status"] != "processing" || doc["attempt"] != 1.0 || doc["step"] != "looking" {
		t.Errorf("%v", doc)
	}
	s.call("POST", "/v1/requests/"+id+"/input", `{"answer":1}`).problem(409, "question-answered")
	s.call("POST", next.Work[0].path("complete"), nil).want(200)
	s.call("POST", "/v1/requests/"+id+"/input", `{"answer":1}`).problem(409, "invalid-transition")

	const all = "1:accepted 2:started 3:progress 4:waiting 5:answered 6:started 7:succeeded end"
	var seen []string
	for _, e := range stream.all() {
		seen = append(seen, e.name)
		if e.event["type"] == "request.waiting" {
			asked(t, "the stream", e.event, "Publish <it>?\nNow?")
		}
	}
	if got := strings.Join(seen, " "); got != all {
		t.Errorf("the stream told %s", got)
	}
	for n := 1; n <= 4; n++ {
		e := feed.next()
		var event map[string]any
		if err := json.Unmarshal([]byte(e.data), &event); err != nil {
			t.Fatal(err)
		}
		if n == 4 {
			asked(t, "the feed", event, "Publish <it>?\nNow?")
		}
		m := expect(t, socket, fmt.Sprintf(`{"op":"event","offset":%d}`, n))
		if n == 4 {
			asked(t, "the socket", m["event"].(map[string]any), "Publish <it>?\nNow?")
		}
	}
	h.settled()
	if types := r.types(); !slices.Equal(types, []string{"request.waiting", "request.answered"}) {
		t.Fatalf("webhooks: %v", types)
	}
	var event map[string]any
	if err := json.Unmarshal(r.all()[0].body, &event); err != nil {
		t.Fatal(err)
	}
	asked(t, "the webhook", event, "Publish <it>?\nNow?")
}

// told is an event of a stream, or its end.
type toldEvent struct {
	name  string // offset and type, as rest has them
	event map[string]any
}

// all returns what a stream tells until it ends.
func (s *stream) all() (all []toldEvent) {
	s.t.Helper()
	for {
		e, err := s.block()
		if err != nil {
			return all
		}
		switch {
		case e.name == "" && e.data != "":
			var event map[string]any
			if err := json.Unmarshal([]byte(e.data), &event); err != nil {
				s.t.Fatal(err)
			}
			all = append(all, toldEvent{e.id + ":" + strings.TrimPrefix(fmt.Sprint(event["type"]), "request."), event})
		case e.name != "" && e.name != "start":
			all = append(all, toldEvent{name: e.name})
		}
	}
}

// TestAskingEnds: a question has a time of its own, with a default or without; and cancellation
// ends what waits at once, and what runs when it asks.
func TestAskingEnds(t *testing.T) {
	s := start(t, "--samples=false", "--max-timeout=2h")
	ask := func(report string, more ...string) leased {
		t.Helper()
		s.submit("default", 1, more...)
		w := s.leaseOne("")
		s.call("PUT", w.path("question"), report).want(200)
		return w
	}
	ended := func(w leased, want string) map[string]any {
		t.Helper()
		var doc map[string]any
		s.eventually(func() bool {
			doc = s.call("GET", "/v1/requests/"+w.ID, nil, "Prefer: wait=5").want(200).json()
			return doc["endedAt"] != nil
		})
		if doc["status"] != want {
			t.Errorf("%v, want %s", doc, want)
		}
		return doc
	}
	late := ask(`{"message":"Who?","timeout":"20ms"}`)
	if e := ended(late, "failed")["error"].(map[string]any); e["code"] != "unanswered" {
		t.Errorf("%v", e)
	}
	s.call("GET", "/v1/requests/"+late.ID+"/result", nil).problem(500, "request-failed")
	s.call("POST", "/v1/requests/"+late.ID+"/input", `{"answer":1}`).problem(409, "invalid-transition")

	// With a default it goes on; the time that the request has itself has not passed meanwhile.
	preset := ask(`{"message":"Who?","timeout":"20ms","default":null}`, "timeout=1h")
	a := s.call("POST", "/v1/work/lease", `{"routes":["default"],"wait":"30s"}`).want(200)
	if !strings.Contains(string(a.body), preset.ID) || !strings.Contains(string(a.body), `"answers":{"question":null}`) || !strings.Contains(string(a.body), `"attempt":1`) {
		t.Errorf("%s", a.body)
	}
	s.call("POST", preset.path("complete"), nil).want(200)

	// A time of one's own that is longer than the request's.
	long := ask(`{"message":"Who?","timeout":"90m"}`, "timeout=1m")
	doc := s.call("GET", "/v1/requests/"+long.ID, nil).want(200).json()
	expires, err := time.Parse(time.RFC3339, doc["expiresAt"].(string))
	if updated, _ := time.Parse(time.RFC3339, doc["updatedAt"].(string)); err != nil || expires.Sub(updated) != 90*time.Minute {
		t.Errorf("%v", doc)
	}
	doc = s.call("POST", "/v1/requests/"+long.ID+"/input", `{"answer":1}`).want(200).json()
	expires, _ = time.Parse(time.RFC3339, doc["expiresAt"].(string))
	if updated, _ := time.Parse(time.RFC3339, doc["updatedAt"].(string)); expires.Sub(updated) > time.Minute || expires.Sub(updated) < 20*time.Second {
		t.Errorf("%v", doc)
	}
	s.call("POST", s.leaseOne("").path("complete"), nil).want(200)

	canceled := ask(`{"message":"Who?"}`)
	if doc := s.call("POST", "/v1/requests/"+canceled.ID+"/cancel", nil).want(200).json(); doc["status"] != "canceled" {
		t.Errorf("%v", doc)
	}
	s.call("POST", "/v1/requests/"+canceled.ID+"/input", `{"answer":1}`).problem(409, "invalid-transition")

	s.submit("default", 1)
	running := s.leaseOne("")
	s.call("POST", "/v1/requests/"+running.ID+"/cancel", nil).want(202)
	if doc := s.call("PUT", running.path("question"), `{"message":"Who?"}`).want(200).json(); doc["status"] != "canceled" {
		t.Errorf("%v", doc)
	}

	// A batch waits for it, and has more time, too.
	id := s.call("POST", "/v1/batches", `{"requests":[{"content":1,"timeout":"1m"},{"content":2}]}`, async).want(202).json()["id"].(string)
	for range 2 {
		if w := s.leaseOne(""); fmt.Sprint(w.Content) == "1" {
			s.call("PUT", w.path("question"), `{"message":"Who?"}`).want(200)
		} else {
			s.call("POST", w.path("complete"), nil).want(200)
		}
	}
	s.eventually(func() bool {
		return counts(s.call("GET", "/v1/batches/"+id, nil).want(200).json()) == [6]int{2, 1, 1}
	})
	for _, m := range s.members(id) {
		if m["status"] == "waiting" {
			s.call("POST", "/v1/requests/"+m["id"].(string)+"/input", `{"answer":1}`).want(200)
		}
	}
	s.call("POST", s.leaseOne("").path("complete"), nil).want(200)
	if doc := s.ended(id); doc["status"] != "succeeded" {
		t.Errorf("%v", doc)
	}
}

// TestAskingOneWinner: of answers and cancellations of one moment, one answer at most is taken, and
// a request whose cancellation was taken ends.
func TestAskingOneWinner(t *testing.T) {
	s := start(t, "--samples=false")
	for round := range 10 {
		id := s.submit("default", round)
		w := s.leaseOne("")
		s.call("PUT", w.path("question"), `{"message":"Who?"}`).want(200)
		var mu sync.Mutex
		statuses := make(map[string]int)
		var calls sync.WaitGroup
		for i := range 8 {
			calls.Go(func() {
				kind, path, body := "answer", "/input", any(map[string]any{"answer": i})
				if i%4 == 3 {
					kind, path, body = "cancel", "/cancel", nil
				}
				a := s.call("POST", "/v1/requests/"+id+path, body)
				mu.Lock()
				defer mu.Unlock()
				statuses[fmt.Sprint(kind, a.status)]++
			})
		}
		calls.Wait()
		taken := statuses["answer200"]
		if taken > 1 || statuses["answer409"] != 6-taken || statuses["cancel200"] != 2 {
			t.Errorf("round %d: %v", round, statuses)
		}
		if doc := s.call("GET", "/v1/requests/"+id, nil).want(200).json(); doc["status"] != "canceled" {
			t.Errorf("round %d: %v", round, doc)
		}
	}
}

// TestAskingOutlivesKills: the gateway, with the processors in it, is killed while requests ask,
// wait and go on. Each ends with its answer.
func TestAskingOutlivesKills(t *testing.T) {
	t.Parallel()
	const requests = 40
	data := t.TempDir()
	p := spawn(t, data, "--routes=sleep", "--concurrency=4")
	ids := make([]string, requests)
	for i := range ids {
		ids[i] = p.submit("sleep", map[string]any{"steps": 1, "duration": 0, "ask": fmt.Sprint("Question ", i)}, fmt.Sprint("id=asks-", i))
	}
	for i, id := range ids {
		if q := p.waits(id)["question"].(map[string]any); q["message"] != fmt.Sprint("Question ", i) {
			t.Errorf("%v", q)
		}
		if i == requests/2 {
			p.kill()
			p = spawn(t, data, "--routes=sleep", "--concurrency=4")
		}
	}
	p.kill()
	p = spawn(t, data, "--routes=sleep", "--concurrency=4")
	for i, id := range ids {
		p.waits(id)
		p.call("POST", "/v1/requests/"+id+"/input", map[string]any{"answer": i}).want(200)
		if i%10 == 5 {
			p.kill()
			p = spawn(t, data, "--routes=sleep", "--concurrency=4")
		}
	}
	for i, id := range ids {
		var doc map[string]any
		p.eventually(func() bool {
			doc = p.call("GET", "/v1/requests/"+id, nil, "Prefer: wait=5").want(200).json()
			return doc["endedAt"] != nil
		})
		value, _ := doc["result"].(map[string]any)["value"].(map[string]any)
		if doc["status"] != "succeeded" || value["answer"] != float64(i) {
			t.Errorf("%v", doc)
		}
		p.call("POST", "/v1/requests/"+id+"/input", map[string]any{"answer": i}).problem(409, "invalid-transition")
	}
}

// TestAskingOnManyNodes: gateways, workers, Redis and RabbitMQ are killed while requests ask, wait
// and go on. Each ends once, with the answer that was taken.
func TestAskingOnManyNodes(t *testing.T) {
	t.Parallel()
	const requests = 60
	c := newCluster(t, 2, 2)
	name := func(i int) string { return fmt.Sprint("asks-", i) }
	ask := func(from, to int) {
		for i := from; i < to; i++ {
			body := fmt.Sprintf(`{"id":%q,"route":"sleep","maxAttempts":20,"content":{"steps":1,"duration":"50ms","ask":"Question %d"}}`, name(i), i)
			c.await("it is accepted", func() bool {
				a, err := c.node(i).try("POST", "/v1/requests", body, async)
				return err == nil && a.status == 202
			})
		}
	}
	status := func(i int) map[string]any {
		a, err := c.node(i).try("GET", "/v1/requests/"+name(i), nil)
		if err != nil || a.status != http.StatusOK {
			return nil
		}
		return a.json()
	}
	all := func(what string, from, to int, want ...any) {
		t.Helper()
		for i := from; i < to; i++ {
			c.await(fmt.Sprint(what, ": ", name(i)), func() bool { return slices.Contains(want, status(i)["status"]) })
		}
	}
	// answer is taken once: who repeats it because it got no answer is told so.
	answer := func(i int) {
		c.await("it is answered", func() bool {
			a, err := c.node(i+1).try("POST", "/v1/requests/"+name(i)+"/input", fmt.Sprintf(`{"answer":%d}`, i))
			if err != nil || a.status == 503 {
				return false
			}
			if a.status != 200 && a.status != 409 {
				t.Errorf("%d: %s", a.status, a.body)
			}
			return true
		})
	}
	ask(0, requests/3)
	all("they ask", 0, requests/3, "waiting")
	for n, fault := range append([]func(){func() { c.replaceWorker(0) }, func() { c.replaceGateway(1) }, c.redis.Restart}, c.queueFaults()...) {
		from, to := requests/3+n*5, requests/3+(n+1)*5
		ask(from, to) // some ask while it happens
		var answering sync.WaitGroup
		answering.Go(func() {
			for i := n * 5; i < (n+1)*5; i++ {
				answer(i)
			}
		})
		fault()
		answering.Wait()
		all("they ask after a fault", from, to, "waiting")
	}
	ask(2*requests/3, requests)
	all("the last ask", requests/3, requests, "waiting")
	c.replaceWorker(1)
	c.replaceGateway(1)
	for _, i := range rand.Perm(2 * requests / 3) {
		answer(requests/3 + i)
		if i%10 == 0 {
			c.replaceWorker(rand.IntN(2))
		}
	}
	all("they end", 0, requests, "succeeded", "failed", "expired", "canceled")
	again := 0
	for i := range requests {
		doc := status(i)
		result, _ := doc["result"].(map[string]any)
		value, _ := result["value"].(map[string]any)
		if doc["status"] != "succeeded" || value["answer"] != float64(i) {
			t.Errorf("%v", doc)
		}
		if doc["attempt"] != 1.0 {
			again++
		}
	}
	t.Logf("%d of %d took more than one attempt", again, requests)
}

// TestAskingBetweenSessions: what a worker has asked is not its own any more. When it is started
// again, the one that goes on with the answer is let be.
func TestAskingBetweenSessions(t *testing.T) {
	s := start(t, "--samples=false")
	s.submit("default", 1)
	w := s.firstOf(`"worker":"a","session":"1"`)
	s.call("PUT", w.path("question"), `{"message":"Who?"}`).want(200)
	s.call("POST", "/v1/requests/"+w.ID+"/input", `{"answer":1}`).want(200)
	next := s.firstOf(`"worker":"b","session":"1"`)
	if next.ID != w.ID || next.Attempt != 1 {
		t.Fatalf("%+v", next)
	}
	if work := s.lease(`,"wait":0,"worker":"a","session":"2"`); len(work) != 0 {
		t.Errorf("%v", work)
	}
	s.eventually(func() bool { return s.metric("hark_leases") == 1 })
	if doc := s.call("PUT", next.path("result"), "1").want(200).json(); doc["attempt"] != 1.0 {
		t.Errorf("%v", doc)
	}
}

// TestAskingKeepsTheSlot: what waits for an answer is still one of its key, and goes on with the
// slot that it has.
func TestAskingKeepsTheSlot(t *testing.T) {
	s := start(t, "--samples=false")
	for _, id := range []string{"first", "second"} {
		s.call("POST", "/v1/requests", fmt.Sprintf(`{"id":%q,"content":1,"concurrencyKey":"customer"}`, id), async).want(202)
	}
	s.call("POST", "/v1/work/first/start", nil).want(200)
	s.call("PUT", "/v1/work/first/question?attempt=1", `{"message":"Go on?"}`).want(200)
	s.call("POST", "/v1/work/second/start", nil).want(409)
	s.call("POST", "/v1/requests/first/input", `{"answer":true}`).want(200)
	s.call("POST", "/v1/work/second/start", nil).want(409)
	if attempt := s.call("POST", "/v1/work/first/start", nil).want(200).json()["attempt"]; attempt != 1.0 {
		t.Errorf("it goes on with attempt %v", attempt)
	}
	s.call("POST", "/v1/work/second/start", nil).want(409)
	s.call("POST", "/v1/work/first/complete?attempt=1", nil).want(200)
	s.eventually(func() bool { return s.call("POST", "/v1/work/second/start", nil).status == 200 })
}
