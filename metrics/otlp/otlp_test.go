package otlp_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/hark-push/hark/metrics"
	"github.com/hark-push/hark/metrics/otlp"
)

// received is what has come to a collector, and how.
type received struct {
	collector.UnimplementedMetricsServiceServer

	mu    sync.Mutex
	how   []string
	who   string
	named map[string]*metricspb.Metric
}

func (r *received) take(sent *collector.ExportMetricsServiceRequest, how string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.how = append(r.how, how)
	for _, resource := range sent.GetResourceMetrics() {
		for _, a := range resource.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				r.who = a.GetValue().GetStringValue()
			}
		}
		for _, scope := range resource.GetScopeMetrics() {
			for _, m := range scope.GetMetrics() {
				if r.named == nil {
					r.named = make(map[string]*metricspb.Metric)
				}
				r.named[m.GetName()] = m
			}
		}
	}
}

// last returns how the last ones came, how many came, and the metric of a name.
func (r *received) last(name string) (how string, n int, m *metricspb.Metric) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n = len(r.how); n > 0 {
		how = r.how[n-1]
	}
	return how, n, r.named[name]
}

// Export takes metrics over gRPC.
func (r *received) Export(_ context.Context, sent *collector.ExportMetricsServiceRequest) (*collector.ExportMetricsServiceResponse, error) {
	r.take(sent, "grpc")
	return &collector.ExportMetricsServiceResponse{}, nil
}

// ServeHTTP takes them over HTTP.
func (r *received) ServeHTTP(w http.ResponseWriter, call *http.Request) {
	body, err := io.ReadAll(call.Body)
	var sent collector.ExportMetricsServiceRequest
	how := call.URL.Path + " as " + call.Header.Get("Content-Type")
	if err == nil && call.Header.Get("Content-Type") == "application/json" {
		err = protojson.Unmarshal(body, &sent)
	} else if err == nil {
		err = proto.Unmarshal(body, &sent)
	}
	if err != nil {
		how = err.Error()
		w.WriteHeader(http.StatusBadRequest)
	}
	r.take(&sent, how)
}

// collect starts a collector and returns its URL.
func collect(t *testing.T, overGRPC bool) (*received, string) {
	t.Helper()
	got := new(received)
	if !overGRPC {
		server := httptest.NewServer(got)
		t.Cleanup(server.Close)
		return got, server.URL
	}
	server := grpc.NewServer()
	collector.RegisterMetricsServiceServer(server, got)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return got, "http://" + listener.Addr().String()
}

const (
	general   = "OTEL_EXPORTER_OTLP_ENDPOINT"
	ofMetrics = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
	ofTraces  = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	protocol  = "OTEL_EXPORTER_OTLP_PROTOCOL"
	own       = "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL"
	exporter  = "OTEL_METRICS_EXPORTER"
	interval  = "OTEL_METRIC_EXPORT_INTERVAL"
)

// TestStart: metrics go to where OpenTelemetry's variables say, by the protocol that they name, and
// nowhere if they name nothing; what cannot be is refused, with what would be right.
func TestStart(t *testing.T) {
	const binary, text = "/v1/metrics as application/x-protobuf", "/v1/metrics as application/json"
	for name, test := range map[string]struct {
		set      map[string]string // URL stands for that of the collector
		traces   string            // the flag
		overGRPC bool
		want     string // how they come; "" if not at all
		fails    string
	}{
		"nowhere":                       {},
		"general":                       {set: map[string]string{general: "URL"}, want: binary},
		"of metrics, whole":             {set: map[string]string{ofMetrics: "URL/v1/metrics"}, want: binary},
		"json":                          {set: map[string]string{general: "URL", protocol: "http/json"}, want: text},
		"json of metrics":               {set: map[string]string{general: "URL", protocol: "grpc", own: "http/json"}, want: text},
		"grpc":                          {set: map[string]string{general: "URL", protocol: "grpc"}, overGRPC: true, want: "grpc"},
		"named":                         {set: map[string]string{general: "URL", exporter: "otlp"}, want: binary},
		"where traces go":               {set: map[string]string{exporter: "otlp"}, traces: "URL", want: binary},
		"where traces go, with a path":  {set: map[string]string{exporter: "otlp"}, traces: "URL/v1/traces", want: binary},
		"where traces go, grpc":         {set: map[string]string{exporter: "otlp", protocol: "grpc"}, traces: "URL", overGRPC: true, want: "grpc"},
		"where traces go, json":         {set: map[string]string{exporter: "otlp", protocol: "http/json"}, traces: "URL", want: text},
		"traces alone":                  {traces: "URL"},
		"traces alone, by a variable":   {set: map[string]string{ofTraces: "URL"}},
		"none":                          {set: map[string]string{general: "URL", exporter: "none"}},
		"prometheus":                    {set: map[string]string{general: "URL", exporter: "prometheus"}},
		"disabled":                      {set: map[string]string{general: "URL", "OTEL_SDK_DISABLED": "true"}},
		"an exporter that is not known": {set: map[string]string{general: "URL", exporter: "console"}, fails: exporter + `: "console" is not allowed: want otlp`},
		"nobody says where":             {set: map[string]string{exporter: "otlp"}, fails: "set " + general},
		"a protocol that is not known":  {set: map[string]string{general: "URL", own: "http"}, fails: own + `: "http" is not allowed`},
		"json with certificates":        {set: map[string]string{general: "URL", protocol: "http/json", "OTEL_EXPORTER_OTLP_CERTIFICATE": "/ca.pem"}, fails: "http/protobuf or grpc"},
	} {
		t.Run(name, func(t *testing.T) {
			got, url := collect(t, test.overGRPC)
			for _, variable := range []string{general, ofMetrics, ofTraces, protocol, own, exporter, interval, "OTEL_SDK_DISABLED", "OTEL_EXPORTER_OTLP_CERTIFICATE"} {
				t.Setenv(variable, strings.Replace(test.set[variable], "URL", url, 1))
			}
			counted := metrics.NewCounters("hark_test_total", "Counted.", "what")
			counted.WithLabelValues("a").Add(3)
			took := metrics.NewHistograms("hark_test_seconds", "How long it took.", metrics.Quick)
			took.Of().Observe(time.Millisecond)
			stop, err := otlp.Start(t.Context(), otlp.Options{
				Endpoint: strings.Replace(test.traces, "URL", url, 1), Service: "test", Logger: slog.New(slog.DiscardHandler),
				Gatherer: metrics.NewRegistry(counted, took),
			})
			if test.fails != "" {
				if err == nil || !strings.Contains(err.Error(), test.fails) {
					t.Errorf("%v, want %q", err, test.fails)
				}
				return
			}
			if err != nil || (stop == nil) != (test.want == "") {
				t.Fatal(err, stop != nil)
			}
			if stop == nil {
				return
			}
			counted.WithLabelValues("a").Inc()
			stop(t.Context()) // which sends them
			how, n, m := got.last("hark_test_total")
			if how != test.want || n < 1 || m == nil {
				t.Fatalf("came %q, %d times, %v", how, n, m)
			}
			if points := m.GetSum().GetDataPoints(); len(points) != 1 || points[0].GetAsDouble() != 4 || !m.GetSum().GetIsMonotonic() || points[0].GetAttributes()[0].GetValue().GetStringValue() != "a" {
				t.Errorf("%v", m)
			}
			if _, _, m := got.last("hark_test_seconds"); m.GetExponentialHistogram().GetDataPoints()[0].GetCount() != 1 {
				t.Errorf("%v", m)
			}
			if got.who != "test" {
				t.Errorf("by %q", got.who)
			}
		})
	}
}

// TestInterval: they are sent again and again, also after the collector was away, which is logged
// and keeps nobody waiting.
func TestInterval(t *testing.T) {
	got, url := collect(t, false)
	for _, variable := range []string{ofMetrics, protocol, own, exporter} {
		t.Setenv(variable, "")
	}
	t.Setenv(general, url)
	t.Setenv(interval, "10")
	var log lines
	counted := metrics.NewCounters("hark_test_total", "Counted.")
	counted.WithLabelValues().Inc()
	stop, err := otlp.Start(t.Context(), otlp.Options{Service: "test", Logger: slog.New(slog.NewTextHandler(&log, nil)), Gatherer: metrics.NewRegistry(counted)})
	if err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { _, n, _ := got.last(""); return n > 3 })
	stop(t.Context())

	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	t.Setenv(general, "http://"+closed.Addr().String())
	if stop, err = otlp.Start(t.Context(), otlp.Options{Service: "test", Logger: slog.New(slog.NewTextHandler(&log, nil)), Gatherer: metrics.NewRegistry(counted)}); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return strings.Contains(log.String(), "spans or metrics could not be sent") })
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	stop(ended)
	if !strings.Contains(log.String(), "the last metrics could not be sent") {
		t.Error(log.String())
	}
}

func until(t *testing.T, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not come")
		}
	}
}

// lines is a log that may be read meanwhile.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
