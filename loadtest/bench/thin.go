package bench

import (
	"math"
	"strconv"
)

// Thin returns the results as they are kept for the record: rounds taken together, numbers rounded
// to four digits, and curves of some points only.
func (r *Results) Thin() *Results {
	thin := &Results{Header: r.Header}
	for _, run := range r.Merged() {
		kept := *run
		kept.Figures, kept.Series = nil, nil
		for _, f := range run.Figures {
			f.Value = rounded(f.Value)
			kept.Figures = append(kept.Figures, f)
		}
		for _, s := range run.Series {
			s.Points = thinned(s.Points)
			kept.Series = append(kept.Series, s)
		}
		thin.Runs = append(thin.Runs, kept)
	}
	return thin
}

// thinned returns as many of the points as a plot of a curve needs, the ends among them.
func thinned(points []Point) []Point {
	const most = 30
	n := min(most, len(points))
	kept := make([]Point, n)
	for i := range kept {
		at := i
		if n == most {
			at = i * (len(points) - 1) / (most - 1)
		}
		kept[i] = Point{roundedX(points[at][0]), rounded(points[at][1])}
	}
	return kept
}

// roundedX rounds an x. High percentiles differ far behind the point, so what they are short of 100
// is rounded by itself.
func roundedX(x float64) float64 {
	if x <= 90 || x >= 100 {
		return rounded(x)
	}
	x, _ = strconv.ParseFloat(strconv.FormatFloat(100-rounded(100-x), 'f', 7, 64), 64)
	return x
}

func rounded(v float64) float64 {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return v
	}
	v, _ = strconv.ParseFloat(strconv.FormatFloat(v, 'g', 4, 64), 64)
	return v
}
