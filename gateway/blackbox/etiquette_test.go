package blackbox_test

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestGone: whoever answers 410 gets nothing any more, and the owner's other endpoints are told.
func TestGone(t *testing.T) {
	s := startHooks(t)
	gone, watching := newReceiver(t, status(http.StatusGone)), newReceiver(t, nil)
	h := s.hook(gone.url, nil)
	watcher := s.hook(watching.url, map[string]any{"events": []string{"webhook.disabled"}})
	s.process(s.submit("default", 1))
	s.eventually(func() bool { return h.get()["status"] == "disabled" })
	if doc := h.get(); doc["reason"] != "gone" {
		t.Errorf("disabled: %v", doc)
	}
	s.eventually(func() bool { return watching.count() == 1 })
	d := watching.all()[0]
	event := cloudEvent(t, d.body)
	if event.Type() != "webhook.disabled" || event.Source() != h.path || d.event.Data["endpoint"] != h.id || d.event.Data["reason"] != "gone" || d.event.Data["url"] != gone.url {
		t.Errorf("told %s", d.body)
	}
	if verified(watching, watcher.secret) != 1 {
		t.Error("it is not signed")
	}
	s.eventually(func() bool { return len(h.deliveries("?state=dead")) >= 1 })
	dead := h.deliveries("?state=dead")[0]
	if log := s.call("GET", h.path+"/deliveries/"+dead["id"].(string), nil).want(200).json()["log"].([]any); log[0].(map[string]any)["error"] != "gone" {
		t.Errorf("log %v", log)
	}
	h.s.eventually(func() bool { return h.health("sending") == 0.0 })
	before, listed := gone.count(), len(h.deliveries(""))
	s.call("POST", h.path+"/test", nil).problem(409, "webhook-conflict")
	s.process(s.submit("default", 2))
	if n := len(h.deliveries("")); n != listed || gone.count() != before {
		t.Errorf("more was enqueued: %d, and sent: %d", n-listed, gone.count()-before)
	}
}

// TestRetryAfter: whoever has too much to do is left alone for as long as it says, with all that
// waits.
func TestRetryAfter(t *testing.T) {
	for _, code := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		t.Run(http.StatusText(code), func(t *testing.T) {
			s := startHooks(t)
			var answered atomic.Int64
			var until atomic.Pointer[time.Time]
			r := newReceiver(t, nil)
			r.answers(func(w http.ResponseWriter, q *http.Request) {
				if answered.Add(1) > 1 {
					return
				}
				then := time.Now().Add(time.Second)
				until.Store(&then)
				status(code, "Retry-After: 1")(w, q)
			})
			h := s.hook(r.url, map[string]any{"schedule": []string{"1ms"}})
			s.call("POST", h.path+"/test", nil).want(202)
			s.eventually(func() bool { return h.health("heldUntil") != nil })
			s.call("POST", h.path+"/test", nil).want(202)
			h.settled()
			for _, d := range r.all()[1:] {
				if d.at.Before(*until.Load()) {
					t.Errorf("sent %v too early", until.Load().Sub(d.at))
				}
			}
			if n := r.count(); n != 3 {
				t.Errorf("%d attempts", n)
			}
		})
	}
}

// TestResendWhileSending: what is being sent cannot be sent again before that attempt is over.
func TestResendWhileSending(t *testing.T) {
	s := startHooks(t)
	arrived, answer := make(chan struct{}, 2), make(chan struct{})
	r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-answer
		w.WriteHeader(http.StatusNoContent)
	})
	h := s.hook(r.url, nil)
	sent := s.call("POST", h.path+"/test", nil).want(202).header.Get("Location")
	<-arrived
	if d := s.call("GET", sent, nil).want(200).json(); d["state"] != "sending" {
		t.Errorf("it is %v", d["state"])
	}
	a := s.call("POST", sent+"/resend", nil)
	if p := a.problem(409, "webhook-conflict"); p["detail"] == "" || a.header.Get("Retry-After") != "1" {
		t.Errorf("%v %s", a.header, a.body)
	}
	close(answer)
	h.settled()
	if d := s.call("GET", sent, nil).want(200).json(); d["state"] != "delivered" || d["attempts"] != 1.0 {
		t.Errorf("after it was refused: %v", d)
	}
	if d := s.call("POST", sent+"/resend", nil).want(202).json(); d["id"] == "" {
		t.Errorf("resent: %v", d)
	}
	<-arrived
	h.settled()
	if d := s.call("GET", sent, nil).want(200).json(); d["state"] != "delivered" || d["attempts"] != 2.0 || len(d["log"].([]any)) != 2 {
		t.Errorf("resent: %v", d)
	}
}

func TestRedirect(t *testing.T) {
	s := startHooks(t)
	elsewhere := newReceiver(t, nil)
	r := newReceiver(t, status(http.StatusPermanentRedirect, "Location: "+elsewhere.url))
	h := s.hook(r.url, map[string]any{"schedule": []string{}})
	sent := s.call("POST", h.path+"/test", nil).want(202).header.Get("Location")
	h.settled()
	doc := s.call("GET", sent, nil).want(200).json()
	attempt := doc["log"].([]any)[0].(map[string]any)
	if at := doc["event"].(map[string]any)["time"].(string); len(at) != len("2026-01-01T00:00:00.000Z") {
		t.Errorf("the time of the event is not in milliseconds: %s", at)
	}
	if doc["state"] != "dead" || attempt["error"] != "redirect" || attempt["status"] != 308.0 || elsewhere.count() != 0 {
		t.Errorf("%v, and %d were sent elsewhere", doc, elsewhere.count())
	}
}

// TestDisabledAndRecovered: an endpoint that fails for too long is disabled; once it was repaired
// and resumed, recovery brings what was given up and what was never enqueued.
func TestDisabledAndRecovered(t *testing.T) {
	s := startHooks(t, "--webhook-disable-after=2s")
	began := time.Now().Add(-time.Second).UTC().Format(time.RFC3339)
	r, watching := newReceiver(t, status(http.StatusInternalServerError)), newReceiver(t, nil)
	h := s.hook(r.url, map[string]any{"events": []string{"request.accepted"}, "schedule": []string{}})
	s.hook(watching.url, map[string]any{"events": []string{"webhook.disabled"}})
	given := s.submit("default", 1)
	s.eventually(func() bool { return len(h.deliveries("?state=dead")) == 1 })
	s.call("PATCH", h.path, `{"schedule":["1s","1s","1s","1s","1s","1s"]}`).want(200)
	waiting := s.submit("default", 2)
	s.eventually(func() bool { return h.get()["status"] == "disabled" })
	if doc := h.get(); doc["reason"] != "failing" {
		t.Errorf("disabled: %v", doc)
	}
	s.eventually(func() bool { return watching.count() == 1 })
	if d := watching.all()[0]; d.event.Data["reason"] != "failing" || d.event.Data["endpoint"] != h.id {
		t.Errorf("told %s", d.body)
	}
	missed := []string{s.submit("default", 3), s.submit("default", 4)}
	s.call("POST", h.path+"/recover?since="+began, nil).problem(409, "webhook-conflict")

	r.answers(nil)
	before := r.count()
	if doc := s.call("POST", h.path+"/resume", nil).want(200).json(); doc["status"] != "active" || doc["reason"] != nil {
		t.Errorf("resumed: %v", doc)
	}
	h.settled() // what was waiting
	if n := r.count() - before; n != 1 {
		t.Errorf("%d after it was resumed", n)
	}
	if n := s.call("POST", h.path+"/recover?since="+began, nil).want(202).json()["recovered"]; n != 3.0 {
		t.Errorf("%v recovered", n)
	}
	h.settled()
	var got, want []string
	for _, d := range r.all()[before:] {
		got = append(got, d.id)
	}
	for _, id := range append(missed, given, waiting) {
		want = append(want, s.message(id, 1))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("received %v, want %v", got, want)
	}
	if n := s.call("POST", h.path+"/recover?since="+began, nil).want(202).json()["recovered"]; n != 0.0 {
		t.Errorf("%v recovered again", n)
	}
	if failed := s.metric(`hark_webhook_failed_attempts_total{class="status"}`); failed < 5 || s.metric("hark_webhook_delivered_total") < 5 ||
		s.metric("hark_webhook_dead_total") != 1 || s.metric("hark_webhook_attempt_seconds_count") < 10 {
		t.Errorf("metrics: %s", s.call("GET", "/metrics", nil).body)
	}
	s.eventually(func() bool { return s.metric("hark_webhook_sending") == 0 })
}

// TestRate: deliveries are spread over time.
func TestRate(t *testing.T) {
	s := startHooks(t)
	r := newReceiver(t, nil)
	h := s.hook(r.url, map[string]any{"rate": 10})
	const n = 15
	for range n {
		s.call("POST", h.path+"/test", nil).want(202)
	}
	h.settled()
	got := r.all()
	// 1.4 s, but for how long the first was on its way.
	if took := got[len(got)-1].at.Sub(got[0].at); len(got) != n || took < time.Second {
		t.Errorf("%d arrived in %v", len(got), took)
	}
}

// TestCoalesce: of progress that could not be sent, only what is newest is left.
func TestCoalesce(t *testing.T) {
	s := startHooks(t)
	r, plain := newReceiver(t, nil), newReceiver(t, nil)
	h, all := s.hook(r.url, map[string]any{"coalesce": true, "concurrency": 1}), s.hook(plain.url, map[string]any{"concurrency": 1})
	for _, each := range []*hook{h, all} {
		s.call("POST", each.path+"/pause", nil).want(200)
	}
	ended, running := s.submit("default", 1), s.submit("default", 1)
	for _, id := range []string{ended, running} {
		s.call("POST", "/v1/work/"+id+"/start", nil).want(200)
		for n := range 5 {
			s.call("POST", "/v1/work/"+id+"/progress", fmt.Sprintf(`{"step":"s%d","percent":%d}`, n, 10*n)).want(200)
		}
	}
	s.call("PUT", "/v1/work/"+ended+"/result", `1`).want(200)
	for _, each := range []*hook{h, all} {
		s.call("POST", each.path+"/resume", nil).want(200)
		each.settled()
	}
	of := func(r *receiver, id string) (types []string) {
		for _, d := range r.all() {
			if d.event.Data["id"] == id {
				types = append(types, d.event.Type)
			}
		}
		return types
	}
	if got := short(of(r, ended)); got != "accepted started succeeded" {
		t.Errorf("of what has ended: %s", got)
	}
	if got := short(of(r, running)); got != "accepted started progress" {
		t.Errorf("of what is running: %s", got)
	}
	if n := len(h.deliveries("?state=superseded")); n != 9 {
		t.Errorf("%d superseded", n)
	}
	if got := short(of(plain, ended)); got != "accepted started progress progress progress progress progress succeeded" {
		t.Errorf("without: %s", got)
	}
}

// TestWebhookDrain: a gateway that is told to stop settles what is under way, and sends nothing
// twice.
func TestWebhookDrain(t *testing.T) {
	data := t.TempDir()
	arrived, answer := make(chan struct{}), make(chan struct{})
	var once sync.Once
	r := newReceiver(t, func(http.ResponseWriter, *http.Request) {
		once.Do(func() { close(arrived) })
		<-answer
	})
	p := spawn(t, data, append([]string{"--drain=20s"}, allowed...)...)
	h := p.hook(r.url, nil)
	sent := p.call("POST", h.path+"/test", nil).want(202).header.Get("Location")
	<-arrived
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.http.CloseIdleConnections()
	p.eventually(func() bool { // it takes no calls any more
		_, err := p.try("GET", "/health/live", nil)
		return err != nil
	})
	close(answer)
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	s := startOn(t, data, allowed...)
	if d := s.call("GET", sent, nil).want(200).json(); d["state"] != "delivered" || d["attempts"] != 1.0 || r.count() != 1 {
		t.Errorf("%v, %d arrived", d, r.count())
	}
}
