package tracing_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/hark-push/hark/tracing"
)

// collected is what has come to a collector: names of spans, and how each came.
type collected struct {
	collector.UnimplementedTraceServiceServer

	mu  sync.Mutex
	all []string
}

func (c *collected) add(name, how string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, name+" by "+how)
}

func (c *collected) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.all, ", ")
}

// Export takes spans over gRPC.
func (c *collected) Export(_ context.Context, sent *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	c.add(sent.GetResourceSpans()[0].GetScopeSpans()[0].GetSpans()[0].GetName(), "grpc")
	return &collector.ExportTraceServiceResponse{}, nil
}

// ServeHTTP takes them over HTTP.
func (c *collected) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	how := r.URL.Path + " as " + r.Header.Get("Content-Type")
	if r.Header.Get("Content-Type") == "application/json" {
		var sent struct {
			ResourceSpans []struct {
				ScopeSpans []struct{ Spans []struct{ Name string } }
			}
		}
		if err := json.Unmarshal(body, &sent); err != nil {
			c.add(err.Error(), how)
			return
		}
		c.add(sent.ResourceSpans[0].ScopeSpans[0].Spans[0].Name, how)
		return
	}
	var sent collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(body, &sent); err != nil {
		c.add(err.Error(), how)
		return
	}
	c.add(sent.GetResourceSpans()[0].GetScopeSpans()[0].GetSpans()[0].GetName(), how)
}

// TestProtocols: spans go by the protocol that OpenTelemetry's variables name, to where the option
// or a variable says, and one that there is not is refused.
func TestProtocols(t *testing.T) {
	const general, traces, endpoint = "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_ENDPOINT"
	const protobuf, jsonText = "a span by /v1/traces as application/x-protobuf", "a span by /v1/traces as application/json"
	for name, test := range map[string]struct {
		variables map[string]string
		overGRPC  bool
		want      string // or what the error says
	}{
		"none":             {nil, false, protobuf},
		"http/protobuf":    {map[string]string{general: "http/protobuf"}, false, protobuf},
		"http/json":        {map[string]string{general: "http/json"}, false, jsonText},
		"grpc":             {map[string]string{general: "grpc"}, true, "a span by grpc"},
		"of traces":        {map[string]string{general: "grpc", traces: "http/json"}, false, jsonText},
		"of traces, grpc":  {map[string]string{general: "http/json", traces: "grpc"}, true, "a span by grpc"},
		"unknown":          {map[string]string{general: "http"}, false, general + `: "http" is not allowed: want grpc, http/protobuf or http/json`},
		"of traces, wrong": {map[string]string{general: "grpc", traces: "GRPC"}, true, traces + `: "GRPC" is not allowed`},
	} {
		for _, byVariable := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", by variables alone"}[byVariable], func(t *testing.T) {
				got := &collected{}
				var url string
				if test.overGRPC {
					server := grpc.NewServer()
					collector.RegisterTraceServiceServer(server, got)
					listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
					if err != nil {
						t.Fatal(err)
					}
					go func() { _ = server.Serve(listener) }()
					defer server.Stop()
					url = "http://" + listener.Addr().String()
				} else {
					server := httptest.NewServer(got)
					defer server.Close()
					url = server.URL
				}
				for _, variable := range []string{general, traces, endpoint} {
					t.Setenv(variable, test.variables[variable])
				}
				o := tracing.Options{Endpoint: url, Service: "test", Logger: slog.New(slog.DiscardHandler)}
				if byVariable {
					t.Setenv(endpoint, url)
					o.Endpoint = ""
				}
				tracer, stop, err := tracing.Start(t.Context(), o)
				if err != nil {
					if !strings.Contains(err.Error(), test.want) {
						t.Error(err)
					}
					return
				}
				_, span := tracer.Start(t.Context(), "a span")
				span.End()
				stop(t.Context())
				if got.String() != test.want {
					t.Errorf("got %q, want %q", got, test.want)
				}
			})
		}
	}
}
