package blackbox_test

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// spans is a collector of OpenTelemetry.
type spans struct {
	url string

	mu    sync.Mutex
	got   []*tracepb.Span
	names map[string]bool // of services
}

func newSpans(t *testing.T) *spans {
	s := &spans{names: make(map[string]bool)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var sent collector.ExportTraceServiceRequest
		if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, &sent) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, resource := range sent.ResourceSpans {
			for _, a := range resource.Resource.Attributes {
				if a.Key == "service.name" {
					s.names[a.Value.GetStringValue()] = true
				}
			}
			for _, scope := range resource.ScopeSpans {
				s.got = append(s.got, scope.Spans...)
			}
		}
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// of returns the spans of a trace by their names.
func (s *spans) of(trace string) map[string][]*tracepb.Span {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := make(map[string][]*tracepb.Span)
	for _, span := range s.got {
		if hex.EncodeToString(span.TraceId) == trace {
			found[span.Name] = append(found[span.Name], span)
		}
	}
	return found
}

// TestTrace follows one request from its call over the queue and its processing to its followers
// and its webhook, all in the trace of who submitted it.
func TestTrace(t *testing.T) {
	const trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	spans := newSpans(t)
	s := startHooks(t, "--traces="+spans.url, "--routes=default,sleep")
	r := newReceiver(t, nil)
	h := s.hook(r.url, map[string]any{"events": []string{"request.succeeded"}})
	live := s.stream("/v1/events")
	if e, err := live.block(); err != nil || e.name != "start" { // it is followed from now on
		t.Fatal(e, err)
	}
	answer := s.call("POST", "/v1/requests", `{"route":"sleep","content":{"steps":1,"duration":"1ms"}}`, "Traceparent: 00-"+trace+"-"+parent+"-01", "Tracestate: vendor=1")
	answer.want(200)
	h.settled()
	for {
		e := live.next()
		event := cloudEvent(t, []byte(e.data))
		if !strings.HasPrefix(event.Extensions()["traceparent"].(string), "00-"+trace+"-") {
			t.Errorf("event %s", e.data)
		}
		if event.Type() == "request.succeeded" {
			break
		}
	}
	s.stop() // which sends the last ones
	found := spans.of(trace)
	root := found["POST /v1/requests"]
	if len(root) != 1 || hex.EncodeToString(root[0].ParentSpanId) != parent || root[0].Kind != tracepb.Span_SPAN_KIND_SERVER {
		t.Fatalf("the call: %v among %v", root, found)
	}
	for name, want := range map[string]struct {
		kind  tracepb.Span_SpanKind
		least int
	}{
		"publish sleep":          {tracepb.Span_SPAN_KIND_PRODUCER, 1},
		"process sleep":          {tracepb.Span_SPAN_KIND_CONSUMER, 1},
		"push request.accepted":  {tracepb.Span_SPAN_KIND_PRODUCER, 1},
		"push request.succeeded": {tracepb.Span_SPAN_KIND_PRODUCER, 1},
		"deliver webhook":        {tracepb.Span_SPAN_KIND_CLIENT, 1},
	} {
		if len(found[name]) < want.least {
			t.Errorf("no span %s", name)
		}
		for _, span := range found[name] {
			if string(span.ParentSpanId) != string(root[0].SpanId) || span.Kind != want.kind || span.TraceState != "vendor=1" && name == "process sleep" {
				t.Errorf("%s: %v", name, span)
			}
		}
	}
	d := r.all()[0]
	if got := d.header.Get("Traceparent"); got != "00-"+trace+"-"+hex.EncodeToString(found["deliver webhook"][0].SpanId)+"-01" {
		t.Errorf("the receiver got %q", got)
	}
	if !spans.names["hark-gateway"] {
		t.Errorf("services %v", spans.names)
	}
}

// TestTraceWithoutCollector: nothing waits for a collector that is not there, and nobody notices.
func TestTraceWithoutCollector(t *testing.T) {
	s := start(t, "--traces=http://127.0.0.1:1")
	s.process(s.submit("default", 1))
	id := s.submit("default", 1)
	s.call("POST", "/v1/requests/"+id+"/cancel", nil).want(200)
	if doc := s.call("GET", "/v1/requests", nil).want(200).json(); len(doc["requests"].([]any)) != 2 {
		t.Errorf("%v", doc)
	}
}

// TestNotTraced: without a collector a trace context of a client goes its way all the same.
func TestNotTraced(t *testing.T) {
	const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	s := start(t)
	for value, want := range map[string]any{traceparent: traceparent, "00-1-2-01": nil} {
		id := s.call("POST", "/v1/requests", `{"content":1}`, async, "Traceparent: "+value).want(202).json()["id"].(string)
		events := s.call("GET", "/v1/requests/"+id+"/events?after=0", nil, "Accept: application/json").want(200).json()["events"].([]any)
		if got := events[0].(map[string]any)["traceparent"]; got != want {
			t.Errorf("%s: %v", value, got)
		}
		work := s.call("POST", "/v1/work/"+id+"/start", nil).want(200).json()
		if got := work["headers"].(map[string]any)["Traceparent"]; got != value {
			t.Errorf("the processor gets %v", got)
		}
	}
}
