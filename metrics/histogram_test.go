package metrics_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/hark-push/hark/metrics"
)

// TestHistogram: as text a histogram has its classic buckets, and by protocol buffers native ones
// besides.
func TestHistogram(t *testing.T) {
	all := metrics.NewHistograms("hark_test_seconds", "How long it took.", metrics.Quick, "of")
	h := all.Of("a")
	for _, d := range []time.Duration{time.Millisecond, 3 * time.Millisecond, time.Second} {
		h.Observe(d)
	}
	handler := metrics.Handler(metrics.NewRegistry(all))
	scrape := func(accept string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", "/metrics", nil)
		r.Header.Set("Accept", accept)
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, r)
		return answer
	}
	text := scrape("").Body.String()
	for _, line := range []string{
		"# TYPE hark_test_seconds histogram", `hark_test_seconds_bucket{of="a",le="0.001"} 1`, `hark_test_seconds_bucket{of="a",le="0.005"} 2`,
		`hark_test_seconds_bucket{of="a",le="+Inf"} 3`, `hark_test_seconds_sum{of="a"} 1.004`, `hark_test_seconds_count{of="a"} 3`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("%q is not said: %s", line, text)
		}
	}
	answer := scrape(`application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited`)
	decoder := expfmt.NewDecoder(answer.Body, expfmt.ResponseFormat(answer.Header()))
	for {
		var family dto.MetricFamily
		if err := decoder.Decode(&family); err != nil {
			t.Fatal("it is not among what came: ", err)
		}
		if family.GetName() != "hark_test_seconds" {
			continue
		}
		got := family.GetMetric()[0].GetHistogram()
		if len(got.GetPositiveSpan()) == 0 || got.GetSchema() < 3 || len(got.GetBucket()) != len(metrics.Quick) {
			t.Errorf("%v", got)
		}
		break
	}
	var nobody *metrics.Histogram
	nobody.Observe(time.Second) // counts nothing
}

// TestHistogramAllocates: to count a time costs no memory.
func TestHistogramAllocates(t *testing.T) {
	h := metrics.NewHistograms("hark_test_seconds", "How long it took.", metrics.Quick).Of()
	n := 0
	observe := func() { n++; h.Observe(time.Duration(n%16) * time.Millisecond) }
	for range 32 { // whatever buckets there are
		observe()
	}
	if allocs := testing.AllocsPerRun(1000, observe); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func BenchmarkHistogram(b *testing.B) {
	h := metrics.NewHistograms("hark_test_seconds", "How long it took.", metrics.Quick).Of()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for n := 0; pb.Next(); n++ {
			h.Observe(time.Duration(n%16) * time.Millisecond)
		}
	})
}
