package blackbox_test

import (
	"sync/atomic"
	"testing"
	"time"
)

// TestManyNodes spreads requests and their followers over three gateways and three
// workers: every follower sees every event once and in order, every request ends once.
func TestManyNodes(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3)
	requests := chaosSize(t, 1500)
	var ended atomic.Int64
	began := time.Now()
	c.load(requests, 2, "5ms", &ended, atOnce)
	c.report(requests, &ended, began)
	if c.resets.Load() != 0 {
		t.Errorf("%d resets without a reason", c.resets.Load())
	}
	// Each of them knows all.
	for n := range 3 {
		c.node(n).eventually(func() bool {
			kinds := c.node(n).kinds()
			return kinds["gateway"] == 3 && kinds["worker"] == 3
		})
	}
	if n := c.node(0).figures("sleep")["processors"].(float64); n < 3 {
		t.Errorf("three workers are %v processors", n)
	}
}
