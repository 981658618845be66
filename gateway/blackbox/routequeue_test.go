package blackbox_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// foreign are a queue and an exchange of somebody else's beside the servers of a test.
type foreign struct {
	*servers
	ch              *amqp.Channel
	queue, exchange string
}

func newForeign(t *testing.T, arguments amqp.Table) *foreign {
	t.Helper()
	s := startServers(t)
	f := &foreign{s, openChannel(t, s.rabbit.URL), "legacy:" + s.prefix, "pictures:" + s.prefix}
	if _, err := f.ch.QueueDeclare(f.queue, true, false, false, false, arguments); err != nil {
		t.Fatal(err)
	}
	if err := f.ch.ExchangeDeclare(f.exchange, amqp.ExchangeTopic, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ch := openChannel(t, s.rabbit.URL)
		_, _ = ch.QueueDelete(f.queue, false, false, false)
		_ = ch.ExchangeDelete(f.exchange, false, false)
	})
	return f
}

func (f *foreign) gateway(more ...string) *server {
	return start(f.t, f.args(f.rabbit.Addr, more...)...)
}

// jobOf is a message of the queue, as somebody reads it who knows Hark by its documents.
type jobOf struct {
	ID, Life, Route, Message string
	Sequence                 int
}

// take consumes the next message on a channel of its own, whose end hands out anew what was not
// acknowledged.
func (f *foreign) take(t *testing.T) (amqp.Delivery, jobOf, *amqp.Channel) {
	t.Helper()
	ch := openChannel(t, f.rabbit.URL)
	came, err := ch.Consume(f.queue, "", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	d, ok := <-came
	if !ok {
		t.Fatal("the server closed the channel")
	}
	var j jobOf
	if err := json.Unmarshal(d.Body, &j); err != nil || d.ContentType != "application/vnd.hark.job+json" {
		t.Fatalf("%v: %s %s", err, d.ContentType, d.Body)
	}
	return d, j, ch
}

// begin starts the attempt of a job.
func (j jobOf) begin(s *server, more string) answer {
	life := j.Life
	if life == "" {
		life = "none"
	}
	return s.call("POST", fmt.Sprintf("/v1/work/%s/start?life=%s&message=%s&sequence=%d%s", j.ID, life, j.Message, j.Sequence, more), nil)
}

// TestRouteQueue: the work of a route goes to a queue of somebody else's, who starts it by the
// message, reports, and, if it dies, leaves the message to another one; what is delayed or tried
// again comes there when it is due.
func TestRouteQueue(t *testing.T) {
	f := newForeign(t, nil)
	s := f.gateway("--samples=false", "--retry-delay=20ms", "--route-queue=default="+f.queue)
	s.call("POST", "/v1/requests", `{"id":"a","content":{"text":"hello"}}`, async).want(202)

	_, first, ch := f.take(t)
	if a := first.begin(s, "").want(200).json(); a["attempt"] != 1.0 || a["route"] != "default" {
		t.Errorf("%v", a)
	}
	first.begin(s, "").want(409) // it is at work
	_ = ch.Close()               // that consumer dies
	d, again, _ := f.take(t)
	if !d.Redelivered || again != first {
		t.Errorf("%+v, want %+v once more", again, first)
	}
	wrong := again
	wrong.Message = "another"
	wrong.begin(s, "&redelivered=true").want(409) // which has begun nothing
	if a := again.begin(s, "&redelivered=true").want(200).json(); a["attempt"] != 2.0 {
		t.Errorf("%v", a)
	}
	s.call("PUT", "/v1/work/a/error?attempt=2&life="+again.Life, `{"message":"Not now.","retry":true}`).want(200)
	_ = d.Ack(false)
	d, third, _ := f.take(t) // it has waited in a queue of Hark's
	if third.Message == again.Message || third.Sequence <= again.Sequence {
		t.Errorf("%+v after %+v", third, again)
	}
	again.begin(s, "&redelivered=true").want(409) // it waits for another message since
	third.begin(s, "").want(200)
	s.call("PUT", "/v1/work/a/result?attempt=3&life="+third.Life, `{"text":"HELLO"}`).want(200)
	_ = d.Ack(false)
	if a := s.call("GET", "/v1/requests/a/result", nil).want(200); string(a.body) != `{"text":"HELLO"}` {
		t.Errorf("%s", a.body)
	}
	for query, want := range map[string]string{"message=a%20b": "?message", "message=" + strings.Repeat("x", 129): "?message", "sequence=0": "?sequence", "sequence=x": "?sequence"} {
		if p := s.call("POST", "/v1/work/a/start?"+query, nil).problem(422, "invalid-request"); !strings.Contains(fmt.Sprint(p), want) {
			t.Errorf("%s: %v", query, p)
		}
	}
}

// TestRouteQueueInside: the samples inside a gateway, and processors over HTTP, consume a queue of
// somebody else's as they do Hark's.
func TestRouteQueueInside(t *testing.T) {
	f := newForeign(t, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum})
	if err := f.ch.QueueBind(f.queue, "high", f.exchange, false, nil); err != nil {
		t.Fatal(err)
	}
	s := f.gateway("--routes=sleep,default", "--route-queue=sleep="+f.queue, "--route-exchange=sleep="+f.exchange, "--route-key=sleep=high")
	a := s.call("POST", "/v1/requests", `{"route":"sleep","content":{"steps":1,"duration":"1ms","result":"done"},"delay":"200ms"}`, "Prefer: wait=30").want(200)
	if string(a.body) != `"done"` {
		t.Errorf("%s", a.body)
	}
}

// TestRouteExchange: the work of a route goes to an exchange. What that routes nowhere is refused,
// and nothing of it stays behind; nobody can lease what only others consume.
func TestRouteExchange(t *testing.T) {
	f := newForeign(t, nil)
	s := f.gateway("--routes=sleep,default,big", "--route-exchange=sleep="+f.exchange+",big="+f.exchange, "--route-key=sleep=pictures.high")
	body := `{"id":"a","route":"sleep","content":{"steps":1,"duration":"1ms"}}`
	s.call("POST", "/v1/requests", body, async).problem(503, "unavailable")
	s.call("GET", "/v1/requests/a", nil).want(404)
	s.call("POST", "/v1/batches", `{"id":"b","requests":[`+strings.Replace(body, `"id":"a",`, "", 1)+`]}`, async).problem(503, "unavailable")
	s.call("GET", "/v1/batches/b", nil).want(404)
	lease := fmt.Sprint(s.call("POST", "/v1/work/lease", `{"routes":["default","sleep"],"wait":"1s"}`).problem(422, "invalid-request"))
	if !strings.Contains(lease, "/routes/1") || !strings.Contains(lease, "--route-queue") {
		t.Error(lease)
	}

	if err := f.ch.QueueBind(f.queue, "*.high", f.exchange, false, nil); err != nil {
		t.Fatal(err)
	}
	s.call("POST", "/v1/requests", body, async).want(202)
	d, j, _ := f.take(t)
	if d.RoutingKey != "pictures.high" || j.ID != "a" || j.Route != "sleep" {
		t.Errorf("%+v", d)
	}
	j.begin(s, "").want(200)
	s.call("POST", "/v1/work/a/complete?attempt=1", nil).want(200)
	_ = d.Ack(false)
	// Without a key the route is it.
	if err := f.ch.QueueBind(f.queue, "big", f.exchange, false, nil); err != nil {
		t.Fatal(err)
	}
	s.call("POST", "/v1/requests", `{"id":"c","route":"big","content":1}`, async).want(202)
	if d, j, _ := f.take(t); d.RoutingKey != "big" || j.ID != "c" {
		t.Errorf("%+v", d)
	}
}

// TestRouteQueueMissing: a gateway, and a worker, that is to use a queue which is not there says so
// and ends.
func TestRouteQueueMissing(t *testing.T) {
	s := startServers(t)
	gateway, worker := programs(t)
	for path, args := range map[string][]string{
		gateway: s.args(s.rabbit.Addr, "--listen=127.0.0.1:0", "--route-queue=sleep=nowhere"),
		worker:  append(s.args(s.rabbit.Addr)[:3:3], "--routes=sleep", "--route-queue=sleep=nowhere"),
	} {
		out, err := exec.Command(path, args...).CombinedOutput()
		for _, want := range []string{`queue "nowhere"`, `route "sleep"`, "declare queue name=nowhere", "--route-queue"} {
			if err == nil || !strings.Contains(string(out), want) {
				t.Errorf("%s: %q is not in what it says: %v %s", filepath.Base(path), want, err, out)
			}
		}
	}
	out, err := exec.Command(worker, append(s.args(s.rabbit.Addr)[:3:3], "--routes=sleep", "--route-exchange=sleep=events")...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "--route-queue sleep=QUEUE") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestRouteQueueRelayKilled: a gateway that dies while it hands delayed work on loses none of it:
// the next one goes on. What reaches the queue twice begins once.
func TestRouteQueueRelayKilled(t *testing.T) {
	f := newForeign(t, nil)
	gateway, _ := programs(t)
	spawn := func() *process {
		t.Helper()
		return listening(t, exec.Command(gateway, f.args(f.rabbit.Addr, "--listen=127.0.0.1:0", "--drain=200ms", "--log-level=warn",
			"--samples=false", "--requeue=1h", "--route-queue=default="+f.queue)...))
	}
	const requests, before = 300, 20
	p := spawn()
	all := make([]any, requests)
	for n := range all { // they are due one after the other
		all[n] = map[string]any{"id": fmt.Sprint("r", n), "content": n, "delay": fmt.Sprint(1000+5*n, "ms")}
	}
	p.call("POST", "/v1/batches", map[string]any{"requests": all}, async).want(202)
	p.eventually(func() bool {
		q, err := f.ch.QueueDeclarePassive(f.queue, true, false, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		return q.Messages >= before
	})
	p.kill()
	p = spawn()
	came, err := openChannel(t, f.rabbit.URL).Consume(f.queue, "", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	begun, again := make(map[string]jobOf), 0
	for len(begun) < requests {
		var d amqp.Delivery
		select {
		case d = <-came:
		case <-time.After(3 * time.Minute):
			t.Fatalf("%d of %d have come, and %d twice", len(begun), requests, again)
		}
		var j jobOf
		if err := json.Unmarshal(d.Body, &j); err != nil {
			t.Fatalf("%v: %s", err, d.Body)
		}
		switch _, known := begun[j.ID]; {
		case known:
			j.begin(p.server, "").problem(409, "invalid-transition")
			again++
		default:
			j.begin(p.server, "").want(200)
			begun[j.ID] = j
		}
		_ = d.Ack(false)
	}
	t.Logf("%d came twice", again)
	// A copy that comes later begins nothing either, while its request is worked on and after it.
	for _, end := range []bool{false, true} {
		j := begun["r0"]
		j.begin(p.server, "").problem(409, "invalid-transition")
		j.Message = "a-copy"
		j.begin(p.server, "").problem(409, "invalid-transition")
		if !end {
			p.call("PUT", "/v1/work/r0/result?attempt=1&life="+j.Life, "1").want(200)
		}
	}
	if doc := p.call("GET", "/v1/requests/r0", nil).want(200).json(); doc["status"] != "succeeded" || doc["attempt"] != 1.0 {
		t.Errorf("%v", doc)
	}
}
