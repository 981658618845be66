package webhooktest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/webhook/dispatch"
)

// same compares endpoints as they are stored.
func (s *suite) same(what string, got, want dispatch.Endpoint) {
	s.Helper()
	g, _ := json.MarshalIndent(got, "", " ")
	w, _ := json.MarshalIndent(want, "", " ")
	if !bytes.Equal(g, w) {
		s.Errorf("%s:\n%s\nwant:\n%s", what, g, w)
	}
}

func testEndpoints(s *suite) {
	e := dispatch.Endpoint{
		ID: "e", Owner: alice, URL: "https://example.com/hook?x=1&y=<z>", Description: "dé\"scription", Status: dispatch.Pending,
		Types: []string{"request.succeeded"}, Routes: []string{"images"}, Topics: []string{"order-*"},
		Secrets: []dispatch.Secret{{Value: []byte("\x00\xff")}, {Value: []byte("old"), Until: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)}},
		Headers: map[string]string{"X-A": "b"}, Timeout: timeout, Schedule: []time.Duration{time.Second, time.Hour},
		Rate: 2.5, Concurrency: 4, Coalesce: true, ContentType: dispatch.TypeJSON, Form: dispatch.FormThin, Challenge: "prove it",
	}
	created, err := s.CreateEndpoint(s.ctx, e)
	if err != nil {
		s.Fatal(err)
	}
	if created.Version != 1 || created.CreatedAt.IsZero() || !created.UpdatedAt.Equal(created.CreatedAt) {
		s.Errorf("created: version %d, at %v, %v", created.Version, created.CreatedAt, created.UpdatedAt)
	}
	want := e
	want.Version, want.CreatedAt, want.UpdatedAt = 1, created.CreatedAt, created.UpdatedAt
	s.same("created", created, want)
	got, health, err := s.Endpoint(s.ctx, alice, "e")
	if err != nil || health != (dispatch.Health{}) {
		s.Errorf("endpoint: %+v, %v", health, err)
	}
	s.same("read", got, created)
	if owner, err := s.EndpointOwner(s.ctx, "e"); err != nil || owner != alice {
		s.Errorf("owner: %q, %v", owner, err)
	}
	if owner, err := s.EndpointOwner(s.ctx, "none"); !errors.Is(err, dispatch.ErrNotFound) {
		s.Errorf("owner of none: %q, %v", owner, err)
	}
	if _, err := s.CreateEndpoint(s.ctx, e); !errors.Is(err, dispatch.ErrExists) {
		s.Errorf("created again: %v", err)
	}

	s.in.Advance(time.Minute)
	changed := got
	changed.URL, changed.Status, changed.Topics = "https://example.com/other", dispatch.Active, nil
	updated, err := s.UpdateEndpoint(s.ctx, changed)
	if err != nil || updated.Version != 2 || !updated.UpdatedAt.After(created.UpdatedAt) {
		s.Errorf("updated: %+v, %v", updated, err)
	}
	changed.Version, changed.UpdatedAt = 2, updated.UpdatedAt
	s.same("updated", updated, changed)
	got, _, _ = s.Endpoint(s.ctx, alice, "e")
	s.same("read after an update", got, changed)
	changed.Version = 1
	if _, err := s.UpdateEndpoint(s.ctx, changed); !errors.Is(err, dispatch.ErrConflict) {
		s.Errorf("update of an old version: %v", err)
	}
	changed.Version = 3
	if _, err := s.UpdateEndpoint(s.ctx, changed); !errors.Is(err, dispatch.ErrConflict) {
		s.Errorf("update of a version to come: %v", err)
	}
	var won atomic.Int32
	parallel(8, func(int) {
		switch _, err := s.UpdateEndpoint(s.ctx, updated); {
		case err == nil:
			won.Add(1)
		case !errors.Is(err, dispatch.ErrConflict):
			s.Error(err)
		}
	})
	if won.Load() != 1 {
		s.Errorf("%d concurrent updates of one version", won.Load())
	}

	if err := s.DeleteEndpoint(s.ctx, alice, "e"); err != nil {
		s.Error(err)
	}
	s.noEndpoint(alice, "e")
	s.add(dispatch.Endpoint{ID: "e"}) // the id is free
}

// noEndpoint checks that nothing can be done with an endpoint that there is not.
func (s *suite) noEndpoint(owner, id string) {
	s.Helper()
	check := func(what string, err error) {
		s.Helper()
		if !errors.Is(err, dispatch.ErrNotFound) {
			s.Errorf("%s of %s's %s: %v, want %v", what, owner, id, err, dispatch.ErrNotFound)
		}
	}
	_, _, err := s.Endpoint(s.ctx, owner, id)
	check("read", err)
	_, err = s.UpdateEndpoint(s.ctx, dispatch.Endpoint{ID: id, Owner: owner, Version: 1, Status: dispatch.Active, Concurrency: 1})
	check("update", err)
	check("delete", s.DeleteEndpoint(s.ctx, owner, id))
	check("hold", s.Hold(s.ctx, owner, id, time.Minute))
	_, err = s.Enqueue(s.ctx, owner, id, []dispatch.Message{message("m", "l")})
	check("enqueue", err)
	_, err = s.ListDeliveries(s.ctx, owner, id, dispatch.Query{Limit: 1})
	check("list", err)
	_, err = s.Delivery(s.ctx, owner, id, "m")
	check("delivery", err)
	check("resend", s.Resend(s.ctx, owner, id, "m"))
}

func (s *suite) endpoints(owner string, page int) []string {
	s.Helper()
	ids := []string{}
	for after := ""; ; {
		list, err := s.ListEndpoints(s.ctx, owner, after, page)
		if err != nil || len(list) > page {
			s.Fatalf("endpoints of %s after %q: %d, limit %d, %v", owner, after, len(list), page, err)
		}
		for _, e := range list {
			ids = append(ids, e.ID)
		}
		if len(list) < page {
			return ids
		}
		after = ids[len(ids)-1]
	}
}

// allEndpoints are those of all owners.
func (s *suite) allEndpoints(page int) []string {
	s.Helper()
	ids := []string{}
	for after := ""; ; {
		list, err := s.ListAllEndpoints(s.ctx, after, page)
		if err != nil || len(list) > page {
			s.Fatalf("all endpoints after %q: %d, limit %d, %v", after, len(list), page, err)
		}
		for _, e := range list {
			ids = append(ids, e.Owner+" "+e.ID)
		}
		if len(list) < page {
			return ids
		}
		after = list[len(list)-1].ID
	}
}

func testListEndpoints(s *suite) {
	if got := s.endpoints(alice, 3); len(got) != 0 {
		s.Errorf("of none: %v", got)
	}
	want, all := []string{}, []string{}
	for i := range 10 {
		id := fmt.Sprintf("e%d", 9-i*7%10) // ids say nothing about the order
		s.add(dispatch.Endpoint{ID: id})
		all = append(all, alice+" "+id, bob+" bobs-"+id)
		s.add(dispatch.Endpoint{ID: "bobs-" + id, Owner: bob})
		s.add(dispatch.Endpoint{ID: "once-" + id, OneOff: true})
		want = append(want, id)
		s.in.Advance(time.Second)
	}
	slices.Reverse(want)
	slices.Reverse(all)
	checkAll := func(what string) {
		s.Helper()
		for _, page := range []int{1, 3, 7, 100} {
			if got := s.allEndpoints(page); !slices.Equal(got, all) {
				s.Errorf("all, %s, in pages of %d: %v, want %v", what, page, got, all)
			}
		}
	}
	checkAll("as they were made")
	s.update("once-e4", func(e *dispatch.Endpoint) { e.Status = dispatch.Disabled })
	at := slices.Index(all, bob+" bobs-e4") // which was made before
	all = slices.Insert(all, at, alice+" once-e4")
	checkAll("with one of a single request that is disabled")
	s.update("once-e4", func(e *dispatch.Endpoint) { e.Status = dispatch.Active })
	all = slices.Delete(all, at, at+1)
	checkAll("without it")
	for _, page := range []int{1, 3, 5, 10, 100} {
		if got := s.endpoints(alice, page); !slices.Equal(got, want) {
			s.Errorf("in pages of %d: %v, want %v", page, got, want)
		}
	}
	s.update(want[3], func(e *dispatch.Endpoint) { e.Description = "changed" }) // does not move it
	if got := s.endpoints(alice, 4); !slices.Equal(got, want) {
		s.Errorf("after an update: %v, want %v", got, want)
	}
	if err := s.DeleteEndpoint(s.ctx, alice, want[3]); err != nil {
		s.Error(err)
	}
	if _, err := s.ListEndpoints(s.ctx, alice, want[3], 4); !errors.Is(err, dispatch.ErrNotFound) {
		s.Errorf("after one that is gone: %v", err)
	}
	if _, err := s.ListAllEndpoints(s.ctx, want[3], 4); !errors.Is(err, dispatch.ErrNotFound) {
		s.Errorf("all after one that is gone: %v", err)
	}
	all = slices.DeleteFunc(all, func(name string) bool { return name == alice+" "+want[3] })
	checkAll("after one was deleted")
	want = slices.Delete(want, 3, 4)
	if got := s.endpoints(alice, 4); !slices.Equal(got, want) {
		s.Errorf("after one was deleted: %v, want %v", got, want)
	}
}

func testEndpointsOfOthers(s *suite) {
	e := s.add(dispatch.Endpoint{ID: "e"})
	s.enqueue("e", "m")
	s.noEndpoint(bob, "e")
	if _, err := s.CreateEndpoint(s.ctx, dispatch.Endpoint{ID: "e", Owner: bob, Status: dispatch.Active}); !errors.Is(err, dispatch.ErrExists) {
		s.Errorf("somebody else's id: %v", err)
	}
	if got := s.endpoints(bob, 10); len(got) != 0 {
		s.Errorf("bob sees %v", got)
	}
	s.add(dispatch.Endpoint{ID: "bobs", Owner: bob})
	if _, err := s.Delivery(s.ctx, bob, "bobs", "m"); !errors.Is(err, dispatch.ErrNotFound) {
		s.Errorf("a delivery of another endpoint: %v", err)
	}
	got, _, err := s.Endpoint(s.ctx, alice, "e")
	if err != nil {
		s.Fatal(err)
	}
	s.same("after what bob tried", got, e)
	s.one("m")
}

func testOneOff(s *suite) {
	first := s.add(dispatch.Endpoint{ID: "once", OneOff: true})
	again, err := s.CreateEndpoint(s.ctx, dispatch.Endpoint{ID: "once", Owner: alice, OneOff: true, Status: dispatch.Active, URL: "https://example.com/other"})
	if err != nil {
		s.Fatal(err)
	}
	s.same("created again", again, first)
	for _, e := range []dispatch.Endpoint{{ID: "once", Owner: bob, OneOff: true}, {ID: "once", Owner: alice}} {
		if _, err := s.CreateEndpoint(s.ctx, e); !errors.Is(err, dispatch.ErrExists) {
			s.Errorf("%+v: %v", e, err)
		}
	}
	s.add(dispatch.Endpoint{ID: "lasting"})
	if _, err := s.CreateEndpoint(s.ctx, dispatch.Endpoint{ID: "lasting", Owner: alice, OneOff: true}); !errors.Is(err, dispatch.ErrExists) {
		s.Errorf("one-off with the id of one that lasts: %v", err)
	}
	parallel(8, func(int) {
		if _, err := s.CreateEndpoint(s.ctx, dispatch.Endpoint{ID: "raced", Owner: alice, OneOff: true}); err != nil {
			s.Error(err)
		}
	})

	// It lives on for as long as it is named.
	for range 4 {
		s.in.Advance(45 * time.Minute)
		if _, err := s.CreateEndpoint(s.ctx, first); err != nil {
			s.Error(err)
		}
		s.sweep()
	}
	s.health("once")
	s.noEndpoint(alice, "raced") // nobody named it

	// What waits keeps it.
	s.enqueue("once", "m")
	s.in.Advance(3 * time.Hour)
	s.sweep()
	s.settle(s.one("m"), dispatch.Delivered, 0)
	s.in.Advance(3 * time.Hour)
	s.sweep()
	s.noEndpoint(alice, "once")
	s.health("lasting")
	s.add(dispatch.Endpoint{ID: "once", OneOff: true})
	if got := s.list("once", dispatch.Query{}); len(got) != 0 {
		s.Errorf("a new one has deliveries %v", got)
	}
}

// testOneOffDisabled: what waits keeps a one-off endpoint that is disabled no longer than others
// are kept, and meanwhile its owner finds it in the list.
func testOneOffDisabled(s *suite) {
	s.add(dispatch.Endpoint{ID: "lasting"})
	s.in.Advance(time.Second)
	s.add(dispatch.Endpoint{ID: "once", OneOff: true})
	s.add(dispatch.Endpoint{ID: "bobs", Owner: bob, OneOff: true})
	s.enqueue("once", "m", "n")
	if got := s.endpoints(alice, 1); !slices.Equal(got, []string{"lasting"}) {
		s.Errorf("list with an active one-off endpoint: %v", got)
	}
	disable := func(e *dispatch.Endpoint) { e.Status = dispatch.Disabled }
	s.update("once", disable)
	if got := s.endpoints(alice, 1); !slices.Equal(got, []string{"once", "lasting"}) {
		s.Errorf("list with a disabled one-off endpoint: %v", got)
	}
	s.update("once", func(e *dispatch.Endpoint) { e.Status = dispatch.Active })
	if got := s.endpoints(alice, 1); !slices.Equal(got, []string{"lasting"}) {
		s.Errorf("list after it was enabled: %v", got)
	}
	s.update("once", disable)
	s.in.Advance(3 * time.Hour)
	s.sweep()
	s.noEndpoint(alice, "once")
	s.sweep()
	if got := s.endpoints(alice, 1); !slices.Equal(got, []string{"lasting"}) {
		s.Errorf("list after it was forgotten: %v", got)
	}
	s.add(dispatch.Endpoint{ID: "once", OneOff: true})
	if got := s.list("once", dispatch.Query{}); len(got) != 0 {
		s.Errorf("a new one has deliveries %v", got)
	}
}

// testOneOffOfLongRequest: a request that takes longer than the retention still finds its endpoint.
func testOneOffOfLongRequest(s *suite) {
	s.add(dispatch.Endpoint{ID: "once", OneOff: true})
	sub := submission("r")
	sub.Timeout = 24 * time.Hour
	sub.Webhook = &lifecycle.Webhook{Endpoint: "once", Types: []lifecycle.EventType{lifecycle.EventSucceeded}}
	s.create(sub)
	s.apply("r", lifecycle.Start{})
	s.in.Advance(20 * time.Hour)
	s.sweep()
	s.apply("r", lifecycle.Progress{Extend: 24 * time.Hour})
	s.in.Advance(20 * time.Hour)
	s.sweep()
	s.apply("r", lifecycle.Succeed{})
	s.settle(s.one(dispatch.MessageID(lifecycle.Ref{ID: "r"}, 4)), dispatch.Delivered, 0)
	s.in.Advance(24 * time.Hour)
	s.sweep()
	s.noEndpoint(alice, "once")
}

// sweep does all that there is to do.
func (s *suite) sweep() {
	s.Helper()
	for done := 100; done == 100; {
		swept, err := s.Sweep(s.ctx, 100)
		if err != nil {
			s.Fatal(err)
		}
		done = swept.Done
	}
}

func testPutIfAbsent(s *suite) {
	keep := func(name, value, want string) {
		s.Helper()
		if got, err := s.PutIfAbsent(s.ctx, name, []byte(value)); err != nil || string(got) != want {
			s.Errorf("PutIfAbsent %s: %q, %v, want %q", name, got, err, want)
		}
	}
	keep("a", "1\x00\xff", "1\x00\xff")
	keep("a", "2", "1\x00\xff")
	keep("b", "2", "2")
	if s.in.Reopen != nil {
		s.Store = s.in.Reopen()
	}
	keep("a", "3", "1\x00\xff")
	values := make([]string, 8)
	parallel(len(values), func(i int) {
		got, err := s.PutIfAbsent(s.ctx, "raced", []byte{byte(i)})
		if err != nil {
			s.Error(err)
		}
		values[i] = string(got)
	})
	if slices.Sort(values); values[0] != values[7] {
		s.Errorf("raced: %q", values)
	}
}

func testDeleteEndpoint(s *suite) {
	s.add(dispatch.Endpoint{ID: "e", Concurrency: 4})
	s.add(dispatch.Endpoint{ID: "other"})
	s.trust("e", 4)
	s.enqueue("e", "sending")
	under := s.one("sending")
	s.enqueue("e", "waiting", "dead")
	for _, c := range s.claim(2, "waiting", "dead") {
		s.settle(c, map[string]dispatch.State{"waiting": dispatch.Waiting, "dead": dispatch.Dead}[c.ID], time.Minute)
	}
	s.enqueue("other", "waiting") // the same message
	if err := s.DeleteEndpoint(s.ctx, alice, "e"); err != nil {
		s.Fatal(err)
	}
	s.noEndpoint(alice, "e")
	if _, err := s.Settle(s.ctx, under, outcome(dispatch.Delivered, 0)); !errors.Is(err, dispatch.ErrNotClaimed) {
		s.Errorf("settle what is gone: %v", err)
	}
	if c := s.one("waiting"); c.Endpoint.ID != "other" || text(c.Event) != string(message("waiting", "").Body) {
		s.Errorf("%+v", c)
	}
	// One with the same id has nothing of it.
	s.add(dispatch.Endpoint{ID: "e"})
	if got, h := s.list("e", dispatch.Query{}), s.health("e"); len(got) != 0 || h != (dispatch.Health{}) {
		s.Errorf("a new one with the same id: %v, %+v", got, h)
	}
	s.enqueue("e", "sending")
	s.one("sending")
	if _, err := s.Settle(s.ctx, under, outcome(dispatch.Delivered, 0)); !errors.Is(err, dispatch.ErrNotClaimed) {
		s.Errorf("settle what is gone, when there is another: %v", err)
	}
	s.in.Advance(2 * time.Hour)
	s.sweep()
}

// testEndpointQuota: an owner has no more endpoints than it may, one-off ones counted apart, and
// others have their own.
func testEndpointQuota(s *suite) {
	add := func(owner, id string, oneOff bool) error {
		_, err := s.CreateEndpoint(s.ctx, dispatch.Endpoint{ID: id, Owner: owner, Status: dispatch.Active, OneOff: oneOff, Quota: 2})
		return err
	}
	for _, c := range []struct {
		owner, id string
		oneOff    bool
		want      error
	}{
		{alice, "once", true, nil},
		{alice, "a", false, nil},
		{alice, "b", false, nil},
		{alice, "c", false, dispatch.ErrQuota},
		{alice, "twice", true, nil},
		{alice, "thrice", true, dispatch.ErrQuota},
		{alice, "once", true, nil}, // which is there
		{bob, "d", false, nil},
		{bob, "his", true, nil},
	} {
		if err := add(c.owner, c.id, c.oneOff); !errors.Is(err, c.want) {
			s.Errorf("%s of %s: %v, want %v", c.id, c.owner, err, c.want)
		}
	}
	if err := s.DeleteEndpoint(s.ctx, alice, "a"); err != nil {
		s.Fatal(err)
	}
	if err := add(alice, "c", false); err != nil {
		s.Errorf("when one is deleted: %v", err)
	}
	s.in.Advance(2 * time.Hour)
	s.sweep()
	if err := add(alice, "thrice", true); err != nil {
		s.Errorf("when the one-off ones are forgotten: %v", err)
	}
}
