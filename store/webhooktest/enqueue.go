package webhooktest

import (
	"fmt"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/webhook/dispatch"
)

func testEnqueue(s *suite) {
	s.add(dispatch.Endpoint{ID: "e", Concurrency: 1, Types: []string{"none"}})
	s.add(dispatch.Endpoint{ID: "other", Status: dispatch.Disabled})
	batch := func(n int) []dispatch.Message {
		messages := make([]dispatch.Message, n)
		for i := range messages {
			messages[i] = message(fmt.Sprintf("r_%d", i+1), "r")
		}
		return messages
	}
	enqueue := func(endpoint string, messages []dispatch.Message, want int) {
		s.Helper()
		if n, err := s.Enqueue(s.ctx, alice, endpoint, messages); err != nil || n != want {
			s.Errorf("enqueued %d, %v, want %d", n, err, want)
		}
	}
	enqueue("e", nil, 0)
	enqueue("e", batch(3), 3)
	s.settle(s.one("r_1"), dispatch.Delivered, 0)
	s.settle(s.one("r_2"), dispatch.Dead, 0)
	enqueue("e", batch(12), 9) // what is settled is there too
	for i := 3; i <= 12; i++ {
		c := s.one(fmt.Sprintf("r_%d", i))
		if want := batch(12)[i-1]; c.ID != want.ID || c.Lane != want.Lane || c.Type != want.Type || text(c.Event) != string(want.Body) {
			s.Errorf("claimed %+v, want %+v", c.Message, want)
		}
		s.settle(c, dispatch.Delivered, 0)
	}
	s.idle(dispatch.MaxNext)
	enqueue("e", batch(12), 0)
	twice := []dispatch.Message{message("twice", "r"), message("twice", "r")}
	enqueue("e", twice, 1)
	s.settle(s.one("twice"), dispatch.Delivered, 0)

	enqueue("other", batch(2), 2) // whatever its status
	s.idle(dispatch.MaxNext)
	s.setStatus("other", dispatch.Active)
	s.one("r_1")

	// What the store has made a delivery of is there as well, under the same id.
	s.add(dispatch.Endpoint{ID: "events", Status: dispatch.Paused})
	s.create(submission("x"))
	enqueue("events", []dispatch.Message{message("x_1", "x"), message("x_2", "x")}, 1)
	var made, tried int
	done := make(chan int)
	for tried = range 8 {
		go func() {
			n, err := s.Enqueue(s.ctx, alice, "events", batch(20))
			if err != nil {
				s.Error(err)
			}
			done <- n
		}()
	}
	for range tried + 1 {
		made += <-done
	}
	if made != 20 {
		s.Errorf("enqueued %d at once, want 20", made)
	}
}

// progress makes a request that has reported n times, from sequence 3 on.
func (s *suite) progress(id string, n int) {
	s.Helper()
	s.create(submission(id))
	s.apply(id, lifecycle.Start{})
	for range n {
		s.apply(id, lifecycle.Progress{})
	}
}

// byState returns the deliveries of an endpoint in each state.
func (s *suite) byState(endpoint string) map[dispatch.State][]string {
	s.Helper()
	all := make(map[dispatch.State][]string)
	for _, state := range []dispatch.State{dispatch.Waiting, dispatch.Sending, dispatch.Delivered, dispatch.Dead, dispatch.Superseded} {
		if ids := s.list(endpoint, dispatch.Query{State: state}); len(ids) > 0 {
			all[state] = ids
		}
	}
	return all
}

func (s *suite) states(endpoint string, want map[dispatch.State][]string) {
	s.Helper()
	if got := s.byState(endpoint); fmt.Sprint(got) != fmt.Sprint(want) { // maps print in order
		s.Errorf("deliveries of %s: %v, want %v", endpoint, got, want)
	}
}

func testCoalesce(s *suite) {
	s.add(dispatch.Endpoint{ID: "new", Coalesce: true, Concurrency: 1})
	s.add(dispatch.Endpoint{ID: "every", Status: dispatch.Paused})
	s.add(dispatch.Endpoint{ID: "progress", Coalesce: true, Status: dispatch.Paused, Types: []string{"request.progress"}})
	s.progress("r", 3)
	s.progress("other", 1)
	waiting := map[dispatch.State][]string{
		dispatch.Waiting:    {"r_1", "r_2", "r_5", "other_1", "other_2", "other_3"},
		dispatch.Superseded: {"r_3", "r_4"},
	}
	s.states("new", waiting)
	s.states("every", map[dispatch.State][]string{dispatch.Waiting: {"r_1", "r_2", "r_3", "r_4", "r_5", "other_1", "other_2", "other_3"}})
	s.apply("r", lifecycle.Succeed{})
	// What one does not want supersedes nothing of it.
	s.states("progress", map[dispatch.State][]string{dispatch.Waiting: {"r_5", "other_3"}, dispatch.Superseded: {"r_3", "r_4"}})
	s.apply("other", lifecycle.Fail{Failure: lifecycle.Failure{Code: "x"}})
	s.states("new", map[dispatch.State][]string{
		dispatch.Waiting:    {"r_1", "r_2", "other_1", "other_2", "r_6", "other_4"},
		dispatch.Superseded: {"r_3", "r_4", "r_5", "other_3"},
	})
	if h := s.health("new"); h.Waiting != 6 {
		s.Errorf("%d waiting", h.Waiting)
	}
	if d := s.delivery("new", "r_3"); d.State != dispatch.Superseded || d.SettledAt.IsZero() || text(d.Event) == "" || d.Attempts != 0 {
		s.Errorf("superseded: %+v", d)
	}
	for _, id := range []string{"r_1", "r_2", "other_1", "other_2", "r_6", "other_4"} {
		s.settle(s.one(id), dispatch.Delivered, 0)
	}
	s.idle(dispatch.MaxNext)
	// Somebody may still want to see one.
	if err := s.Resend(s.ctx, alice, "new", "r_4"); err != nil {
		s.Error(err)
	}
	s.settle(s.one("r_4"), dispatch.Delivered, 0)
}

// testCoalesceNothingElse: only progress goes, and only if nobody may have seen it.
func testCoalesceNothingElse(s *suite) {
	s.add(dispatch.Endpoint{ID: "e", Coalesce: true, Types: []string{"request.progress", "request.retrying", "request.succeeded"}})
	s.trust("e", 3)
	s.progress("tried", 1)
	s.settle(s.one("tried_3"), dispatch.Waiting, time.Hour)
	s.progress("sent", 1)
	s.one("sent_3")
	s.create(submission("retried"))
	s.apply("retried", lifecycle.Start{})
	s.apply("retried", lifecycle.Fail{Retry: true})
	for _, id := range []string{"tried", "sent"} {
		s.apply(id, lifecycle.Progress{})
	}
	s.apply("retried", lifecycle.Start{})
	s.apply("retried", lifecycle.Progress{})
	s.apply("tried", lifecycle.Succeed{})
	got := s.byState("e")
	delete(got, dispatch.Delivered)
	want := map[dispatch.State][]string{
		dispatch.Waiting:    {"tried_3", "retried_3", "sent_4", "retried_5", "tried_5"},
		dispatch.Sending:    {"sent_3"},
		dispatch.Superseded: {"tried_4"},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		s.Errorf("%v, want %v", got, want)
	}
	// What is enqueued by hand supersedes nothing.
	if _, err := s.Enqueue(s.ctx, alice, "e", []dispatch.Message{message("sent_1", "sent")}); err != nil {
		s.Error(err)
	}
	if d := s.delivery("e", "sent_4"); d.State != dispatch.Waiting {
		s.Errorf("%+v", d)
	}
}

// testOnDue: whoever sleeps until the time that Claim said is woken.
func testOnDue(s *suite) {
	nodes := []Store{s.Store}
	if s.in.Another != nil {
		nodes = append(nodes, s.in.Another())
	}
	var woken []chan struct{}
	for _, node := range nodes {
		c := make(chan struct{}, 1)
		woken = append(woken, c)
		stop := node.OnDue(func() {
			select {
			case c <- struct{}{}:
			default:
			}
		})
		defer stop()
	}
	s.add(dispatch.Endpoint{ID: "e", Concurrency: 1})
	wakes := func(what string, f func()) {
		s.Helper()
		for _, c := range woken { // of before
			select {
			case <-c:
			default:
			}
		}
		f()
		for i, c := range woken {
			select {
			case <-c:
			case <-time.After(10 * time.Second):
				s.Errorf("%s did not wake node %d", what, i)
			}
		}
	}
	wakes("an event", func() { s.create(submission("r")) })
	wakes("another event", func() { s.apply("r", lifecycle.Start{}) })
	wakes("enqueueing", func() { s.enqueue("e", "m") })
	c := s.one("r_1")
	wakes("settling what held back others", func() { s.settle(c, dispatch.Dead, 0) })
	wakes("resending", func() {
		if err := s.Resend(s.ctx, alice, "e", "r_1"); err != nil {
			s.Error(err)
		}
	})
	s.setStatus("e", dispatch.Paused)
	wakes("activating", func() { s.setStatus("e", dispatch.Active) })

	stopped := make(chan struct{}, 1)
	s.OnDue(func() { stopped <- struct{}{} })()
	s.enqueue("e", "n")
	select {
	case <-stopped:
		s.Error("called after stop")
	default:
	}
}
