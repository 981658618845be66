package scene

import "testing"

func TestMedian(t *testing.T) {
	for want, values := range map[float64][]float64{0: nil, 3: {3}, 2.5: {4, 1, 2, 3}, 2: {9, 1, 2}} {
		if got := median(values); got != want {
			t.Errorf("%v: %v", values, got)
		}
	}
}

func TestDeviation(t *testing.T) {
	if got := deviation([]float64{1, 2, 3, 100}); got != 1 {
		t.Error(got)
	}
}
