package webhooktest

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hark-push/hark/webhook/dispatch"
)

func testClaimOrder(s *suite) {
	s.add(dispatch.Endpoint{ID: "e"})
	s.trust("e", 10)
	for _, id := range []string{"d", "b", "c", "a"} {
		s.enqueue("e", id)
		s.in.Advance(time.Minute)
	}
	for _, want := range []string{"d", "b", "c"} {
		s.claim(1, want)
	}
	c := s.claim(1, "a")[0]
	s.settle(c, dispatch.Waiting, 5*time.Minute) // due again after what comes now
	s.in.Advance(lease)                          // which the three before come before
	s.in.Advance(lease)
	s.enqueue("e", "late")
	for _, want := range []string{"d", "b", "c", "a", "late"} {
		s.settle(s.claim(1, want)[0], dispatch.Delivered, 0)
	}
	if claims, _, err := s.Claim(s.ctx, 0, lease-timeout); err != nil || len(claims) != 0 {
		s.Errorf("limit 0: %+v, %v", claims, err)
	}
}

func testClaimNext(s *suite) {
	s.idle(dispatch.MaxNext)
	s.add(dispatch.Endpoint{ID: "e", Concurrency: 4})
	s.add(dispatch.Endpoint{ID: "other"})
	s.idle(dispatch.MaxNext)
	s.trust("e", 4)
	s.enqueue("e", "a", "b", "c")
	next := func(limit, claims int, want time.Duration) []dispatch.Claim {
		s.Helper()
		got, next, err := s.Claim(s.ctx, limit, lease-timeout)
		if err != nil || len(got) != claims {
			s.Fatalf("%d claims, %v, want %d", len(got), err, claims)
		}
		if !about(next, want) {
			s.Errorf("next claim in %v, want %v", next, want)
		}
		return got
	}
	a := next(1, 1, 0)[0]
	b := next(1, 1, 0)[0]
	c := next(1, 1, lease)[0] // all are lent: next is when a lease runs out
	s.settle(a, dispatch.Waiting, 3*time.Minute)
	s.settle(b, dispatch.Waiting, 30*time.Minute)
	s.settle(c, dispatch.Delivered, 0)
	s.idle(3 * time.Minute)
	s.enqueue("other", "now")
	s.settle(s.one("now"), dispatch.Waiting, time.Minute)
	s.idle(time.Minute)
	s.in.Advance(time.Minute)
	s.settle(s.one("now"), dispatch.Dead, 0)
	s.idle(2 * time.Minute)
	s.in.Advance(2 * time.Minute)
	s.settle(s.one("a"), dispatch.Delivered, 0)
	s.idle(27 * time.Minute)
	s.in.Advance(27 * time.Minute)
	s.settle(s.one("b"), dispatch.Waiting, 100*time.Hour)
	s.idle(dispatch.MaxNext)
}

func testLease(s *suite) {
	s.add(dispatch.Endpoint{ID: "e"})
	s.enqueue("e", "m")
	first := s.one("m")
	if d := s.delivery("e", "m"); d.State != dispatch.Sending || d.Attempts != 0 {
		s.Errorf("claimed: %+v", d)
	}
	if h := s.health("e"); h.Sending != 1 || h.Waiting != 0 {
		s.Errorf("claimed: %+v", h)
	}
	s.in.Advance(lease / 2)
	s.idle(lease / 2)
	s.in.Advance(lease / 2)
	second := s.one("m")
	if !second.At.After(first.At) || first.At.Before(s.delivery("e", "m").CreatedAt) {
		s.Errorf("claimed at %v and then at %v", first.At, second.At)
	}
	if second.Attempt != 1 || second.Token == first.Token {
		s.Errorf("attempt %d, token %s after %s", second.Attempt, second.Token, first.Token)
	}
	if _, err := s.Settle(s.ctx, first, outcome(dispatch.Dead, 0)); !errors.Is(err, dispatch.ErrNotClaimed) {
		s.Errorf("settle by who has lost it: %v", err)
	}
	if d, h := s.delivery("e", "m"), s.health("e"); d.State != dispatch.Sending || d.Attempts != 0 || len(d.Log) != 0 || h.Failures != 0 {
		s.Errorf("after it: %+v, %+v", d, h)
	}
	// A lease that has run out is no harm as long as nobody else has claimed.
	s.in.Advance(2 * lease)
	s.settle(second, dispatch.Delivered, 0)
	if _, err := s.Settle(s.ctx, second, outcome(dispatch.Delivered, 0)); !errors.Is(err, dispatch.ErrNotClaimed) {
		s.Errorf("settle again: %v", err)
	}
	if d, h := s.delivery("e", "m"), s.health("e"); d.State != dispatch.Delivered || d.Attempts != 1 || h.Successes != 1 {
		s.Errorf("settled: %+v, %+v", d, h)
	}
	s.idle(dispatch.MaxNext)
	second.ID = "unknown"
	if _, err := s.Settle(s.ctx, second, outcome(dispatch.Delivered, 0)); !errors.Is(err, dispatch.ErrNotClaimed) {
		s.Errorf("settle an unknown one: %v", err)
	}

	// What was lent does not take room any more when its lease has run out.
	s.enqueue("e", "a", "b", "c")
	s.claim(10, "a", "b")
	s.idle(lease)
	s.in.Advance(lease)
	s.claim(10, "a", "b")
}

func testConcurrency(s *suite) {
	s.add(dispatch.Endpoint{ID: "e", Concurrency: 3})
	s.add(dispatch.Endpoint{ID: "one", Concurrency: 1})
	s.trust("e", 5)
	s.trust("one", 5)
	for i := range 10 {
		s.enqueue("e", fmt.Sprintf("m%d", i))
		s.enqueue("one", fmt.Sprintf("n%d", i))
	}
	stores := []Store{s.Store}
	if s.in.Another != nil {
		stores = append(stores, s.in.Another())
	}
	var of [2]atomic.Int32
	claims := make(chan dispatch.Claim, 100)
	parallel(8, func(i int) {
		got, _, err := stores[i%len(stores)].Claim(s.ctx, 10, lease-timeout)
		if err != nil {
			s.Error(err)
		}
		for _, c := range got {
			if c.Endpoint.ID == "e" {
				of[0].Add(1)
				claims <- c
			} else {
				of[1].Add(1)
			}
		}
	})
	if of[0].Load() != 3 || of[1].Load() != 1 {
		s.Fatalf("%d and %d at a time, want 3 and 1", of[0].Load(), of[1].Load())
	}
	s.idle(lease)
	s.settle(<-claims, dispatch.Delivered, 0)
	if c := s.claim(10, "m3")[0]; c.Endpoint.ID != "e" {
		s.Errorf("%+v", c)
	}
	s.update("e", func(e *dispatch.Endpoint) { e.Concurrency = 1 })
	s.settle(<-claims, dispatch.Delivered, 0)
	s.idle(lease) // there are still two
	s.settle(<-claims, dispatch.Delivered, 0)
	s.idle(lease) // and one
	s.update("e", func(e *dispatch.Endpoint) { e.Concurrency = 5 })
	s.claim(10, "m4", "m5", "m6", "m7")
}

func testRamp(s *suite) {
	s.add(dispatch.Endpoint{ID: "e", Concurrency: 4})
	for i := range 20 {
		s.enqueue("e", fmt.Sprintf("m%02d", i))
	}
	first := s.one("m00") // not known to be alive
	s.idle(lease)
	s.settle(first, dispatch.Delivered, 0)
	two := s.claim(10, "m01", "m02")
	s.idle(lease)
	s.settle(two[0], dispatch.Delivered, 0)
	s.settle(two[1], dispatch.Delivered, 0)
	four := s.claim(10, "m03", "m04", "m05", "m06") // its Concurrency
	s.idle(lease)
	s.settle(four[0], dispatch.Delivered, 0)
	four[0] = s.one("m07")
	s.settle(four[1], dispatch.Waiting, time.Hour) // dead: it has one slot, and three are under way
	s.settle(four[2], dispatch.Waiting, time.Hour)
	s.idle(lease)
	s.in.Advance(lease) // and two that were lost
	s.settle(s.one(four[3].ID), dispatch.Delivered, 0)
	s.claim(10, "m07", "m08")
}

// testSlots: how many deliveries are lent at a time follows from how the attempts before went. The
// same cases are put to dispatch.Endpoint.Slots and dispatch.Health.After, so that a store which
// decides for itself, in another language, decides likewise.
func testSlots(s *suite) {
	const yes, no, dead = dispatch.Delivered, dispatch.Waiting, dispatch.Dead
	for i, c := range []struct {
		concurrency int
		attempts    []dispatch.State
		want        int
	}{
		{4, nil, 1},
		{4, []dispatch.State{yes}, 2},
		{4, []dispatch.State{yes, yes, yes}, 4},
		{4, []dispatch.State{yes, yes, yes, yes, yes}, 4},
		{4, []dispatch.State{yes, yes, no}, 1},
		{4, []dispatch.State{no, no, yes, yes}, 3},
		{4, []dispatch.State{yes, dead}, 1},
		{1, []dispatch.State{yes, yes}, 1},
		{0, []dispatch.State{yes}, 1}, // it is not allowed, and has one all the same
	} {
		id := fmt.Sprint("e", i)
		s.add(dispatch.Endpoint{ID: id})
		e := s.update(id, func(e *dispatch.Endpoint) { e.Concurrency = c.concurrency })
		var h dispatch.Health
		for n, state := range c.attempts {
			m := fmt.Sprint(id, "-", n)
			s.enqueue(id, m)
			got := s.settle(s.one(m), state, 24*time.Hour)
			h = h.After(state, s.delivery(id, m).Log[0].At)
			if got.Failures != h.Failures || got.Successes != h.Successes || !got.FailingSince.Equal(h.FailingSince) || !got.LastSuccess.Equal(h.LastSuccess) {
				s.Errorf("%v with %d at a time: %+v after %d, want %+v", c.attempts, c.concurrency, got, n+1, h)
			}
		}
		if got := e.Slots(h); got != c.want {
			s.Errorf("%v with %d at a time: %d slots, want %d", c.attempts, c.concurrency, got, c.want)
		}
		for n := range 6 {
			s.enqueue(id, fmt.Sprint(id, "-due-", n))
		}
		claims, _, err := s.Claim(s.ctx, 10, lease-timeout)
		if err != nil || len(claims) != c.want {
			s.Errorf("%v with %d at a time: %d were lent, want %d, %v", c.attempts, c.concurrency, len(claims), c.want, err)
		}
		s.setStatus(id, dispatch.Paused) // out of the way of the others
	}
}

func testRate(s *suite) {
	s.add(dispatch.Endpoint{ID: "e", Concurrency: 20})
	s.trust("e", 20)
	s.update("e", func(e *dispatch.Endpoint) { e.Rate = 1.0 / 64 })
	for i := range 10 {
		s.enqueue("e", fmt.Sprintf("m%d", i))
	}
	const every = 64 * time.Second
	s.in.Advance(every)
	s.one("m0")
	s.idle(every)
	s.in.Advance(every / 2)
	s.idle(every / 2)
	s.in.Advance(every / 2)
	s.one("m1")
	s.in.Advance(every / 2)
	c, _, err := s.Claim(s.ctx, 10, lease-timeout)
	if err != nil || len(c) != 0 {
		s.Errorf("half a turn later: %+v, %v", c, err)
	}
	s.in.Advance(4 * every) // what was not used is not made up for
	s.settle(s.one("m2"), dispatch.Delivered, 0)
	s.idle(every) // an answer does not hurry it
	s.update("e", func(e *dispatch.Endpoint) { e.Rate = 0 })
	s.claim(3, "m3", "m4", "m5")
}

func testHold(s *suite) {
	s.add(dispatch.Endpoint{ID: "e"})
	s.add(dispatch.Endpoint{ID: "other"})
	s.enqueue("e", "m")
	hold := func(d time.Duration) {
		s.Helper()
		if err := s.Hold(s.ctx, alice, "e", d); err != nil {
			s.Fatal(err)
		}
	}
	hold(10 * time.Minute)
	hold(time.Minute) // it is held for longer already
	s.idle(10 * time.Minute)
	h := s.health("e")
	if h.HeldUntil.IsZero() || h.Waiting != 1 {
		s.Errorf("health: %+v", h)
	}
	s.enqueue("other", "n")
	s.one("n")
	s.in.Advance(5 * time.Minute)
	s.idle(5 * time.Minute)
	hold(10 * time.Minute)
	if later := s.health("e").HeldUntil; !around(later, h.HeldUntil.Add(5*time.Minute)) {
		s.Errorf("held until %v, was %v", later, h.HeldUntil)
	}
	s.in.Advance(10 * time.Minute)
	for _, c := range s.claim(10, "m", "n") { // the lease of n has run out
		s.settle(c, dispatch.Delivered, 0)
	}
	// What is under way is not held.
	s.enqueue("e", "under")
	c := s.one("under")
	hold(time.Hour)
	s.settle(c, dispatch.Delivered, 0)
	s.enqueue("e", "next")
	s.setStatus("e", dispatch.Paused)
	s.setStatus("e", dispatch.Active) // begins anew
	s.one("next")
}

func testStatus(s *suite) {
	s.add(dispatch.Endpoint{ID: "e"})
	s.trust("e", 2)
	s.enqueue("e", "a", "b")
	under := s.claim(1, "a")[0]
	for _, status := range []dispatch.Status{dispatch.Paused, dispatch.Disabled, dispatch.Pending} {
		s.setStatus("e", status)
		claims, next, err := s.Claim(s.ctx, 10, lease-timeout)
		if err != nil || len(claims) != 0 || next <= 0 {
			s.Errorf("%s: %+v, next in %v, %v", status, claims, next, err)
		}
	}
	s.settle(under, dispatch.Waiting, time.Minute)
	s.idle(dispatch.MaxNext)
	s.in.Advance(time.Hour)
	s.setStatus("e", dispatch.Active)
	c := s.claim(1, "b")[0] // due since before
	if c.Endpoint.Status != dispatch.Active || c.Endpoint.Version != 5 {
		s.Errorf("claimed with %+v", c.Endpoint)
	}
	s.settle(c, dispatch.Delivered, 0)
	if c := s.claim(1, "a")[0]; c.Attempt != 2 {
		s.Errorf("attempt %d", c.Attempt)
	}
}

// testLeaseAfterStall: what was claimed when this process, or the store, stood still is not lent to
// others before its outcome can be told.
func testLeaseAfterStall(s *suite) {
	s.add(dispatch.Endpoint{ID: "e", Concurrency: 1})
	s.add(dispatch.Endpoint{ID: "many", Concurrency: 8})
	s.trust("many", 2)
	s.enqueue("e", "m")
	s.enqueue("many", "n")
	lent := s.claim(10, "m", "n")
	s.in.Advance(lease + time.Second)
	s.stall.Note(time.Minute)
	s.claim(10)
	for _, c := range lent {
		s.settle(c, dispatch.Delivered, 0)
	}
}
