package blackbox_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hark-push/hark/webhook"
)

// TestEndpointOnce: calls with the same key and body make one endpoint, at once or one after the
// other, and are all answered with it and its secret. Another body is refused, and the key is free
// again when the endpoint is deleted.
func TestEndpointOnce(t *testing.T) {
	s := startHooks(t)
	r := newReceiver(t, nil)
	body := map[string]any{"url": r.url, "events": []string{"request.succeeded"}}
	answers := make(chan answer, 8)
	for range cap(answers) {
		go func() { answers <- s.call("POST", "/v1/webhooks", body, "Idempotency-Key: once") }()
	}
	made := make(map[string]int)
	fresh := 0
	for range cap(answers) {
		a := (<-answers).want(201)
		doc := a.json()
		made[fmt.Sprint(doc["id"], doc["secret"], a.header.Get("Location"))]++
		if a.header.Get("Idempotency-Replayed") == "" {
			fresh++
		}
	}
	if len(made) != 1 || fresh != 1 {
		t.Errorf("%d were made, of which %d are new: %v", len(made), fresh, made)
	}
	all := s.call("GET", "/v1/webhooks", nil).want(200).json()["webhooks"].([]any)
	if len(all) != 1 {
		t.Fatal(all)
	}
	s.call("PATCH", "/v1/webhooks/"+all[0].(map[string]any)["id"].(string), `{"description":"mine"}`).want(200)
	a := s.call("POST", "/v1/webhooks", body, `Idempotency-Key: "once"`).want(201)
	if a.header.Get("Idempotency-Replayed") != "true" || a.json()["description"] != "mine" || a.json()["secret"] == nil {
		t.Errorf("again: %s", a.body)
	}
	path := a.header.Get("Location")
	body["rate"] = 5
	s.call("POST", "/v1/webhooks", body, "Idempotency-Key: once").problem(422, "idempotency-key-reused")
	if other := s.call("POST", "/v1/webhooks", body, "Idempotency-Key: twice").want(201); other.header.Get("Location") == path {
		t.Error("another key has the same endpoint")
	}
	s.call("DELETE", path, nil).want(204)
	again := s.call("POST", "/v1/webhooks", body, "Idempotency-Key: once").want(201)
	if again.header.Get("Idempotency-Replayed") != "" || again.json()["rate"] != 5.0 || again.json()["secret"] == a.json()["secret"] {
		t.Errorf("after it was deleted: %s", again.body)
	}
	s.call("POST", "/v1/webhooks", body, "Idempotency-Key: "+strings.Repeat("x", 256)).problem(400, "malformed-request")
}

// TestEndpoint: what can be done with an endpoint, and what cannot.
func TestEndpoint(t *testing.T) {
	s := startHooks(t)
	r := newReceiver(t, nil)
	made := s.call("POST", "/v1/webhooks", map[string]any{
		"url": r.url, "description": "mine", "events": []string{"request.succeeded"}, "routes": []string{"default"}, "topics": []string{"order-*", "x"},
		"headers": map[string]string{"X-Mine": "yes"}, "timeout": "2s", "schedule": []string{"20ms", "1m"}, "rate": 99.5, "concurrency": 2, "coalesce": true,
	}).want(201)
	doc := made.json()
	secret, path := doc["secret"].(string), made.header.Get("Location")
	if _, err := webhook.ParseKey(secret); err != nil || path != "/v1/webhooks/"+doc["id"].(string) {
		t.Errorf("secret %v, at %s", err, path)
	}
	if fmt.Sprint(doc["schedule"]) != "[20ms 1m0s]" || doc["rate"] != 99.5 || doc["concurrency"] != 2.0 || doc["timeout"] != "2s" || doc["coalesce"] != true ||
		fmt.Sprint(doc["topics"]) != "[order-* x]" || fmt.Sprint(doc["headers"]) != "map[X-Mine:yes]" || doc["status"] != "active" {
		t.Errorf("made %s", made.body)
	}
	h := &hook{s: s, id: doc["id"].(string), path: path}

	// What is not given stays as it is.
	s.call("PATCH", path, `{"description":"`+strings.Repeat("ü", 500)+`"}`).want(200)
	s.call("PATCH", path, `{"description":"","schedule":[],"coalesce":false,"events":[],"rate":0}`).want(200)
	doc = h.get()
	if doc["description"] != "" || fmt.Sprint(doc["schedule"]) != "[]" || doc["coalesce"] != false || fmt.Sprint(doc["events"]) != "[]" || doc["rate"] != 0.0 || doc["timeout"] != "2s" {
		t.Errorf("changed to %v", doc)
	}
	if doc := s.call("POST", path+"/pause", nil).want(200).json(); doc["status"] != "paused" {
		t.Errorf("paused: %v", doc)
	}
	s.call("POST", path+"/test", nil).problem(409, "webhook-conflict")
	if doc := s.call("PATCH", path, `{"status":"active"}`).want(200).json(); doc["status"] != "active" {
		t.Errorf("active: %v", doc)
	}
	s.call("PATCH", path, `{"status":"paused"}`).want(200)
	if doc := s.call("POST", path+"/resume", nil).want(200).json(); doc["status"] != "active" {
		t.Errorf("resumed: %v", doc)
	}
	s.call("POST", path+"/verify", nil).want(200) // there is nothing to prove

	// A test event takes the way that all take, whatever the endpoint wants.
	sent := s.call("POST", path+"/test", nil).want(202)
	h.settled()
	d := s.call("GET", sent.header.Get("Location"), nil).want(200).json()
	attempt := d["log"].([]any)[0].(map[string]any)
	if d["type"] != "webhook.test" || d["state"] != "delivered" || d["attempts"] != 1.0 || attempt["status"] != 204.0 || attempt["error"] != nil || d["request"] != nil {
		t.Errorf("delivery %v", d)
	}
	if got := r.all(); len(got) != 1 || got[0].id != d["id"] || got[0].header.Get("X-Mine") != "yes" || got[0].header.Get("User-Agent") != "Hark-Webhooks/1.0" {
		t.Errorf("received %+v", got)
	}
	s.call("POST", sent.header.Get("Location")+"/resend", nil).want(202)
	s.eventually(func() bool { return r.count() == 2 })
	h.settled()
	if d := h.deliveries("")[0]; d["attempts"] != 2.0 || d["state"] != "delivered" {
		t.Errorf("resent: %v", d)
	}

	// The secret is shown when it is made, and never again.
	for _, a := range []answer{s.call("GET", path, nil), s.call("GET", "/v1/webhooks", nil), s.call("PATCH", path, `{}`), s.call("POST", path+"/verify", nil)} {
		if bytes.Contains(a.want(200).body, []byte("whsec_")) || bytes.Contains(a.body, []byte(`"secret"`)) {
			t.Errorf("shown: %s", a.body)
		}
	}
	rotated := s.call("POST", path+"/rotate", nil).want(200).json()["secret"]
	own := webhook.NewSecret().String()
	if again := s.call("POST", path+"/rotate", map[string]any{"secret": own, "overlap": "1h"}).want(200).json()["secret"]; again != own || rotated == secret || rotated == "" {
		t.Errorf("rotated to %v, then %v", rotated, again)
	}
	s.call("POST", path+"/rotate", `{"secret":"short"}`).pointers(t, "/secret")
	s.call("POST", path+"/rotate", `{"overlap":"721h"}`).pointers(t, "/overlap")

	s.call("DELETE", path, nil).want(204)
	for _, c := range []string{"GET ", "DELETE ", "POST /pause", "POST /resume", "POST /rotate", "POST /test", "POST /verify", "POST /recover?since=2026-01-01T00:00:00Z", "GET /deliveries", "GET /deliveries/x_1", "POST /deliveries/x_1/resend"} {
		method, rest, _ := strings.Cut(c, " ")
		s.call(method, path+rest, nil).problem(404, "webhook-not-found")
	}
	s.call("PATCH", path, `{}`).problem(404, "webhook-not-found")
}

// pointers fails the test unless the answer says of just these fields that they are wrong.
func (a answer) pointers(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for _, e := range a.problem(422, "invalid-request")["errors"].([]any) {
		got = append(got, e.(map[string]any)["pointer"].(string))
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("wrong are %v, want %v: %s", got, want, a.body)
	}
}

func TestEndpointFieldsThatAreWrong(t *testing.T) {
	s := startHooks(t)
	r := newReceiver(t, nil)
	h := s.hook(r.url, nil)
	for body, pointers := range map[string]string{
		`{}`:                               "/url",
		`{"url":null}`:                     "/url",
		`{"url":""}`:                       "/url",
		`{"url":"ftp://93.184.216.34/"}`:   "/url",
		`{"url":"http://10.0.0.1/"}`:       "/url",
		`{"url":"http://nowhere.invalid"}`: "/url",
		`{"url":"http://u:p@127.0.0.1/"}`:  "/url",
		`{"url":5,"unknown":1,"a/b":2,"events":"x","rate":"1","coalesce":1,"headers":{"X":1},"timeout":5}`: "/a~1b /coalesce /events /headers /rate /timeout /unknown /url",
		`{"URL":"U","url":"U","secret":1}`:                                 "/URL /secret",
		`{"url":"U","description":"` + strings.Repeat("x", 501) + `"}`:     "/description",
		`{"url":"U","events":["request.succeeded","request.reset"]}`:       "/events/1",
		`{"url":"U","routes":["default","not a route"]}`:                   "/routes/1",
		`{"url":"U","topics":["*","a*","a b"]}`:                            "/topics/2",
		`{"url":"U","headers":{"Webhook-Id":"x"}}`:                         "/headers/Webhook-Id",
		`{"url":"U","headers":{"X-Y":"a\nb"}}`:                             "/headers/X-Y",
		`{"url":"U","headers":{"host":"x"}}`:                               "/headers/host",
		`{"url":"U","headers":{"X-A":"1","x-a":"2","Y":"3"}}`:              "/headers/x-a",
		`{"url":"U","headers":{"a/b~c":"1"}}`:                              "/headers/a~1b~0c",
		`{"url":"http://127.0.0.1:0/"}`:                                    "/url",
		`{"url":"http://127.0.0.1:99999/"}`:                                "/url",
		`{"url":"U","timeout":"0s","concurrency":0}`:                       "/concurrency /timeout",
		`{"url":"U","timeout":"61s"}`:                                      "/timeout",
		`{"url":"U","schedule":["1s","169h"]}`:                             "/schedule/1",
		`{"url":"U","schedule":["1s","soon"]}`:                             "/schedule",
		`{"url":"U","schedule":[` + strings.Repeat(`"1s",`, 19) + `"1s"]}`: "/schedule",
		`{"url":"U","rate":-1}`:                                            "/rate",
		`{"url":"U","rate":10001}`:                                         "/rate",
		`{"url":"U","concurrency":65}`:                                     "/concurrency",
		`{"url":"U","concurrency":-1}`:                                     "/concurrency",
		`{"url":"U","secret":"whsec_c2hvcnQ="}`:                            "/secret",
		`{"url":"U","secret":"` + webhook.NewPrivateKey().String() + `"}`:  "/secret",
		`{"url":"U","challenge":"riddle","status":"paused"}`:               "/challenge /status",
	} {
		s.call("POST", "/v1/webhooks", strings.ReplaceAll(body, `"U"`, `"`+r.url+`"`)).pointers(t, strings.Fields(pointers)...)
	}
	for body, pointer := range map[string]string{
		`{"secret":"x"}`: "/secret", `{"challenge":"echo"}`: "/challenge", `{"status":"disabled"}`: "/status", `{"concurrency":0}`: "/concurrency",
		`{"url":"https://10.0.0.1/"}`: "/url", `{"id":"ep_x"}`: "/id", `{"timeout":"999ms"}`: "/timeout",
	} {
		s.call("PATCH", h.path, body).pointers(t, pointer)
	}
	s.call("POST", "/v1/webhooks", []byte("x"), "Content-Type: text/plain").problem(415, "unsupported-media-type")
	s.call("POST", "/v1/webhooks", `[]`).problem(400, "malformed-request")
	for query, pointer := range map[string]string{"?state=lost": "?state", "?limit=0": "?limit", "?limit=x": "?limit", "?cursor=x": "?cursor"} {
		s.call("GET", h.path+"/deliveries"+query, nil).pointers(t, pointer)
	}
	s.call("GET", "/v1/webhooks?limit=201", nil).pointers(t, "?limit")
	s.call("GET", "/v1/webhooks?cursor=ep_nowhere", nil).pointers(t, "?cursor")
	s.call("POST", h.path+"/recover", nil).pointers(t, "?since")
	s.call("GET", h.path+"/deliveries/nothing_1", nil).problem(404, "webhook-not-found")
	s.call("POST", h.path+"/deliveries/nothing_1/resend", nil).problem(404, "webhook-not-found")

	// Without leave, nothing but the public internet.
	strict := start(t)
	for _, url := range []string{r.url, "https://127.0.0.1/", "https://localhost/", "https://169.254.169.254/latest", "https://[::1]/", "https://2130706433/"} {
		strict.call("POST", "/v1/webhooks", map[string]any{"url": url}).pointers(t, "/url")
		strict.call("POST", "/v1/requests", map[string]any{"content": 1, "webhook": map[string]any{"url": url}}, async).pointers(t, "/webhook/url")
	}
}

func TestEndpointList(t *testing.T) {
	s := startHooks(t)
	r := newReceiver(t, nil)
	var made, listed []string
	for range 5 {
		made = append(made, s.hook(r.url, nil).id)
	}
	pages := 0
	for cursor := ""; ; pages++ {
		doc := s.call("GET", "/v1/webhooks?limit=2&cursor="+cursor, nil).want(200).json()
		for _, e := range doc["webhooks"].([]any) {
			listed = append(listed, e.(map[string]any)["id"].(string))
		}
		if doc["next"] == nil {
			break
		}
		cursor = doc["next"].(string)
	}
	slices.Reverse(listed)
	if !slices.Equal(made, listed) || pages != 2 {
		t.Errorf("made %v, listed %v on %d pages", made, listed, pages+1)
	}
}

// TestFilters: an endpoint gets what it asks for by type, route and topic, and nothing else.
func TestFilters(t *testing.T) {
	s := startHooks(t)
	filters := []map[string]any{
		{},
		{"events": []string{"request.accepted"}},
		{"routes": []string{"fetch", "default"}},
		{"topics": []string{"order-*"}},
		{"topics": []string{"order-1"}, "events": []string{"request.accepted", "request.canceled"}, "routes": []string{"sleep"}},
		{"events": []string{"webhook.disabled"}},
	}
	receivers, hooks := make([]*receiver, len(filters)), make([]*hook, len(filters))
	for i, f := range filters {
		receivers[i] = newReceiver(t, nil)
		hooks[i] = s.hook(receivers[i].url, f)
	}
	one := s.submit("default", 1)
	s.process(one)
	two := s.call("POST", "/v1/requests", `{"content":2,"topic":"order-1","delay":"10m","timeout":"20m","route":"sleep"}`, async).want(202).json()["id"].(string)
	s.call("POST", "/v1/requests/"+two+"/cancel", nil).want(200)
	want := [][]string{
		{one + "_1", one + "_2", one + "_3", one + "_4", two + "_1", two + "_2"},
		{one + "_1", two + "_1"},
		{one + "_1", one + "_2", one + "_3", one + "_4"},
		{two + "_1", two + "_2"},
		{two + "_1", two + "_2"},
		nil,
	}
	for i, h := range hooks {
		h.settled()
		var got, logged []string
		for _, d := range receivers[i].all() {
			got = append(got, d.id)
		}
		for _, d := range h.deliveries("") {
			logged = append(logged, d["id"].(string))
		}
		slices.Sort(got)
		slices.Sort(want[i])
		slices.Sort(logged)
		if !slices.Equal(got, want[i]) || !slices.Equal(logged, want[i]) {
			t.Errorf("%v received %v and logged %v, want %v", filters[i], got, logged, want[i])
		}
	}
	if n := len(hooks[0].deliveries("?type=request.accepted&state=delivered")); n != 2 {
		t.Errorf("%d deliveries of accepted", n)
	}
	page := s.call("GET", hooks[0].path+"/deliveries?limit=4", nil).want(200).json()
	rest := s.call("GET", hooks[0].path+"/deliveries?limit=4&cursor="+page["next"].(string), nil).want(200).json()
	if len(page["deliveries"].([]any)) != 4 || len(rest["deliveries"].([]any)) != 2 {
		t.Errorf("pages of %d and %d", len(page["deliveries"].([]any)), len(rest["deliveries"].([]any)))
	}
	for _, d := range receivers[0].all() {
		event := cloudEvent(t, d.body)
		if event.Source() != "/v1/requests/"+d.event.Data["id"].(string) || d.header.Get("Content-Type") != "application/cloudevents+json; charset=utf-8" {
			t.Errorf("%s as %s", d.body, d.header.Get("Content-Type"))
		}
	}
	// Paused, events wait; then they are delivered.
	s.call("POST", hooks[1].path+"/pause", nil).want(200)
	s.submit("default", 1)
	if n := hooks[1].health("waiting"); n != 1.0 || receivers[1].count() != 2 {
		t.Errorf("%v wait, %d arrived", n, receivers[1].count())
	}
	s.call("POST", hooks[1].path+"/resume", nil).want(200)
	s.eventually(func() bool { return receivers[1].count() == 3 })
}

// TestSecretsAreSealed: with a key, the store has no secret that can be read, and it signs again
// when it is opened again.
func TestSecretsAreSealed(t *testing.T) {
	if onServers() {
		t.Skip("reads the file of the embedded store")
	}
	r := newReceiver(t, nil)
	for _, key := range []string{"", base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))} {
		data := t.TempDir()
		if key != "" {
			t.Setenv("HARK_WEBHOOK_KEY", key)
		}
		s := startOn(t, data, allowed...)
		h := s.hook(r.url, nil)
		s.call("POST", h.path+"/test", nil).want(202)
		h.settled()
		s.stop()
		file, err := os.ReadFile(filepath.Join(data, "hark.db"))
		if err != nil {
			t.Fatal(err)
		}
		// A secret is stored in JSON as bytes, so it stands there in base64 of one of three
		// alignments.
		text, open := []byte(h.secret), false
		for shift := range 3 {
			encoded := base64.RawStdEncoding.EncodeToString(append(make([]byte, shift), text...))
			open = open || bytes.Contains(file, []byte(encoded[4:len(encoded)-4]))
		}
		if open = open || bytes.Contains(file, text); open != (key == "") {
			t.Errorf("with key %q the secret can be read: %v", key, open)
		}
		s = startOn(t, data, allowed...) // and it still signs
		s.call("POST", "/v1/webhooks/"+h.id+"/test", nil).want(202)
		s.eventually(func() bool { return verified(r, h.secret) >= 1 })
		s.stop()
	}
}

// verified counts what a secret verifies.
func verified(r *receiver, keys ...string) (n int) {
	for _, d := range r.all() {
		for _, text := range keys {
			k, err := webhook.ParseKey(text)
			if err != nil {
				r.t.Fatal(err)
			}
			if webhook.Verify(d.header, d.body, time.Now(), k) == nil {
				n++
			}
		}
	}
	return n
}
