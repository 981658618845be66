package worker

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hark-push/hark/backends"
	"github.com/hark-push/hark/docs"
	"github.com/hark-push/hark/gateway/config"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/processor"
	"github.com/hark-push/hark/servertest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	shared.Stop()
	os.Exit(code)
}

var shared servertest.Shared

// TestArguments: what a worker would not work with is refused before it begins, and named.
func TestArguments(t *testing.T) {
	servers := []string{"--redis=redis://127.0.0.1:1", "--amqp=amqp://127.0.0.1:1"}
	if _, err := parse("worker", servers[:1], io.Discard); err != nil {
		t.Errorf("Redis alone: %v", err)
	}
	for _, c := range []struct {
		args []string
		says []string
	}{
		{nil, []string{"redis is not given", "--amqp"}},
		{servers[1:], []string{"redis is not given"}},
		{append(servers, "--routes=sleep,nap"), []string{"routes", `"nap"`, "sleep"}},
		{append(servers, "--partitions=0"), []string{"partitions", `"0"`, "1 to 1024"}},
		{append(servers, "--feed-retention=1ms"), []string{"feed-retention", "1s to 8760h"}},
		{append(servers, "--retry-delay=2h"), []string{"retry-delay"}},
		{append(servers, "--concurrency=0"), []string{"concurrency"}},
		{append(servers, "--prefix=a b"), []string{"prefix"}},
		{append(servers, "--listen=8081"), []string{"listen", "HOST:PORT"}},
		{append(servers, "--log-level=loud"), []string{"log-level", "loud", "debug"}},
		{append(servers, "--log-level=hob=debug"), []string{"log-level", `"hob" is no package`, "hub"}},
	} {
		_, err := parse("worker", c.args, io.Discard)
		if err == nil {
			t.Errorf("%v is taken", c.args)
			continue
		}
		for _, want := range c.says {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v: %q does not say %q", c.args, err, want)
			}
		}
	}
	t.Setenv("HARK_PREFIX", "")
	if _, err := parse("worker", servers, io.Discard); err == nil || !strings.Contains(err.Error(), "HARK_PREFIX is set but empty") {
		t.Errorf("an empty variable: %v", err)
	}
}

// TestDefaults: without flags a worker stores as a gateway does.
func TestDefaults(t *testing.T) {
	servers := []string{"--redis=redis://127.0.0.1:1", "--amqp=amqp://127.0.0.1:1"}
	o, err := parse("worker", servers, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse(servers, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(o.Options, c.Options) {
		t.Errorf("%+v\n%+v", o.Options, c.Options)
	}
}

// logged is what a worker has logged.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

var healthURL = regexp.MustCompile(`"url":"(http://[^/]*)/health/ready"`)

// url waits until the worker has said where its health is served.
func (l *logged) url(t *testing.T) string {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		l.mu.Lock()
		m := healthURL.FindStringSubmatch(l.text.String())
		l.mu.Unlock()
		if m != nil {
			return m[1]
		}
	}
	t.Fatal("it does not say where")
	return ""
}

// TestHealth lets a worker begin without Redis, work, lose RabbitMQ, and end while it works.
func TestHealth(t *testing.T) {
	redis, rabbit := servertest.Redis(t), shared.RabbitMQ(t)
	toRedis, toRabbit := servertest.Proxy(t, redis.Addr), servertest.Proxy(t, rabbit.Addr)
	toRedis.Refuse()
	args := []string{
		"--redis=" + strings.Replace(redis.URL, redis.Addr, toRedis.Addr, 1), "--amqp=" + strings.Replace(rabbit.URL, rabbit.Addr, toRabbit.Addr, 1),
		"--prefix=w" + strings.ToLower(rand.Text()[:8]), "--routes=sleep", "--listen=127.0.0.1:0", "--retry-delay=1ms", "--drain=30s",
	}
	o, err := parse("worker", args, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	said := new(logged)
	ctx, end := context.WithCancel(t.Context())
	defer end()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, o, io.Discard, slog.New(slog.NewJSONHandler(said, nil))) }()
	url := said.url(t)

	get := func(path string) (int, string) {
		t.Helper()
		answer, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = answer.Body.Close() }()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, string(body)
	}
	until := func(path string, status int, says string) {
		t.Helper()
		var code int
		var body string
		for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if code, body = get(path); code == status && strings.Contains(body, says) {
				return
			}
		}
		t.Fatalf("%s: %d %s, want %d and %q", path, code, body, status, says)
	}
	until("/health/live", 200, `"live"`)
	until("/health/ready", 503, "waits for Redis")
	until("/health", 503, "Unhealthy")
	until("/v1/health", 503, "waits for Redis")
	until("/metrics", 503, "waits for Redis")
	if code, _ := get("/health/ready/"); code != 404 {
		t.Errorf("another path: %d", code)
	}

	toRedis.Restore()
	until("/health/ready", 200, `"ready"`)
	until("/health", 200, "Healthy")
	until("/v1/health", 200, `"routes":[{"route":"sleep","concurrency":`)
	until("/metrics", 200, `hark_attempts_running{route="sleep"} 0`)

	// A gateway of the same servers.
	b, err := backends.OpenShared(t.Context(), backends.Options{
		Redis: redis.URL, AMQP: rabbit.URL, Prefix: o.Prefix, Partitions: 1, MaxTimeout: o.MaxTimeout,
	}, backends.Shared{Routes: []string{"sleep"}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	service := lifecycle.New(b.Store, processor.Queue(b.Broker), lifecycle.Options{})
	defer service.Close()
	submit := func(id, content string) {
		t.Helper()
		sub := lifecycle.Submission{
			ID: id, Route: "sleep", Timeout: time.Hour, Retention: time.Hour, MaxAttempts: 3,
			Content: lifecycle.Content{Type: "application/json", Data: []byte(content)},
		}
		// This lasts until RabbitMQ is there.
		for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
			_, err := service.Submit(t.Context(), lifecycle.Principal{Subject: "alice"}, sub)
			if err == nil {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	}
	submit("good", `{"steps":1,"duration":"1ms"}`)
	until("/metrics", 200, `hark_attempts_total{outcome="succeeded",route="sleep"} 1`)
	submit("wrong", `{"steps":1,"duration":"1ms","fail":true}`)
	until("/metrics", 200, `hark_attempts_total{outcome="failed",route="sleep"} 1`)
	submit("long", `{"steps":1,"duration":"1h"}`)
	until("/metrics", 200, `hark_attempts_running{route="sleep"} 1`)
	until("/v1/health", 200, `"running":1,"succeeded":1,"failed":1,"returned":0,"overtaken":0}],"queue":{"kind":"rabbitmq","connected":true`)

	// What it tells is what the documents list, by names that promtool has nothing to say about.
	_, text := get("/metrics")
	for _, series := range []string{
		`hark_requests_ended_total{outcome="succeeded",route="sleep"} 1`, `hark_requests_ended_total{outcome="failed",route="sleep"} 1`,
		`hark_request_wait_seconds_count{route="sleep"} 3`, `hark_requests_accepted_total{route="sleep"} 0`, `hark_store_operation_failures_total{operation="begin"} 0`,
	} {
		if !strings.Contains(text, "\n"+series+"\n") {
			t.Errorf("%s is not told: %s", series, text)
		}
	}
	rows, told := docs.AllSeries(t), docs.SeriesOf(text)
	for _, name := range told {
		if by := rows[name].By; !strings.HasPrefix(by, "both") && !strings.HasPrefix(by, "worker") {
			t.Errorf("docs/metrics.md does not list %s as told by workers", name)
		}
	}
	for name, row := range rows {
		if !strings.HasPrefix(row.By, "gateway") && !strings.Contains(row.By, "Redis alone") && !slices.Contains(told, name) {
			t.Errorf("docs/metrics.md lists %s, which is not told", name)
		}
	}
	t.Run("promtool", func(t *testing.T) {
		if said, ok := servertest.Promtool(t, []byte(text), "check", "metrics"); !ok || said != "" {
			t.Errorf("%s", said)
		}
	})

	toRabbit.Refuse()
	toRabbit.Cut()
	until("/health/ready", 503, "RabbitMQ (--amqp) cannot be reached")
	until("/health/live", 200, `"live"`)
	toRabbit.Restore()
	until("/health/ready", 200, `"ready"`)

	end() // it lets what it works on go on
	until("/health/ready", 503, "shutting down")
	select {
	case err := <-ended:
		t.Fatalf("it did not wait for its work: %v", err)
	default:
	}
	if _, err := service.Cancel(t.Context(), lifecycle.Principal{Subject: "alice"}, lifecycle.Named("long")); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(3 * time.Minute):
		t.Fatal("it does not end")
	}
}

// TestAddressTaken: the error says what to do.
func TestAddressTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	if _, err := serveHealth(taken.Addr().String(), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("%v", err)
	}
}
