// Package metrics shows Prometheus what others count anyway. A collector takes all that somebody
// counts at once, whenever it is asked, and its series say what of that is told under which name.
package metrics

import "github.com/prometheus/client_golang/prometheus"

// Series is what is told, under one name, of what an S has counted.
type Series[S any] struct {
	desc    *prometheus.Desc
	collect func(counted S, ch chan<- prometheus.Metric)
}

// Tell tells a value, with those of its series' labels in their order.
type Tell func(value float64, labels ...string)

type number interface {
	~int | ~int64 | ~uint64 | ~float64
}

// Gauge is a value that goes up and down. The unit is the last word of the name, if it has one.
func Gauge[S any, N number](name, help string, value func(S) N) Series[S] {
	return Gauges(name, help, nil, single(value))
}

// Counter is a value that only grows while the process lives. Its name ends with _total.
func Counter[S any, N number](name, help string, value func(S) N) Series[S] {
	return Counters(name, help, nil, single(value))
}

// Gauges is a gauge for each of the values that the labels have.
func Gauges[S any](name, help string, labels []string, values func(S, Tell)) Series[S] {
	return series(prometheus.GaugeValue, name, help, labels, values)
}

// Counters is a counter for each of the values that the labels have.
func Counters[S any](name, help string, labels []string, values func(S, Tell)) Series[S] {
	return series(prometheus.CounterValue, name, help, labels, values)
}

func single[S any, N number](value func(S) N) func(S, Tell) {
	return func(counted S, tell Tell) { tell(float64(value(counted))) }
}

func series[S any](kind prometheus.ValueType, name, help string, labels []string, values func(S, Tell)) Series[S] {
	desc := prometheus.NewDesc(name, help, labels, nil)
	return Series[S]{desc, func(counted S, ch chan<- prometheus.Metric) {
		values(counted, func(value float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(desc, kind, value, labels...)
		})
	}}
}

// Truth is 1 for what is so, as a gauge of a state has it, and 0 for what is not.
func Truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// Collector returns what tells series. take is called once each time that Prometheus asks, and may
// be called concurrently.
func Collector[S any](take func() S, series ...Series[S]) prometheus.Collector {
	return collector[S]{take, series}
}

type collector[S any] struct {
	take   func() S
	series []Series[S]
}

// Describe implements [prometheus.Collector].
func (c collector[S]) Describe(ch chan<- *prometheus.Desc) {
	for _, s := range c.series {
		ch <- s.desc
	}
}

// Collect implements [prometheus.Collector].
func (c collector[S]) Collect(ch chan<- prometheus.Metric) {
	counted := c.take()
	for _, s := range c.series {
		s.collect(counted, ch)
	}
}
