// Package otlp sends to a collector of OpenTelemetry, now and then, what a registry of Prometheus
// has. Nothing is counted twice: it reads the same series that /metrics shows.
package otlp

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	bridge "go.opentelemetry.io/contrib/bridges/prometheus"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/sdk/metric"
	collector "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/hark-push/hark/tracing"
)

// The variables of OpenTelemetry that are read here. Others the exporters read.
const (
	exporterVariable = "OTEL_METRICS_EXPORTER"
	endpointVariable = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
	generalVariable  = "OTEL_EXPORTER_OTLP_ENDPOINT"
	protocolVariable = "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL"
	disabledVariable = "OTEL_SDK_DISABLED"
)

// Options of [Start].
type Options struct {
	// Endpoint is where traces are sent, see [tracing.Options]. Metrics are sent there, too, if
	// OTEL_METRICS_EXPORTER is otlp; without a path, and over HTTP, to /v1/metrics.
	Endpoint string
	// Service names this program, unless OTEL_SERVICE_NAME does.
	Service string
	// Gatherer is what is sent. It is asked each OTEL_METRIC_EXPORT_INTERVAL milliseconds, by
	// default once a minute, by a goroutine of its own.
	Gatherer prometheus.Gatherer
	Logger   *slog.Logger
}

// Start has metrics sent until the function that it returns is called, which sends them once more
// and stops, at the latest when its context ends. It does nothing, and returns nil, if there is
// nowhere to send them: neither OTEL_EXPORTER_OTLP_METRICS_ENDPOINT nor OTEL_EXPORTER_OTLP_ENDPOINT
// is set, or OTEL_METRICS_EXPORTER is none. While the collector is away that is logged, and
// nothing waits for it.
func Start(ctx context.Context, o Options) (stop func(context.Context), err error) {
	endpoint, wanted, err := destination(o.Endpoint)
	if err != nil || !wanted {
		return nil, err
	}
	exporter, err := newExporter(ctx, endpoint)
	if err != nil {
		return nil, fmt.Errorf("metrics over OTLP: %w", err)
	}
	reader := metric.NewPeriodicReader(exporter, metric.WithProducer(bridge.NewMetricProducer(bridge.WithGatherer(o.Gatherer))))
	provider := metric.NewMeterProvider(metric.WithReader(reader), metric.WithResource(tracing.Resource(ctx, o.Service, o.Logger)))
	tracing.LogErrors(o.Logger)
	return func(ctx context.Context) {
		if err := provider.Shutdown(ctx); err != nil {
			o.Logger.Warn("the last metrics could not be sent", slog.Any("error", err))
		}
	}, nil
}

// destination returns where metrics are to be sent, "" if the exporter knows by its variables, and
// whether they are to be sent at all.
func destination(traces string) (endpoint string, wanted bool, err error) {
	named := os.Getenv(endpointVariable) != "" || os.Getenv(generalVariable) != ""
	switch exporter := os.Getenv(exporterVariable); {
	case os.Getenv(disabledVariable) == "true" || exporter == "none" || exporter == "prometheus":
		return "", false, nil
	case exporter != "" && exporter != "otlp":
		return "", false, fmt.Errorf("%s: %q is not allowed: want otlp, prometheus (which is /metrics) or none", exporterVariable, exporter)
	case named:
		return "", true, nil
	case exporter == "":
		return "", false, nil
	case traces == "":
		return "", false, fmt.Errorf("%s is otlp, and nothing says where to: set %s, like http://127.0.0.1:4318, or --traces", exporterVariable, generalVariable)
	}
	return traces, true, nil
}

// newExporter returns what sends metrics, by the protocol that the variables of OpenTelemetry name.
func newExporter(ctx context.Context, at string) (metric.Exporter, error) {
	protocol, err := tracing.Protocol(protocolVariable)
	if err != nil {
		return nil, err
	}
	if protocol == tracing.GRPC {
		if at == "" {
			return otlpmetricgrpc.New(ctx)
		}
		return otlpmetricgrpc.New(ctx, otlpmetricgrpc.WithEndpointURL(at))
	}
	var options []otlpmetrichttp.Option
	if at != "" {
		endpoint, err := url.Parse(at)
		if err != nil {
			return nil, err
		}
		if endpoint.Path == "" || endpoint.Path == "/" || endpoint.Path == "/v1/traces" {
			endpoint.Path = "/v1/metrics"
		}
		options = append(options, otlpmetrichttp.WithEndpointURL(endpoint.String()))
	}
	if protocol == tracing.HTTPJSON {
		for _, variable := range certificates {
			if os.Getenv(variable) != "" {
				return nil, fmt.Errorf("%s: metrics over http/json know only the certificates of the system; set %s to http/protobuf or grpc, or leave it out", variable, protocolVariable)
			}
		}
		options = append(options, otlpmetrichttp.WithCompression(otlpmetrichttp.NoCompression),
			otlpmetrichttp.WithHTTPClient(&http.Client{Transport: asJSON{http.DefaultTransport}}))
	}
	return otlpmetrichttp.New(ctx, options...)
}

// certificates are what the exporter leaves aside that is given a client of its own.
var certificates = []string{
	"OTEL_EXPORTER_OTLP_CERTIFICATE", "OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE",
	"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE",
}

// asJSON sends as JSON what the exporter of metrics sends, which knows only protocol buffers. Their
// JSON form is that of OTLP, with enumerations as numbers; ids of traces, which have one of their
// own there, are not among what is counted.
type asJSON struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t asJSON) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	_ = r.Body.Close()
	if err != nil {
		return nil, err
	}
	var sent collector.ExportMetricsServiceRequest
	if err := proto.Unmarshal(body, &sent); err != nil {
		return nil, err
	}
	if body, err = (protojson.MarshalOptions{UseEnumNumbers: true}).Marshal(&sent); err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Header.Set("Content-Type", "application/json")
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	return t.next.RoundTrip(r)
}
