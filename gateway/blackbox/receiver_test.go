package blackbox_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// receiver is an endpoint of webhooks: it keeps what arrives, and answers as it is told.
type receiver struct {
	t      testing.TB
	server *httptest.Server
	url    string

	mu     sync.Mutex
	got    []received
	answer http.HandlerFunc // of POST; nil: 204
}

// received is an attempt as it arrived.
type received struct {
	id     string // the webhook-id
	at     time.Time
	header http.Header
	body   []byte
	event  hookEvent
}

// hookEvent is what tests need of an event.
type hookEvent struct {
	Type     string
	Sequence string
	Subject  string
	Data     map[string]any
}

func newReceiver(t testing.TB, answer http.HandlerFunc) *receiver {
	t.Helper()
	r := &receiver{t: t, answer: answer}
	r.server = httptest.NewUnstartedServer(r)
	r.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	r.server.Start()
	t.Cleanup(r.server.Close)
	r.url = r.server.URL + "/hook"
	return r
}

// ServeHTTP implements [http.Handler].
func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return // cut off: it did not arrive
	}
	d := received{id: q.Header.Get("Webhook-Id"), at: time.Now(), header: q.Header.Clone(), body: body}
	if q.Method == http.MethodPost {
		if err := json.Unmarshal(body, &d.event); err != nil {
			r.t.Errorf("delivery %s: %v", body, err)
		}
		r.mu.Lock()
		r.got = append(r.got, d)
		r.mu.Unlock()
	}
	r.mu.Lock()
	answer := r.answer
	r.mu.Unlock()
	if answer == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	q.Body = io.NopCloser(bytes.NewReader(body))
	answer(w, q)
}

// answers changes how it answers.
func (r *receiver) answers(answer http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

// status answers with a status.
func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, h := range header {
			name, value, _ := strings.Cut(h, ": ")
			w.Header().Set(name, value)
		}
		w.WriteHeader(code)
	}
}

// all returns every attempt that arrived so far.
func (r *receiver) all() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// types returns those of the events that arrived, in their order.
func (r *receiver) types() []string {
	types := []string{}
	for _, d := range r.all() {
		types = append(types, d.event.Type)
	}
	return types
}

// count returns how many attempts arrived.
func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.got)
}

// closedPort returns a URL at which nobody listens.
func closedPort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return "http://" + l.Addr().String()
}

// allowed are the arguments of a gateway that delivers to this machine.
var allowed = []string{"--webhook-allow-cidrs=127.0.0.0/8", "--webhook-allow-http"}

// startHooks starts a gateway that delivers to this machine.
func startHooks(t testing.TB, args ...string) *server {
	t.Helper()
	return start(t, slices.Concat(allowed, args)...)
}

// hook is an endpoint that was registered.
type hook struct {
	s          *server
	id, secret string
	path       string
}

// hook registers an endpoint. more are further fields.
func (s *server) hook(url string, more map[string]any) *hook {
	s.t.Helper()
	body := map[string]any{"url": url}
	maps.Copy(body, more)
	doc := s.call("POST", "/v1/webhooks", body).want(201).json()
	h := &hook{s: s, id: doc["id"].(string), secret: doc["secret"].(string)}
	h.path = "/v1/webhooks/" + h.id
	return h
}

func (h *hook) get() map[string]any {
	h.s.t.Helper()
	return h.s.call("GET", h.path, nil).want(200).json()
}

func (h *hook) health(name string) any {
	h.s.t.Helper()
	return h.get()["health"].(map[string]any)[name]
}

// deliveries returns a page of deliveries, newest first.
func (h *hook) deliveries(query string) []map[string]any {
	h.s.t.Helper()
	var page struct{ Deliveries []map[string]any }
	a := h.s.call("GET", h.path+"/deliveries"+query, nil).want(200)
	if err := json.Unmarshal(a.body, &page); err != nil {
		h.s.t.Fatal(err)
	}
	return page.Deliveries
}

// settled waits until nothing of the endpoint waits or is being sent.
func (h *hook) settled() {
	h.s.t.Helper()
	h.s.eventually(func() bool { return h.health("waiting") == 0.0 && h.health("sending") == 0.0 })
}
