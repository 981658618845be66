package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
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

// report is what is printed of one run.
type report struct {
	Target string   `json:"target"`
	Scene  string   `json:"scene"`
	Args   []string `json:"args"` // as given
	Took   float64  `json:"took"` // seconds, starting the target not included
	results

	Server   string            `json:"server"`
	Backends string            `json:"backends"`
	Settings map[string]string `json:"settings"`         // flags with their values, given or not
	Failed   string            `json:"failed,omitempty"` // why there are no results
}

// write writes it as a results file, which package bench reads.
func (r *report) write(w io.Writer) error {
	return json.NewEncoder(w).Encode(struct {
		bench.Header
		Runs []*report `json:"runs"`
	}{bench.Here(), []*report{r}})
}

func (r *report) print() {
	fmt.Println(r.Target)
	if r.table != nil {
		r.table(os.Stdout)
		fmt.Printf("took %.0f s\n", r.Took)
		return
	}
	for _, f := range r.Figures {
		fmt.Printf("%-44s %12.2f %s\n", f.Name, f.Value, f.Unit)
	}
	for _, s := range r.Series {
		if len(s.Points) > 10 { // a plot says it better
			continue
		}
		fmt.Printf("%s: %s by %s\n", s.Name, s.Y.Label(), s.X.Label())
		for _, p := range s.Points {
			fmt.Printf("%44.6g %12.2f\n", p[0], p[1])
		}
	}
	fmt.Printf("%-44s %12.2f %s\n", "took", r.Took, "s")
}

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

// median returns the middle one, zero of none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// deviation returns by how much values differ from their median, as a median.
func deviation(values []float64) float64 {
	middle, off := median(values), make([]float64, len(values))
	for i, v := range values {
		off[i] = math.Abs(v - middle)
	}
	return median(off)
}
