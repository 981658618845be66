package blackbox_test

import (
	"net/http"
	"strings"
	"testing"
)

// TestContentTypeOfDeliveries: the media type is what the endpoint asks for, with the same body,
// and a receiver that does not take it is no riddle.
func TestContentTypeOfDeliveries(t *testing.T) {
	s := startHooks(t)
	picky := newReceiver(t, func(w http.ResponseWriter, q *http.Request) {
		if !strings.HasPrefix(q.Header.Get("Content-Type"), "application/json") {
			w.WriteHeader(http.StatusUnsupportedMediaType)
		}
	})
	h := s.hook(picky.url, map[string]any{"schedule": []string{}})
	if got := h.get()["contentType"]; got != "application/cloudevents+json" {
		t.Errorf("contentType %v", got)
	}
	sent := s.call("POST", h.path+"/test", nil).want(202).header.Get("Location")
	h.settled()
	attempt := s.call("GET", sent, nil).want(200).json()["log"].([]any)[0].(map[string]any)
	if hint, _ := attempt["hint"].(string); attempt["status"] != 415.0 || !strings.Contains(hint, "application/cloudevents+json; charset=utf-8") || !strings.Contains(hint, "contentType") {
		t.Errorf("the log of a 415: %v", attempt)
	}
	for _, bad := range []string{`"text/plain"`, `""`, `"application/json; charset=utf-8"`} {
		s.call("PATCH", h.path, `{"contentType":`+bad+`}`).pointers(t, "/contentType")
		s.call("POST", "/v1/webhooks", `{"url":"`+picky.url+`","contentType":`+bad+`}`).pointers(t, "/contentType")
	}
	s.call("PATCH", h.path, `{"ContentType":"application/json"}`).pointers(t, "/ContentType")
	s.call("PATCH", h.path, `{"contenttype":"application/json"}`).pointers(t, "/contenttype")

	if doc := s.call("PATCH", h.path, `{"contentType":"application/json"}`).want(200).json(); doc["contentType"] != "application/json" {
		t.Errorf("changed: %v", doc)
	}
	s.call("POST", sent+"/resend", nil).want(202)
	h.settled()
	doc := s.call("GET", sent, nil).want(200).json()
	last := doc["log"].([]any)[1].(map[string]any)
	if doc["state"] != "delivered" || last["hint"] != nil {
		t.Errorf("sent as JSON: %v", doc)
	}
	got := picky.all()
	if len(got) != 2 || got[1].header.Get("Content-Type") != "application/json; charset=utf-8" || string(got[0].body) != string(got[1].body) || got[0].id != got[1].id {
		t.Errorf("%d attempts: %v", len(got), got[len(got)-1].header)
	}

	// Of a request's own webhook, too; the same URL with another type is another endpoint.
	once := newReceiver(t, nil)
	for i, contentType := range []string{"", "application/json", "application/cloudevents+json"} {
		webhook := map[string]any{"url": once.url, "events": []string{"request.accepted"}}
		if contentType != "" {
			webhook["contentType"] = contentType
		}
		s.call("POST", "/v1/requests", map[string]any{"content": 1, "webhook": webhook}, async).want(202)
		s.eventually(func() bool { return once.count() == i+1 })
		want := "application/cloudevents+json; charset=utf-8"
		if contentType == "application/json" {
			want = "application/json; charset=utf-8"
		}
		if got := once.all()[i].header.Get("Content-Type"); got != want {
			t.Errorf("%q is sent as %q", contentType, got)
		}
	}
	s.call("POST", "/v1/requests", `{"content":1,"webhook":{"url":"`+once.url+`","contentType":"text/plain"}}`).pointers(t, "/webhook/contentType")
}

// TestHandshakeGoesOn: who allowed an origin is shown it with every delivery (CloudEvents HTTP 1.1
// Web Hooks 1.0.2, section 2.1), and is not sent more than it allowed.
func TestHandshakeGoesOn(t *testing.T) {
	s := startHooks(t, "--webhook-origin=hooks.example.org")
	asked := make(chan http.Header, 8)
	allow := "120"
	r := newReceiver(t, func(w http.ResponseWriter, q *http.Request) {
		if q.Method == http.MethodOptions {
			asked <- q.Header.Clone()
			w.Header().Set("WebHook-Allowed-Origin", "hooks.example.org")
			w.Header().Set("WebHook-Allowed-Rate", allow)
			return
		}
		if q.Header.Get("WebHook-Request-Origin") != "hooks.example.org" {
			w.WriteHeader(http.StatusForbidden) // as the specification would have it
		}
	})
	for _, c := range []struct {
		allow    string
		rate     any // asked for
		request  string
		wantRate float64
	}{
		{"120", nil, "", 2},
		{"30", 4, "240", 0.5},
		{"600", 2.5, "150", 2.5},
		{"1", 0.001, "1", 0.001},
		{"*", nil, "", 0},
		{"", nil, "", 0},
		{"many", nil, "", 0},
		{"0", nil, "", 0},
		{"-5", 3, "180", 3},
	} {
		allow = c.allow
		fields := map[string]any{"challenge": "handshake"}
		if c.rate != nil {
			fields["rate"] = c.rate
		}
		h := s.hook(r.url, fields)
		if doc := h.get(); doc["status"] != "active" || doc["rate"] != c.wantRate {
			t.Errorf("allowed %q of %v: %v, rate %v", c.allow, c.rate, doc["status"], doc["rate"])
		}
		if got := (<-asked).Get("WebHook-Request-Rate"); got != c.request {
			t.Errorf("with rate %v it asks for %q", c.rate, got)
		}
		s.call("POST", h.path+"/test", nil).want(202)
		h.settled()
		// What was allowed holds against later changes, too.
		if bounded := c.allow == "120" || c.allow == "30"; bounded {
			s.call("PATCH", h.path, map[string]any{"rate": c.wantRate + 0.001}).pointers(t, "/rate")
			s.call("PATCH", h.path, map[string]any{"rate": 0}).pointers(t, "/rate")
			s.call("PATCH", h.path, map[string]any{"rate": c.wantRate / 2}).want(200)
			s.call("PATCH", h.path, map[string]any{"rate": c.wantRate, "description": "as fast as allowed"}).want(200)
		} else {
			s.call("PATCH", h.path, map[string]any{"rate": c.wantRate}).want(200)
		}
		s.call("DELETE", h.path, nil).want(204)
	}
	for i, d := range r.all() {
		if got := d.header.Values("WebHook-Request-Origin"); len(got) != 1 || got[0] != "hooks.example.org" {
			t.Errorf("delivery %d: WebHook-Request-Origin %q", i, got)
		}
	}
	if n := r.count(); n != 9 {
		t.Errorf("%d deliveries for 9 tests", n)
	}
	// Nobody else is told, and nobody can say it for us.
	plain := newReceiver(t, nil)
	h := s.hook(plain.url, nil)
	s.call("POST", h.path+"/test", nil).want(202)
	h.settled()
	if got := plain.all()[0].header.Values("WebHook-Request-Origin"); got != nil {
		t.Errorf("without a handshake: %q", got)
	}
	s.call("PATCH", h.path, `{"headers":{"WebHook-Request-Origin":"x"}}`).pointers(t, "/headers/WebHook-Request-Origin")
}
