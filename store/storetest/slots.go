package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// slots is the part of a store that is tested here.
func (s *suite) slots() lifecycle.Slots { return part[lifecycle.Slots](s) }

// fitting returns a submission with an id, which begins with the one that it has, under which it
// can be counted.
func (s *suite) fitting(sub lifecycle.Submission) lifecycle.Submission {
	s.Helper()
	slots, name := s.slots(), sub.ID
	for n := 0; sub.Concurrency.Limited() && !slots.Fits(&sub); n++ {
		sub.ID = fmt.Sprintf("%s-%d", name, n)
	}
	return sub
}

// told collects who is told to have a slot.
type told struct {
	mu  sync.Mutex
	ids []string
}

func (t *told) add(of lifecycle.Ref) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ids = append(t.ids, of.ID)
}

func (t *told) take() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	ids := t.ids
	t.ids = nil
	return ids
}

// withKey is a submission with a key and its limit.
func withKey(id, key string, limit int) lifecycle.Submission {
	sub := submission(id)
	sub.Concurrency = lifecycle.Concurrency{Key: key, Limit: limit}
	return sub
}

// number is a number that may not be there.
func number(n *int) string {
	if n == nil {
		return "nobody"
	}
	return fmt.Sprint(*n)
}

// noSlot starts what has to wait.
func (s *suite) noSlot(id string) {
	s.Helper()
	before := s.get(id)
	_, _, err := s.Begin(s.ctx, lifecycle.Named(id), lifecycle.Start{})
	var refusal *lifecycle.TransitionError
	if !errors.As(err, &refusal) || refusal.Reason != lifecycle.ReasonSlot || refusal.From != lifecycle.Pending {
		s.Errorf("start of %s: %v, want a refusal for want of a slot", id, err)
	}
	s.same(id+" after it", s.get(id), before)
}

// testSlots: no more of a key are worked on than may be, whatever they wait for gets its turn in
// the step that makes room, by whatever, and others do not notice.
func testSlots(s *suite) {
	var freed told
	defer s.slots().OnSlot(freed.add)()
	ids := make(map[string]string)
	expect := func(what string, names ...string) {
		s.Helper()
		var want []string
		for _, name := range names {
			want = append(want, ids[name])
		}
		if got := freed.take(); !slices.Equal(got, want) {
			s.Errorf("%s: %v have a slot, want %v", what, got, want)
		}
	}
	parked := func(sub lifecycle.Submission, want bool) {
		s.Helper()
		name := sub.ID
		sub = s.fitting(sub)
		ids[name] = sub.ID
		if r := s.create(sub); r.Parked != want {
			s.Errorf("%s parked: %v", sub.ID, r.Parked)
		}
	}
	apply := func(name string, c lifecycle.Change) lifecycle.Request {
		s.Helper()
		return s.apply(ids[name], c)
	}
	noSlot := func(name string) {
		s.Helper()
		s.noSlot(ids[name])
	}
	// inLine checks which of alice's requests wait for a slot, and how many of their lane are
	// before them, as Get and List say it.
	inLine := func(what string, want map[string]int) {
		s.Helper()
		page, err := s.List(s.ctx, lifecycle.Query{Owner: alice, Limit: 100})
		if err != nil {
			s.Fatal(err)
		}
		for _, listed := range page.Requests {
			for _, r := range []lifecycle.Request{listed, s.get(listed.ID)} {
				name := ""
				for short, id := range ids {
					if id == r.ID {
						name = short
					}
				}
				n, waits := want[name]
				if r.Parked != waits || (r.InLine != nil) != waits || waits && *r.InLine != n {
					s.Errorf("%s: %s is parked %v, %s before it; want %v, %d", what, name, r.Parked, number(r.InLine), waits, n)
				}
			}
		}
	}
	parked(withKey("a", "k", 2), false)
	parked(withKey("b", "k", 2), false)
	parked(withKey("c", "k", 2), true)
	parked(withKey("d", "k", 2), true)
	inLine("two have slots", map[string]int{"c": 2, "d": 3})
	urgent := withKey("urgent", "k", 2)
	urgent.Priority = 9
	parked(urgent, true)
	inLine("one is urgent", map[string]int{"urgent": 2, "c": 3, "d": 4})
	parked(submission("free"), false)
	parked(withKey("other", "l", 1), false)
	bobs := withKey("bobs", "k", 2)
	bobs.Owner = bob
	parked(bobs, false) // keys are each caller's own
	elsewhere := withKey("elsewhere", "k", 1)
	elsewhere.Route = "mail"
	parked(elsewhere, false)
	if again, err := s.Create(s.ctx, s.fitting(withKey("c", "k", 2))); err != nil || !again.Existed {
		s.Errorf("c again: %+v, %v", again, err)
	}
	noSlot("c")
	apply("a", lifecycle.Start{})
	apply("b", lifecycle.Start{})
	noSlot("urgent")
	expect("nothing has ended")
	apply("a", lifecycle.Succeed{Attempt: 1})
	expect("a has succeeded", "urgent")
	inLine("a has succeeded", map[string]int{"c": 2, "d": 3})
	noSlot("c")
	apply("urgent", lifecycle.Start{})
	apply("b", lifecycle.Cancel{})
	expect("b is to end")
	apply("b", lifecycle.Fail{Attempt: 1, Failure: failure})
	expect("b was canceled", "c")
	apply("d", lifecycle.Cancel{})
	apply("c", lifecycle.Start{})
	expect("d needs none any more")

	// Between two attempts with a pause the place is another's, and taken up again by the start.
	parked(withKey("e", "k", 2), true)
	r := apply("c", lifecycle.Fail{Attempt: 1, Failure: failure, Retry: true, Delay: time.Minute})
	expect("c is tried again later", "e")
	if r.Parked {
		s.Error("c waits for its time, and for no slot yet")
	}
	apply("e", lifecycle.Start{})
	s.in.Advance(time.Minute)
	noSlot("c") // from now on it is in the line
	inLine("c is in the line again", map[string]int{"c": 2})
	parked(withKey("f", "k", 2), true)
	apply("e", lifecycle.Succeed{Attempt: 1})
	expect("e has succeeded", "c")
	apply("c", lifecycle.Start{})
	// Without a pause it waits behind who waits already.
	if r := apply("c", lifecycle.Release{Attempt: 2}); !r.Parked {
		s.Error("c has no slot and is not parked")
	}
	expect("c is released", "f")
	// An attempt that is taken over keeps its slot; the last one gives it back.
	apply("f", lifecycle.Start{})
	apply("f", lifecycle.Start{Redelivered: true})
	apply("f", lifecycle.Start{Redelivered: true})
	expect("f goes on")
	if r := apply("f", lifecycle.Start{Redelivered: true}); r.Status != lifecycle.Failed {
		s.Errorf("f: %s", r.Status)
	}
	expect("f has died", "c")
	// Its time runs out while it waits, and while it runs.
	parked(withKey("g", "k", 2), true)
	parked(withKey("h", "k", 2), true)
	for range 2 {
		s.in.Advance(2 * time.Hour)
		for swept := 1; swept > 0; {
			done, err := s.Sweep(s.ctx, 100)
			if err != nil {
				s.Fatal(err)
			}
			swept = done.Done
		}
	}
	freed.take() // in the order in which they expired, which is theirs
	parked(withKey("after", "k", 1), false)
}

// testRoom: what waits on a route is bounded, that of a batch counts whole, and nothing of what is
// refused stays.
func testRoom(s *suite) {
	if s.in.Approximate {
		s.Skip("each partition holds its part")
	}
	full := func(sub lifecycle.Submission) {
		s.Helper()
		_, err := s.Create(s.ctx, sub)
		var e *lifecycle.FullError
		if !errors.As(err, &e) || e.Most != sub.Room.Most || e.Route != "images" {
			s.Errorf("%s: %v, want that the route is full", sub.ID, err)
		}
		if _, err := s.Get(s.ctx, lifecycle.Named(sub.ID)); !errors.Is(err, lifecycle.ErrNotFound) {
			s.Errorf("%s is there: %v", sub.ID, err)
		}
	}
	with := func(id string, most int64) lifecycle.Submission {
		sub := submission(id)
		sub.Room.Most = most
		return sub
	}
	s.create(with("a", 2))
	lower := with("b", 2)
	lower.Priority, lower.Owner = 5, bob
	s.create(lower)
	full(with("c", 2))
	other := with("other", 2)
	other.Route = "mail"
	s.create(other)
	s.apply("a", lifecycle.Start{})
	s.create(with("c", 2)) // what is worked on does not wait
	batch := func(id string, most int64) lifecycle.Submission {
		sub := with(id, most)
		sub.Route, sub.Batch = "", &lifecycle.Batch{Total: 4}
		sub.Room.Routes = map[string]int64{"images": 3, "mail": 1}
		return sub
	}
	full(batch("batch", 4))
	s.create(batch("batch", 5))
	if _, err := s.Create(s.ctx, with("a", 1)); err != nil {
		s.Errorf("what is there is refused: %v", err)
	}
}
