package blackbox_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// failed submits a request of the route default, and lets its first attempt fail for good.
func (s *server) failed(content any, more ...string) string {
	s.t.Helper()
	id := s.submit("default", content, more...)
	s.failNext()
	return id
}

// failNext lets the next work of the route default fail for good.
func (s *server) failNext() {
	s.t.Helper()
	w := s.leaseOne("")
	s.call("PUT", w.path("error"), `{"code":"broken","message":"It broke."}`).want(200)
}

// deadIDs are the ids of requests of a route that have failed, as they are listed.
func (s *server) deadIDs(route string, limit int) (ids []string) {
	s.t.Helper()
	for cursor := ""; ; {
		page := s.call("GET", fmt.Sprintf("/v1/dead/%s?limit=%d%s", route, limit, cursor), nil).want(200).json()
		for _, r := range page["requests"].([]any) {
			ids = append(ids, r.(map[string]any)["request"].(map[string]any)["id"].(string))
		}
		next, _ := page["next"].(string)
		if next == "" {
			return ids
		}
		cursor = "&cursor=" + next
	}
}

// names are those of all events until a stream is closed.
func names(st *stream) string {
	var all []string
	for _, e := range st.all() {
		all = append(all, e.name)
	}
	return strings.Join(all, " ")
}

// TestDead: what has failed is listed by route, redriven one by one or all, and purged; whoever
// follows a request that is redriven is told of it.
func TestDead(t *testing.T) {
	s := startHooks(t, "--samples=false", "--routes=default,other")
	r := newReceiver(t, nil)
	s.hook(r.url, map[string]any{"events": []string{"request.redriven"}})
	ids := []string{s.failed("a", "topic=t"), s.failed("b"), s.failed("c")}
	pending := s.submit("other", "d")
	if got := s.deadIDs("default", 2); !slices.Equal(got, []string{ids[2], ids[1], ids[0]}) {
		t.Errorf("listed are %v, want %v from the last on", got, ids)
	}
	routes := s.call("GET", "/v1/dead", nil).want(200).json()["routes"].([]any)
	first, _ := routes[0].(map[string]any)
	if len(routes) != 1 || first["route"] != "default" || first["requests"] != 3.0 || first["oldest"] == nil || first["newest"] == nil {
		t.Errorf("%v", routes)
	}
	entry := s.call("GET", "/v1/dead/default", nil).want(200).json()["requests"].([]any)[0].(map[string]any)
	if entry["failures"] != 1.0 || entry["owner"] == "" || entry["request"].(map[string]any)["error"].(map[string]any)["code"] != "broken" {
		t.Errorf("%v", entry)
	}

	other := s.call("POST", "/v1/work/"+pending+"/start", nil).want(200).json()["id"].(string)
	s.call("PUT", "/v1/work/"+other+"/error", `{"code":"broken","message":"It broke."}`).want(200)
	page := s.call("GET", "/v1/dead?limit=1", nil).want(200).json()
	next := s.call("GET", "/v1/dead?limit=1&cursor="+page["next"].(string), nil).want(200).json()
	if r := next["routes"].([]any); len(r) != 1 || r[0].(map[string]any)["route"] != "other" || next["next"] != nil {
		t.Errorf("%v, then %v", page, next)
	}
	s.call("DELETE", "/v1/dead/other", nil).want(200)
	pending = s.submit("other", "d")

	doc := s.call("POST", "/v1/requests/"+ids[0]+"/redrive", nil).want(202).json()
	if doc["status"] != "pending" || doc["redriven"] != 1.0 || doc["error"] != nil || doc["startedAt"] != nil || doc["endedAt"] != nil || doc["sequence"] != 4.0 {
		t.Errorf("%v", doc)
	}
	if again := s.call("POST", "/v1/requests/"+ids[0]+"/redrive", nil).want(202).json(); again["sequence"] != 4.0 {
		t.Errorf("again: %v", again)
	}
	behind, whole, feed := s.stream("/v1/requests/"+ids[0]+"/events?after=3"), s.stream("/v1/requests/"+ids[0]+"/events?after=0"), s.stream("/v1/topics/t/events?after=3")
	w := s.leaseOne("")
	if w.ID != ids[0] || w.Attempt != 2 || w.Content != "a" {
		t.Errorf("%+v", w)
	}
	s.call("PUT", strings.Replace(w.path("result"), "attempt=2", "attempt=1", 1), `1`).problem(409, "attempt-superseded")
	s.call("PUT", w.path("result"), `"done"`).want(200)
	if got := names(behind); got != "4:redriven 5:started 6:succeeded end" {
		t.Errorf("behind the failure: %s", got)
	}
	if got := names(whole); got != "1:accepted 2:started 3:failed 4:redriven 5:started 6:succeeded end" {
		t.Errorf("from the beginning: %s", got)
	}
	for n, want := range []string{"request.redriven", "request.started", "request.succeeded"} {
		if e := cloudEvent(t, []byte(feed.next().data)); e.Type() != want {
			t.Errorf("event %d of the topic: %s", n, e.Type())
		}
	}
	s.eventually(func() bool { return r.count() == 1 })
	for _, bad := range []string{ids[0], pending} {
		p := s.call("POST", "/v1/requests/"+bad+"/redrive", nil).problem(409, "invalid-transition")
		if !strings.Contains(p["detail"].(string), "only one that has failed") {
			t.Errorf("%v", p)
		}
	}
	s.call("POST", "/v1/requests/unknown/redrive", nil).problem(404, "request-not-found")

	// All, in steps; what fails again meanwhile is left.
	a := s.call("POST", "/v1/dead/default/redrive?limit=1", nil).want(200).json()
	if a["redriven"] != 1.0 || a["more"] != true {
		t.Errorf("%v", a)
	}
	s.failNext()
	before := "before=" + a["before"].(string)
	if a = s.call("POST", "/v1/dead/default/redrive?"+before, nil).want(200).json(); a["redriven"] != 1.0 || a["more"] != false {
		t.Errorf("%v", a)
	}
	if a = s.call("POST", "/v1/dead/default/redrive?"+before, nil).want(200).json(); a["redriven"] != 0.0 || a["more"] != false {
		t.Errorf("%v", a)
	}
	if got := s.deadIDs("default", 50); !slices.Equal(got, ids[1:2]) {
		t.Errorf("left are %v, want %v", got, ids[1:2])
	}
	s.failNext()
	if a = s.call("DELETE", "/v1/dead/default?"+before, nil).want(200).json(); a["purged"] != 0.0 {
		t.Errorf("%v", a)
	}
	if a = s.call("DELETE", "/v1/dead/default", nil).want(200).json(); a["purged"] != 2.0 || a["more"] != false {
		t.Errorf("%v", a)
	}
	for _, id := range ids[1:] {
		s.call("GET", "/v1/requests/"+id, nil).problem(404, "request-not-found")
	}
	if routes := s.call("GET", "/v1/dead", nil).want(200).json()["routes"].([]any); len(routes) != 0 {
		t.Errorf("%v", routes)
	}
	for _, path := range []string{"/v1/dead/unknown", "/v1/dead/unknown/messages"} {
		s.call("GET", path, nil).problem(404, "not-found")
	}
	s.call("POST", "/v1/dead/default/redrive?before=yesterday", nil).problem(422, "invalid-request")
	s.call("POST", "/v1/dead/default/redrive?limit=10001", nil).problem(422, "invalid-request")
	s.call("GET", "/v1/dead/default?cursor=x", nil).problem(422, "invalid-request")
	s.call("GET", "/v1/dead?cursor=*", nil).problem(422, "invalid-request")
}

// TestDeadMember: a batch has counted the failure of its member, and keeps its counts when that is
// redriven and succeeds.
func TestDeadMember(t *testing.T) {
	s := start(t, "--samples=false")
	s.call("POST", "/v1/batches", batchOf("b", "default", "1", "2"), async).want(202)
	s.failNext()
	w := s.leaseOne("")
	s.call("PUT", w.path("result"), `1`).want(200)
	if c := counts(s.ended("b")); c != [6]int{2, 0, 1, 1, 0, 0} {
		t.Fatalf("%v", c)
	}
	dead := s.deadIDs("default", 10)
	if len(dead) != 1 {
		t.Fatalf("%v", dead)
	}
	s.call("POST", "/v1/requests/b/redrive", nil).problem(409, "invalid-transition")
	s.call("POST", "/v1/requests/"+dead[0]+"/redrive", nil).want(202)
	w = s.leaseOne("")
	s.call("PUT", w.path("result"), `1`).want(200)
	doc := s.call("GET", "/v1/batches/b", nil).want(200).json()
	if c := counts(doc); c != [6]int{2, 0, 1, 1, 0, 0} || doc["status"] != "failed" {
		t.Errorf("%v: %v", c, doc)
	}
}

// TestDeadReplayed: a call with an Idempotency-Key that was answered with a failure is told, made
// again, how the request fares that was redriven since.
func TestDeadReplayed(t *testing.T) {
	s := start(t, "--samples=false")
	answered := make(chan answer, 1)
	body := `{"id":"r","route":"default","content":1}`
	go func() {
		a, err := s.try("POST", "/v1/requests", body, "Idempotency-Key: k", "Prefer: wait=30")
		if err != nil {
			t.Error(err)
		}
		answered <- a
	}()
	s.failNext()
	(<-answered).problem(500, "request-failed")
	s.call("POST", "/v1/requests/r/redrive", nil).want(202)
	again := s.call("POST", "/v1/requests", body, "Idempotency-Key: k", "Prefer: wait=30").want(202)
	if again.header.Get("Idempotency-Replayed") != "true" || again.json()["status"] != "pending" {
		t.Errorf("%v %s", again.header, again.body)
	}
	w := s.leaseOne("")
	s.call("PUT", w.path("result"), `"done"`).want(200)
	if again := s.call("POST", "/v1/requests", body, "Idempotency-Key: k", "Prefer: wait=30").want(200); string(again.body) != `"done"` {
		t.Errorf("%s", again.body)
	}
}

// TestDeadWhenKilled: a gateway that is killed while it redrives has redriven some requests. The
// same call, made again, goes on with the others, and none is redriven twice.
func TestDeadWhenKilled(t *testing.T) {
	t.Parallel()
	const requests = 300
	data := t.TempDir()
	args := []string{"--samples=false", "--max-open-per-caller=10000"}
	p := spawn(t, data, args...)
	for i := range requests {
		p.submit("default", i, fmt.Sprintf("id=r%d", i))
	}
	for left := requests; left > 0; {
		for _, w := range p.lease(`,"wait":"10s","max":100`) {
			p.call("PUT", w.path("error"), `{"code":"c","message":"m"}`).want(200)
			left--
		}
	}
	begun := make(chan struct{})
	go func() {
		close(begun)
		_, _ = p.try("POST", "/v1/dead/default/redrive", nil)
	}()
	<-begun
	p.eventually(func() bool {
		return len(p.call("GET", "/v1/requests?status=pending&limit=200", nil).want(200).json()["requests"].([]any)) > 0
	})
	p.kill()
	p = spawn(t, data, args...)
	for more := true; more; {
		more = p.call("POST", "/v1/dead/default/redrive?limit=100", nil).want(200).json()["more"].(bool)
	}
	for i := range requests {
		doc := p.call("GET", fmt.Sprintf("/v1/requests/r%d", i), nil).want(200).json()
		if doc["status"] != "pending" || doc["redriven"] != 1.0 || doc["sequence"] != 4.0 {
			t.Fatalf("%v", doc)
		}
	}
	for left := requests; left > 0; { // and all of them are queued
		for _, w := range p.lease(`,"wait":"10s","max":100`) {
			p.call("PUT", w.path("result"), `1`).want(200)
			left--
		}
	}
}

// deadMessage is a message that was put aside.
type deadMessage struct {
	ID, Reason, Body, ContentType string
	Request, Wrong, At            *string
	Headers                       map[string]string
}

// TestDeadMessages: what RabbitMQ has put aside is counted and shown, and stays; a job among it
// whose request waits goes back to work, and the rest is purged. Without RabbitMQ there is nothing.
func TestDeadMessages(t *testing.T) {
	if !onRabbitMQ() {
		s := start(t, "--samples=false")
		doc := s.call("GET", "/v1/dead/default/messages", nil).want(200).json()
		if doc["count"] != 0.0 || len(doc["messages"].([]any)) != 0 {
			t.Errorf("%v", doc)
		}
		if a := s.call("DELETE", "/v1/dead/default/messages", nil).want(200).json(); a["purged"] != 0.0 {
			t.Errorf("%v", a)
		}
		if a := s.call("POST", "/v1/dead/default/messages/redrive", nil).want(200).json(); a["redriven"] != 0.0 {
			t.Errorf("%v", a)
		}
		return
	}
	data := t.TempDir()
	s := startOn(t, data, "--samples=false", "--requeue=10m")
	prefix, url := "", ""
	for _, arg := range backendsOf(t, data) {
		if name, ok := strings.CutPrefix(arg, "--prefix="); ok {
			prefix = name
		}
		if name, ok := strings.CutPrefix(arg, "--amqp="); ok {
			url = name
		}
	}
	ch := openChannel(t, url)
	send := func(exchange string, m amqp.Publishing) {
		t.Helper()
		if err := ch.PublishWithContext(t.Context(), exchange, "default", false, false, m); err != nil {
			t.Fatal(err)
		}
	}
	id := s.submit("default", "a")
	// Its job, as if its consumers had gone away too often.
	var job amqp.Delivery
	s.eventually(func() (there bool) {
		var err error
		if job, there, err = ch.Get(prefix+".work.default", true); err != nil {
			t.Fatal(err)
		}
		return there
	})
	send(prefix+".dead", amqp.Publishing{
		Headers: amqp.Table{"hark-version": job.Headers["hark-version"]}, ContentType: job.ContentType, MessageId: job.MessageId, Body: job.Body,
		DeliveryMode: amqp.Persistent,
	})
	send(prefix+".work", amqp.Publishing{ContentType: "text/plain", MessageId: "bad", Headers: amqp.Table{"who": "somebody"}, Body: []byte("what is this?\xff")})
	if work := s.lease(`,"wait":"1s"`); len(work) != 0 {
		t.Errorf("%v", work)
	}
	var doc map[string]any
	s.eventually(func() bool {
		doc = s.call("GET", "/v1/dead/default/messages", nil).want(200).json()
		return doc["count"] == 2.0 && len(doc["messages"].([]any)) == 2
	})
	var page struct{ Messages []deadMessage }
	text, _ := json.Marshal(doc)
	if err := json.Unmarshal(text, &page); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(page.Messages, func(x, y deadMessage) int { return strings.Compare(x.Reason, y.Reason) })
	mine, bad := page.Messages[0], page.Messages[1]
	if mine.Request == nil || *mine.Request != id || mine.Wrong != nil {
		t.Errorf("%+v", mine)
	}
	if bad.ID != "bad" || bad.Reason != "rejected" || bad.Wrong == nil || bad.At == nil || bad.Request != nil || bad.Headers["who"] != "somebody" || bad.Body != "what is this?\uFFFD" {
		t.Errorf("%+v", bad)
	}
	// RabbitMQ counts what nobody has: just looked at, a message is somebody's for a moment.
	s.eventually(func() bool {
		routes := s.call("GET", "/v1/dead", nil).want(200).json()["routes"].([]any)
		if len(routes) != 1 {
			return false
		}
		first := routes[0].(map[string]any)
		return first["messages"] == 2.0 && first["requests"] == 0.0
	})
	if a := s.call("POST", "/v1/dead/default/messages/redrive", nil).want(200).json(); a["redriven"] != 1.0 {
		t.Errorf("%v", a)
	}
	w := s.leaseOne("")
	s.call("PUT", w.path("result"), `1`).want(200)
	if w.ID != id {
		t.Errorf("%+v", w)
	}
	if a := s.call("DELETE", "/v1/dead/default/messages", nil).want(200).json(); a["purged"] != 1.0 {
		t.Errorf("%v", a)
	}
}
