package blackbox_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
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

// TestUnlabeledJSON: a JSON object under a media type that a client sets by itself is refused with
// what to send; what is a form or a text is work, and so is an object whose type somebody chose.
func TestUnlabeledJSON(t *testing.T) {
	anywhere(t)
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

// TestUnknownOptions: an option of a query that a resource does not have is refused wherever
// options are read, with a pointer to it; the query of a call is the processor's, and what is not
// of the API takes any.
func TestUnknownOptions(t *testing.T) {
	anywhere(t)
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
		{"POST", "/v1/webhooks/" + hook + "/recover", "sinc", "since"},
		{"POST", "/v1/work/lease", "max", ""},
		{"POST", "/v1/work/" + id + "/start", "redeliverd", "redelivered"},
		{"PUT", "/v1/work/" + id + "/result", "atempt", "attempt"},
		{"POST", "/v1/work/" + id + "/release", "atempt", "attempt"},
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

// TestErrorsNameTheRemedy: whoever asks for what there is not learns what there is.
func TestErrorsNameTheRemedy(t *testing.T) {
	anywhere(t)
	s := start(t, "--routes=default,images,sleep")
	const routes = "default, images, sleep"
	for _, at := range []struct{ path, body, meant string }{
		{"/v1/requests", `{"content":1,"route":"slep"}`, "sleep"},
		{"/v1/requests?route=image", `{"content":1}`, "images"},
		{"/v1/batches", `{"requests":[{"content":1,"route":"Default"}]}`, "default"},
		{"/v1/work/lease", `{"routes":["imags"]}`, "images"},
		{"/v1/call/slepp/x", "", "sleep"},
	} {
		a := s.call("POST", at.path, at.body, async)
		says(t, strings.ReplaceAll(string(a.body), `\"`, `"`), routes, `did you mean "`+at.meant+`"?`, "--routes")
	}
	says(t, s.call("GET", "/requests", nil).want(404).detail(), "/v1", "/openapi.yaml")
	says(t, s.call("PUT", "/v1/requests", nil).want(405).detail(), "Allow")
	for _, url := range []string{"http://example.com/", "https://127.0.0.1/", "https://10.1.2.3/"} {
		for _, at := range []struct{ path, body string }{
			{"/v1/webhooks", `{"url":"` + url + `"}`},
			{"/v1/requests", `{"content":1,"webhook":{"url":"` + url + `"}}`},
			{"/v1/requests?webhook=" + url, `{"content":1}`},
		} {
			says(t, string(s.call("POST", at.path, at.body, async).want(422).body), "--webhook-allow-cidrs")
		}
	}
	says(t, string(s.call("POST", "/v1/webhooks", `{"url":"http://example.com/"}`).want(422).body), "--webhook-allow-http")
	for _, at := range []struct{ method, path, body, meant string }{
		{"POST", "/v1/requests", `{"content":1,"max_attempts":2}`, "maxAttempts"},
		{"POST", "/v1/batches", `{"request":[{"content":1}]}`, "requests"},
		{"POST", "/v1/webhooks", `{"URL":"https://example.com/"}`, "url"},
		{"POST", "/v1/work/lease", `{"route":["sleep"]}`, "routes"},
		{"POST", "/v1/work/x/progress", `{"precent":1}`, "percent"},
		{"POST", "/v1/work/x/release", `{"retryafter":"1s"}`, "retryAfter"},
	} {
		a := s.call(at.method, at.path, at.body)
		a.problem(422, "invalid-request")
		says(t, string(a.body), `did you mean \"`+at.meant+`\"?`)
	}
	// With very many routes the list has an end.
	var many []string
	for i := range 500 {
		many = append(many, fmt.Sprintf("route-%03d", i))
	}
	s = start(t, "--routes="+strings.Join(many, ","))
	a := s.call("POST", "/v1/requests", `{"content":1}`, async).want(422)
	says(t, string(a.body), "route-000, ", "route-019 and 480 more")
}

// refuses runs the gateway, which must end by itself, and returns what it says.
func refuses(t *testing.T, code int, args ...string) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // else it runs
	defer cancel()
	cmd := exec.CommandContext(ctx, path, append([]string{"--data=" + t.TempDir()}, args...)...)
	out, err := cmd.CombinedOutput()
	if failed, ok := errors.AsType[*exec.ExitError](err); !ok || failed.ExitCode() != code {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// TestPortTaken: a second gateway on a port says how to get another one.
func TestPortTaken(t *testing.T) {
	anywhere(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	at := taken.Addr().String()
	says(t, refuses(t, 1, "--listen="+at), at, "another process", "--listen", "HARK_LISTEN")
	says(t, refuses(t, 1, "--listen=127.0.0.1:0", "--debug="+at), at, "another process", "--debug", "HARK_DEBUG")
	says(t, refuses(t, 1, "--insecure", "--listen=192.0.2.1:8080"), "192.0.2.1:8080", "an address of this machine", "--listen")
}

// TestStrayVariable: a mistyped variable is told at start.
func TestStrayVariable(t *testing.T) {
	anywhere(t)
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "--listen=127.0.0.1:0", "--data="+t.TempDir())
	cmd.Env = append(os.Environ(), "HARK_MAXBODY=s3cret", "HARK_COLOR=s3cret")
	log := recorded(t, cmd)
	log.until("Hark listens on")
	says(t, log.line("HARK_MAXBODY"), `"level":"WARN"`, "has no effect", `"didYouMean":"HARK_MAX_BODY"`)
	says(t, log.line("HARK_COLOR"), `"level":"WARN"`)
	if strings.Contains(log.String(), "s3cret") || strings.Count(log.String(), "has no effect") != 2 {
		t.Error(log)
	}
}
