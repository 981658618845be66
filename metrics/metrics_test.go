package metrics_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/hark-push/hark/metrics"
)

// TestCollector: each kind of series is told under its name, with its labels, of one look at what
// is counted.
func TestCollector(t *testing.T) {
	type counts struct {
		open  int
		calls map[string]uint64
	}
	looks := 0
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.Collector(func() counts {
		looks++
		return counts{3, map[string]uint64{"a": 7}}
	},
		metrics.Gauge("open", "Open now.", func(c counts) int { return c.open }),
		metrics.Gauge("full", "1 while it is full.", func(c counts) float64 { return metrics.Truth(c.open == 3) }),
		metrics.Counters("calls_total", "Calls, by who made them.", []string{"caller"}, func(c counts, tell metrics.Tell) {
			for caller, n := range c.calls {
				tell(float64(n), caller)
			}
		}),
	))
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range []string{
		"# HELP open Open now.", "# TYPE open gauge", "open 3", "full 1",
		"# TYPE calls_total counter", `calls_total{caller="a"} 7`,
	} {
		if !strings.Contains(answer.Body.String(), line+"\n") {
			t.Errorf("%q is not said: %s", line, answer.Body)
		}
	}
	if looks != 1 {
		t.Errorf("it looked %d times", looks)
	}
}
