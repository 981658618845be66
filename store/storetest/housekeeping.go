package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/lifecycle"
)

func (s *suite) sweep(limit int) (done int, next time.Time) {
	s.Helper()
	swept, err := s.Sweep(s.ctx, limit)
	if err != nil {
		s.Fatal(err)
	}
	if swept.Done > limit {
		s.Errorf("sweep did %d, limit %d", swept.Done, limit)
	}
	return swept.Done, swept.Next
}

// around compares times as coarsely as any driver keeps them.
func around(a, b time.Time) bool { return a.Sub(b).Abs() <= time.Millisecond }

func testExpiry(s *suite) {
	if done, next := s.sweep(10); done != 0 || !next.IsZero() {
		s.Errorf("empty store: %d, %v", done, next)
	}
	const n = 20
	for i := range n {
		r := s.into(fmt.Sprintf("r%d", i), []lifecycle.Status{lifecycle.Pending, lifecycle.Processing}[i%2])
		if i == 0 {
			if done, next := s.sweep(10); done != 0 || !around(next, r.ExpiresAt) {
				s.Errorf("too early: %d, next %v, want %v", done, next, r.ExpiresAt)
			}
		}
	}
	s.in.Advance(time.Hour)
	if done, next := s.sweep(3); done != 3 || next.After(s.get("r19").ExpiresAt.Add(time.Millisecond)) {
		s.Errorf("limited sweep: %d, next %v", done, next)
	}
	var total atomic.Int32
	parallel(8, func(int) {
		for {
			swept, err := s.Sweep(s.ctx, 3)
			if err != nil {
				s.Error(err)
			}
			if swept.Done == 0 {
				return
			}
			total.Add(int32(swept.Done))
		}
	})
	if total.Load() != n-3 {
		s.Errorf("%d expired, want %d", total.Load(), n-3)
	}
	first := s.get("r0").ExpiresAt // whichever was swept first: a store may sweep several at a time
	for i := range n {
		id := fmt.Sprintf("r%d", i)
		r := s.get(id)
		if r.ExpiresAt.Before(first) {
			first = r.ExpiresAt
		}
		if r.Status != lifecycle.Expired || r.Error == nil || !r.ExpiresAt.Equal(r.EndedAt.Add(r.Retention)) || r.Position != nil {
			s.Errorf("%+v", r)
		}
		s.consistent(id)
		types := s.types(id)
		if len(types) != 2+i%2 || types[len(types)-1] != "request.expired" {
			s.Errorf("events of %s: %v", id, types)
		}
	}
	if done, next := s.sweep(10); done != 0 || !around(next, first) {
		s.Errorf("after expiry: %d, next %v, want %v", done, next, first)
	}
}

func testExtend(s *suite) {
	s.into("a", lifecycle.Processing)
	s.in.Advance(50 * time.Minute)
	s.apply("a", lifecycle.Progress{Extend: time.Hour})
	s.in.Advance(50 * time.Minute)
	if done, _ := s.sweep(10); done != 0 {
		s.Errorf("an extended request expired")
	}
	if done, next := s.sweep(10); done != 0 || !around(next, s.get("a").ExpiresAt) {
		s.Errorf("%d, next %v, want %v", done, next, s.get("a").ExpiresAt)
	}
	s.apply("a", lifecycle.Progress{Extend: time.Minute}) // and sooner again
	s.in.Advance(2 * time.Minute)
	if done, _ := s.sweep(10); done != 1 || s.get("a").Status != lifecycle.Expired {
		s.Errorf("%d, %s", done, s.get("a").Status)
	}
	// A retention counts from the end.
	s.in.Advance(23 * time.Hour)
	s.sweep(10)
	s.get("a")
	s.in.Advance(time.Hour)
	s.sweep(10)
	s.gone("a")
}

func testForget(s *suite) {
	sub := keyed("a", "k")
	sub.Retention, sub.Topic = time.Hour, "t"
	s.create(sub)
	s.apply("a", lifecycle.Start{})
	s.apply("a", lifecycle.Succeed{Result: &lifecycle.Content{Type: "text/plain", Data: []byte("x")}})
	s.into("b", lifecycle.Pending)
	s.in.Advance(time.Hour - time.Second)
	if done, _ := s.sweep(10); done != 0 {
		s.Errorf("%d before its time", done)
	}
	s.get("a")
	s.in.Advance(time.Second)
	done, _ := s.sweep(1)
	again, _ := s.sweep(10)
	if done != 1 || again != 1 { // a is forgotten, b has expired
		s.Errorf("swept %d and %d", done, again)
	}
	s.gone("a")
	if n := len(s.all(topicChannel(alice, "t"), 0, 10)); n != 3 {
		s.Errorf("the feed has %d events, want 3", n)
	}
	if s.get("b").Status != lifecycle.Expired {
		s.Error("b has not expired")
	}
	s.create(sub) // the id and the key are free
	s.in.Advance(1000 * time.Hour)
	for done := 1; done > 0; {
		done, _ = s.sweep(10)
	}
	s.in.Advance(1000 * time.Hour)
	for done := 1; done > 0; {
		done, _ = s.sweep(10)
	}
	if _, next := s.sweep(10); !next.IsZero() {
		s.Errorf("nothing is left, yet %v is due", next)
	}
}

func testUnfinished(s *suite) {
	add := func(id, route string, priority int) {
		sub := submission(id)
		sub.Route, sub.Priority = route, priority
		s.create(sub)
		s.in.Advance(time.Millisecond)
	}
	add("low1", "images", 0)
	add("low2", "images", 0)
	add("high", "images", 9)
	add("low3", "images", 0)
	add("other", "video", 0)
	add("running", "images", 0)
	s.apply("running", lifecycle.Start{})
	s.apply("low1", lifecycle.Start{})
	s.apply("low1", lifecycle.Release{}) // to the back
	s.into("ended", lifecycle.Canceled)
	want := []string{"running", "high", "low2", "low3", "low1"}
	check := func() {
		s.Helper()
		var images, others []string
		for r, err := range s.Unfinished(s.ctx) {
			if err != nil {
				s.Fatal(err)
			}
			s.same("unfinished", r, s.get(r.ID))
			if r.Route == "images" {
				images = append(images, r.ID)
			} else {
				others = append(others, r.ID)
			}
		}
		if !slices.Equal(images, want) || !slices.Equal(others, []string{"other"}) {
			s.Errorf("%v, want %v; %v", images, want, others)
		}
	}
	check()
	if s.in.Reopen != nil {
		s.Store = s.in.Reopen()
		check()
		s.position("low1", 3)
	}
	for range s.Unfinished(s.ctx) {
		break // may stop at any time
	}
	for r, err := range s.Unfinished(s.ctx) { // and may change what it sees
		if err != nil {
			s.Fatal(err)
		}
		s.apply(r.ID, lifecycle.Cancel{})
	}
}

func testPosition(s *suite) {
	add := func(id, route string, priority int) {
		sub := submission(id)
		sub.Route, sub.Priority = route, priority
		s.create(sub)
	}
	add("a", "images", 0)
	add("b", "images", 0)
	add("c", "images", 9)
	add("d", "video", 0)
	check := func(want map[string]int) {
		s.Helper()
		for id, position := range want {
			s.position(id, position)
		}
	}
	check(map[string]int{"c": 0, "a": 1, "b": 2, "d": 0})
	if r := s.apply("c", lifecycle.Start{}); r.Position != nil {
		s.Errorf("a processing request has position %d", *r.Position)
	}
	check(map[string]int{"a": 0, "b": 1})
	s.apply("a", lifecycle.Start{})
	check(map[string]int{"b": 0})
	r := s.apply("a", lifecycle.Fail{Failure: failure, Retry: true})
	if r.Position == nil || *r.Position != 1 { // behind b
		s.Errorf("retried: position %v", show(r.Position))
	}
	m := s.all(requestChannel("a"), r.Sequence-1, 1)
	if e := s.decode(m[0]); e.Data.Position == nil || *e.Data.Position != 1 {
		s.Errorf("event of the retry: %s", wire.JSON(m[0].Event))
	}
	r = s.apply("c", lifecycle.Release{})
	if r.Position == nil || *r.Position != 0 {
		s.Errorf("released: position %v", show(r.Position))
	}
	check(map[string]int{"c": 0, "b": 1, "a": 2})
	s.apply("b", lifecycle.Cancel{})
	check(map[string]int{"c": 0, "a": 1})
	page, err := s.List(s.ctx, lifecycle.Query{Owner: alice, Status: lifecycle.Pending, Limit: 10})
	if err != nil {
		s.Fatal(err)
	}
	for _, r := range page.Requests {
		if want := map[string]int{"c": 0, "a": 1, "d": 0}[r.ID]; r.Position == nil || *r.Position != want {
			s.Errorf("listed %s: position %v", r.ID, show(r.Position))
		}
	}
	created, err := s.Create(s.ctx, submission("a")) // another priority and route are of no account
	if err != nil || created.Request.Position == nil || *created.Request.Position != 1 {
		s.Errorf("existed: %+v, %v", created, err)
	}
}

// testPositionAgainstModel makes random changes and compares every position with
// that in a plain list.
func testPositionAgainstModel(s *suite) {
	type waiting struct {
		id       string
		priority int
	}
	random := rand.New(rand.NewPCG(1, 2))
	var queue, running []waiting
	push := func(w waiting) {
		i, _ := slices.BinarySearchFunc(queue, w, func(a, b waiting) int {
			if a.priority >= b.priority {
				return -1
			}
			return 1
		})
		queue = slices.Insert(queue, i, w)
	}
	for n := range 400 {
		switch k := random.IntN(10); {
		case k < 5:
			w := waiting{fmt.Sprintf("r%d", n), []int{0, 8, 9}[random.IntN(3)]}
			sub := submission(w.id)
			sub.Priority = w.priority
			s.create(sub)
			push(w)
		case k < 8 && len(queue) > 0:
			i := random.IntN(len(queue))
			s.apply(queue[i].id, lifecycle.Start{})
			running = append(running, queue[i])
			queue = slices.Delete(queue, i, i+1)
		case k < 9 && len(running) > 0:
			i := random.IntN(len(running))
			s.apply(running[i].id, lifecycle.Release{})
			push(running[i])
			running = slices.Delete(running, i, i+1)
		case len(queue) > 0:
			i := random.IntN(len(queue))
			s.apply(queue[i].id, lifecycle.Cancel{})
			queue = slices.Delete(queue, i, i+1)
		}
		s.in.Advance(time.Millisecond)
		if n == 200 && s.in.Reopen != nil {
			s.Store = s.in.Reopen()
		}
		if n%20 == 0 {
			for i, w := range queue {
				s.position(w.id, i)
			}
			if s.Failed() {
				s.FailNow()
			}
		}
	}
}
