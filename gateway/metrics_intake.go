package main

import "github.com/prometheus/client_golang/prometheus"

type intakeCollector struct{ g *gateway }

var (
	descHTTP    = prometheus.NewDesc("hark_http_connections", "Connections that are no streams, open now, by whether a call is under way.", []string{"state"}, nil)
	descEvicted = prometheus.NewDesc("hark_http_evicted_total", "Connections without a call that were closed because there was no room.", nil, nil)
	descRefused = prometheus.NewDesc("hark_http_refused_total", "Connections that were refused because there was no room, or their address had its share.", nil, nil)
	descFailed  = prometheus.NewDesc("hark_accept_failures_total", "Times that no connection could be accepted, for want of descriptors mostly; it was tried again.", nil, nil)
	descPlaces  = prometheus.NewDesc("hark_connections_limit", "Connections that this node takes on at most, by kind.", []string{"kind"}, nil)
)

// Describe implements [prometheus.Collector].
func (c intakeCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descHTTP, descEvicted, descRefused, descFailed, descPlaces} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (c intakeCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.g.intake.Stats()
	ch <- prometheus.MustNewConstMetric(descHTTP, prometheus.GaugeValue, float64(s.Idle), "idle")
	ch <- prometheus.MustNewConstMetric(descHTTP, prometheus.GaugeValue, float64(s.Open-s.Idle), "active")
	ch <- prometheus.MustNewConstMetric(descEvicted, prometheus.CounterValue, float64(s.Evicted))
	ch <- prometheus.MustNewConstMetric(descRefused, prometheus.CounterValue, float64(s.Refused))
	ch <- prometheus.MustNewConstMetric(descFailed, prometheus.CounterValue, float64(s.Failed))
	for kind, n := range map[string]int{"push": c.g.places.push, "http": c.g.places.plain, "all": c.g.places.all} {
		ch <- prometheus.MustNewConstMetric(descPlaces, prometheus.GaugeValue, float64(n), kind)
	}
}
