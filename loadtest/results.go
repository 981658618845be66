package main

import (
	"io"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/hark-push/hark/loadtest/bench"
)

// results is what a scene has measured.
type results struct {
	Figures []bench.Figure `json:"figures"`
	Series  []bench.Series `json:"series,omitempty"`

	table func(out io.Writer) // prints it for people, where figures one below the other are no good; nil: they are
}

// figure spares the names of the fields, as axis does.
func figure(name string, value float64, unit string) bench.Figure {
	return bench.Figure{Name: name, Value: value, Unit: unit}
}

func axis(name, unit string) bench.Axis { return bench.Axis{Name: name, Unit: unit} }

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, 60_000_000, 3) } // µs

// record counts a duration; one beyond the range counts as its end.
func record(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(min(max(1, d.Microseconds()), h.HighestTrackableValue()))
}

// millis returns a percentile of what a histogram has recorded.
func millis(h *hdrhistogram.Histogram, percentile float64) float64 {
	return float64(h.ValueAtPercentile(percentile)) / 1000
}

// latencies returns what is said of a latency.
func latencies(name string, h *hdrhistogram.Histogram) results {
	r := results{Figures: []bench.Figure{
		figure(name+" p50", millis(h, 50), "ms"),
		figure(name+" p90", millis(h, 90), "ms"),
		figure(name+" p99", millis(h, 99), "ms"),
		figure(name+" p99.9", millis(h, 99.9), "ms"),
		figure(name+" max", float64(h.Max())/1000, "ms"),
	}}
	curve := bench.Series{Name: name, X: axis("percentile", "%"), Y: axis("latency", "ms")}
	for _, b := range h.CumulativeDistribution() {
		curve.Points = append(curve.Points, bench.Point{b.Quantile, float64(b.ValueAt) / 1000})
	}
	r.Series = []bench.Series{curve}
	return r
}

// add appends what else was measured.
func (r *results) add(other results) {
	r.Figures = append(r.Figures, other.Figures...)
	r.Series = append(r.Series, other.Series...)
}
