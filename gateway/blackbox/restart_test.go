package blackbox_test

import (
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestRollingRestart restarts one gateway after the other under load, as a deployment
// does: each drains and ends well, its streams go on elsewhere, nothing is lost or reset.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 2)
	requests := chaosSize(t, 900)
	var ended atomic.Int64
	began := time.Now()
	// Each gateway has a stream that does not end by itself, however slow the machine is.
	var feeds sync.WaitGroup
	defer feeds.Wait()
	for n := range 3 {
		feeds.Go(func() { c.followFeed(t.Context(), n, "/v1/events", requests) })
	}
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		c.load(requests, 3, "200ms", &ended, atOnce)
	}()
	for n := range 3 {
		for due := int64((n + 1) * requests / 5); ended.Load() < due; {
			select {
			case <-loaded:
				t.Fatal("the load ended before the restarts")
			case <-time.After(time.Millisecond):
			}
		}
		old, next := c.node(n), c.startGateway()
		c.mu.Lock()
		c.nodes[n] = next
		c.mu.Unlock()
		if err := old.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := old.cmd.Wait(); err != nil {
			t.Errorf("gateway %d did not end well: %v", n, err)
		}
		t.Logf("%v: gateway %d restarted after %d", time.Since(began).Round(time.Millisecond), n, ended.Load())
	}
	<-loaded
	feeds.Wait()
	c.report(requests, &ended, began)
	if c.resumed.Load() < 3 || c.resets.Load() != 0 {
		t.Errorf("%d streams resumed, %d reset", c.resumed.Load(), c.resets.Load())
	}
}
