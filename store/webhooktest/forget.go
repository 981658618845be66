package webhooktest

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/webhook/dispatch"
)

func testRetention(s *suite) {
	s.add(dispatch.Endpoint{ID: "e", Concurrency: 4})
	s.add(dispatch.Endpoint{ID: "other", Status: dispatch.Paused})
	s.trust("e", 4)
	s.create(submission("r"))
	s.enqueue("e", "waiting", "sending", "dead")
	s.enqueue("other", "dead") // the same message
	for _, c := range s.claim(10, "r_1", "waiting", "sending", "dead") {
		switch c.ID {
		case "r_1":
			s.settle(c, dispatch.Delivered, 0)
		case "waiting":
			s.settle(c, dispatch.Waiting, 24*time.Hour)
		case "dead":
			s.settle(c, dispatch.Dead, 0)
		}
	}
	s.in.Advance(30 * time.Minute)
	s.sweep()
	if got := s.list("e", dispatch.Query{}); len(got) != 4+4 {
		s.Errorf("within the retention: %v", got)
	}
	// What was resent is kept from when it is settled again.
	if err := s.Resend(s.ctx, alice, "e", "r_1"); err != nil {
		s.Error(err)
	}
	for _, c := range s.claim(1, "sending") {
		s.settle(c, dispatch.Delivered, 0)
	}
	s.settle(s.claim(1, "r_1")[0], dispatch.Delivered, 0)
	s.in.Advance(100 * time.Minute)
	s.apply("r", lifecycle.Expire{}) // now it is forgotten by its own retention
	s.sweep()
	if err := s.Resend(s.ctx, alice, "e", "dead"); !errors.Is(err, dispatch.ErrNotFound) {
		s.Errorf("resend what is forgotten: %v", err)
	}
	s.in.Advance(time.Hour)
	s.sweep()
	got := s.list("e", dispatch.Query{})
	if !slices.Equal(got, []string{"waiting", "r_2"}) {
		s.Errorf("after the retention: %v", got)
	}
	if got := s.list("other", dispatch.Query{}); !slices.Equal(got, []string{"r_1", "dead", "r_2"}) {
		s.Errorf("what was not delivered: %v", got)
	}
	for _, id := range []string{"dead", "r_1"} { // the payload is kept for it
		if d := s.delivery("other", id); text(d.Event) == "" {
			s.Errorf("%s has no body any more", id)
		}
	}
	// What was forgotten may come again.
	s.enqueue("e", "dead")
	if d := s.delivery("e", "dead"); d.Attempts != 0 || len(d.Log) != 0 || d.State != dispatch.Waiting {
		s.Errorf("enqueued anew: %+v", d)
	}
}

// testRetentionOfValue: a delivery that waits has the event whole, with the value of the result,
// when the request is forgotten, and when its id is another request's.
func testRetentionOfValue(s *suite) {
	s.add(dispatch.Endpoint{ID: "paused", Status: dispatch.Paused, Types: []string{"request.succeeded"}})
	bodies := make(map[string]string)
	for range 3 {
		sub := submission("r")
		sub.Life = lifecycle.NewLife()
		s.create(sub)
		s.apply("r", lifecycle.Start{})
		value := `["` + sub.Life + strings.Repeat("v", 12<<10) + `"]`
		r := s.apply("r", lifecycle.Succeed{Result: &lifecycle.Content{Type: "application/json", Data: []byte(value)}})
		id := dispatch.MessageID(r.Ref(), r.Sequence)
		if bodies[id] = text(s.delivery("paused", id).Event); !strings.Contains(bodies[id], value) {
			s.Fatalf("the body of %s is %.120s", id, bodies[id])
		}
		s.in.Advance(2 * time.Hour)
		s.sweep()
		if _, err := s.Get(s.ctx, r.Ref()); !errors.Is(err, lifecycle.ErrNotFound) {
			s.Fatalf("its retention has passed: %v", err)
		}
	}
	if s.in.Reopen != nil {
		s.Store = s.in.Reopen()
	}
	for id, want := range bodies {
		if got := text(s.delivery("paused", id).Event); got != want {
			s.Errorf("the body of %s is %.120s", id, got)
		}
	}
	s.setStatus("paused", dispatch.Active)
	for range bodies {
		claims, _, err := s.Claim(s.ctx, 1, lease-timeout)
		if err != nil || len(claims) != 1 || text(claims[0].Event) != bodies[claims[0].ID] {
			s.Fatalf("%.200v, %v", claims, err)
		}
		s.settle(claims[0], dispatch.Delivered, 0)
	}
}

func testReopen(s *suite) {
	if s.in.Reopen == nil {
		s.Skip("nothing of its own that could be lost")
	}
	s.add(dispatch.Endpoint{ID: "e", Types: []string{"request.succeeded"}})
	s.add(dispatch.Endpoint{ID: "lanes", Concurrency: 1})
	s.add(dispatch.Endpoint{ID: "once", OneOff: true})
	s.trust("e", 3)
	s.enqueueInto("lanes", "l", "l1", "l2")
	s.settle(s.one("l1"), dispatch.Waiting, time.Minute)
	s.enqueue("e", "a")
	s.settle(s.one("a"), dispatch.Waiting, 2*time.Minute)
	s.enqueue("e", "b", "c")
	lost := s.one("b")
	if err := s.Hold(s.ctx, alice, "e", 30*time.Minute); err != nil {
		s.Fatal(err)
	}
	before := s.health("e")
	s.Store = s.in.Reopen()

	after := s.health("e")
	after.Waiting, after.Sending = before.Waiting, before.Sending // who lends may be gone
	if plain(after) != plain(before) {
		s.Errorf("health %+v, was %+v", after, before)
	}
	if d := s.delivery("e", "a"); len(d.Log) != 1 || d.Attempts != 1 || text(d.Event) != string(message("a", "").Body) {
		s.Errorf("%+v", d)
	}
	s.idle(time.Minute) // l1; e is held
	sub := submission("r")
	sub.Webhook = &lifecycle.Webhook{Endpoint: "once"}
	s.create(sub)
	if got := s.list("once", dispatch.Query{}); len(got) != 1 {
		s.Errorf("one-off endpoint got %v", got)
	}
	for _, c := range s.claim(10, "r_1", "r_1") {
		s.settle(c, dispatch.Dead, 0)
	}
	s.in.Advance(time.Minute)
	s.settle(s.one("l1"), dispatch.Delivered, 0)
	s.settle(s.one("l2"), dispatch.Delivered, 0)
	s.in.Advance(30 * time.Minute)
	c := s.claim(1, "b")[0]
	if c.Attempt != 1 {
		s.Errorf("attempt %d", c.Attempt)
	}
	if _, err := s.Settle(s.ctx, lost, outcome(dispatch.Dead, 0)); !errors.Is(err, dispatch.ErrNotClaimed) {
		s.Errorf("settle from the life before: %v", err)
	}
	s.settle(c, dispatch.Delivered, 0)
	s.claim(10, "a", "c")
}

// testDeleteRequest: with a request that its owner deletes go its deliveries, whatever their state,
// and no other.
func testDeleteRequest(s *suite) {
	s.add(dispatch.Endpoint{ID: "e", Concurrency: 1})
	s.add(dispatch.Endpoint{ID: "many", Concurrency: 8})
	s.add(dispatch.Endpoint{ID: "paused", Status: dispatch.Paused})
	s.add(dispatch.Endpoint{ID: "once", OneOff: true})
	s.trust("e", 8)
	s.trust("many", 8)
	sub := submission("r")
	sub.Webhook = &lifecycle.Webhook{Endpoint: "once"}
	s.create(sub)
	s.create(submission("r_1")) // whose messages begin as those of the other one
	s.apply("r", lifecycle.Start{})
	s.apply("r", lifecycle.Succeed{})
	lent := make(map[string]dispatch.Claim)
	for _, c := range s.claim(20, "r_1", "r_1", "r_1", "r_2", "r_3", "r_1_1") {
		lent[c.Endpoint.ID+" "+c.ID] = c
	}
	s.settle(lent["many r_1"], dispatch.Delivered, 0)
	s.settle(lent["many r_2"], dispatch.Waiting, time.Hour)
	s.settle(lent["once r_1"], dispatch.Dead, 0)
	if err := s.Delete(s.ctx, lifecycle.Named("r")); err != nil {
		s.Fatal(err)
	}
	for _, id := range []string{"e", "many", "paused", "once"} {
		var got []string
		for _, message := range s.list(id, dispatch.Query{}) {
			if !strings.HasPrefix(message, "trust-") {
				got = append(got, message)
			}
		}
		want := []string{"r_1_1"}
		if id == "once" {
			want = nil
		}
		if !slices.Equal(got, want) {
			s.Errorf("deliveries of %s: %v, want %v", id, got, want)
		}
		if h := s.health(id); h.Waiting+h.Sending != len(want) {
			s.Errorf("health of %s: %+v", id, h)
		}
	}
	for _, c := range []string{"e r_1", "many r_3"} {
		if _, err := s.Settle(s.ctx, lent[c], outcome(dispatch.Delivered, 0)); !errors.Is(err, dispatch.ErrNotClaimed) {
			s.Errorf("settle %s: %v", c, err)
		}
	}
	s.settle(s.one("r_1_1"), dispatch.Delivered, 0)
	s.settle(lent["many r_1_1"], dispatch.Delivered, 0)
	s.in.Advance(2 * time.Hour)
	s.idle(dispatch.MaxNext)
}
