package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hark-push/hark/backends"
	"github.com/hark-push/hark/metrics"
	"github.com/hark-push/hark/processor"
)

// registryOf returns all series of a worker: what the processors and the backends count, and the
// process.
func registryOf(b *backends.Backends, workers map[string]*processor.Processor) *prometheus.Registry {
	return metrics.NewRegistry(append(b.Collectors(), backends.Attempts(workers))...)
}
