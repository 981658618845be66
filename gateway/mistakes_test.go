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
