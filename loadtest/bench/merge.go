package bench

import (
	"cmp"
	"fmt"
	"slices"
)

// Merged returns what was run several times as one run, of medians. A run that failed fails all.
func (r *Results) Merged() []*Run {
	var order []string
	same := make(map[string][]Run)
	for _, run := range r.Runs {
		key := fmt.Sprint(run.Scene, run.Target, run.Server, run.Backends, run.Settings)
		if same[key] == nil {
			order = append(order, key)
		}
		same[key] = append(same[key], run)
	}
	merged := make([]*Run, len(order))
	for i, key := range order {
		merged[i] = merge(same[key])
	}
	return merged
}

func merge(runs []Run) *Run {
	if i := slices.IndexFunc(runs, func(r Run) bool { return r.Failed != "" }); i >= 0 {
		return &runs[i]
	}
	m := runs[0]
	m.Figures, m.Series = nil, nil
	for _, f := range runs[0].Figures {
		var values []float64
		for _, r := range runs {
			if v, ok := r.Figure(f.Name); ok {
				values = append(values, v)
			}
		}
		f.Value = Median(values)
		m.Figures = append(m.Figures, f)
	}
	for _, s := range runs[0].Series {
		var curves []Series
		for _, r := range runs {
			if other, ok := r.Curve(s.Name); ok {
				curves = append(curves, other)
			}
		}
		m.Series = append(m.Series, middle(curves))
	}
	return &m
}

// middle returns the medians of curves along the same x, else the curve that is the middle one by
// its highest point but for the last tenth, as curves of percentiles end in single events.
func middle(curves []Series) Series {
	first := curves[0]
	for _, c := range curves[1:] {
		if !slices.EqualFunc(c.Points, first.Points, func(a, b Point) bool { return a[0] == b[0] }) {
			high := func(s Series) float64 {
				if len(s.Points) == 0 {
					return 0
				}
				return s.Points[len(s.Points)*9/10][1]
			}
			slices.SortStableFunc(curves, func(a, b Series) int { return cmp.Compare(high(a), high(b)) })
			return curves[(len(curves)-1)/2]
		}
	}
	first.Points = slices.Clone(first.Points)
	for i := range first.Points {
		values := make([]float64, len(curves))
		for j, c := range curves {
			values[j] = c.Points[i][1]
		}
		first.Points[i][1] = Median(values)
	}
	return first
}

// Median returns the middle one, zero of none.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}
