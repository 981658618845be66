// Package blackbox_test drives gateways whole, as whoever calls them does: in the process of the
// test, or as the program that is shipped. It holds every answer against the OpenAPI document.
package blackbox_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.uber.org/goleak"

	"github.com/hark-push/hark/gateway/config"
	"github.com/hark-push/hark/gateway/node"
	"github.com/hark-push/hark/servertest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	shared.Stop()
	if binaries != "" {
		_ = os.RemoveAll(binaries)
	}
	if code == 0 {
		http.DefaultClient.CloseIdleConnections()
		if err := goleak.Find(
			// The HTTP server's own, which end by themselves some seconds after it.
			goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
			goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// shared is RabbitMQ for all tests that want it; each has a Redis of its own.
var shared servertest.Shared

// anywhere keeps a test out of the run on real servers: what it asserts is decided in front of the
// store and the queue, by the HTTP server, the hub, or who reads calls and settings.
func anywhere(t testing.TB) {
	t.Helper()
	if onServers() {
		t.Skip("is the same whatever is behind the gateway")
	}
}

// onServers reports whether gateways have real servers behind them, onRabbitMQ whether that is
// among them: with HARK_TEST_BACKENDS=shared Redis and RabbitMQ, with redis Redis alone.
func onServers() bool  { return onRabbitMQ() || onRedis() }
func onRabbitMQ() bool { return os.Getenv("HARK_TEST_BACKENDS") == "shared" }
func onRedis() bool    { return os.Getenv("HARK_TEST_BACKENDS") == "redis" }

// backendsOf returns the arguments that name the store and the broker of a data
// folder: none, or those of real servers, so that every test here runs in each way.
func backendsOf(t testing.TB, data string) []string {
	if !onServers() {
		return nil
	}
	backendsMu.Lock()
	defer backendsMu.Unlock()
	args := backendArgs[data]
	if args == nil {
		args = sharedBackends(t)
		backendArgs[data] = args
	}
	return args
}

var (
	backendsMu  sync.Mutex
	backendArgs = make(map[string][]string)
)

// sharedBackends starts servers for a test and returns the arguments that name them.
func sharedBackends(t testing.TB) []string {
	t.Helper()
	redis := servertest.Redis(t)
	if onRedis() {
		return []string{"--redis=" + redis.URL, "--prefix=t" + rand.Text()[:10], "--requeue=2s"}
	}
	rabbit := shared.RabbitMQ(t)
	return []string{"--redis=" + redis.URL, "--amqp=" + rabbit.URL, "--prefix=t" + rand.Text()[:10], "--requeue=2s"}
}

// server is a gateway under test and a client that holds every answer against the
// OpenAPI document.
type server struct {
	t    testing.TB
	url  string
	http *http.Client
	stop func() // drains; safe to call again
}

// start runs a gateway inside the test. Arguments are those of the command line.
func start(t testing.TB, args ...string) *server {
	t.Helper()
	return startOn(t, t.TempDir(), args...)
}

func startOn(t testing.TB, data string, args ...string) *server {
	t.Helper()
	args = append(append([]string{"--listen=127.0.0.1:0", "--data=" + data, "--drain=200ms", "--log-level=error"}, backendsOf(t, data)...), args...)
	c, err := config.Parse(args, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	g, err := node.Open(t.Context(), c, slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelError})))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Serve(ctx) }()
	s := newServer(t, "http://"+g.Addr().String())
	s.stop = sync.OnceFunc(func() {
		s.http.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Error("serve:", err)
		}
		s.http.CloseIdleConnections() // also what was dialed meanwhile
	})
	t.Cleanup(s.stop)
	return s
}

func newServer(t testing.TB, url string) *server {
	s := &server{t: t, url: url}
	transport := &http.Transport{DisableCompression: true}
	s.http = &http.Client{
		Transport: validating{t: t, next: transport}, Timeout: 60 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return s
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", bytes.TrimSpace(b))
	return len(b), nil
}

// validating holds every answer against the OpenAPI document.
type validating struct {
	t    testing.TB
	next http.RoundTripper
}

// undocumented are answers that any path may give, see the document's description.
func undocumented(status int) bool {
	switch status {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusForbidden, http.StatusTooManyRequests:
		return true
	}
	return false
}

// CloseIdleConnections is what [http.Client.CloseIdleConnections] looks for: without it
// a gateway's connections outlive its test.
func (v validating) CloseIdleConnections() {
	if idle, ok := v.next.(interface{ CloseIdleConnections() }); ok {
		idle.CloseIdleConnections()
	}
}

func (v validating) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := v.next.RoundTrip(r)
	if err != nil || strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		return res, err
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	if res.StatusCode >= 400 {
		v.problem(r, res, body)
	}
	if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
		return res, nil // a preflight, of any path
	}
	if res.Header.Get("Cache-Control") == "" {
		v.t.Errorf("%s %s: %d says nothing of caches", r.Method, r.URL, res.StatusCode)
	}
	description, err := described()
	if err != nil {
		v.t.Errorf("openapi: %v", err)
		return res, nil
	}
	plain := r.Clone(r.Context())
	plain.URL.Scheme, plain.URL.Host, plain.Host = "", "", ""
	if rest, ok := strings.CutSuffix(plain.URL.Path, "/events"); ok && res.StatusCode == http.StatusOK {
		// Asked for JSON it answers as the history does; its document has the stream alone.
		plain.URL.Path, plain.URL.RawPath = rest+"/history", ""
	}
	if res.StatusCode == http.StatusOK && r.Method == http.MethodGet && r.URL.Query().Get("form") == "thin" {
		// Nor can it say that an answer goes by an option of the query.
		list, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
		if err == nil {
			err = description.validate("#/components/schemas/ThinEventList", list)
		}
		if err != nil {
			v.t.Errorf("%s %s answered against its document: %v\n%s", r.Method, r.URL, err, body)
		}
		return res, nil
	}
	if rest, ok := strings.CutPrefix(plain.URL.Path, "/v1/call/"); ok {
		// OpenAPI cannot say that the last parameter holds slashes.
		route, _, _ := strings.Cut(rest, "/")
		plain.URL.Path, plain.URL.RawPath = "/v1/call/"+route+"/path", ""
	}
	if strings.HasPrefix(plain.URL.Path, "/v1/stream/") {
		plain.URL.Path, plain.URL.RawPath = "/v1/stream/path", ""
	}
	route, _, err := description.FindRoute(plain)
	if err != nil {
		if !undocumented(res.StatusCode) && !strings.HasSuffix(r.URL.Path, ".js") && r.URL.Path != "/" {
			v.t.Errorf("%s %s is answered with %d but not documented: %v", r.Method, r.URL, res.StatusCode, err)
		}
		return res, nil
	}
	err = description.holds(route, res.StatusCode, res.Header, body)
	if err != nil && res.StatusCode != http.StatusMethodNotAllowed {
		v.t.Errorf("%s %s answered %d against its document: %v\n%s", r.Method, r.URL, res.StatusCode, err, body)
	}
	return res, nil
}

// problem checks what every error has in common.
func (v validating) problem(r *http.Request, res *http.Response, body []byte) {
	if ct := res.Header.Get("Content-Type"); ct != "application/problem+json" {
		v.t.Errorf("%s %s: error %d as %q", r.Method, r.URL, res.StatusCode, ct)
	}
	if r.Method == http.MethodHead {
		return
	}
	var p struct {
		Type, Title, Detail, Instance string
		Status                        int
	}
	if err := json.Unmarshal(body, &p); err != nil || p.Status != res.StatusCode || !strings.HasPrefix(p.Type, "/problems/") || p.Title == "" || p.Detail == "" || p.Instance == "" {
		v.t.Errorf("%s %s: bad problem %s (%v)", r.Method, r.URL, body, err)
	}
	if bytes.Contains(body, []byte("goroutine ")) || bytes.Contains(body, []byte(".go:")) {
		v.t.Errorf("%s %s: a stack reached the client: %s", r.Method, r.URL, body)
	}
}

// answer is a response that was read whole.
type answer struct {
	t      testing.TB
	status int
	header http.Header
	body   []byte
}

// call makes a request. Headers are given as "Name: value".
func (s *server) call(method, path string, body any, headers ...string) answer {
	s.t.Helper()
	a, err := s.try(method, path, body, headers...)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

func (s *server) try(method, path string, body any, headers ...string) (answer, error) {
	var reader io.Reader
	contentType := ""
	switch b := body.(type) {
	case nil:
	case []byte:
		reader = bytes.NewReader(b)
	case string:
		reader, contentType = strings.NewReader(b), "application/json"
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return answer{}, err
		}
		reader, contentType = bytes.NewReader(text), "application/json"
	}
	r, err := http.NewRequest(method, s.url+path, reader)
	if err != nil {
		return answer{}, err
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Content-Type" {
			r.Header.Set(name, value)
		} else {
			r.Header.Add(name, value)
		}
	}
	res, err := s.http.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	return answer{t: s.t, status: res.StatusCode, header: res.Header, body: text}, err
}

// want fails the test unless the answer has the status.
func (a answer) want(status int) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	return a
}

// problem fails the test unless the answer is a problem of that type.
func (a answer) problem(status int, name string) map[string]any {
	a.t.Helper()
	doc := a.want(status).json()
	if doc["type"] != "/problems/"+name {
		a.t.Fatalf("problem %v, want %s: %s", doc["type"], name, a.body)
	}
	return doc
}

func (a answer) json() map[string]any {
	a.t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(a.body, &doc); err != nil {
		a.t.Fatalf("%v: %s", err, a.body)
	}
	return doc
}

const async = "Prefer: respond-async"

// submit submits JSON content on a route and returns the id.
func (s *server) submit(route string, content any, more ...string) string {
	s.t.Helper()
	body := map[string]any{"content": content, "route": route}
	for _, m := range more {
		key, value, _ := strings.Cut(m, "=")
		body[key] = value
	}
	return s.call("POST", "/v1/requests", body, async).want(202).json()["id"].(string)
}
