package tracing

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/hark-push/hark/lifecycle"
)

// Queue returns a queue of which each hand-over of work is a span. A nil tracer returns q.
func Queue(tracer trace.Tracer, q lifecycle.Queue) lifecycle.Queue {
	if tracer == nil {
		return q
	}
	return queue{q, tracer}
}

type queue struct {
	lifecycle.Queue
	tracer trace.Tracer
}

func (q queue) Enqueue(ctx context.Context, r lifecycle.Request) error {
	ctx, span := q.tracer.Start(Parent(ctx, r.Traceparent(), ""), "publish "+r.Route, trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithAttributes(KeyRequest.String(r.ID), KeyRoute.String(r.Route), KeyAttempt.Int(r.Attempt)))
	err := q.Queue.Enqueue(ctx, r)
	End(span, err)
	return err
}

// Source returns a source of which each event that is handed on to followers is a span, on each
// node on which somebody follows. A nil tracer returns s.
func Source(tracer trace.Tracer, s lifecycle.Source) lifecycle.Source {
	if tracer == nil {
		return s
	}
	return source{s, tracer}
}

type source struct {
	lifecycle.Source
	tracer trace.Tracer
}

func (s source) Listen(f func(channel string, m lifecycle.Message)) {
	s.Source.Listen(func(channel string, m lifecycle.Message) {
		e := m.Event
		if e == nil || e.Trace == "" { // it belongs to no trace
			f(channel, m)
			return
		}
		attributes := []attribute.KeyValue{KeyRequest.String(e.Request.ID), keyEvent.String(string(e.Type))}
		if c, err := lifecycle.ParseKey(channel); err == nil {
			attributes = append(attributes, keyChannel.String(string(c.Kind)))
		}
		_, span := s.tracer.Start(Parent(context.Background(), e.Trace, ""), "push "+string(e.Type), trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(attributes...))
		f(channel, m)
		span.End()
	})
}

// Transport returns a transport of which each call is a span, a child of the trace context in the
// call's header, which the other side gets instead. A nil tracer returns next.
func Transport(tracer trace.Tracer, next http.RoundTripper) http.RoundTripper {
	if tracer == nil {
		return next
	}
	return transport{next, tracer}
}

type transport struct {
	next   http.RoundTripper
	tracer trace.Tracer
}

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, span := t.tracer.Start(Parent(r.Context(), r.Header.Get("Traceparent"), r.Header.Get("Tracestate")), "deliver webhook", trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("http.request.method", r.Method), attribute.String("server.address", r.URL.Hostname()), keyDelivery.String(r.Header.Get("Webhook-Id"))))
	r = r.Clone(ctx) // whose header is not ours to change
	traceparent, _ := Context(ctx)
	r.Header.Set("Traceparent", traceparent)
	res, err := t.next.RoundTrip(r)
	if err == nil {
		span.SetAttributes(attribute.Int("http.response.status_code", res.StatusCode))
		if res.StatusCode >= 300 {
			span.SetStatus(codes.Error, res.Status)
		}
	}
	End(span, err)
	return res, err
}

// CloseIdleConnections is what [http.Client.CloseIdleConnections] looks for.
func (t transport) CloseIdleConnections() {
	if idle, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		idle.CloseIdleConnections()
	}
}
