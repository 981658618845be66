package webhooktest

import (
	"slices"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/webhook/dispatch"
)

// testEvents: a delivery is exactly the event that followers get.
func testEvents(s *suite) {
	s.add(dispatch.Endpoint{ID: "e", Concurrency: 1})
	sub := submission("r")
	sub.Topic = "order-42"
	r := s.create(sub)
	id := dispatch.MessageID(lifecycle.Ref{ID: "r"}, 1)
	d := s.delivery("e", id)
	if d.ID != id || d.Lane != "r" || d.Type != string(lifecycle.EventAccepted) || d.State != dispatch.Waiting || d.Attempts != 0 ||
		len(d.Log) != 0 || !around(d.CreatedAt, r.CreatedAt) || !around(d.Due, r.CreatedAt) || !d.SettledAt.IsZero() {
		s.Errorf("delivery: %+v", d)
	}
	s.apply("r", lifecycle.Start{})
	s.apply("r", lifecycle.Progress{Message: new("héllo <&> \u2028")})
	s.apply("r", lifecycle.Succeed{Result: &lifecycle.Content{Type: "application/json", Data: []byte(`{"x": "<y>"}`)}})
	channel := r.Channel()
	h, err := s.Read(s.ctx, channel.Key(), 0, 10)
	if err != nil || len(h.Messages) != 4 {
		s.Fatalf("read: %d messages, %v", len(h.Messages), err)
	}
	types := []lifecycle.EventType{lifecycle.EventAccepted, lifecycle.EventStarted, lifecycle.EventProgress, lifecycle.EventSucceeded}
	for i, m := range h.Messages {
		id := dispatch.MessageID(lifecycle.Ref{ID: "r"}, m.Offset)
		if d := s.delivery("e", id); text(d.Event) != text(m.Event) {
			s.Errorf("body:\n%s\nwant:\n%s", text(d.Event), text(m.Event))
		}
		c := s.one(id)
		if c.Lane != "r" || c.Type != string(types[i]) || text(c.Event) != text(m.Event) || c.Endpoint.ID != "e" || c.Endpoint.Owner != alice ||
			c.Endpoint.URL != "https://example.com/e" || c.Endpoint.Version != 1 || c.Attempt != 1 || c.Token == "" {
			s.Errorf("claim %d: %+v", i, c)
		}
		s.settle(c, dispatch.Delivered, 0)
	}
	// What is submitted again, or changes nothing that is told, makes none.
	if c, err := s.Create(s.ctx, sub); err != nil || !c.Existed {
		s.Errorf("the same again: %+v, %v", c, err)
	}
	if _, err := s.Apply(s.ctx, lifecycle.Named("r"), lifecycle.Start{}); err == nil {
		s.Error("a refused change was made")
	}
	if got := s.list("e", dispatch.Query{}); len(got) != 4 {
		s.Errorf("deliveries %v", got)
	}
}

// testEventsWanted: each endpoint gets what it wants, and its owner's only. The same cases are put
// to dispatch.Endpoint.Takes, so that a store which decides for itself, in another language,
// decides likewise.
func testEventsWanted(s *suite) {
	type event struct {
		of lifecycle.Request
		t  lifecycle.EventType
	}
	var events []event
	for id, e := range map[string]struct {
		dispatch.Endpoint
		want []string
	}{
		"all":         {dispatch.Endpoint{}, []string{"a_1", "b_1", "c_1", "a_2", "a_3", "b_2"}},
		"bobs":        {dispatch.Endpoint{Owner: bob}, nil},
		"types":       {dispatch.Endpoint{Types: []string{"request.succeeded", "request.canceled"}}, []string{"a_3", "b_2"}},
		"type-unlike": {dispatch.Endpoint{Types: []string{"request.*", "succeeded", "request.succeede"}}, nil},
		"routes":      {dispatch.Endpoint{Routes: []string{"video", "other"}}, []string{"b_1", "b_2"}},
		"topic":       {dispatch.Endpoint{Topics: []string{"order-42"}}, []string{"a_1", "a_2", "a_3"}},
		"prefix":      {dispatch.Endpoint{Topics: []string{"order-4*"}}, []string{"a_1", "b_1", "a_2", "a_3", "b_2"}},
		"prefixes":    {dispatch.Endpoint{Topics: []string{"x*", "order-43*"}}, []string{"b_1", "b_2"}},
		"any-topic":   {dispatch.Endpoint{Topics: []string{"*"}}, []string{"a_1", "b_1", "c_1", "a_2", "a_3", "b_2"}},
		"no-pattern":  {dispatch.Endpoint{Topics: []string{"ord*r", "order", "[o]*", "order-4?"}}, nil},
		"everything":  {dispatch.Endpoint{Types: []string{"request.accepted"}, Routes: []string{"images"}, Topics: []string{"order-*"}}, []string{"a_1"}},
		"no-topic":    {dispatch.Endpoint{Topics: []string{""}}, []string{"c_1"}},
		"paused":      {dispatch.Endpoint{Status: dispatch.Paused, Routes: []string{"video"}}, []string{"b_1", "b_2"}},
		"pending":     {dispatch.Endpoint{Status: dispatch.Pending}, nil},
		"disabled":    {dispatch.Endpoint{Status: dispatch.Disabled}, nil},
		"once":        {dispatch.Endpoint{OneOff: true}, nil}, // nothing names it
		"named":       {dispatch.Endpoint{OneOff: true, Types: []string{"ignored"}}, []string{"b_2"}},
		"unproven":    {dispatch.Endpoint{OneOff: true, Status: dispatch.Pending}, nil},
	} {
		e.ID = id
		e.Endpoint = s.add(e.Endpoint)
		defer func() {
			var decided []string
			for _, event := range events {
				if event.of.Owner == e.Owner && e.Takes(&event.of, event.t) {
					decided = append(decided, dispatch.MessageID(event.of.Ref(), event.of.Sequence))
				}
			}
			if !slices.Equal(decided, e.want) {
				s.Errorf("%s is to get %v, want %v", id, decided, e.want)
			}
			page, err := s.ListDeliveries(s.ctx, e.Owner, id, dispatch.Query{Limit: 100})
			if err != nil {
				s.Fatal(err)
			}
			var got []string
			for _, d := range slices.Backward(page.Deliveries) {
				got = append(got, d.ID)
			}
			if !slices.Equal(got, e.want) {
				s.Errorf("%s got %v, want %v", id, got, e.want)
			}
		}()
	}
	tell := func(r lifecycle.Request, t lifecycle.EventType) {
		events = append(events, event{r, t})
		s.in.Advance(time.Second)
	}
	for _, r := range []struct {
		id, route, topic string
		webhook          *lifecycle.Webhook
	}{
		{"a", "images", "order-42", nil},
		{"b", "video", "order-43", &lifecycle.Webhook{Endpoint: "named", Types: []lifecycle.EventType{lifecycle.EventCanceled}}},
		{"c", "images", "", &lifecycle.Webhook{Endpoint: "unproven"}},
	} {
		sub := submission(r.id)
		sub.Route, sub.Topic, sub.Webhook = r.route, r.topic, r.webhook
		tell(s.create(sub), lifecycle.EventAccepted)
	}
	tell(s.apply("a", lifecycle.Start{}), lifecycle.EventStarted)
	tell(s.apply("a", lifecycle.Succeed{}), lifecycle.EventSucceeded)
	tell(s.apply("b", lifecycle.Cancel{}), lifecycle.EventCanceled)
}

// testEventsOfEveryKind: whatever goes to the feed of the owner is delivered, also what a sweep
// makes, and it is there when its request is forgotten.
func testEventsOfEveryKind(s *suite) {
	s.add(dispatch.Endpoint{ID: "e", Status: dispatch.Paused})
	create := func(id string) {
		sub := submission(id)
		sub.Retention = 48 * time.Hour
		s.create(sub)
	}
	create("retried")
	s.apply("retried", lifecycle.Start{})
	s.apply("retried", lifecycle.Fail{Retry: true})
	s.apply("retried", lifecycle.Start{})
	s.apply("retried", lifecycle.Fail{Failure: lifecycle.Failure{Code: "x", Message: "y"}})
	create("withdrawn")
	s.apply("withdrawn", lifecycle.Cancel{Withdrawn: true})
	create("marked")
	s.apply("marked", lifecycle.Start{})
	s.apply("marked", lifecycle.Cancel{}) // a mark, no event
	s.apply("marked", lifecycle.Release{})
	create("expired")
	create("swept")
	s.in.Advance(time.Hour)
	s.apply("expired", lifecycle.Expire{})
	s.sweep()

	feed, err := s.Read(s.ctx, lifecycle.Channel{Kind: lifecycle.OwnerChannel, Name: alice}.Key(), 0, 100)
	if err != nil || len(feed.Messages) != 14 {
		s.Fatalf("%d messages in the feed, %v", len(feed.Messages), err)
	}
	// The requests are forgotten, and what is to be delivered is not, nor when the feed has let go
	// of it.
	s.in.Advance(30 * time.Hour)
	s.sweep()
	ids := s.list("e", dispatch.Query{})
	if len(ids) != len(feed.Messages) {
		s.Fatalf("deliveries %v, want %d", ids, len(feed.Messages))
	}
	for i, m := range feed.Messages {
		if d := s.delivery("e", ids[i]); text(d.Event) != text(m.Event) || d.State != dispatch.Waiting {
			s.Errorf("delivery %d: %s %s\nwant %s", i, d.State, text(d.Event), text(m.Event))
		}
	}
}

// testEventsForStatus: an endpoint that is paused has what came meanwhile when it is active
// again, others have not.
func testEventsForStatus(s *suite) {
	for _, status := range []dispatch.Status{dispatch.Active, dispatch.Paused, dispatch.Pending, dispatch.Disabled} {
		s.add(dispatch.Endpoint{ID: string(status), Status: status})
	}
	s.create(submission("r"))
	for id, want := range map[string]int{"active": 1, "paused": 1, "pending": 0, "disabled": 0} {
		if got := s.list(id, dispatch.Query{}); len(got) != want || s.health(id).Waiting != want {
			s.Errorf("%s: %v, %d waiting", id, got, s.health(id).Waiting)
		}
	}
	if c := s.one("r_1"); c.Endpoint.ID != "active" {
		s.Errorf("claimed of %s", c.Endpoint.ID)
	}
	// From an update on the new one says what is enqueued.
	s.setStatus("disabled", dispatch.Active)
	s.update("active", func(e *dispatch.Endpoint) { e.Types = []string{"request.succeeded"} })
	s.apply("r", lifecycle.Start{})
	for id, want := range map[string]int{"active": 1, "paused": 2, "pending": 0, "disabled": 1} {
		if got := s.list(id, dispatch.Query{}); len(got) != want {
			s.Errorf("%s after updates: %v", id, got)
		}
	}
}

// testEventsForOneOff: a one-off endpoint gets what the request that names it wants it to.
func testEventsForOneOff(s *suite) {
	s.add(dispatch.Endpoint{ID: "all"})
	for _, id := range []string{"once", "final", "unnamed"} {
		s.add(dispatch.Endpoint{ID: id, OneOff: true, Types: []string{"ignored"}})
	}
	s.add(dispatch.Endpoint{ID: "disabled", OneOff: true, Status: dispatch.Disabled})
	s.add(dispatch.Endpoint{ID: "bobs", OneOff: true, Owner: bob})
	final := []lifecycle.EventType{lifecycle.EventSucceeded, lifecycle.EventCanceled}
	for id, webhook := range map[string]*lifecycle.Webhook{
		"a": {Endpoint: "once"}, "b": {Endpoint: "final", Types: final}, "c": {Endpoint: "all"}, "d": nil,
		"e": {Endpoint: "disabled"}, "f": {Endpoint: "unknown"}, "g": {Endpoint: "bobs"},
	} {
		sub := submission(id)
		sub.Webhook = webhook
		s.create(sub)
		s.apply(id, lifecycle.Start{})
		s.apply(id, lifecycle.Succeed{})
	}
	for id, want := range map[string][]string{"once": {"a_1", "a_2", "a_3"}, "final": {"b_3"}, "unnamed": {}, "disabled": {}} {
		if got := s.list(id, dispatch.Query{}); !slices.Equal(got, want) {
			s.Errorf("%s got %v, want %v", id, got, want)
		}
	}
	if got := s.list("all", dispatch.Query{}); len(got) != 7*3 { // once each, also when it is named
		s.Errorf("all got %v", got)
	}
	if page, err := s.ListDeliveries(s.ctx, bob, "bobs", dispatch.Query{Limit: 1}); err != nil || len(page.Deliveries) != 0 {
		s.Errorf("bob got %+v, %v", page, err)
	}
}
