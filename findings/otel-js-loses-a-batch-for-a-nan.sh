#!/bin/sh
# One attribute or measurement that is NaN, infinite, or a whole number of 2^63 and more has the Collector refuse the whole request that OpenTelemetry's
# SDK for JavaScript exports as JSON, and so all spans, or all metrics, that were to go with it. As protobuf it is read.
#
# @opentelemetry/otlp-transformer 0.223.1, sdk-trace-base 2.12.1, sdk-metrics 2.12.1 (npm), Node 20.20.2; Go go.opentelemetry.io/collector/pdata v1.71.0
# (which reads requests for the Collector), Go 1.26.
#
# Guess: a double is a double in either form, "NaN" and "Infinity" being strings in ProtoJSON; what cannot be said is left out.
# Seen: NaN and Infinity become null, "doubleValue":null, and a whole number an intValue of any size, beyond an int64 too. The reader ends with an error at
# either. Each request has a second span or gauge, which is lost as well:
#
#                        protobuf  JSON
#   attribute 0.5        2         2
#   attribute NaN        2         refused
#   attribute Infinity   2         refused
#   attribute 2 ** 63    2         refused
#   gauge 0.5            2         2
#   gauge NaN            2         refused
#   gauge Infinity       2         refused
#
# What to do: export protobuf (exporter-trace-otlp-proto and its like; OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf), or look at numbers before they are given
# to a span or an instrument.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"
echo '{"private": true, "type": "module"}' >package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel=error @opentelemetry/api@1.9.1 @opentelemetry/otlp-transformer@0.223.1 \
	@opentelemetry/sdk-trace-base@2.12.1 @opentelemetry/sdk-metrics@2.12.1
cat >write.mjs <<'EOF'
import { writeFileSync } from 'node:fs';
import { JsonMetricsSerializer, JsonTraceSerializer, ProtobufMetricsSerializer, ProtobufTraceSerializer } from '@opentelemetry/otlp-transformer';
import { AggregationTemporality, InMemoryMetricExporter, MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';

for (const [i, value] of [0.5, NaN, Infinity, 2 ** 63].entries()) {
  const kept = new InMemorySpanExporter();
  const tracer = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(kept)] }).getTracer('finding');
  tracer.startSpan('other').end();
  tracer.startSpan('one').setAttribute('ratio', value).end();
  writeFileSync(`trace-${i}.json`, JsonTraceSerializer.serializeRequest(kept.getFinishedSpans()));
  writeFileSync(`trace-${i}.pb`, ProtobufTraceSerializer.serializeRequest(kept.getFinishedSpans()));
}
for (const [i, value] of [0.5, NaN, Infinity].entries()) {
  const kept = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
  const reader = new PeriodicExportingMetricReader({ exporter: kept, exportIntervalMillis: 3_600_000 });
  const meter = new MeterProvider({ readers: [reader] }).getMeter('finding');
  meter.createGauge('other').record(1);
  meter.createGauge('ratio').record(value);
  await reader.forceFlush();
  const [metrics] = kept.getMetrics();
  writeFileSync(`metric-${i}.json`, JsonMetricsSerializer.serializeRequest(metrics));
  writeFileSync(`metric-${i}.pb`, ProtobufMetricsSerializer.serializeRequest(metrics));
}
process.exit();
EOF
node write.mjs
cat >main.go <<'EOF'
package main

import (
	"fmt"
	"os"
	"strings"

	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// request is what both kinds of requests can do.
type request interface {
	UnmarshalJSON([]byte) error
	UnmarshalProto([]byte) error
}

// read says how many spans or metrics there are in a request.
func read(kind string, i int, form string) string {
	data, err := os.ReadFile(fmt.Sprintf("%s-%d.%s", kind, i, form))
	if err != nil {
		return err.Error()
	}
	traces, metrics := ptraceotlp.NewExportRequest(), pmetricotlp.NewExportRequest()
	into, count := request(traces), func() int { return traces.Traces().SpanCount() }
	if kind == "metric" {
		into, count = metrics, func() int { return metrics.Metrics().MetricCount() }
	}
	unmarshal := into.UnmarshalJSON
	if form == "pb" {
		unmarshal = into.UnmarshalProto
	}
	if unmarshal(data) != nil {
		return "refused"
	}
	return fmt.Sprint(count())
}

func main() {
	var seen strings.Builder
	row := func(name, kind string, i int) {
		fmt.Fprintf(&seen, "%-20s %-9s %s\n", name, read(kind, i, "pb"), read(kind, i, "json"))
	}
	for i, value := range []string{"0.5", "NaN", "Infinity", "2 ** 63"} {
		row("attribute "+value, "trace", i)
	}
	for i, value := range []string{"0.5", "NaN", "Infinity"} {
		row("gauge "+value, "metric", i)
	}
	fmt.Print(seen.String())
	const want = `attribute 0.5        2         2
attribute NaN        2         refused
attribute Infinity   2         refused
attribute 2 ** 63    2         refused
gauge 0.5            2         2
gauge NaN            2         refused
gauge Infinity       2         refused
`
	if seen.String() != want {
		os.Exit(1)
	}
}
EOF
go mod init finding >go.log 2>&1
go get go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp@v1.71.0 go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp@v1.71.0 >>go.log 2>&1
go build -o find . || {
	cat go.log
	exit 1
}
timeout 60 ./find
