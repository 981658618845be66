package tracing

import (
	"context"
	"errors"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/processor"
)

// Handler returns a handler whose attempts are spans: children of the submission's, in which the context of h is. A nil tracer
// returns h.
func Handler(tracer trace.Tracer, h processor.Handler) processor.Handler {
	if tracer == nil {
		return h
	}
	return processor.HandlerFunc(func(ctx context.Context, job *processor.Job) (processor.Result, error) {
		traceparent, tracestate := job.TraceContext()
		ctx, span := tracer.Start(Parent(ctx, traceparent, tracestate), "process "+job.Route, trace.WithSpanKind(trace.SpanKindConsumer),
			trace.WithAttributes(keyRequest.String(job.ID), keyRoute.String(job.Route), keyAttempt.Int(job.Attempt)))
		defer span.End() // also when h panics
		result, err := h.Process(ctx, job)
		fail(span, err)
		return result, err
	})
}

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
		trace.WithAttributes(keyRequest.String(r.ID), keyRoute.String(r.Route), keyAttempt.Int(r.Attempt)))
	defer span.End()
	err := q.Queue.Enqueue(ctx, r)
	fail(span, err)
	return err
}

// Source returns a source of which each event that is handed on to followers is a span, on each node on which somebody follows. A nil
// tracer returns s.
func Source(tracer trace.Tracer, s hub.Source) hub.Source {
	if tracer == nil {
		return s
	}
	return source{s, tracer}
}

type source struct {
	hub.Source
	tracer trace.Tracer
}

func (s source) Listen(f func(channel string, m hub.Message)) {
	s.Source.Listen(func(channel string, m hub.Message) {
		traceparent := lifecycle.EventTraceparent(m.Event)
		if traceparent == "" { // it belongs to no trace
			f(channel, m)
			return
		}
		subject, _ := lifecycle.EventSubject(m.Event)
		attributes := []attribute.KeyValue{keyRequest.String(subject.Request), keyEvent.String(string(subject.Type))}
		if c, err := lifecycle.ParseKey(channel); err == nil {
			attributes = append(attributes, keyChannel.String(string(c.Kind)))
		}
		_, span := s.tracer.Start(Parent(context.Background(), traceparent, ""), "push "+string(subject.Type), trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(attributes...))
		f(channel, m)
		span.End()
	})
}

// Transport returns a transport of which each call is a span, a child of the trace context in the call's header, which the other side
// gets instead. A nil tracer returns next.
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
	defer span.End()
	r = r.Clone(ctx) // whose header is not ours to change
	traceparent, _ := Context(ctx)
	r.Header.Set("Traceparent", traceparent)
	res, err := t.next.RoundTrip(r)
	if err != nil {
		fail(span, err)
		return nil, err
	}
	span.SetAttributes(attribute.Int("http.response.status_code", res.StatusCode))
	if res.StatusCode >= 300 {
		span.SetStatus(codes.Error, res.Status)
	}
	return res, nil
}

// CloseIdleConnections is what [http.Client.CloseIdleConnections] looks for.
func (t transport) CloseIdleConnections() {
	if idle, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		idle.CloseIdleConnections()
	}
}

// fail marks a span as failed if there is an error. Texts of errors stay out of spans of what a processor was told by others.
func fail(span trace.Span, err error) {
	if err == nil {
		return
	}
	message := err.Error()
	if f, ok := errors.AsType[*lifecycle.Failure](err); ok {
		message = f.Code
	}
	span.SetStatus(codes.Error, message)
}
