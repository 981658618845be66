package blackbox_test

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// typesOf waits until a number of events arrived and returns their types, in the order of their
// sequence.
func (r *receiver) typesOf(s *server, n int) string {
	r.t.Helper()
	s.eventually(func() bool { return r.count() >= n })
	got := r.all()
	slices.SortFunc(got, func(a, b received) int { return strings.Compare(a.event.Sequence, b.event.Sequence) })
	var types []string
	for _, d := range got {
		types = append(types, d.event.Type)
	}
	return short(types)
}

// TestOneOff: a request names a URL of its own, which gets its events and no others.
func TestOneOff(t *testing.T) {
	s := startHooks(t)
	mine, chosen, opaque, other := newReceiver(t, nil), newReceiver(t, nil), newReceiver(t, nil), newReceiver(t, nil)
	secret := s.hook(other.url, map[string]any{"events": []string{"webhook.test"}}).secret

	body := map[string]any{"content": 1, "id": "named", "webhook": map[string]any{"url": mine.url, "secret": secret}}
	s.call("POST", "/v1/requests", body, async).want(202)
	// A repetition makes nothing new.
	s.call("POST", "/v1/requests", body, async, "Idempotency-Key: k").want(202)
	s.call("POST", "/v1/requests", body, async, "Idempotency-Key: k").want(202)
	s.call("POST", "/v1/requests", map[string]any{"content": 1, "id": "named", "webhook": map[string]any{"url": other.url}}, async).problem(409, "id-taken")
	s.process("named")
	if got := mine.typesOf(s, 4); got != "accepted started progress succeeded" {
		t.Errorf("received %s", got)
	}
	if n := verified(mine, secret); n != mine.count() {
		t.Errorf("%d of %d verify with the secret", n, mine.count())
	}

	id := s.call("POST", "/v1/requests", map[string]any{
		"content": 1, "webhook": map[string]any{"url": chosen.url, "events": []string{"request.failed", "request.succeeded"}},
	}, async).want(202).json()["id"].(string)
	s.process(id)
	if got := chosen.typesOf(s, 1); got != "succeeded" {
		t.Errorf("received %s", got)
	}

	id = s.call("POST", "/v1/requests?webhook="+opaque.url, []byte("\x00\x01"), async, "Content-Type: image/x").want(202).json()["id"].(string)
	s.process(id)
	if got := opaque.typesOf(s, 4); got != "accepted started progress succeeded" {
		t.Errorf("received %s", got)
	}
	var key struct{ Keys []string }
	if err := json.Unmarshal(s.call("GET", "/v1/webhooks/public-key", nil).want(200).body, &key); err != nil {
		t.Fatal(err)
	}
	if n := verified(opaque, key.Keys...); n != opaque.count() {
		t.Errorf("%d of %d verify with the public key", n, opaque.count())
	}
	if other.count() != 0 || mine.count() != 4 || chosen.count() != 1 {
		t.Errorf("too much: %v %v %v", mine.types(), chosen.types(), other.types())
	}
	if list := s.call("GET", "/v1/webhooks", nil).want(200).json()["webhooks"].([]any); len(list) != 1 {
		t.Errorf("it is in the list: %v", list)
	}

	for fields, pointers := range map[string]string{
		`"x"`:                            "/webhook",
		`[]`:                             "/webhook",
		`{}`:                             "/webhook/url",
		`{"url":null}`:                   "/webhook/url",
		`{"url":1,"secret":2,"other":3}`: "/webhook/other /webhook/secret /webhook/url",
		`{"url":"https://10.0.0.1/"}`:    "/webhook/url",
		`{"url":"` + mine.url + `","secret":"x"}`:         "/webhook/secret",
		`{"url":"` + mine.url + `","events":["x","y"]}`:   "/webhook/events/0 /webhook/events/1",
		`{"url":"` + mine.url + `","events":"succeeded"}`: "/webhook/events",
	} {
		s.call("POST", "/v1/requests", `{"content":1,"webhook":`+fields+`}`, async).pointers(t, strings.Fields(pointers)...)
	}
	s.call("POST", "/v1/requests?webhook=https://10.0.0.1/", []byte("x"), async).pointers(t, "?webhook")
	s.call("POST", "/v1/requests", `{"content":1,"webhook":null}`, async).want(202)
}

// TestCallbackURL: long work whose outcome is POSTed, once, to the URL of callbackUrl, however the
// request was submitted and however it ended.
func TestCallbackURL(t *testing.T) {
	s := startHooks(t, "--routes=default,sleep,echo")
	const options = `"route":"sleep","callbackUrl":`
	for name, c := range map[string]struct {
		submit func(url string) answer
		want   string // the event, and what is in it
		says   string
	}{
		"success": {func(url string) answer {
			return s.call("POST", "/v1/requests", `{"content":{"steps":3,"duration":"10ms","result":{"total":12.50}},`+options+`"`+url+`"}`, async)
		}, "succeeded", `"value":{"total":12.50}`},
		"failure": {func(url string) answer {
			return s.call("POST", "/v1/requests", `{"content":{"steps":3,"duration":"10ms","fail":true},`+options+`"`+url+`"}`, async)
		}, "failed", `"code":"asked-to-fail"`},
		"too late": {func(url string) answer {
			return s.call("POST", "/v1/requests", `{"content":{"steps":1,"duration":"1h"},"timeout":"50ms",`+options+`"`+url+`"}`, async)
		}, "expired", `"status":"expired"`},
		"canceled": {func(url string) answer {
			a := s.call("POST", "/v1/requests", `{"content":{"steps":1,"duration":"1h"},`+options+`"`+url+`"}`, async).want(202)
			s.call("POST", "/v1/requests/"+a.json()["id"].(string)+"/cancel", nil)
			return a
		}, "canceled", `"status":"canceled"`},
		"bytes": {func(url string) answer {
			return s.call("POST", "/v1/requests?route=echo&callbackUrl="+url, []byte("\x00\x01"), async, "Content-Type: image/x")
		}, "succeeded", `"type":"image/x","size":2`},
		"a batch": {func(url string) answer {
			return s.call("POST", "/v1/batches", `{"requests":[{"route":"echo","content":1},{"route":"echo","content":2}],"callbackUrl":"`+url+`"}`, async)
		}, "succeeded", `"succeeded":2`},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t, nil)
			id := c.submit(r.url).want(202).json()["id"].(string)
			if got := r.typesOf(s, 1); got != c.want {
				t.Errorf("received %s, want %s", got, c.want)
			}
			if body := string(r.all()[0].body); !strings.Contains(body, c.says) || !strings.Contains(body, id) {
				t.Errorf("%s is not in %s", c.says, body)
			}
		})
	}
	for body, pointers := range map[string]string{
		`{"content":1,"callbackUrl":7}`:                                                         "/callbackUrl",
		`{"content":1,"callbackUrl":"https://10.0.0.1/"}`:                                       "/callbackUrl",
		`{"content":1,"callbackUrl":"https://example.org/","webhook":{"url":"https://x.org/"}}`: "/callbackUrl",
		`{"content":1,"callback_url":"https://example.org/"}`:                                   "/callback_url",
	} {
		s.call("POST", "/v1/requests", body, async).pointers(t, pointers)
	}
	s.call("POST", "/v1/batches", `{"requests":[{"content":1,"callbackUrl":"https://10.0.0.1/"}],"callbackUrl":null}`, async).pointers(t, "/requests/0/callbackUrl")
	s.call("POST", "/v1/requests?callbackUrl=https://10.0.0.1/", []byte("x"), async).pointers(t, "?callbackUrl")
}

// TestOneOffThatIsDead has no influence on its request; and to name one again that answered 410 is
// to want it again.
func TestOneOffThatIsDead(t *testing.T) {
	s := startHooks(t)
	gone := newReceiver(t, status(http.StatusGone))
	for _, url := range []string{closedPort(t), gone.url} {
		id := s.call("POST", "/v1/requests", map[string]any{"content": 1, "webhook": map[string]any{"url": url}}, async).want(202).json()["id"].(string)
		s.process(id)
		if a := s.call("GET", "/v1/requests/"+id, nil).want(200); a.json()["status"] != "succeeded" {
			t.Errorf("%s", a.body)
		}
	}
	s.eventually(func() bool { return gone.count() >= 1 })
	before := gone.count()
	gone.answers(nil)
	s.eventually(func() bool { // as soon as the 410 is settled
		s.call("POST", "/v1/requests", map[string]any{"content": 1, "webhook": map[string]any{"url": gone.url}}, async).want(202)
		return gone.count() > before
	})
}

// challenged answers both kinds of challenge, as long as it wants to.
func challenged(t *testing.T, willing *atomic.Bool) *receiver {
	r := newReceiver(t, nil)
	r.answers(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		var event struct {
			Type string
			Data struct{ Challenge string }
		}
		_ = json.Unmarshal(body, &event)
		switch {
		case !willing.Load():
			w.WriteHeader(http.StatusNoContent) // a success, but no consent
		case q.Method == http.MethodOptions && q.Header.Get("WebHook-Request-Origin") == "hooks.example.org":
			w.Header().Set("WebHook-Allowed-Origin", "hooks.example.org")
		case event.Type == "webhook.challenge":
			_ = json.NewEncoder(w).Encode(map[string]string{"challenge": event.Data.Challenge})
		}
	})
	return r
}

// TestChallenge: an endpoint that has to prove that it may be used gets nothing before it has.
func TestChallenge(t *testing.T) {
	for _, demanded := range []bool{false, true} {
		for _, kind := range []string{"handshake", "echo"} {
			args, fields := []string{"--webhook-origin=hooks.example.org"}, map[string]any{"challenge": kind}
			if demanded {
				args, fields = append(args, "--webhook-challenge="+kind), nil
			}
			t.Run(strings.Join(append(args[1:], kind), " "), func(t *testing.T) { testChallenge(t, startHooks(t, args...), kind, fields, demanded) })
		}
	}
}

func testChallenge(t *testing.T, s *server, kind string, fields map[string]any, demanded bool) {
	willing := new(atomic.Bool)
	r := challenged(t, willing)
	events := func() (n int) {
		for _, d := range r.all() {
			if d.event.Type != "webhook.challenge" {
				n++
			}
		}
		return n
	}
	h := s.hook(r.url, fields)
	if doc := h.get(); doc["status"] != "pending" || doc["challenge"] != kind {
		t.Fatalf("made %v", doc)
	}
	s.call("POST", h.path+"/verify", nil).problem(409, "webhook-not-proven")
	s.call("POST", h.path+"/resume", nil).problem(409, "webhook-conflict")
	s.call("POST", h.path+"/pause", nil).problem(409, "webhook-conflict")
	s.call("POST", h.path+"/test", nil).problem(409, "webhook-conflict")
	s.call("POST", h.path+"/recover?since=2026-01-01T00:00:00Z", nil).problem(409, "webhook-conflict")
	s.call("PATCH", h.path, `{"status":"active"}`).problem(409, "webhook-conflict")
	s.call("PATCH", h.path, `{"url":"`+r.url+`/other"}`).pointers(t, "/url")
	missed := s.submit("default", 1)
	if n := h.health("waiting"); n != 0.0 || events() != 0 {
		t.Errorf("%v wait, %d arrived", n, events())
	}
	oneOff := map[string]any{"content": 1, "webhook": map[string]any{"url": r.url + "/once"}}
	if demanded {
		s.call("POST", "/v1/requests", oneOff, async).pointers(t, "/webhook/url")
	}

	willing.Store(true)
	if doc := s.call("POST", h.path+"/verify", nil).want(200).json(); doc["status"] != "active" {
		t.Errorf("verified: %v", doc)
	}
	id := s.submit("default", 1)
	s.eventually(func() bool { return events() == 1 })
	if got := r.all()[r.count()-1]; got.id != s.message(id, 1) {
		t.Errorf("received %s, missed is %s", got.id, missed)
	}
	if doc := s.hook(r.url, fields).get(); doc["status"] != "active" { // proven when it is made
		t.Errorf("made %v", doc)
	}
	if demanded {
		before := events()
		s.call("POST", "/v1/requests", oneOff, async).want(202)
		s.eventually(func() bool { return events() == before+3 }) // it, and the two
	}
	if n := len(r.all()) - events(); kind == "echo" && verified(r, h.secret) < n-1-events() {
		t.Errorf("the challenges are not signed")
	}
}
