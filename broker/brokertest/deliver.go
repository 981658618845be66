package brokertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hark-push/hark/broker"
)

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
	for n := range jobs {
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
	got := c.order(len(want))
	if s.facts.Spread {
		slices.Sort(got)
		slices.Sort(want)
	}
	if !slices.Equal(got, want) {
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
