// Package measure is what a scene returns: figures and curves, and latencies as both.
package measure

import (
	"io"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/hark-push/hark/loadtest/bench"
)

// Results is what a scene has measured.
type Results struct {
	Figures []bench.Figure `json:"figures"`
	Series  []bench.Series `json:"series,omitempty"`

	// Prints it for people, where figures one below the other are no good; nil: they are.
	Table func(out io.Writer) `json:"-"`
}

// Figure spares the names of the fields.
func Figure(name string, value float64, unit string) bench.Figure {
	return bench.Figure{Name: name, Value: value, Unit: unit}
}

// Axis spares the names of the fields.
func Axis(name, unit string) bench.Axis { return bench.Axis{Name: name, Unit: unit} }

// NewHistogram returns one of durations up to a minute, in microseconds.
func NewHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, 60_000_000, 3) }

// Record counts a duration; one beyond the range counts as its end.
func Record(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(min(max(1, d.Microseconds()), h.HighestTrackableValue()))
}

// Millis returns a percentile of what a histogram has recorded.
func Millis(h *hdrhistogram.Histogram, percentile float64) float64 {
	return float64(h.ValueAtPercentile(percentile)) / 1000
}

// Latencies returns what is said of a latency.
func Latencies(name string, h *hdrhistogram.Histogram) Results {
	r := Results{Figures: []bench.Figure{
		Figure(name+" p50", Millis(h, 50), "ms"),
		Figure(name+" p90", Millis(h, 90), "ms"),
		Figure(name+" p99", Millis(h, 99), "ms"),
		Figure(name+" p99.9", Millis(h, 99.9), "ms"),
		Figure(name+" max", float64(h.Max())/1000, "ms"),
	}}
	curve := bench.Series{Name: name, X: Axis("percentile", "%"), Y: Axis("latency", "ms")}
	for _, b := range h.CumulativeDistribution() {
		curve.Points = append(curve.Points, bench.Point{b.Quantile, float64(b.ValueAt) / 1000})
	}
	r.Series = []bench.Series{curve}
	return r
}

// Add appends what else was measured.
func (r *Results) Add(other Results) {
	r.Figures = append(r.Figures, other.Figures...)
	r.Series = append(r.Series, other.Series...)
}
