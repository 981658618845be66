package worker

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/hark-push/hark/backends"
	"github.com/hark-push/hark/metrics"
	"github.com/hark-push/hark/processor"
)

// metricsOf returns the handler of /metrics: what the processors and the backends count, and the
// process.
func metricsOf(b *backends.Backends, workers map[string]*processor.Processor) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		metrics.Collector(func() map[string]*processor.Processor { return workers }, attemptSeries...),
	)
	registry.MustRegister(b.Collectors()...)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

var attemptSeries = []metrics.Series[map[string]*processor.Processor]{
	metrics.Gauges("hark_attempts_running", "Attempts that this worker is at now.", []string{"route"}, func(workers map[string]*processor.Processor, tell metrics.Tell) {
		for route, p := range workers {
			tell(float64(p.Stats().Running), route)
		}
	}),
	metrics.Counters("hark_attempts_total", "Attempts that have ended here, by how.", []string{"route", "outcome"}, func(workers map[string]*processor.Processor, tell metrics.Tell) {
		for route, p := range workers {
			s := p.Stats()
			for outcome, n := range map[string]int64{"succeeded": s.Succeeded, "failed": s.Failed, "returned": s.Returned, "overtaken": s.Overtaken} {
				tell(float64(n), route, outcome)
			}
		}
	}),
}
