package main

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/hark-push/hark/servertest"
)

// TestChaos breaks one thing after the other under load. Nothing that was answered with
// 202 is lost, no request ends in two ways, no follower has a gap that it is not told of.
func TestChaos(t *testing.T) {
	c := newCluster(t, 3, 3)
	requests, long := chaosSize(t, 1500), 7*time.Second
	if requests >= 10_000 {
		long = 30 * time.Second
	}
	faults := []struct {
		name string
		do   func()
	}{
		{"a worker is killed", func() { c.replaceWorker(0) }},
		{"a gateway is killed", func() { c.replaceGateway(1) }},
		{"RabbitMQ is killed and started again", func() { c.rabbit.Kill(); c.rabbit.Restart() }},
		{"one gateway's connections to Redis are silent", func() {
			c.proxy.Drop(servertest.ToServer | servertest.ToClient)
			time.Sleep(long) // the fault itself
			c.proxy.Restore()
		}},
		{"Redis is paused", func() {
			c.redis.Pause()
			time.Sleep(long) // the fault itself: longer than the store's timeout
			c.redis.Resume()
		}},
		{"Redis is killed and started again", func() { c.redis.Kill(); c.redis.Restart() }},
	}
	var ended atomic.Int64
	began := time.Now()
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		c.load(requests, 3, "300ms", &ended)
	}()
	for n, fault := range faults {
		due := int64((n + 1) * requests / (len(faults) + 2))
		for ended.Load() < due {
			select {
			case <-loaded:
				t.Fatal("the load ended before the faults")
			case <-time.After(time.Millisecond):
			}
			if time.Since(began) > 8*time.Minute {
				t.Fatalf("stuck before %q: %d ended", fault.name, ended.Load())
			}
		}
		t.Logf("%v: %s after %d", time.Since(began).Round(time.Millisecond), fault.name, ended.Load())
		fault.do()
	}
	<-loaded
	c.report(requests, &ended, began)
}
