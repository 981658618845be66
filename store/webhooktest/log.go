package webhooktest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/webhook/dispatch"
)

func testSettle(s *suite) {
	s.add(dispatch.Endpoint{ID: "e"})
	start := s.add(dispatch.Endpoint{ID: "clock"}).CreatedAt
	s.enqueue("e", "m")
	failed := dispatch.Attempt{
		At:      time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC), // the store knows better
		Latency: 1234 * time.Millisecond, Status: 503, Class: "status", Response: []byte("try \x00\xff later"),
	}
	s.in.Advance(time.Minute)
	c := s.one("m")
	s.in.Advance(time.Minute)
	if _, err := s.Settle(s.ctx, c, dispatch.Outcome{Attempt: failed, State: dispatch.Waiting, After: 30 * time.Minute}); err != nil {
		s.Fatal(err)
	}
	d := s.delivery("e", "m")
	if d.State != dispatch.Waiting || d.Attempts != 1 || !around(d.Due, start.Add(32*time.Minute)) || !d.SettledAt.IsZero() || len(d.Log) != 1 {
		s.Fatalf("to be tried again: %+v", d)
	}
	at := d.Log[0].At
	if !around(at, start.Add(2*time.Minute)) {
		s.Errorf("attempt at %v, started at %v", at, start)
	}
	failed.At = at
	if !reflect.DeepEqual(d.Log[0], failed) {
		s.Errorf("attempt: %+v, want %+v", d.Log[0], failed)
	}
	s.in.Advance(30 * time.Minute)
	if c = s.one("m"); c.Attempt != 2 || c.Health.Failures != 1 {
		s.Errorf("claim: %+v", c)
	}
	s.settle(c, dispatch.Dead, 0)
	d = s.delivery("e", "m")
	if d.State != dispatch.Dead || d.Attempts != 2 || !around(d.SettledAt, start.Add(32*time.Minute)) || len(d.Log) != 2 || !d.Log[0].At.Before(d.Log[1].At) {
		s.Errorf("given up: %+v", d)
	}
	s.idle(dispatch.MaxNext)
	s.enqueue("e", "n")
	s.settle(s.one("n"), dispatch.Delivered, 0)
	if d := s.delivery("e", "n"); d.State != dispatch.Delivered || d.Attempts != 1 || d.SettledAt.IsZero() {
		s.Errorf("delivered: %+v", d)
	}
	if d := s.delivery("e", "n"); d.CreatedAt.After(d.SettledAt) || text(d.Event) == "" {
		s.Errorf("delivered: %+v", d)
	}
}

// plain makes health comparable.
func plain(h dispatch.Health) dispatch.Health {
	for _, t := range []*time.Time{&h.FailingSince, &h.LastSuccess, &h.HeldUntil} {
		*t = t.Round(0).UTC()
	}
	return h
}

func testHealth(s *suite) {
	start := s.add(dispatch.Endpoint{ID: "e"}).CreatedAt
	s.enqueue("e", "a", "b", "c", "d")
	check := func(got dispatch.Health, failures, successes int, failing, success time.Duration, waiting, sending int) {
		s.Helper()
		stored := s.health("e")
		if plain(got) != plain(stored) {
			s.Errorf("settle returned %+v, stored is %+v", got, stored)
		}
		since := func(at time.Time, want time.Duration) bool {
			return want < 0 && at.IsZero() || want >= 0 && around(at, start.Add(want))
		}
		if got.Failures != failures || got.Successes != successes || !since(got.FailingSince, failing) || !since(got.LastSuccess, success) ||
			!got.HeldUntil.IsZero() || got.Waiting != waiting || got.Sending != sending {
			s.Errorf("health: %+v", got)
		}
	}
	const never = -1
	check(s.health("e"), 0, 0, never, never, 4, 0)
	c := s.one("a")
	check(s.health("e"), 0, 0, never, never, 3, 1)
	s.in.Advance(time.Minute)
	check(s.settle(c, dispatch.Waiting, time.Hour), 1, 0, time.Minute, never, 4, 0)
	s.in.Advance(time.Minute)
	check(s.settle(s.one("b"), dispatch.Dead, 0), 2, 0, time.Minute, never, 3, 0)
	s.in.Advance(time.Minute)
	check(s.settle(s.one("c"), dispatch.Delivered, 0), 0, 1, never, 3*time.Minute, 2, 0)
	s.in.Advance(time.Minute)
	check(s.settle(s.one("d"), dispatch.Delivered, 0), 0, 2, never, 4*time.Minute, 1, 0)
	s.in.Advance(time.Hour)
	check(s.settle(s.one("a"), dispatch.Waiting, time.Minute), 1, 0, 64*time.Minute, 4*time.Minute, 1, 0)
	s.setStatus("e", dispatch.Disabled)
	if h := s.health("e"); h.Failures != 1 {
		s.Errorf("disabled: %+v", h)
	}
	s.setStatus("e", dispatch.Active) // begins anew
	check(s.health("e"), 0, 0, never, 4*time.Minute, 1, 0)
}

// testLog: of attempts without end the last ones are kept.
func testLog(s *suite) {
	s.add(dispatch.Endpoint{ID: "e"})
	s.enqueue("e", "m")
	for i := range 60 {
		c := s.one("m")
		if c.Attempt != i+1 {
			s.Fatalf("attempt %d, want %d", c.Attempt, i+1)
		}
		o := outcome(dispatch.Waiting, time.Minute)
		o.Attempt.Latency = time.Duration(i) * time.Second
		if _, err := s.Settle(s.ctx, c, o); err != nil {
			s.Fatal(err)
		}
		s.in.Advance(time.Minute)
	}
	d := s.delivery("e", "m")
	if d.Attempts != 60 || len(d.Log) != 50 {
		s.Fatalf("%d attempts, %d in the log", d.Attempts, len(d.Log))
	}
	for i, a := range d.Log {
		if a.Latency != time.Duration(10+i)*time.Second || i > 0 && !a.At.After(d.Log[i-1].At) {
			s.Errorf("attempt %d: %+v", i, a)
		}
	}
	page, err := s.ListDeliveries(s.ctx, alice, "e", dispatch.Query{Limit: 1})
	if err != nil || len(page.Deliveries) != 1 || page.Deliveries[0].Attempts != 60 || page.Deliveries[0].Log != nil || page.Deliveries[0].Event != nil {
		s.Errorf("list: %+v, %v", page, err)
	}
}

func testResend(s *suite) {
	s.add(dispatch.Endpoint{ID: "e"})
	if err := s.Resend(s.ctx, alice, "e", "unknown"); !errors.Is(err, dispatch.ErrNotFound) {
		s.Errorf("unknown: %v", err)
	}
	resend := func(id string) {
		s.Helper()
		if err := s.Resend(s.ctx, alice, "e", id); err != nil {
			s.Errorf("resend %s: %v", id, err)
		}
		if d := s.delivery("e", id); d.State != dispatch.Waiting || !d.SettledAt.IsZero() {
			s.Errorf("resent %s: %+v", id, d)
		}
		s.health("e")
	}
	for i, state := range []dispatch.State{dispatch.Delivered, dispatch.Dead, dispatch.Waiting} {
		id := string(state)
		s.enqueue("e", id)
		first := s.one(id)
		s.settle(first, dispatch.Waiting, time.Minute)
		s.in.Advance(time.Minute)
		second := s.one(id)
		if err := s.Resend(s.ctx, alice, "e", id); !errors.Is(err, dispatch.ErrConflict) {
			s.Errorf("resend while sending: %v", err)
		}
		s.settle(second, state, 20*time.Hour)
		s.idle(dispatch.MaxNext)
		resend(id)
		if h := s.health("e"); h.Waiting != 1 {
			s.Errorf("%d waiting", h.Waiting)
		}
		c := s.one(id)
		if c.Attempt != 1 { // its schedule begins anew
			s.Errorf("attempt %d", c.Attempt)
		}
		s.settle(c, dispatch.Waiting, time.Minute)
		if d := s.delivery("e", id); d.Attempts != 3 || len(d.Log) != 3 {
			s.Errorf("%d attempts, %d in the log", d.Attempts, len(d.Log))
		}
		s.in.Advance(time.Minute)
		if c = s.one(id); c.Attempt != 2 {
			s.Errorf("attempt %d", c.Attempt)
		}
		s.settle(c, dispatch.Delivered, 0)
		if got := s.list("e", dispatch.Query{}); len(got) != i+1 {
			s.Errorf("deliveries %v", got)
		}
	}
	resend("dead")
	resend("dead") // what waits may be resent again
	s.settle(s.one("dead"), dispatch.Delivered, 0)
	s.idle(dispatch.MaxNext)
}

func testListDeliveries(s *suite) {
	s.add(dispatch.Endpoint{ID: "e", Concurrency: 100})
	s.add(dispatch.Endpoint{ID: "empty"})
	s.trust("e", 30)
	all := s.list("e", dispatch.Query{})
	byState := map[dispatch.State][]string{dispatch.Delivered: slices.Clone(all)}
	byType := map[string][]string{"request.succeeded": slices.Clone(all)}
	var dying []dispatch.Claim
	for i := range 60 {
		id := fmt.Sprintf("m%d", i*37%60) // ids say nothing about the order
		m := message(id, "lane "+id)
		m.Type = []string{"request.failed", "request.succeeded", "request.progress"}[i%3]
		if n, err := s.Enqueue(s.ctx, alice, "e", []dispatch.Message{m}); err != nil || n != 1 {
			s.Fatal(n, err)
		}
		state := dispatch.Waiting
		switch {
		case i < 40 && i%5 == 0:
			state = dispatch.Sending
			s.one(id)
		case i < 40:
			state = dispatch.Delivered
			s.settle(s.one(id), state, 0)
		case i < 50:
			state = dispatch.Dead
			dying = append(dying, s.one(id))
		}
		all, byState[state], byType[m.Type] = append(all, id), append(byState[state], id), append(byType[m.Type], id)
	}
	for _, c := range dying {
		s.settle(c, dispatch.Dead, 0)
	}
	check := func(q dispatch.Query, want []string) {
		s.Helper()
		for _, limit := range []int{1, 7, 1000} {
			q.Limit = limit
			if got := s.list("e", q); !slices.Equal(got, want) {
				s.Errorf("%+v: %v, want %v", q, got, want)
			}
		}
	}
	check(dispatch.Query{}, all)
	for state, want := range byState {
		check(dispatch.Query{State: state}, want)
	}
	for eventType, want := range byType {
		check(dispatch.Query{Type: eventType}, want)
	}
	var both []string
	for _, id := range byState[dispatch.Waiting] {
		if slices.Contains(byType["request.progress"], id) {
			both = append(both, id)
		}
	}
	check(dispatch.Query{State: dispatch.Waiting, Type: "request.progress"}, both)
	check(dispatch.Query{Type: "request.unknown"}, []string{})
	if got := s.list("empty", dispatch.Query{}); len(got) != 0 {
		s.Errorf("of none: %v", got)
	}
	page, err := s.ListDeliveries(s.ctx, alice, "e", dispatch.Query{Limit: 5})
	if err != nil || page.Next == "" {
		s.Fatalf("%+v, %v", page, err)
	}
	for _, cursor := range []string{"nonsense", "AAAA", page.Next + "x", page.Next[1:]} {
		if _, err := s.ListDeliveries(s.ctx, alice, "e", dispatch.Query{Limit: 1, Cursor: cursor}); !errors.Is(err, lifecycle.ErrCursor) {
			s.Errorf("cursor %q: %v", cursor, err)
		}
	}
	// What comes between two pages is not on the second one.
	s.enqueue("e", "newer")
	page, err = s.ListDeliveries(s.ctx, alice, "e", dispatch.Query{Limit: 1, Cursor: page.Next})
	if err != nil || len(page.Deliveries) != 1 || page.Deliveries[0].ID != all[len(all)-6] {
		s.Errorf("second page: %+v, %v", page, err)
	}
	if _, err := s.Delivery(s.ctx, alice, "e", "unknown"); !errors.Is(err, dispatch.ErrNotFound) {
		s.Errorf("unknown delivery: %v", err)
	}
}
