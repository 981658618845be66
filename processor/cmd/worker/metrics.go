package main

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/hark-push/hark/backends"
	"github.com/hark-push/hark/processor"
)

// metricsOf returns the handler of /metrics: what the processors and the backends count, and the
// process.
func metricsOf(b *backends.Backends, workers map[string]*processor.Processor) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		attemptCollector(workers),
	)
	registry.MustRegister(b.Collectors()...)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

// attemptCollector has the processor of each route.
type attemptCollector map[string]*processor.Processor

var (
	descRunning  = prometheus.NewDesc("hark_attempts_running", "Attempts that this worker is at now.", []string{"route"}, nil)
	descAttempts = prometheus.NewDesc("hark_attempts_total", "Attempts that have ended here, by how.", []string{"route", "outcome"}, nil)
)

// Describe implements [prometheus.Collector].
func (c attemptCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- descRunning
	ch <- descAttempts
}

// Collect implements [prometheus.Collector].
func (c attemptCollector) Collect(ch chan<- prometheus.Metric) {
	for route, p := range c {
		s := p.Stats()
		ch <- prometheus.MustNewConstMetric(descRunning, prometheus.GaugeValue, float64(s.Running), route)
		for outcome, n := range map[string]int64{"succeeded": s.Succeeded, "failed": s.Failed, "returned": s.Returned, "overtaken": s.Overtaken} {
			ch <- prometheus.MustNewConstMetric(descAttempts, prometheus.CounterValue, float64(n), route, outcome)
		}
	}
}
