package storetest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// dead is what the store tells of requests that have failed.
func (s *suite) dead() lifecycle.Dead { return part[lifecycle.Dead](s) }

// failing stores a request and lets it fail.
func (s *suite) failing(sub lifecycle.Submission) lifecycle.Request {
	s.Helper()
	s.create(sub)
	s.apply(sub.ID, lifecycle.Start{})
	return s.apply(sub.ID, lifecycle.Fail{Attempt: 1, Failure: failure})
}

// deadIDs reads what a query selects, page by page.
func (s *suite) deadIDs(q lifecycle.DeadQuery) []string {
	s.Helper()
	var ids []string
	for pages := 0; ; pages++ {
		page, err := s.dead().DeadRequests(s.ctx, q)
		if err != nil {
			s.Fatalf("%+v: %v", q, err)
		}
		if len(page.Requests) > q.Limit || pages > 100 {
			s.Fatalf("%+v: page %d has %d requests", q, pages, len(page.Requests))
		}
		for i := range page.Requests {
			s.same("in the list", page.Requests[i], s.get(page.Requests[i].ID))
			ids = append(ids, page.Requests[i].ID)
		}
		if page.Next == "" {
			return ids
		}
		q.Cursor = page.Next
	}
}

// routes are those of which requests have failed, with how many, as text.
func (s *suite) deadRoutes(after string, limit int) []string {
	s.Helper()
	found, err := s.dead().DeadRoutes(s.ctx, after, limit)
	if err != nil {
		s.Fatal(err)
	}
	var routes []string
	for _, r := range found {
		routes = append(routes, fmt.Sprint(r.Route, " ", r.Requests))
	}
	return routes
}

// near compares the time of an end in an index, which may have fewer digits.
func near(a, b time.Time) bool { return a.Sub(b).Abs() < time.Millisecond }

// testDead: what has failed is found by route, in the order of its ends, until it is redriven or
// forgotten, over a restart; and nothing else is.
func testDead(s *suite) {
	of := func(id, route, owner string) lifecycle.Submission {
		sub := submission(id)
		sub.Route, sub.Owner = route, owner
		return sub
	}
	want := func(what string, images ...string) {
		s.Helper()
		for _, limit := range []int{1, 2, 50} {
			if got := s.deadIDs(lifecycle.DeadQuery{Route: "images", Oldest: true, Limit: limit}); !slices.Equal(got, images) {
				s.Errorf("%s: %v, want %v", what, got, images)
			}
			newest := slices.Clone(images)
			slices.Reverse(newest)
			if got := s.deadIDs(lifecycle.DeadQuery{Route: "images", Limit: limit}); !slices.Equal(got, newest) {
				s.Errorf("%s, the newest first: %v, want %v", what, got, newest)
			}
		}
		var routes []string
		if len(images) > 0 {
			routes = append(routes, fmt.Sprint("images ", len(images)))
		}
		if got := s.deadRoutes("", 10); !slices.Equal(got, append(routes, "images-2 1", "sound 1")) {
			s.Errorf("%s: %v", what, got)
		}
	}
	s.failing(of("s", "sound", bob))
	s.failing(of("i2", "images-2", bob))
	var ends []time.Time
	for i, owner := range []string{alice, bob, alice, bob, alice} {
		ends = append(ends, s.failing(of(fmt.Sprint("i", i, "x"), "images", owner)).EndedAt)
		s.in.Advance(time.Minute)
	}
	for _, status := range lifecycle.Statuses {
		if status != lifecycle.Failed && status != lifecycle.Expired {
			s.into(string(status), status)
		}
	}
	s.intoBatch("batch", lifecycle.Failed)
	all := []string{"i0x", "i1x", "i2x", "i3x", "i4x"}
	want("at first", all...)
	if got := s.deadRoutes("", 2); !slices.Equal(got, []string{"images 5", "images-2 1"}) {
		s.Errorf("the first two: %v", got)
	}
	if got := s.deadRoutes("images", 1); !slices.Equal(got, []string{"images-2 1"}) {
		s.Errorf("behind images: %v", got)
	}
	if got := s.deadRoutes("sound", 1); got != nil {
		s.Errorf("behind the last: %v", got)
	}
	if routes, err := s.dead().DeadRoutes(s.ctx, "", 1); err != nil || !near(routes[0].Oldest, ends[0]) || !near(routes[0].Newest, ends[4]) {
		s.Errorf("%+v, %v, want %v to %v", routes, err, ends[0], ends[4])
	}
	if got := s.deadIDs(lifecycle.DeadQuery{Route: "unknown", Limit: 1}); got != nil {
		s.Errorf("of no route: %v", got)
	}
	for _, oldest := range []bool{false, true} {
		q := lifecycle.DeadQuery{Route: "images", Before: ends[2].Add(-30 * time.Second), Oldest: oldest, Limit: 1}
		got := s.deadIDs(q)
		if slices.Sort(got); !slices.Equal(got, all[:2]) {
			s.Errorf("before %v: %v", q.Before, got)
		}
		page, err := s.dead().DeadRequests(s.ctx, q)
		if err != nil || page.Next == "" {
			s.Fatalf("%+v, %v", page, err)
		}
		for _, cursor := range []string{"x", page.Next + "x", page.Next[1:], page.Next[:8]} {
			q.Cursor = cursor
			if _, err := s.dead().DeadRequests(s.ctx, q); !errors.Is(err, lifecycle.ErrCursor) {
				s.Errorf("cursor %q: %v", cursor, err)
			}
		}
		q.Cursor, q.Oldest = page.Next, !oldest
		if _, err := s.dead().DeadRequests(s.ctx, q); !errors.Is(err, lifecycle.ErrCursor) {
			s.Errorf("a cursor of the other order: %v", err)
		}
		q.Route, q.Oldest = "sound", oldest
		if _, err := s.dead().DeadRequests(s.ctx, q); !errors.Is(err, lifecycle.ErrCursor) {
			s.Errorf("a cursor of another route: %v", err)
		}
	}

	s.apply("i1x", lifecycle.Redrive{})
	want("one is redriven", "i0x", "i2x", "i3x", "i4x")
	s.apply("i1x", lifecycle.Start{})
	s.apply("i1x", lifecycle.Fail{Failure: failure})
	want("it has failed again", "i0x", "i2x", "i3x", "i4x", "i1x")
	if err := s.Delete(s.ctx, lifecycle.Named("i3x")); err != nil {
		s.Fatal(err)
	}
	want("one was deleted", "i0x", "i2x", "i4x", "i1x")
	s.create(of("i3x", "images", alice)) // its id is used again
	if s.in.Reopen != nil {
		s.Store = s.in.Reopen()
	}
	want("after a restart", "i0x", "i2x", "i4x", "i1x")
	s.apply("i0x", lifecycle.Redrive{Timeout: 100 * time.Hour})
	s.apply("i0x", lifecycle.Start{})
	s.apply("i0x", lifecycle.Succeed{})
	want("one has succeeded", "i2x", "i4x", "i1x")
	for range 10 {
		s.in.Advance(4 * time.Hour)
		s.sweep(1000)
	}
	if got := s.deadRoutes("", 10); got != nil {
		s.Errorf("after the retention: %v", got)
	}
	if got := s.deadIDs(lifecycle.DeadQuery{Route: "images", Limit: 2}); got != nil {
		s.Errorf("after the retention: %v", got)
	}
}

// testRedrive: what has failed goes on as the same request. Its events and those of its feeds have
// no gap, its content and what it was answered are there, its attempts count anew and none of
// before is taken for one of them, and so does its time.
func testRedrive(s *suite) {
	sub := submission("r")
	sub.Topic, sub.Timeout, sub.Retention, sub.MaxAttempts = "t", 5*time.Hour, time.Hour, 2
	s.create(sub)
	s.apply("r", lifecycle.Start{Message: "m1"})
	answers := answersOf(100)
	s.apply("r", ask(0))
	s.apply("r", lifecycle.Answer{Asked: 1, Answers: answers})
	s.apply("r", lifecycle.Start{Message: "m2"})
	s.apply("r", lifecycle.Progress{Step: new("x"), Percent: new(40.0), Message: new("y")})
	s.apply("r", lifecycle.Fail{Attempt: 1, Failure: failure, Retry: true})
	s.apply("r", lifecycle.Start{Message: "m3"})
	failed := s.apply("r", lifecycle.Fail{Attempt: 2, Failure: failure, Retry: true})
	if failed.Status != lifecycle.Failed {
		s.Fatalf("%+v", failed)
	}
	own, feed, topic := requestChannel("r"), ownerChannel(alice), topicChannel(alice, "t")
	if h, err := s.Read(s.ctx, own, failed.Sequence, 10); err != nil || !h.Ended || len(h.Messages) != 0 {
		s.Errorf("%+v, %v", h, err)
	}

	s.in.Advance(30 * time.Minute) // of the hour that it is kept
	r := s.apply("r", lifecycle.Redrive{})
	wanted := failed
	wanted.Status, wanted.Redriven, wanted.Past, wanted.Failures = lifecycle.Pending, 1, 2, 0
	wanted.Error, wanted.Step, wanted.Percent, wanted.Message = nil, "", nil, ""
	wanted.StartedAt, wanted.EndedAt = time.Time{}, time.Time{}
	wanted.Sequence, wanted.UpdatedAt, wanted.ExpiresAt = failed.Sequence+1, r.UpdatedAt, r.UpdatedAt.Add(5*time.Hour)
	s.same("redriven", r, wanted)
	s.same("get", s.get("r"), r)
	if r.Position == nil {
		s.Error("it has no position")
	}
	s.consistent("r")
	again := s.apply("r", lifecycle.Redrive{})
	s.same("redriven again", again, r)
	s.pieces(lifecycle.Ref{ID: "r", Life: life}, lifecycle.Input, sub.Content.Data)
	s.answers("r", answers)

	// Whoever comes back with the cursor of the end, and whose page ends there.
	h, err := s.Read(s.ctx, own, failed.Sequence, 10)
	if err != nil || h.Ended || len(h.Messages) != 1 || h.Messages[0].Last || s.decode(h.Messages[0]).Type != "request.redriven" {
		s.Errorf("behind the end: %+v, %v", h, err)
	}
	h, err = s.Read(s.ctx, own, failed.Sequence-1, 1)
	if err != nil || h.Ended || len(h.Messages) != 1 || h.Messages[0].Last || s.decode(h.Messages[0]).Data.Status != "failed" {
		s.Errorf("the end: %+v, %v", h, err)
	}

	// What stems from before begins nothing and ends nothing.
	s.refuses("r", lifecycle.Start{Message: "m3", Redelivered: true, Sequence: failed.Sequence - 2}, lifecycle.ReasonMessage)
	s.apply("r", lifecycle.Fail{Attempt: 2, Failure: failure, Retry: true}) // told again
	started := s.apply("r", lifecycle.Start{Message: "m4", Sequence: r.Sequence})
	if started.Attempt != 3 || started.Failures != 0 || !started.StartedAt.Equal(started.UpdatedAt) {
		s.Errorf("%+v", started)
	}
	s.refuses("r", lifecycle.Succeed{Attempt: 1}, lifecycle.ReasonStale)
	s.refuses("r", lifecycle.Redrive{}, lifecycle.ReasonNotFailed)

	// Beyond what it would have been kept for, and then once more.
	s.in.Advance(2 * time.Hour)
	s.sweep(100)
	if r := s.apply("r", lifecycle.Fail{Attempt: 3, Failure: failure, Retry: true}); r.Status != lifecycle.Pending {
		s.Errorf("its first failure: %+v", r)
	}
	s.apply("r", lifecycle.Start{})
	if r := s.apply("r", lifecycle.Fail{Attempt: 4, Failure: failure, Retry: true}); r.Status != lifecycle.Failed || r.Failures != 2 {
		s.Errorf("its second failure: %+v", r)
	}
	if s.in.Reopen != nil {
		s.Store = s.in.Reopen()
	}
	s.apply("r", lifecycle.Redrive{})
	s.apply("r", lifecycle.Start{})
	for range 2 { // handed back as often as it may be tried, whatever was before
		if r := s.apply("r", lifecycle.Release{Lost: true}); r.Status != lifecycle.Pending {
			s.Errorf("it was lost: %+v", r)
		}
		s.apply("r", lifecycle.Start{})
	}
	s.apply("r", lifecycle.Succeed{Result: &lifecycle.Content{Type: "text/plain", Data: []byte("done")}})
	s.pieces(lifecycle.Ref{ID: "r", Life: life}, lifecycle.Output, []byte("done"))
	s.consistent("r")
	types := s.types("r")
	if n := len(types); types[n-1] != "request.succeeded" || n != int(s.get("r").Sequence) {
		s.Errorf("%v", types)
	}
	for _, channel := range []string{feed, topic} {
		var told []string
		for _, m := range s.all(channel, 0, 3) {
			if told = append(told, s.decode(m).Type); m.Last {
				s.Errorf("%s ends with %d", channel, m.Offset)
			}
		}
		if !slices.Equal(told, types) {
			s.Errorf("%s tells of %v, want %v", channel, told, types)
		}
	}
	if err := s.Delete(s.ctx, lifecycle.Named("r")); err != nil {
		s.Fatal(err)
	}
	s.gone("r")

	// It has so much time, and not more.
	s.failing(submission("late"))
	s.apply("late", lifecycle.Redrive{})
	s.in.Advance(59 * time.Minute)
	s.sweep(100)
	if r := s.get("late"); r.Status != lifecycle.Pending {
		s.Errorf("before its time is over: %+v", r)
	}
	s.in.Advance(2 * time.Minute)
	s.sweep(100)
	if r := s.get("late"); r.Status != lifecycle.Expired {
		s.Errorf("when its time is over: %+v", r)
	}
	s.consistent("late")

	// It counts for its owner as what has not ended.
	sub = limited("counted", 10, lifecycle.Quota{Open: 1})
	sub.Owner = "carol"
	s.failing(sub)
	s.apply("counted", lifecycle.Redrive{})
	more := limited("more", 10, lifecycle.Quota{Open: 1})
	more.Owner = "carol"
	s.beyond(lifecycle.PolicyOpen, more)
	s.apply("counted", lifecycle.Cancel{})
	s.create(more)
}

// testRedriveSlots: what is redriven waits for its slot behind the others.
func testRedriveSlots(s *suite) {
	var freed told
	defer s.slots().OnSlot(freed.add)()
	a, b := s.fitting(withKey("a", "k", 1)), s.fitting(withKey("b", "k", 1))
	s.failing(a)
	if r := s.create(b); r.Parked {
		s.Error("b is parked")
	}
	if r := s.apply(a.ID, lifecycle.Redrive{}); !r.Parked {
		s.Error("a is not parked")
	}
	s.noSlot(a.ID)
	s.apply(b.ID, lifecycle.Start{})
	s.apply(b.ID, lifecycle.Fail{Failure: failure})
	if got := freed.take(); !slices.Equal(got, []string{a.ID}) {
		s.Errorf("%v have a slot", got)
	}
	s.apply(a.ID, lifecycle.Start{})
	s.apply(a.ID, lifecycle.Succeed{})
	if r := s.apply(b.ID, lifecycle.Redrive{}); r.Parked {
		s.Error("b is parked, and nobody is in its way")
	}
	if got := freed.take(); got != nil {
		s.Errorf("%v have a slot", got)
	}
	s.apply(b.ID, lifecycle.Start{})
}
