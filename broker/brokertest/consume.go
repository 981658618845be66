package brokertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hark-push/hark/broker"
)

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
