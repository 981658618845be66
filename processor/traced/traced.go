// Package traced makes attempts spans of OpenTelemetry. It is apart from package processor so that
// only those who trace need what that needs.
package traced

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/trace"

	"github.com/hark-push/hark/processor"
	"github.com/hark-push/hark/tracing"
)

// Handler returns a handler whose attempts are spans, children of the call that submitted their
// requests; the span is the current one of the context that h gets. A nil tracer returns h.
func Handler(tracer trace.Tracer, h processor.Handler) processor.Handler {
	if tracer == nil {
		return h
	}
	return processor.HandlerFunc(func(ctx context.Context, job *processor.Job) (result processor.Result, err error) {
		traceparent, tracestate := job.TraceContext()
		ctx, span := tracer.Start(tracing.Parent(ctx, traceparent, tracestate), "process "+job.Route, trace.WithSpanKind(trace.SpanKindConsumer),
			trace.WithAttributes(tracing.KeyRequest.String(job.ID), tracing.KeyRoute.String(job.Route), tracing.KeyAttempt.Int(job.Attempt)))
		err = errors.New("the handler did not return") // unless it does
		defer func() { tracing.End(span, err) }()
		result, err = h.Process(ctx, job)
		return result, err
	})
}
