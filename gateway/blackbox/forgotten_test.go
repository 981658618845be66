package blackbox_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// TestForgottenEverywhere: of a request that was deleted nothing is told any more, by no wire and
// to nobody, and offsets stay contiguous.
func TestForgottenEverywhere(t *testing.T) {
	const secret = "known-to-nobody-any-more"
	s := start(t, append([]string{"--samples=false"}, allowed...)...)
	var up atomic.Bool
	var told atomic.Int32 // deliveries that tell of it while it is forgotten
	receiver := newReceiver(t, func(w http.ResponseWriter, q *http.Request) {
		if !up.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		body := make([]byte, 1<<16)
		n, _ := q.Body.Read(body)
		if strings.Contains(string(body[:n]), secret) {
			told.Add(1)
		}
		w.WriteHeader(http.StatusNoContent)
	})
	hook := s.hook(receiver.url, map[string]any{"events": []string{"request.succeeded"}, "schedule": []string{"1s", "1s", "1s"}})
	work := func(content string) string {
		id := s.submit("default", content, "topic=t")
		w := s.leaseOne("")
		for _, report := range [][2]string{{"POST", "progress"}, {"PUT", "result"}} {
			if a := s.call(report[0], w.path(report[1]), map[string]any{"message": content}); a.status >= 300 {
				t.Fatalf("%s: %d %s", report[1], a.status, a.body)
			}
		}
		return id
	}
	id := work(secret)
	work("told")
	s.call("DELETE", "/v1/requests/"+id, nil).want(204)
	up.Store(true)
	for _, path := range []string{"/v1/history", "/v1/topics/t/history"} {
		a := s.call("GET", path+"?after=0", nil).want(200)
		doc := a.json()
		events := doc["events"].([]any)
		if text := string(a.body); len(events) != 8 || doc["recovered"] != true || strings.Contains(text, secret) || strings.Contains(text, id) ||
			strings.Count(text, `"type":"feed.forgotten"`) != 4 {
			t.Errorf("%s: %d events: %.500s", path, len(events), text)
		}
	}
	st := s.stream("/v1/topics/t/events", "Last-Event-ID: 2")
	for offset := range 6 {
		e := st.next()
		if want := string(rune('3' + offset)); e.id != want || strings.Contains(e.data, id) || (offset < 2) != strings.Contains(e.data, "feed.forgotten") {
			t.Errorf("behind 2: %s %.200s", e.id, e.data)
		}
	}
	deliveries := string(s.call("GET", hook.path+"/deliveries?limit=100", nil).want(200).body)
	if strings.Contains(deliveries, id) || !strings.Contains(deliveries, "_4") {
		t.Errorf("deliveries: %s", deliveries)
	}
	s.call("POST", hook.path+"/recover?since=2000-01-01T00:00:00Z", nil).want(202)
	s.eventually(func() bool { return s.metric("hark_webhook_delivered_total") >= 1 })
	if told.Load() > 0 {
		t.Errorf("%d deliveries tell of it", told.Load())
	}
}
