// Package tracing follows requests through Hark by OpenTelemetry: the call that submits one, its
// way through the queue, its processing, the push of its events, and the deliveries to webhooks are
// spans of one trace.
//
// What holds them together is in the request: the trace context of its submission (W3C Trace
// Context) is stored with it, reaches processors among its headers, and stands in each of its
// events. So nothing has to be carried beside the work, and no process need know another one's
// spans.
//
// Each function wraps one thing that the rest of Hark has anyway; where nothing is traced nothing
// is wrapped, and costs nothing.
package tracing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/hark-push/hark/lifecycle"
)

// Attributes of spans that are Hark's own.
const (
	KeyRequest  = attribute.Key("hark.request.id")
	KeyRoute    = attribute.Key("hark.route")
	KeyAttempt  = attribute.Key("hark.attempt")
	keyEvent    = attribute.Key("hark.event.type")
	keyChannel  = attribute.Key("hark.channel.kind")
	keyDelivery = attribute.Key("hark.webhook.id")
)

// Options of [Start].
type Options struct {
	// Endpoint is where spans are sent, an OTLP collector like http://127.0.0.1:4318; over HTTP,
	// and without a path, they go to /v1/traces. "" for what OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or
	// OTEL_EXPORTER_OTLP_ENDPOINT says.
	Endpoint string
	// Service names this program, unless OTEL_SERVICE_NAME does.
	Service string
	Logger  *slog.Logger
}

// Start returns what makes spans, and a function that sends what was not sent yet, until its
// context ends, and stops. It returns nil for both if there is nowhere to send them. Further
// variables of OpenTelemetry hold too, such as OTEL_TRACES_SAMPLER. While the collector is away
// spans are dropped; nothing waits for it.
func Start(ctx context.Context, o Options) (trace.Tracer, func(context.Context), error) {
	if o.Endpoint == "" {
		named := cmp.Or(os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT"))
		if named == "" || os.Getenv("OTEL_SDK_DISABLED") == "true" {
			return nil, nil, nil
		}
	}
	exporter, err := newExporter(ctx, o.Endpoint)
	if err != nil {
		return nil, nil, fmt.Errorf("tracing: %w", err)
	}
	LogErrors(o.Logger)
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(Resource(ctx, o.Service, o.Logger)))
	stop := func(ctx context.Context) {
		if err := provider.Shutdown(ctx); err != nil {
			o.Logger.Warn("the last spans could not be sent", slog.Any("error", err))
		}
	}
	return provider.Tracer("github.com/hark-push/hark"), stop, nil
}

// Resource returns what describes this process to a collector. service names the program, unless
// OTEL_SERVICE_NAME does.
func Resource(ctx context.Context, service string, log *slog.Logger) *resource.Resource {
	who, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", service)), resource.WithFromEnv(), resource.WithTelemetrySDK(), resource.WithHost())
	if err != nil {
		log.Warn("not all of what describes this process to a collector could be found", slog.Any("error", err))
	}
	return who
}

// LogErrors has what the exporters of this process cannot send logged.
func LogErrors(log *slog.Logger) {
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { // one for the process
		log.Warn("spans or metrics could not be sent", slog.Any("error", err))
	}))
}

// The protocols of OTLP, as variables of OpenTelemetry name them.
const (
	GRPC         = "grpc"
	HTTPProtobuf = "http/protobuf"
	HTTPJSON     = "http/json"
)

// Protocol returns the protocol that a variable names, or OTEL_EXPORTER_OTLP_PROTOCOL if that does
// not; http/protobuf if neither does. Any other is an error that names the variable.
func Protocol(variable string) (string, error) {
	const general = "OTEL_EXPORTER_OTLP_PROTOCOL"
	switch protocol := cmp.Or(os.Getenv(variable), os.Getenv(general), HTTPProtobuf); protocol {
	case GRPC, HTTPProtobuf, HTTPJSON:
		return protocol, nil
	default:
		if os.Getenv(variable) == "" {
			variable = general
		}
		return "", fmt.Errorf("%s: %q is not allowed: want grpc, http/protobuf or http/json", variable, protocol)
	}
}

// newExporter returns what sends spans, by the protocol that the variables of OpenTelemetry name.
func newExporter(ctx context.Context, at string) (sdktrace.SpanExporter, error) {
	endpoint, err := url.Parse(at)
	if err != nil {
		return nil, err
	}
	protocol, err := Protocol("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
	if err != nil {
		return nil, err
	}
	if protocol == GRPC {
		if at == "" {
			return otlptracegrpc.New(ctx)
		}
		return otlptracegrpc.New(ctx, otlptracegrpc.WithEndpointURL(at))
	}
	// Between the others the exporter chooses by the same variables.
	if at == "" {
		return otlptracehttp.New(ctx)
	}
	if endpoint.Path == "" || endpoint.Path == "/" {
		endpoint.Path = "/v1/traces"
	}
	return otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(endpoint.String()))
}

// StopTime is how long the last spans may take at the end of a process.
const StopTime = 5 * time.Second

var propagator propagation.TraceContext

// Parent returns ctx with the span of a trace context as the current one; ctx itself if there is
// none.
func Parent(ctx context.Context, traceparent, tracestate string) context.Context {
	if traceparent == "" {
		return ctx
	}
	return propagator.Extract(ctx, propagation.MapCarrier{"traceparent": traceparent, "tracestate": tracestate})
}

// Context returns the trace context of the current span of ctx, "" if there is none.
func Context(ctx context.Context) (traceparent, tracestate string) {
	carrier := propagation.MapCarrier{}
	propagator.Inject(ctx, carrier)
	return carrier["traceparent"], carrier["tracestate"]
}

// End ends a span, as failed if there is an error. Of a failure of a request it keeps the code,
// because the text is for those who may see the request.
func End(span trace.Span, err error) {
	if f, ok := errors.AsType[*lifecycle.Failure](err); ok {
		span.SetStatus(codes.Error, f.Code)
	} else if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}
