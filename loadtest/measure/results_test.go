package measure

import (
	"testing"
	"time"
)

func TestLatencies(t *testing.T) {
	h := NewHistogram()
	for i := range 1000 {
		Record(h, time.Duration(i+1)*time.Millisecond)
	}
	Record(h, time.Hour) // beyond the range
	r := Latencies("latency", h)
	if p50 := r.Figures[0].Value; p50 < 499 || p50 > 502 {
		t.Errorf("p50 is %v", p50)
	}
	if highest := r.Figures[4].Value; highest < 60_000 {
		t.Errorf("the highest is %v", highest)
	}
	points := r.Series[0].Points
	for i := 1; i < len(points); i++ {
		if points[i][0] < points[i-1][0] || points[i][1] < points[i-1][1] {
			t.Errorf("%v after %v", points[i], points[i-1])
		}
	}
}
