// Package brokertest holds every broker against the contract in package broker.
// A driver's own test opens it and calls [Run].
package brokertest

import (
	"context"
	"testing"
	"time"

	"github.com/hark-push/hark/broker"
)

// Facts are what a driver can do.
type Facts struct {
	Priorities int           // levels it tells apart strictly, 1 if there are none
	Spread     bool          // jobs lie in parts, and only those of one part have an order
	DelayGrain time.Duration // how much later than NotBefore a job may come on an idle machine
	Patience   time.Duration // after which a delivery that is due is given up; default a minute
}

// Run runs the suite. open returns a broker with the given routes, whose queues
// are empty, and closes it with t.Cleanup.
func Run(t *testing.T, f Facts, open func(t *testing.T, routes ...string) broker.Broker) {
	if f.Patience <= 0 {
		f.Patience = time.Minute
	}
	for _, test := range []struct {
		name string
		run  func(*suite)
	}{
		{"Deliver", testDeliver},
		{"UnknownRoute", testUnknownRoute},
		{"ContextEnded", testContextEnded},
		{"Prefetch", testPrefetch},
		{"Order", testOrder},
		{"Priority", testPriority},
		{"Delay", testDelay},
		{"Return", testReturn},
		{"ConsumerGoesAway", testConsumerGoesAway},
		{"Drain", testDrain},
		{"Routes", testRoutes},
		{"Discard", testDiscard},
		{"Concurrency", testConcurrency},
		{"Close", testClose},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.run(&suite{T: t, Broker: open(t, "a", "b"), facts: f, ctx: t.Context()})
		})
	}
}

// suite is one test with its broker.
type suite struct {
	*testing.T
	broker.Broker
	facts Facts
	ctx   context.Context
}

func (s *suite) publish(jobs ...broker.Job) {
	s.Helper()
	for _, j := range jobs {
		if err := s.Publish(s.ctx, j); err != nil {
			s.Fatalf("publish %s: %v", j.ID, err)
		}
	}
}

// job names a job of route a.
func job(id string) broker.Job { return broker.Job{ID: id, Route: "a"} }

// consuming is a Consume that passes on what it is given.
type consuming struct {
	s      *suite
	given  chan broker.Delivery
	finish chan struct{} // each receive lets one handle return
	cancel context.CancelFunc
	ended  chan error
}

// consume starts a Consume whose handles block until the test lets them return.
func (s *suite) consume(prefetch int, routes ...string) *consuming {
	ctx, cancel := context.WithCancel(s.ctx)
	c := &consuming{s: s, given: make(chan broker.Delivery, 1000), finish: make(chan struct{}), cancel: cancel, ended: make(chan error, 1)}
	go func() {
		c.ended <- s.Consume(ctx, routes, prefetch, func(d broker.Delivery) {
			c.given <- d
			<-c.finish
		})
	}()
	return c
}

// next waits for a delivery.
func (c *consuming) next() broker.Delivery {
	c.s.Helper()
	select {
	case d := <-c.given:
		return d
	case err := <-c.ended:
		c.s.Fatalf("consume ended: %v", err)
	case <-time.After(c.s.facts.Patience):
		c.s.Fatal("no delivery")
	}
	return nil
}

// done acknowledges a delivery and lets its handle return.
func (c *consuming) done(d broker.Delivery) {
	c.s.Helper()
	if err := d.Ack(); err != nil {
		c.s.Errorf("ack %s: %v", d.Job().ID, err)
	}
	c.finish <- struct{}{}
}

// stop ends the Consume and waits for it.
func (c *consuming) stop() {
	c.s.Helper()
	c.cancel()
	close(c.finish)
	c.wait()
}

func (c *consuming) wait() error {
	c.s.Helper()
	select {
	case err := <-c.ended:
		return err
	case <-time.After(c.s.facts.Patience):
		c.s.Fatal("consume does not end")
		return nil
	}
}

// order takes n jobs one after the other and returns their ids.
func (c *consuming) order(n int) []string {
	c.s.Helper()
	var ids []string
	for range n {
		d := c.next()
		ids = append(ids, d.Job().ID)
		c.done(d)
	}
	return ids
}
