package webhooktest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/webhook/dispatch"
)

// testManyClaimers: however many claim, each delivery is with one of them at a time,
// and all arrive.
func testManyClaimers(s *suite) {
	const requests, claimers = 30, 16
	stores := []Store{s.Store}
	if s.in.Another != nil {
		stores = append(stores, s.in.Another())
	}
	concurrency := map[string]int{"one": 1, "few": 3, "many": 50}
	for id, n := range concurrency {
		s.add(dispatch.Endpoint{ID: id, Concurrency: n})
	}
	var mu sync.Mutex
	out := make(map[string]int)        // endpoint, lane and message → how often it is lent now
	sending := make(map[string]int)    // endpoint → how many are
	tries := make(map[string]int)      // how often it was lent
	lanes := make(map[string][]string) // lane of "one" → messages as they arrived
	left := requests * 3 * len(concurrency)
	take := func(c dispatch.Claim) (dispatch.State, string) {
		mu.Lock()
		defer mu.Unlock()
		key := c.Endpoint.ID + " " + c.ID
		out[key]++
		tries[key]++
		sending[c.Endpoint.ID]++
		if out[key] > 1 || sending[c.Endpoint.ID] > concurrency[c.Endpoint.ID] {
			s.Errorf("%s is lent %d times, %d of its endpoint", key, out[key], sending[c.Endpoint.ID])
		}
		if len(c.ID)%2 == 0 && tries[key] == 1 { // some fail at first
			return dispatch.Waiting, key
		}
		if c.Endpoint.ID == "one" {
			lanes[c.Lane] = append(lanes[c.Lane], c.ID)
		}
		return dispatch.Delivered, key
	}
	give := func(c dispatch.Claim, key string, state dispatch.State) {
		mu.Lock()
		defer mu.Unlock()
		out[key]--
		sending[c.Endpoint.ID]--
		if state == dispatch.Delivered {
			left--
		}
	}
	through := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return left == 0 || s.Failed()
	}
	parallel(claimers+1, func(i int) {
		if i == claimers {
			for n := range requests {
				id := fmt.Sprintf("r%d", n)
				s.create(submission(id))
				s.apply(id, lifecycle.Start{})
				s.apply(id, lifecycle.Succeed{})
			}
			return
		}
		store := stores[i%len(stores)]
		for !through() {
			claims, _, err := store.Claim(s.ctx, 1+i%5, lease-timeout)
			if err != nil {
				s.Error(err)
				return
			}
			for _, c := range claims {
				state, key := take(c)
				give(c, key, state) // before others may get it
				if _, err := store.Settle(s.ctx, c, outcome(state, 0)); err != nil {
					s.Errorf("settle %s: %v", key, err)
				}
			}
			runtime.Gosched()
		}
	})
	for lane, got := range lanes {
		want := []string{dispatch.MessageID(lifecycle.ParseRef(lane), 1), dispatch.MessageID(lifecycle.ParseRef(lane), 2), dispatch.MessageID(lifecycle.ParseRef(lane), 3)}
		if !slices.Equal(got, want) {
			s.Errorf("arrived %v, want %v", got, want)
		}
	}
	for id := range concurrency {
		if h := s.health(id); h.Waiting != 0 || h.Sending != 0 {
			s.Errorf("%s: %+v", id, h)
		}
	}
}

// model is what is known of an endpoint and its deliveries.
type model struct {
	concurrency int
	active      bool
	successes   int
	lanes       map[string][]*modelDelivery // in the order in which they were enqueued
}

type modelDelivery struct {
	id      string
	due     time.Duration
	lent    *dispatch.Claim // the last claim, nil if it was settled
	until   time.Duration
	settled bool
	arrived bool
	claims  int
}

// testAgainstModel does whatever dispatchers do, and now and then lose, in random order and
// checks each claim against the rules. In the end all has arrived.
func testAgainstModel(s *suite) {
	random := rand.New(rand.NewPCG(5, 6))
	now := time.Duration(0)
	// Leases end between the steps of the clock, which may run on by itself a little.
	const step, lent = 10 * time.Minute, 25 * time.Minute
	endpoints := map[string]*model{"one": {concurrency: 1}, "three": {concurrency: 3}, "ten": {concurrency: 10}}
	for id, e := range endpoints {
		e.active, e.lanes = true, make(map[string][]*modelDelivery)
		s.add(dispatch.Endpoint{ID: id, Concurrency: e.concurrency})
	}
	names := slices.Sorted(maps.Keys(endpoints))
	var claims []dispatch.Claim // that may be settled, some of them lost
	find := func(c *dispatch.Claim) (*model, *modelDelivery) {
		e := endpoints[c.Endpoint.ID]
		for _, d := range e.lanes[c.Lane] {
			if d.id == c.ID {
				return e, d
			}
		}
		s.Fatalf("claimed %s of %s, which was never enqueued", c.ID, c.Endpoint.ID)
		return nil, nil
	}
	claim := func(limit int) int {
		got, _, err := s.Claim(s.ctx, limit, lent-timeout)
		if err != nil || len(got) > limit {
			s.Fatalf("%d claims, limit %d, %v", len(got), limit, err)
		}
		for _, c := range got {
			e, d := find(&c)
			sending := 0
			for _, lane := range e.lanes {
				for _, other := range lane {
					if other.lent != nil && other.until > now {
						sending++
					}
				}
			}
			switch {
			case d.settled, d.lent != nil && d.until > now, d.due > now:
				s.Fatalf("at %v: claimed %+v", now, *d)
			case !e.active:
				s.Fatalf("claimed %s of %s, which is paused", c.ID, c.Endpoint.ID)
			case sending >= min(e.concurrency, 1+e.successes):
				s.Fatalf("claimed %s of %s, %d are under way and there were %d successes", c.ID, c.Endpoint.ID, sending, e.successes)
			}
			if e.concurrency == 1 {
				for _, before := range e.lanes[c.Lane] {
					if before == d {
						break
					}
					if !before.settled {
						s.Fatalf("claimed %s of %s before %+v", c.ID, c.Endpoint.ID, *before)
					}
				}
			}
			d.lent, d.until = &c, now+lent
			d.claims++
			claims = append(claims, c)
		}
		return len(got)
	}
	settle := func(c dispatch.Claim, state dispatch.State, after time.Duration) {
		e, d := find(&c)
		_, err := s.Settle(s.ctx, c, outcome(state, after))
		if holds := d.lent != nil && d.lent.Token == c.Token; holds != (err == nil) {
			s.Fatalf("settle %s of %s: %v, the claim holds: %v", c.ID, c.Endpoint.ID, err, holds)
		}
		if err != nil {
			return
		}
		d.lent, d.due = nil, now+after
		d.settled = state != dispatch.Waiting
		d.arrived = d.arrived || state == dispatch.Delivered
		if e.successes++; state != dispatch.Delivered {
			e.successes = 0
		}
	}
	resend := func(id string, lane []*modelDelivery, d *modelDelivery) {
		if d.lent != nil && d.until <= now {
			return // whether it is being sent is only known to who claims
		}
		err := s.Resend(s.ctx, alice, id, d.id)
		if sending := d.lent != nil; sending != (err != nil) {
			s.Fatalf("resend %s of %s: %v, it is being sent: %v", d.id, id, err, sending)
		}
		if err == nil {
			d.settled, d.due = false, now
		}
	}
	sequence := make(map[string]uint64)
	event := func() {
		lane := fmt.Sprintf("r%d", random.IntN(12))
		if sequence[lane]++; sequence[lane] == 1 {
			sub := submission(lane)
			sub.Timeout = 10_000 * time.Hour
			s.create(sub)
		} else if sequence[lane] == 2 {
			s.apply(lane, lifecycle.Start{})
		} else {
			s.apply(lane, lifecycle.Progress{})
		}
		for _, e := range endpoints {
			e.lanes[lane] = append(e.lanes[lane], &modelDelivery{id: dispatch.MessageID(lifecycle.ParseRef(lane), sequence[lane]), due: now})
		}
	}
	take := func() dispatch.Claim {
		i := random.IntN(len(claims))
		c := claims[i]
		claims = slices.Delete(claims, i, i+1)
		return c
	}
	for n := range 1500 {
		switch k := random.IntN(20); {
		case k < 3:
			event()
		case k < 8:
			claim(1 + random.IntN(6))
		case k < 14 && len(claims) > 0:
			settle(take(), dispatch.Delivered, 0)
		case k < 16 && len(claims) > 0:
			settle(take(), dispatch.Waiting, time.Duration(random.IntN(4))*step)
		case k == 16 && len(claims) > 0 && n%3 == 0:
			settle(take(), dispatch.Dead, 0)
		case k == 17:
			id := names[random.IntN(len(names))]
			e := endpoints[id]
			e.active = !e.active
			s.setStatus(id, map[bool]dispatch.Status{true: dispatch.Active, false: dispatch.Paused}[e.active])
		case k == 18:
			id := names[random.IntN(len(names))]
			if lane := endpoints[id].lanes[fmt.Sprintf("r%d", random.IntN(12))]; len(lane) > 0 {
				resend(id, lane, lane[random.IntN(len(lane))])
			}
		default:
			s.in.Advance(step)
			now += step
		}
		if n == 700 && s.in.Reopen != nil {
			s.Store = s.in.Reopen()
			s.in.Advance(2 * lent) // what was lent before may be due again
			now += 2 * lent
			claims = claims[:0]
		}
	}
	// Now all goes well.
	for id, e := range endpoints {
		e.active = true
		s.setStatus(id, dispatch.Active)
		for _, lane := range e.lanes {
			for _, d := range lane {
				if d.settled && !d.arrived { // it died
					resend(id, lane, d)
				}
			}
		}
	}
	for idle := 0; idle < 6; {
		n := claim(100)
		for len(claims) > 0 {
			settle(take(), dispatch.Delivered, 0)
		}
		if idle++; n > 0 {
			idle = 0
		}
		s.in.Advance(step)
		now += step
	}
	for id, e := range endpoints {
		for _, lane := range e.lanes {
			for _, d := range lane {
				if got := s.delivery(id, d.id); !d.arrived || got.SettledAt.IsZero() {
					s.Errorf("%s of %s has not arrived: %+v, %s", d.id, id, *d, got.State)
				}
			}
		}
	}
}
