package main

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics returns the handler of /metrics: what the hub counts, and the process.
func (g *gateway) metrics() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		hubCollector{g},
	)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

type hubCollector struct{ g *gateway }

var (
	descOpen      = prometheus.NewDesc("hark_connections", "Push connections open now.", []string{"wire"}, nil)
	descDelivered = prometheus.NewDesc("hark_messages_delivered_total", "Messages handed to followers.", nil, nil)
	descResets    = prometheus.NewDesc("hark_resets_total", "Losses told to followers in-band.", nil, nil)
	descResyncs   = prometheus.NewDesc("hark_resyncs_total", "Followers that missed a bell and read the store.", nil, nil)
	descClosed    = prometheus.NewDesc("hark_connections_closed_total", "Push connections closed, by reason.", []string{"reason"}, nil)
)

// Describe implements [prometheus.Collector].
func (c hubCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descOpen, descDelivered, descResets, descResyncs, descClosed} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (c hubCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.g.hub.Stats()
	ch <- prometheus.MustNewConstMetric(descOpen, prometheus.GaugeValue, float64(s.Streams), "sse")
	ch <- prometheus.MustNewConstMetric(descOpen, prometheus.GaugeValue, float64(s.Sockets), "websocket")
	ch <- prometheus.MustNewConstMetric(descDelivered, prometheus.CounterValue, float64(s.Delivered))
	ch <- prometheus.MustNewConstMetric(descResets, prometheus.CounterValue, float64(s.Resets))
	ch <- prometheus.MustNewConstMetric(descResyncs, prometheus.CounterValue, float64(s.Resyncs))
	for reason, n := range s.Closed {
		ch <- prometheus.MustNewConstMetric(descClosed, prometheus.CounterValue, float64(n), reason)
	}
}
