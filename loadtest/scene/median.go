package scene

import (
	"math"
	"slices"
)

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
