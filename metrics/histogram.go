package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Buckets of histograms of times, in seconds, each about two and a half times the one before. Who
// scrapes native histograms gets finer ones.
var (
	// Quick are those of what takes a few milliseconds when all is well.
	Quick = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}
	// Calls are those of HTTP calls, of which there are many kinds, and some wait.
	Calls = []float64{.001, .005, .025, .1, .5, 1, 5, 30}
	// Slow are those of what takes as long as work does.
	Slow = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400}
)

// Histogram counts times. The zero value, and nil, count nothing. It takes no lock and allocates
// nothing, save when a native bucket is met for the first time.
type Histogram struct{ observer prometheus.Observer }

// Observe counts a time.
func (h *Histogram) Observe(d time.Duration) {
	if h != nil && h.observer != nil {
		h.observer.Observe(d.Seconds())
	}
}

// Histograms are those of one name, one for each of the values that its labels have.
type Histograms struct{ *prometheus.HistogramVec }

// NewHistograms returns histograms with classic buckets, which are native ones, too, for who asks
// for them by protocol buffers. Native buckets are at most a tenth wider than those before, and 160
// at most. The unit is the last word of the name.
func NewHistograms(name, help string, buckets []float64, labels ...string) Histograms {
	return Histograms{prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
	}, labels)}
}

// Of returns the one with values of the labels, in their order. It takes a lock: whoever counts
// often keeps what it returns.
func (h Histograms) Of(labels ...string) *Histogram {
	return &Histogram{h.WithLabelValues(labels...)}
}

// NewCounters returns counters of one name, one for each of the values that its labels have. The
// name ends with _total. Whoever counts often keeps what WithLabelValues returns.
func NewCounters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

// NewRegistry returns a registry with what a process tells of itself, and all.
func NewRegistry(all ...prometheus.Collector) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registry.MustRegister(all...)
	return registry
}

// Handler shows over HTTP what a registry has, in the form that is asked for: text, or protocol
// buffers, in which histograms are native, too.
func Handler(registry *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}
