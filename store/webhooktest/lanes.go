package webhooktest

import (
	"fmt"
	"time"

	"github.com/hark-push/hark/webhook/dispatch"
)

// testLanes: one that takes one at a time gets each lane in order.
func testLanes(s *suite) {
	s.add(dispatch.Endpoint{ID: "e", Concurrency: 1})
	s.enqueueInto("e", "a", "a1", "a2")
	s.enqueueInto("e", "b", "b1")
	s.enqueueInto("e", "a", "a3")
	s.settle(s.one("a1"), dispatch.Waiting, 5*time.Minute)
	s.settle(s.one("b1"), dispatch.Delivered, 0) // another lane
	s.idle(5 * time.Minute)
	s.enqueueInto("e", "b", "b2")
	s.settle(s.one("b2"), dispatch.Waiting, 2*time.Minute)
	s.enqueueInto("e", "b", "b3")
	s.idle(2 * time.Minute)
	s.in.Advance(2 * time.Minute)
	s.settle(s.one("b2"), dispatch.Delivered, 0)
	s.settle(s.one("b3"), dispatch.Delivered, 0)
	s.in.Advance(3 * time.Minute)
	c := s.one("a1")
	if c.Attempt != 2 {
		s.Errorf("attempt %d", c.Attempt)
	}
	s.in.Advance(lease) // lost
	s.settle(s.one("a1"), dispatch.Delivered, 0)
	s.settle(s.one("a2"), dispatch.Dead, 0)
	// What is resent has the place in its lane that it had.
	if err := s.Resend(s.ctx, alice, "e", "a2"); err != nil {
		s.Error(err)
	}
	s.settle(s.one("a2"), dispatch.Waiting, time.Minute)
	s.idle(time.Minute)
	if err := s.Resend(s.ctx, alice, "e", "a3"); err != nil { // waits for a2 still
		s.Error(err)
	}
	s.idle(time.Minute)
	s.in.Advance(time.Minute)
	s.settle(s.one("a2"), dispatch.Dead, 0)
	s.settle(s.one("a3"), dispatch.Delivered, 0)
	s.idle(dispatch.MaxNext)
	if err := s.Resend(s.ctx, alice, "e", "a3"); err != nil {
		s.Error(err)
	}
	if err := s.Resend(s.ctx, alice, "e", "a2"); err != nil {
		s.Error(err)
	}
	s.settle(s.one("a2"), dispatch.Delivered, 0)
	s.settle(s.one("a3"), dispatch.Delivered, 0)
	s.idle(dispatch.MaxNext)
}

// testLanesComeAndGo: the order is kept from the update on that asks for it.
func testLanesComeAndGo(s *suite) {
	s.add(dispatch.Endpoint{ID: "e", Concurrency: 1})
	s.enqueueInto("e", "a", "a1", "a2", "a3", "a4", "a5")
	s.settle(s.one("a1"), dispatch.Waiting, 5*time.Minute)
	s.idle(5 * time.Minute)
	s.update("e", func(e *dispatch.Endpoint) { e.Concurrency = 4 })
	s.settle(s.one("a2"), dispatch.Delivered, 0)
	for _, c := range s.claim(10, "a3", "a4") {
		if c.ID == "a3" {
			s.settle(c, dispatch.Delivered, 0)
		} else {
			s.settle(c, dispatch.Waiting, time.Minute)
		}
	}
	s.update("e", func(e *dispatch.Endpoint) { e.Concurrency = 1 })
	s.idle(5 * time.Minute)
	s.in.Advance(5 * time.Minute)
	for _, id := range []string{"a1", "a4", "a5"} {
		s.settle(s.one(id), dispatch.Delivered, 0)
	}
	s.idle(dispatch.MaxNext)
}

// testFairness: one with much due does not keep the others waiting.
func testFairness(s *suite) {
	s.add(dispatch.Endpoint{ID: "much", Concurrency: 1000})
	s.trust("much", 40)
	for i := range 10 {
		messages := make([]dispatch.Message, 100)
		for j := range messages {
			id := fmt.Sprintf("m%d-%d", i, j)
			messages[j] = message(id, id)
		}
		if _, err := s.Enqueue(s.ctx, alice, "much", messages); err != nil {
			s.Fatal(err)
		}
	}
	const others = 5
	for i := range others {
		id := fmt.Sprintf("little%d", i)
		s.add(dispatch.Endpoint{ID: id, Owner: []string{alice, bob}[i%2]})
		if _, err := s.Enqueue(s.ctx, []string{alice, bob}[i%2], id, []dispatch.Message{message("m", "l")}); err != nil {
			s.Fatal(err)
		}
	}
	got := make(map[string]int)
	for range 3 {
		claims, next, err := s.Claim(s.ctx, 10, lease-timeout)
		if err != nil || len(claims) != 10 || next != 0 {
			s.Fatalf("%d claims, next in %v, %v", len(claims), next, err)
		}
		for _, c := range claims {
			got[c.Endpoint.ID]++
		}
	}
	if len(got) != 1+others || got["much"] != 30-others {
		s.Errorf("claimed %v", got)
	}
}
