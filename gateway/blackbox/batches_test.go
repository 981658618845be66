package blackbox_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// sleeping is the body of a batch on the route sleep. Each request is written as its content.
func sleeping(id string, contents ...string) string {
	return batchOf(id, "sleep", contents...)
}

func batchOf(id, route string, contents ...string) string {
	requests := make([]string, len(contents))
	for i, content := range contents {
		requests[i] = fmt.Sprintf(`{"route":%q,"content":%s}`, route, content)
	}
	return fmt.Sprintf(`{"id":%q,"requests":[%s]}`, id, strings.Join(requests, ","))
}

const (
	quick   = `{"steps":1,"duration":"1ms"}`
	failing = `{"steps":1,"duration":"1ms","fail":true}`
)

// counts returns the batch of a document as total, open, succeeded, failed, canceled, expired.
func counts(doc map[string]any) [6]int {
	b, _ := doc["batch"].(map[string]any)
	var all [6]int
	for i, name := range []string{"total", "open", "succeeded", "failed", "canceled", "expired"} {
		n, _ := b[name].(float64)
		all[i] = int(n)
	}
	return all
}

// ended waits until a batch has ended and returns its document, after it has held that against its
// requests.
func (s *server) ended(id string) map[string]any {
	s.t.Helper()
	s.eventually(func() bool {
		return s.call("GET", "/v1/batches/"+id, nil, "Prefer: wait=10").want(200).json()["endedAt"] != nil
	})
	doc := s.call("GET", "/v1/batches/"+id, nil).want(200).json()
	statuses := make(map[string]int)
	for _, r := range s.members(id) {
		statuses[r["status"].(string)]++
		if r["batchId"] != id {
			s.t.Errorf("%v is of batch %v", r["id"], r["batchId"])
		}
	}
	c := counts(doc)
	if want := [6]int{c[0], 0, statuses["succeeded"], statuses["failed"], statuses["canceled"], statuses["expired"]}; c != want {
		s.t.Errorf("%s counts %v, its requests are %v", id, c, statuses)
	}
	return doc
}

// members returns the documents of a batch's requests.
func (s *server) members(id string) []map[string]any {
	s.t.Helper()
	var all []map[string]any
	for cursor := ""; ; {
		page := s.call("GET", "/v1/batches/"+id+"/requests?limit=150"+cursor, nil).want(200).json()
		for _, r := range page["requests"].([]any) {
			all = append(all, r.(map[string]any))
		}
		next, _ := page["next"].(string)
		if next == "" {
			return all
		}
		cursor = "&cursor=" + next
	}
}

func (s *server) eventTypes(id string) []string {
	s.t.Helper()
	var types []string
	for _, e := range s.call("GET", "/v1/requests/"+id+"/events?after=0", nil, "Accept: application/json").want(200).json()["events"].([]any) {
		types = append(types, e.(map[string]any)["type"].(string))
	}
	return types
}

func TestBatch(t *testing.T) {
	s := start(t)
	a := s.call("POST", "/v1/batches", sleeping("b", quick, quick, quick), async).want(202)
	for name, want := range map[string]string{
		"Location": "/v1/requests/b", "Operation-Location": "/v1/requests/b", "Preference-Applied": "respond-async", "Vary": "Prefer",
	} {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if doc := a.json(); a.header.Get("Retry-After") == "" || doc["status"] != "processing" && doc["status"] != "succeeded" || doc["route"] != nil || counts(doc)[0] != 3 {
		t.Errorf("%v %s", a.header, a.body)
	}
	doc := s.ended("b")
	if doc["status"] != "succeeded" || counts(doc) != [6]int{3, 0, 3} || doc["percent"] != 100.0 || doc["result"] != nil {
		t.Errorf("%v", doc)
	}
	if plain := s.call("GET", "/v1/requests/b", nil).want(200); plain.json()["sequence"] != doc["sequence"] {
		t.Errorf("%s", plain.body)
	}
	types := s.eventTypes("b")
	if !slices.Equal(types[:2], []string{"request.accepted", "request.started"}) || types[len(types)-1] != "request.succeeded" {
		t.Errorf("%v", types)
	}
	for _, middle := range types[2 : len(types)-1] {
		if middle != "request.progress" {
			t.Errorf("%v", types)
		}
	}
	s.call("GET", "/v1/requests/b/result", nil).want(204)
	members := s.members("b")
	if len(members) != 3 {
		t.Fatalf("%v", members)
	}
	s.call("GET", "/v1/batches/"+members[0]["id"].(string), nil).problem(404, "request-not-found")
	s.call("GET", "/v1/batches/"+members[0]["id"].(string)+"/requests", nil).problem(404, "request-not-found")
	s.call("GET", "/v1/batches/unknown", nil).problem(404, "request-not-found")
	for _, query := range []string{"cursor=x", "cursor=3", "cursor=-1", "cursor=01", "limit=0", "limit=201"} {
		s.call("GET", "/v1/batches/b/requests?"+query, nil).problem(422, "invalid-request")
	}

	// One fails; the call waits for it.
	a = s.call("POST", "/v1/batches", sleeping("mixed", quick, failing, quick), "Prefer: wait=20").want(200)
	doc = a.json()
	if e, _ := doc["error"].(map[string]any); doc["status"] != "failed" || counts(doc) != [6]int{3, 0, 2, 1} || e["code"] != "batch-failed" || e["message"] != "1 of 3 requests did not succeed." {
		t.Errorf("%s", a.body)
	}
	if a.header.Get("Preference-Applied") != "wait=20" || a.header.Get("Operation-Location") != "/v1/requests/mixed" {
		t.Errorf("%v", a.header)
	}
	s.ended("mixed")
	s.call("GET", "/v1/requests/mixed/result", nil).problem(500, "request-failed")

	// Options of requests are theirs, and so are their ids; their content stays as it is.
	s.call("POST", "/v1/batches", `{"id":"own","topic":"t","retention":"1h","requests":[{"id":"own-1","topic":"u","priority":3,"maxAttempts":7,"content": {"a" : "<&>"} },{"content":null}]}`).want(202)
	if doc := s.call("GET", "/v1/requests/own-1", nil).want(200).json(); doc["topic"] != "u" || doc["batchId"] != "own" || doc["batch"] != nil {
		t.Errorf("%v", doc)
	}
	work := s.call("POST", "/v1/work/own-1/start", nil).want(200)
	if !strings.Contains(string(work.body), `"content":{"a":"<&>"}`) && !strings.Contains(string(work.body), `"content":{"a" : "<&>"}`) {
		t.Errorf("%s", work.body)
	}
	s.call("POST", "/v1/work/own/start", nil).problem(409, "invalid-transition")
	for _, path := range []string{"/progress", "/complete"} {
		s.call("POST", "/v1/work/own"+path, `{}`).problem(409, "invalid-transition")
	}
	s.call("PUT", "/v1/work/own/error", `{"message":"x"}`).problem(409, "invalid-transition")
	s.call("DELETE", "/v1/requests/own", nil).problem(409, "not-ended")
	s.call("POST", "/v1/work/own-1/complete", nil).want(200)
	s.eventually(func() bool {
		return counts(s.call("GET", "/v1/batches/own", nil).want(200).json()) == [6]int{2, 1, 1}
	})
	if doc := s.call("GET", "/v1/batches/own", nil).json(); doc["percent"] != 50.0 || doc["status"] != "processing" {
		t.Errorf("%v", doc)
	}
	if n := len(s.call("GET", "/v1/requests?topic=t", nil).want(200).json()["requests"].([]any)); n != 1 {
		t.Errorf("%d requests with the batch's topic", n)
	}
	// What is deleted counts nevertheless.
	s.call("DELETE", "/v1/requests/own-1", nil).want(204)
	if members := s.members("own"); len(members) != 1 {
		t.Errorf("%v", members)
	}
	s.call("DELETE", "/v1/requests/b", nil).want(204)
	s.call("GET", "/v1/batches/b", nil).problem(404, "request-not-found")
	s.call("GET", "/v1/requests/"+members[0]["id"].(string), nil).want(200)
	// The id is free, and what it had before is not taken for its own.
	s.call("POST", "/v1/batches", sleeping("b", quick, failing, quick), "Prefer: wait=20").want(200)
	if doc := s.ended("b"); counts(doc) != [6]int{3, 0, 2, 1} {
		t.Errorf("%v", doc)
	}
}

func TestBadBatches(t *testing.T) {
	s := start(t)
	s.call("POST", "/v1/requests", `{"id":"taken","content":1}`, async).want(202)
	many := strings.Repeat(`{"content":1},`, 1000)
	for _, c := range []struct {
		name, body string
		status     int
		pointers   []string
	}{
		{"no JSON", `{"requests":`, 400, nil},
		{"array", `[]`, 400, nil},
		{"nothing", `{}`, 422, []string{"/requests"}},
		{"none", `{"requests":[]}`, 422, []string{"/requests"}},
		{"null", `{"requests":null}`, 422, []string{"/requests"}},
		{"no array", `{"requests":{"content":1}}`, 422, []string{"/requests"}},
		{"too many", `{"requests":[` + many + `{"content":1}]}`, 422, []string{"/requests"}},
		{"field of a request", `{"route":"sleep","requests":[{"content":1}]}`, 422, []string{"/route"}},
		{"bad options", `{"id":"?","topic":" ","retention":"x","requests":[{"content":1}]}`, 422, []string{"/id", "/retention", "/topic"}},
		{"bad requests", `{"requests":[{"content":1},{"route":"nowhere","content":1},{},7,{"content":1,"a/b":2,"priority":11},{"content":1,"delay":"2s","timeout":"1s"}]}`, 422, []string{"/requests/1/route", "/requests/2/content", "/requests/3", "/requests/4/a~1b", "/requests/4/priority", "/requests/5/delay"}},
		{"bad webhooks", `{"webhook":{},"requests":[{"content":1,"webhook":7},{"content":1,"webhook":{"url":"https://example.org","events":["x"]}}]}`, 422, []string{"/requests/0/webhook", "/requests/1/webhook/events/0", "/webhook/url"}},
		{"webhook to nowhere", `{"requests":[{"content":1},{"content":1,"webhook":{"url":"https://10.0.0.1"}}]}`, 422, []string{"/requests/1/webhook/url"}},
		{"one id twice", `{"id":"x","requests":[{"id":"y","content":1},{"id":"y","content":1},{"id":"x","content":1}]}`, 422, []string{"/requests/1/id", "/requests/2/id"}},
		{"an id that is taken", `{"requests":[{"id":"free","content":1},{"id":"taken","content":1}]}`, 409, []string{"/requests/1/id"}},
		{"more errors than are told", `{"requests":[` + strings.Repeat(`{},`, 999) + `{}]}`, 422, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := s.call("POST", "/v1/batches", c.body).want(c.status).json()
			var pointers []string
			errs, _ := p["errors"].([]any)
			for _, e := range errs {
				pointers = append(pointers, e.(map[string]any)["pointer"].(string))
			}
			slices.Sort(pointers)
			if c.pointers != nil && !slices.Equal(pointers, c.pointers) {
				t.Errorf("%q, want %q", pointers, c.pointers)
			}
			if len(pointers) > 100 {
				t.Errorf("%d errors are told", len(pointers))
			}
		})
	}
	s.call("POST", "/v1/batches", []byte("x"), "Content-Type: text/plain").problem(415, "unsupported-media-type")
	s.call("POST", "/v1/batches", `{"requests":[{"id":"free","content":1},{"id":"taken","content":1}]}`, "Idempotency-Key: k").problem(409, "id-taken")
	if l := s.call("GET", "/v1/requests", nil).want(200).json()["requests"].([]any); len(l) != 1 {
		t.Errorf("bad batches left %d requests", len(l)-1)
	}
	s.call("POST", "/v1/batches", `{"id":"most","requests":[`+many[:len(many)-1]+`]}`).want(202)
	if doc := s.call("GET", "/v1/batches/most", nil).want(200).json(); doc["status"] != "processing" || counts(doc) != [6]int{1000, 1000} {
		t.Errorf("%v", doc)
	}
}

// TestBatchRepeated: the same batch is run once, by its id or by a key.
func TestBatchRepeated(t *testing.T) {
	s := start(t)
	body := `{"id":"b","requests":[{"id":"b-1","route":"sleep","content":` + quick + `},{"route":"sleep","content":` + quick + `}]}`
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if a, err := s.try("POST", "/v1/batches", body, async); err != nil || a.status != 202 {
				t.Errorf("%v %d %s", err, a.status, a.body)
			}
		})
	}
	all.Wait()
	s.ended("b")
	s.call("POST", "/v1/batches", body, async).want(202)
	s.call("POST", "/v1/batches", body, "Prefer: wait=5").want(200)
	for _, other := range []string{sleeping("b", quick), strings.Replace(body, `"1ms"`, `"2ms"`, 1), `{"id":"b-1","requests":[{"content":1}]}`, `{"id":"c","requests":[{"id":"b","content":1}]}`} {
		s.call("POST", "/v1/batches", other).problem(409, "id-taken")
	}
	s.call("POST", "/v1/requests", `{"id":"b","content":1}`, async).problem(409, "id-taken")
	for _, m := range s.members("b") {
		if m["attempt"] != 1.0 {
			t.Errorf("%v", m)
		}
	}

	body = `{"requests":[{"id":"k-1","route":"sleep","content":` + quick + `},{"route":"sleep","content":` + quick + `}]}`
	first := s.call("POST", "/v1/batches", body, "Idempotency-Key: k").want(202)
	again := s.call("POST", "/v1/batches", body, "Idempotency-Key: k").want(202)
	if again.header.Get("Idempotency-Replayed") != "true" || first.json()["id"] != again.json()["id"] {
		t.Errorf("%v %s, first %s", again.header, again.body, first.body)
	}
	s.call("POST", "/v1/batches", sleeping("z", quick), "Idempotency-Key: k").problem(422, "idempotency-key-reused")
	s.ended(first.json()["id"].(string))
	ended := s.call("POST", "/v1/batches", `{"id":"w","requests":[{"route":"sleep","content":`+quick+`}]}`, "Idempotency-Key: w", "Prefer: wait=20").want(200)
	replayed := s.call("POST", "/v1/batches", `{"id":"w","requests":[{"route":"sleep","content":`+quick+`}]}`, "Idempotency-Key: w").want(200)
	if string(ended.body) != string(replayed.body) || replayed.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("%s, first %s", replayed.body, ended.body)
	}
}

// TestBatchExpires: a request that expires counts as that, and the batch lives longer.
func TestBatchExpires(t *testing.T) {
	s := start(t)
	s.call("POST", "/v1/batches", `{"id":"b","requests":[{"content":1,"timeout":"300ms","retention":"1ms"},{"route":"sleep","content":`+quick+`}]}`).want(202)
	s.eventually(func() bool {
		return s.call("GET", "/v1/batches/b", nil, "Prefer: wait=10").want(200).json()["endedAt"] != nil
	})
	if doc := s.call("GET", "/v1/batches/b", nil).want(200).json(); doc["status"] != "failed" || counts(doc) != [6]int{2, 0, 1, 0, 0, 1} {
		t.Errorf("%v", doc)
	}
	// One that is given more time takes the batch with it.
	s.call("POST", "/v1/batches", `{"id":"c","requests":[{"id":"c-1","content":1,"timeout":"1m"}]}`).want(202)
	before := s.call("GET", "/v1/batches/c", nil).want(200).json()["expiresAt"].(string)
	s.call("POST", "/v1/work/c-1/start", nil).want(200)
	s.call("POST", "/v1/work/c-1/progress", `{"timeout":"2h"}`).want(200)
	s.eventually(func() bool {
		return s.call("GET", "/v1/batches/c", nil).want(200).json()["expiresAt"].(string) > before
	})
}

func TestBatchCanceled(t *testing.T) {
	s := start(t)
	// Nobody works on the default route.
	s.call("POST", "/v1/batches", batchOf("waiting", "default", "1", "2", "3")).want(202)
	if doc := s.call("POST", "/v1/requests/waiting/cancel", nil).want(200).json(); doc["status"] != "canceled" || counts(doc) != [6]int{3, 0, 0, 0, 3} {
		t.Errorf("%v", doc)
	}
	s.ended("waiting")
	s.call("POST", "/v1/requests/waiting/cancel", nil).want(200)

	s.call("POST", "/v1/batches", sleeping("running", quick, `{"steps":1,"duration":"1m"}`)).want(202)
	s.eventually(func() bool {
		m := s.members("running")
		return m[0]["status"] == "succeeded" && m[1]["status"] == "processing"
	})
	s.call("POST", "/v1/requests/running/cancel", nil).want(202)
	if doc := s.ended("running"); doc["status"] != "canceled" || counts(doc) != [6]int{2, 0, 1, 0, 1} {
		t.Errorf("%v", doc)
	}
	s.call("POST", "/v1/batches", sleeping("done", quick), "Prefer: wait=20").want(200)
	s.call("POST", "/v1/requests/done/cancel", nil).problem(409, "invalid-transition")

	// A request that somebody cancels by itself counts, too.
	s.call("POST", "/v1/batches", batchOf("one", "default", "1")).want(202)
	s.call("POST", "/v1/requests/"+s.members("one")[0]["id"].(string)+"/cancel", nil).want(200)
	if doc := s.ended("one"); doc["status"] != "failed" || counts(doc) != [6]int{1, 0, 0, 0, 1} {
		t.Errorf("%v", doc)
	}
}

// TestBatchOfMany: many processors end a thousand requests at once, and each end counts once. Who
// follows sees the counts rise without a gap, and the end.
func TestBatchOfMany(t *testing.T) {
	s := start(t, "--samples=false")
	contents := make([]string, 1000)
	for i := range contents {
		contents[i] = fmt.Sprint(i)
	}
	s.call("POST", "/v1/batches", batchOf("b", "default", contents...)).want(202)
	members := s.members("b")
	var working sync.WaitGroup
	for w := range 50 {
		working.Go(func() {
			for n := w; n < len(members); n += 50 {
				id := members[n]["id"].(string)
				if a, err := s.try("POST", "/v1/work/"+id+"/start", nil); err != nil || a.status != 200 {
					t.Errorf("%v %s", err, a.body)
				}
				report := []string{"PUT", "error", `{"message":"x"}`}
				if n%4 > 0 {
					report = []string{"POST", "complete", ""}
				}
				for range 2 { // the second is refused
					if a, err := s.try(report[0], "/v1/work/"+id+"/"+report[1], report[2]); err != nil || a.status != 200 && a.status != 409 {
						t.Errorf("%v %s", err, a.body)
					}
				}
			}
		})
	}
	working.Wait()
	if doc := s.ended("b"); doc["status"] != "failed" || counts(doc) != [6]int{1000, 0, 750, 250} {
		t.Errorf("%v", doc)
	}
	last, events := 0, s.call("GET", "/v1/requests/b/events?after=0", nil, "Accept: application/json").want(200).json()["events"].([]any)
	for _, e := range events {
		c := counts(e.(map[string]any)["data"].(map[string]any))
		if ended := c[0] - c[1]; ended < last || c[2]+c[3] != ended {
			t.Errorf("%v after %d", c, last)
		} else {
			last = ended
		}
	}
	t.Logf("%d events tell of %d ends", len(events), last)
	if last != 1000 || len(events) > 500 {
		t.Errorf("%d events tell of %d ends", len(events), last)
	}
}

// TestBatchWebhooks: a batch and its requests may each have an endpoint of their own.
func TestBatchWebhooks(t *testing.T) {
	s := startHooks(t)
	whole, each := newReceiver(t, nil), newReceiver(t, nil)
	one := fmt.Sprintf(`{"route":"sleep","content":%s,"webhook":{"url":%q,"events":["request.succeeded"]}}`, quick, each.url)
	s.call("POST", "/v1/batches", fmt.Sprintf(`{"id":"b","webhook":{"url":%q,"events":["request.started","request.succeeded"]},"requests":[%s,%s,%s]}`, whole.url, one, one, one)).want(202)
	if got := whole.typesOf(s, 2); got != "started succeeded" {
		t.Errorf("of the batch: %s", got)
	}
	if got := each.typesOf(s, 3); got != "succeeded succeeded succeeded" {
		t.Errorf("of its requests: %s", got)
	}
}

// TestBatchOfSomebodyElse is not there.
func TestBatchOfSomebodyElse(t *testing.T) {
	s, _ := startKeyed(t)
	alice, bob := s.as(aliceKey), s.as(bobKey)
	alice.call("POST", "/v1/batches", `{"id":"b","requests":[{"id":"b-1","content":1}]}`).want(202)
	for _, call := range [][2]string{{"GET", "/v1/batches/b"}, {"GET", "/v1/batches/b/requests"}, {"POST", "/v1/requests/b/cancel"}, {"GET", "/v1/requests/b-1"}} {
		bob.call(call[0], call[1], nil).problem(404, "request-not-found")
	}
	bob.call("POST", "/v1/batches", `{"requests":[{"id":"b-1","content":1}]}`).problem(409, "id-taken")
	if n := len(alice.members("b")); n != 1 {
		t.Errorf("%d requests", n)
	}
}

// TestBatchIsFollowed over SSE, like any other request.
func TestBatchIsFollowed(t *testing.T) {
	s := start(t)
	s.call("POST", "/v1/batches", sleeping("b", quick, failing)).want(202)
	r, _ := http.NewRequest("GET", s.url+"/v1/requests/b/events", nil)
	r.Header.Set("Accept", "text/event-stream")
	res, err := s.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	var last string
	if ended, err := readEvents(res, func(e sseEvent) error { last = e.data; return nil }); !ended || err != nil {
		t.Errorf("%v %v", ended, err)
	}
	if !strings.Contains(last, `"type":"request.failed"`) || !strings.Contains(last, `"batch":{"total":2,"open":0,"succeeded":1,"failed":1,"canceled":0,"expired":0}`) {
		t.Errorf("%s", last)
	}
}
