package traced_test

import (
	"context"
	"errors"
	"testing"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/processor"
	"github.com/hark-push/hark/processor/traced"
)

func TestHandler(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer("")
	job := processor.NewJob(lifecycle.Request{
		ID: "r", Route: "a", Attempt: 2, Headers: map[string]string{"Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
	}, lifecycle.Content{}, nil)
	var inside trace.SpanContext
	for _, c := range []struct {
		outcome func() error
		code    codes.Code
		text    string
	}{
		{func() error { return nil }, codes.Unset, ""},
		{func() error { return errors.New("broken") }, codes.Error, "broken"},
		{func() error { return processor.Fail("no-picture", "This is no picture of Alice.", nil) }, codes.Error, "no-picture"},
		{func() error { panic("x") }, codes.Error, "the handler did not return"},
	} {
		handler := traced.Handler(tracer, processor.HandlerFunc(func(ctx context.Context, _ *processor.Job) (processor.Result, error) {
			inside = trace.SpanContextFromContext(ctx)
			return processor.Result{}, c.outcome()
		}))
		func() {
			defer func() { _ = recover() }()
			_, _ = handler.Process(t.Context(), job)
		}()
		ended := recorder.Ended()
		span := ended[len(ended)-1]
		if span.Name() != "process a" || span.SpanContext().SpanID() != inside.SpanID() || span.Parent().SpanID().String() != "b7ad6b7169203331" ||
			span.SpanContext().TraceID().String() != "0af7651916cd43dd8448eb211c80319c" || span.Status().Code != c.code || span.Status().Description != c.text {
			t.Errorf("%s %v %v", span.Name(), span.Parent(), span.Status())
		}
	}
	h := processor.HandlerFunc(func(context.Context, *processor.Job) (processor.Result, error) {
		return processor.Bytes("a/b", nil), nil
	})
	if result, err := traced.Handler(nil, h).Process(t.Context(), job); err != nil || result.Type != "a/b" {
		t.Errorf("%v %v", result, err)
	}
}
