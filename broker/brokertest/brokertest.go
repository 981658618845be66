// Package brokertest holds every broker against the contract in package broker.
// A driver's own test opens it and calls [Run].
package brokertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hark-push/hark/broker"
)

// Facts are what a driver can do.
type Facts struct {
	Priorities int           // levels it tells apart, 1 if it knows none
	DelayGrain time.Duration // how much later than NotBefore a job may come on an idle machine
	Patience   time.Duration // after which a delivery that is due is given up; default 20 seconds
}

// Run runs the suite. open returns a broker with the given routes, whose queues
// are empty, and closes it with t.Cleanup.
func Run(t *testing.T, f Facts, open func(t *testing.T, routes ...string) broker.Broker) {
	if f.Patience <= 0 {
		f.Patience = 20 * time.Second
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

func testDeliver(s *suite) {
	want := broker.Job{ID: "0190-_x", Route: "a", Priority: 3}
	s.publish(want)
	c := s.consume(4, "a")
	defer c.stop()
	d := c.next()
	got := d.Job()
	if s.facts.Priorities < 10 {
		got.Priority = want.Priority
	}
	if got != want || d.Redelivered() {
		s.Errorf("%+v, redelivered %v; want %+v", got, d.Redelivered(), want)
	}
	c.done(d)
	s.publish(job("after")) // a consumer that is there already
	d = c.next()
	if d.Job().ID != "after" {
		s.Errorf("%+v", d.Job())
	}
	c.done(d)
}

func testUnknownRoute(s *suite) {
	if err := s.Publish(s.ctx, broker.Job{ID: "x", Route: "unknown"}); !errors.Is(err, broker.ErrUnknownRoute) {
		s.Errorf("publish: %v", err)
	}
	if err := s.Consume(s.ctx, []string{"a", "unknown"}, 1, func(broker.Delivery) {}); !errors.Is(err, broker.ErrUnknownRoute) {
		s.Errorf("consume: %v", err)
	}
	s.publish(job("fine")) // nothing is broken by it
	c := s.consume(1, "a")
	defer c.stop()
	c.order(1)
}

func testContextEnded(s *suite) {
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	if err := s.Publish(ctx, job("x")); !errors.Is(err, context.Canceled) {
		s.Errorf("publish: %v", err)
	}
	if err := s.Consume(ctx, []string{"a"}, 1, func(broker.Delivery) { s.Error("delivered") }); err != nil {
		s.Errorf("consume: %v", err)
	}
}

func testPrefetch(s *suite) {
	const prefetch, jobs = 3, 12
	for i := range jobs {
		s.publish(job(fmt.Sprint(i)))
	}
	c := s.consume(prefetch, "a")
	defer c.stop()
	var out []broker.Delivery
	for n := 0; n < jobs; n++ {
		// A place that is free is used; with all of them taken nothing comes.
		out = append(out, c.next())
		if len(out) == prefetch || n == jobs-1 {
			if len(c.given) > 0 {
				s.Fatalf("more than %d at a time", prefetch)
			}
			c.done(out[0])
			out = out[1:]
		}
	}
	for _, d := range out {
		c.done(d)
	}
}

func testOrder(s *suite) {
	var want []string
	for i := range 20 {
		want = append(want, fmt.Sprint(i))
		s.publish(job(want[i]))
	}
	c := s.consume(1, "a")
	defer c.stop()
	if got := c.order(len(want)); !slices.Equal(got, want) {
		s.Errorf("%v", got)
	}
}

func testPriority(s *suite) {
	if s.facts.Priorities < 2 {
		s.Skip("no priorities")
	}
	for i := range 12 {
		s.publish(broker.Job{ID: fmt.Sprint(i), Route: "a", Priority: []int{0, 9, 0}[i%3]})
	}
	c := s.consume(1, "a")
	defer c.stop()
	want := []string{"1", "4", "7", "10", "0", "2", "3", "5", "6", "8", "9", "11"}
	if got := c.order(12); !slices.Equal(got, want) {
		s.Errorf("%v, want %v", got, want)
	}
}

func testDelay(s *suite) {
	c := s.consume(10, "a")
	defer c.stop()
	at := map[string]time.Time{}
	for id, delay := range map[string]time.Duration{"late": 600 * time.Millisecond, "soon": 200 * time.Millisecond, "now": 0, "past": -time.Hour} {
		j := job(id)
		j.NotBefore = time.Now().Add(delay)
		at[id] = j.NotBefore
		s.publish(j)
	}
	for range at {
		d := c.next()
		if now := time.Now(); now.Before(at[d.Job().ID]) {
			s.Errorf("%s came %v too early", d.Job().ID, at[d.Job().ID].Sub(now))
		} else if late := now.Sub(at[d.Job().ID]); d.Job().ID != "past" && late > s.facts.DelayGrain+5*time.Second {
			s.Errorf("%s came %v late", d.Job().ID, late)
		}
		c.done(d)
	}
}

func testReturn(s *suite) {
	s.publish(job("x"), job("y"))
	c := s.consume(1, "a")
	defer c.stop()
	seen := map[string]int{}
	for seen["x"] < 3 || seen["y"] < 1 {
		d := c.next()
		id := d.Job().ID
		seen[id]++
		if d.Redelivered() != (seen[id] > 1) {
			s.Errorf("delivery %d of %s: redelivered is %v", seen[id], id, d.Redelivered())
		}
		if id == "x" && seen[id] < 3 {
			if err := d.Return(); err != nil {
				s.Error(err)
			}
			c.finish <- struct{}{}
			continue
		}
		c.done(d)
	}
	if seen["y"] != 1 {
		s.Errorf("y was delivered %d times", seen["y"])
	}
}

func testConsumerGoesAway(s *suite) {
	s.publish(job("x"), job("y"))
	c := s.consume(2, "a")
	c.next()
	c.next()
	c.stop() // without Ack or Return
	c = s.consume(2, "a")
	defer c.stop()
	var ids []string
	for range 2 {
		d := c.next()
		ids = append(ids, d.Job().ID)
		if !d.Redelivered() {
			s.Errorf("%s is not marked as redelivered", d.Job().ID)
		}
		c.done(d)
	}
	if slices.Sort(ids); !slices.Equal(ids, []string{"x", "y"}) {
		s.Errorf("%v", ids)
	}
}

func testDrain(s *suite) {
	c := s.consume(1, "a")
	s.publish(job("running"))
	d := c.next()
	c.cancel()
	s.publish(job("waiting"))
	select {
	case err := <-c.ended:
		s.Fatalf("consume ended while a handle ran: %v", err)
	default:
	}
	c.done(d) // still counts
	if err := c.wait(); err != nil {
		s.Errorf("consume: %v", err)
	}
	if len(c.given) > 0 {
		s.Error("a job was taken after the context had ended")
	}
	c = s.consume(1, "a")
	defer c.stop()
	if got := c.order(1); got[0] != "waiting" {
		s.Errorf("%v", got)
	}
}

func testRoutes(s *suite) {
	s.publish(broker.Job{ID: "1", Route: "a"}, broker.Job{ID: "2", Route: "b"}, broker.Job{ID: "3", Route: "a"})
	b := s.consume(4, "b")
	if got := b.order(1); got[0] != "2" {
		s.Errorf("route b: %v", got)
	}
	both := s.consume(4, "a", "b")
	got := both.order(2)
	if slices.Sort(got); !slices.Equal(got, []string{"1", "3"}) {
		s.Errorf("both routes: %v", got)
	}
	b.stop()
	s.publish(broker.Job{ID: "4", Route: "b"})
	if got := both.order(1); got[0] != "4" {
		s.Errorf("both routes: %v", got)
	}
	both.stop()
}

func testDiscard(s *suite) {
	later := job("later")
	later.NotBefore = time.Now().Add(time.Hour)
	s.publish(job("x"), job("gone"), job("y"), later)
	s.Discard(job("gone"))
	s.Discard(later)
	s.Discard(job("unknown"))
	s.Discard(broker.Job{ID: "x", Route: "unknown"})
	c := s.consume(1, "a")
	defer c.stop()
	for seen := ""; seen != "y"; { // only a hint: "gone" and "x" may come or not
		d := c.next()
		seen = d.Job().ID
		c.done(d)
	}
}

func testConcurrency(s *suite) {
	const publishers, each, consumers = 8, 50, 4
	var mu sync.Mutex
	seen := map[string]int{}
	all := make(chan struct{})
	ctx, cancel := context.WithCancel(s.ctx)
	var running sync.WaitGroup
	for i := range consumers {
		running.Go(func() {
			err := s.Consume(ctx, [][]string{{"a", "b"}, {"a"}, {"b"}, {"b", "a"}}[i], 5, func(d broker.Delivery) {
				mu.Lock()
				n := seen[d.Job().ID]
				seen[d.Job().ID]++
				if n == 0 && len(seen) == publishers*each {
					close(all)
				}
				mu.Unlock()
				if n == 0 && len(d.Job().ID)%2 == 0 {
					d.Return()
					return
				}
				if err := d.Ack(); err != nil {
					s.Error(err)
				}
			})
			if err != nil {
				s.Error(err)
			}
		})
	}
	var publishing sync.WaitGroup
	for p := range publishers {
		publishing.Go(func() {
			for i := range each {
				j := broker.Job{ID: fmt.Sprintf("%d-%d", p, i), Route: []string{"a", "b"}[i%2], Priority: i % 10}
				if err := s.Publish(s.ctx, j); err != nil {
					s.Error(err)
				}
			}
		})
	}
	publishing.Wait()
	select {
	case <-all:
	case <-time.After(s.facts.Patience):
		s.Errorf("%d of %d jobs were delivered", len(seen), publishers*each)
	}
	cancel()
	running.Wait()
}

func testClose(s *suite) {
	c := s.consume(1, "a")
	s.publish(job("running"))
	c.next()
	if err := s.Close(); err != nil {
		s.Fatal(err)
	}
	close(c.finish)
	if err := c.wait(); err != nil && !errors.Is(err, broker.ErrClosed) {
		s.Errorf("consume: %v", err)
	}
	if err := s.Publish(s.ctx, job("late")); !errors.Is(err, broker.ErrClosed) {
		s.Errorf("publish: %v", err)
	}
	if err := s.Consume(s.ctx, []string{"a"}, 1, func(broker.Delivery) {}); !errors.Is(err, broker.ErrClosed) {
		s.Errorf("consume: %v", err)
	}
	if err := s.Close(); err != nil {
		s.Errorf("closed twice: %v", err)
	}
	s.Discard(job("x"))
}
