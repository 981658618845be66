package main

import (
	"strings"
	"testing"
)

// detail returns what a problem says in words.
func (a answer) detail() string {
	text, _ := a.json()["detail"].(string)
	return text
}

// says fails the test unless a text has all of the parts.
func says(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q does not say %q", text, part)
		}
	}
}

// TestUnlabeledJSON: a JSON object under a media type that a client sets by itself is refused with what to send; what is a form or a
// text is work, and so is an object whose type somebody chose.
func TestUnlabeledJSON(t *testing.T) {
	s := start(t)
	const envelope = `{"route":"sleep","content":{"steps":1,"duration":"0s"}}`
	for _, sent := range []struct{ header, body, says string }{
		{"", envelope, "no Content-Type"},
		{"Content-Type: application/x-www-form-urlencoded", envelope, "application/x-www-form-urlencoded"},
		{"Content-Type: text/plain;charset=UTF-8", envelope, "text/plain"},
		{"Content-Type: TEXT/PLAIN", " \n\t{}", "text/plain"},
	} {
		for _, path := range []string{"/v1/requests", "/v1/requests?route=default"} {
			a := s.call("POST", path, []byte(sent.body), append(headers(sent.header), async)...)
			a.problem(415, "unsupported-media-type")
			says(t, a.detail(), sent.says, "-H 'Content-Type: application/json'", "application/octet-stream")
		}
	}
	for _, sent := range []struct{ header, body string }{
		{"", "bytes"},
		{"", "[1]"},
		{"Content-Type: application/x-www-form-urlencoded", "a=1&b=2"},
		{"Content-Type: application/x-www-form-urlencoded", "{a}=1"},
		{"Content-Type: text/plain;charset=UTF-8", "{curly} words"},
		{"Content-Type: text/plain", `"text"`},
		{"Content-Type: application/octet-stream", envelope},
		{"Content-Type: application/vnd.example+json", envelope},
	} {
		id := s.call("POST", "/v1/requests", []byte(sent.body), append(headers(sent.header), async)...).want(202).json()["id"].(string)
		if work := s.call("POST", "/v1/work/"+id+"/start", nil).want(200).json(); work["route"] != "default" {
			t.Errorf("%s %s: %v", sent.header, sent.body, work)
		}
	}
	// A call's body is its processor's, whatever it is called.
	s.call("POST", "/v1/call/default", []byte(envelope), "Content-Type: text/plain", async).want(202)
	for _, path := range []string{"/v1/batches", "/v1/webhooks", "/v1/work/x/progress", "/v1/work/lease"} {
		a := s.call("POST", path, []byte(`{}`), "Content-Type: application/x-www-form-urlencoded")
		a.problem(415, "unsupported-media-type")
		says(t, a.detail(), "-H 'Content-Type: application/json'")
	}
}

// headers returns the field, if there is one.
func headers(field string) []string {
	if field == "" {
		return nil
	}
	return []string{field}
}

// TestUnknownOptions: an option of a query that a resource does not have is refused wherever options are read, with a pointer to it; the query
// of a call is the processor's, and what is not of the API takes any.
func TestUnknownOptions(t *testing.T) {
	s := startHooks(t)
	id := s.submit("default", 1)
	hook := s.hook(newReceiver(t, nil).url, nil).id
	for _, at := range []struct{ method, path, mistyped, meant string }{
		{"POST", "/v1/requests", "piority", "priority"},
		{"GET", "/v1/requests", "stauts", "status"},
		{"GET", "/v1/requests/" + id, "tiket", "ticket"},
		{"DELETE", "/v1/requests/" + id, "force", ""},
		{"GET", "/v1/requests/" + id + "/result", "download", ""},
		{"GET", "/v1/requests/" + id + "/events", "last-event-id", "lastEventId"},
		{"GET", "/v1/requests/" + id + "/history", "afer", "after"},
		{"POST", "/v1/requests/" + id + "/cancel", "reason", ""},
		{"POST", "/v1/batches", "expird", "expired"},
		{"GET", "/v1/batches/" + id + "/requests", "limt", "limit"},
		{"GET", "/v1/topics/t/events", "lastEventID", "lastEventId"},
		{"GET", "/v1/topics/t/history", "Limit", "limit"},
		{"GET", "/v1/events", "topic", ""},
		{"GET", "/v1/history", "cursor", ""},
		{"GET", "/v1/ws", "chanel", "channel"},
		{"GET", "/v1/webhooks", "corsor", "cursor"},
		{"GET", "/v1/webhooks/" + hook + "/deliveries", "sate", "state"},
		{"POST", "/v1/webhooks/" + hook + "/recover", "sinse", "since"},
		{"POST", "/v1/work/lease", "max", ""},
		{"POST", "/v1/work/" + id + "/start", "redeliverd", "redelivered"},
		{"PUT", "/v1/work/" + id + "/result", "atempt", "attempt"},
	} {
		a := s.call(at.method, at.path+"?"+at.mistyped+"=3", nil)
		a.problem(422, "invalid-request")
		a.pointers(t, "?"+at.mistyped)
		if at.meant != "" {
			says(t, string(a.body), `did you mean \"`+at.meant+`\"?`)
		} else if strings.Contains(string(a.body), "did you mean") {
			t.Errorf("%s %s?%s: %s", at.method, at.path, at.mistyped, a.body)
		}
	}
	if a := s.call("HEAD", "/v1/requests/"+id+"/result?download=1", nil); a.status != 422 {
		t.Errorf("HEAD: %d", a.status)
	}
	// What is wrong is told at once, in bounds, whatever it is called.
	s.call("GET", "/v1/requests?a=1&%ff=2&limit=1", nil).pointers(t, "?a", "?\uFFFD")
	if errs := s.call("GET", "/v1/requests?"+strings.Repeat("x&", 3000), nil).problem(422, "invalid-request")["errors"].([]any); len(errs) != 100 {
		t.Errorf("%d errors", len(errs))
	}
	for _, path := range []string{"/health/live?_=1", "/health/ready?probe=lb&t=2", "/metrics?x=1", "/openapi.yaml?v=2", "/?utm_source=x", "/v1/requests?", "/v1/requests?&limit=1&"} {
		s.call("GET", path, nil).want(200)
	}
	s.call("GET", "/v1/call/default/a?anything=1", nil, async).want(202)
	// Nothing of this was begun.
	if status := s.call("GET", "/v1/requests/"+id, nil).want(200).json()["status"]; status != "pending" {
		t.Errorf("status %v", status)
	}
}
