package storetest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// slots is the part of a store that is tested here.
func (s *suite) slots() lifecycle.Slots {
	s.Helper()
	slots, ok := s.Store.(lifecycle.Slots)
	if !ok {
		s.Fatal("the store has no slots")
	}
	return slots
}

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
	parked(withKey("a", "k", 2), false)
	parked(withKey("b", "k", 2), false)
	parked(withKey("c", "k", 2), true)
	parked(withKey("d", "k", 2), true)
	urgent := withKey("urgent", "k", 2)
	urgent.Priority = 9
	parked(urgent, true)
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

// testSlotsAgainstModel makes random steps of requests of some keys on routes that are limited
// themselves, or not, and holds who waits and who is told against a model.
func testSlotsAgainstModel(s *suite) {
	s.slots()
	random := rand.New(rand.NewPCG(3, 4))
	m := &slotModel{s: s, requests: make(map[string]*modeled)}
	stop := s.slots().OnSlot(m.told.add)
	defer func() { stop() }()
	pick := func(statuses ...lifecycle.Status) *modeled {
		var some []string
		for id, r := range m.requests {
			if slices.Contains(statuses, r.status) {
				some = append(some, id)
			}
		}
		if len(some) == 0 {
			return nil
		}
		slices.Sort(some)
		return m.requests[some[random.IntN(len(some))]]
	}
	for n := range 1500 {
		what := ""
		switch k := random.IntN(23); {
		case k < 7:
			what = m.create(fmt.Sprint("r", n), random)
		case k < 12:
			if r := pick(lifecycle.Pending); r != nil {
				what = m.start(r)
			}
		case k < 15:
			if r := pick(lifecycle.Processing); r != nil {
				what = m.end(r, "succeed", lifecycle.Succeed{Attempt: r.attempt})
			}
		case k < 17:
			if r := pick(lifecycle.Processing); r != nil {
				delay := []time.Duration{0, 1000 * time.Hour}[random.IntN(2)]
				what = m.end(r, "retry", lifecycle.Fail{Attempt: r.attempt, Failure: failure, Retry: true, Delay: delay})
			}
		case k < 18:
			if r := pick(lifecycle.Processing); r != nil {
				what = m.end(r, "release", lifecycle.Release{Attempt: r.attempt})
			}
		case k < 19:
			if r := pick(lifecycle.Processing); r != nil {
				what = m.end(r, "redelivered", lifecycle.Start{Redelivered: true})
			}
		case k < 20:
			if r := pick(lifecycle.Processing); r != nil {
				what = m.ask(r)
			}
		case k < 22:
			if r := pick(lifecycle.Waiting); r != nil {
				what = m.answer(r)
			}
		default:
			if r := pick(lifecycle.Pending, lifecycle.Processing, lifecycle.Waiting); r != nil {
				what = m.end(r, "cancel", lifecycle.Cancel{})
			}
		}
		s.in.Advance(time.Millisecond)
		if n%400 == 399 && s.in.Reopen != nil {
			s.Store = s.in.Reopen()
			stop()
			stop = s.slots().OnSlot(m.told.add)
			if s.in.Anew {
				m.reopened()
			}
			what = "reopened"
		}
		m.check(n, what)
		if s.Failed() {
			s.FailNow()
		}
	}
}

// slotModel is what should be.
type slotModel struct {
	s        *suite
	requests map[string]*modeled
	turns    []string // lanes
	tickets  int
	freed    []string
	told     told
}

type modeled struct {
	id, lane      string
	sub           lifecycle.Submission
	ticket        int
	attempt       int
	status        lifecycle.Status
	asked         int
	delayed       bool
	held, waiting bool
}

// line returns those of a lane that wait, in order.
func (m *slotModel) line(lane string) (line []*modeled) {
	for _, r := range m.requests {
		if r.waiting && r.lane == lane {
			line = append(line, r)
		}
	}
	slices.SortFunc(line, func(a, b *modeled) int {
		if a.sub.Priority != b.sub.Priority {
			return b.sub.Priority - a.sub.Priority
		}
		return a.ticket - b.ticket
	})
	return line
}

func (m *slotModel) count(has func(r *modeled) bool) (n int) {
	for _, r := range m.requests {
		if r.held && has(r) {
			n++
		}
	}
	return n
}

// fits reports whether key and route have room for a request.
func (m *slotModel) fits(r *modeled) (key, route bool) {
	c := r.sub.Concurrency
	key = c.Limit == 0 || m.count(func(o *modeled) bool { return o.lane == r.lane }) < c.Limit
	return key, c.Route == 0 || m.count(func(o *modeled) bool { return o.sub.Route == r.sub.Route && o.sub.Concurrency.Route > 0 }) < c.Route
}

func (m *slotModel) settle(lane, route string) {
	for again := true; again; {
		again = false
		line := m.line(lane)
		may := false
		if len(line) > 0 {
			may, _ = m.fits(line[0])
		}
		at := slices.Index(m.turns, lane)
		switch {
		case !may && at >= 0:
			m.turns = slices.Delete(m.turns, at, at+1)
		case may && line[0].sub.Concurrency.Route == 0:
			m.give(line[0])
			again = true
			continue
		case may && at < 0:
			m.turns = append(m.turns, lane)
		}
		for _, next := range m.turns {
			first := m.line(next)[0]
			if first.sub.Route != route {
				continue
			}
			if _, fits := m.fits(first); fits {
				m.give(first)
				lane, again = next, true
			}
			break
		}
	}
}

func (m *slotModel) give(r *modeled) {
	if at := slices.Index(m.turns, r.lane); at >= 0 {
		m.turns = slices.Delete(m.turns, at, at+1)
	}
	r.waiting, r.held = false, true
	m.freed = append(m.freed, r.id)
}

func (m *slotModel) enter(r *modeled) {
	if !r.sub.Concurrency.Limited() || r.held || r.waiting {
		return
	}
	r.waiting = true
	m.settle(r.lane, r.sub.Route)
	m.freed = slices.DeleteFunc(m.freed, func(id string) bool { return id == r.id })
}

func (m *slotModel) leave(r *modeled) {
	if r.held || r.waiting {
		r.held, r.waiting = false, false
		m.settle(r.lane, r.sub.Route)
	}
}

func (m *slotModel) create(id string, random *rand.Rand) string {
	sub := submission(id)
	sub.Timeout = 100_000 * time.Hour
	sub.Route = []string{"images", "mail"}[random.IntN(2)]
	sub.Owner = []string{alice, bob}[random.IntN(2)]
	sub.Priority = []int{0, 0, 0, 5}[random.IntN(4)]
	if sub.Route == "mail" {
		sub.Concurrency.Route = 4
	}
	if random.IntN(6) > 0 {
		sub.Concurrency.Key, sub.Concurrency.Limit = []string{"x", "y", "z"}[random.IntN(3)], 1+random.IntN(3)
	}
	r := &modeled{id: id, sub: sub, status: lifecycle.Pending}
	r.lane = sub.Route + " " + sub.Owner + " " + sub.Concurrency.Key
	if random.IntN(8) == 0 {
		sub.Delay, r.delayed = 1000*time.Hour, true
	}
	sub = m.s.fitting(sub)
	id, r.id = sub.ID, sub.ID
	is := m.s.create(sub)
	m.tickets++
	r.ticket = m.tickets
	m.requests[id] = r
	if !r.delayed {
		m.enter(r)
	}
	if is.Parked != r.waiting {
		m.s.Errorf("%s parked: %v, want %v", id, is.Parked, r.waiting)
	}
	return "create " + id
}

func (m *slotModel) start(r *modeled) string {
	m.enter(r)
	is, err := m.s.Apply(m.s.ctx, lifecycle.Named(r.id), lifecycle.Start{})
	var refusal *lifecycle.TransitionError
	refused := errors.As(err, &refusal) && refusal.Reason == lifecycle.ReasonSlot
	if refused != r.waiting || err != nil && !refused {
		m.s.Errorf("start of %s: %v, want that it waits: %v", r.id, err, r.waiting)
	}
	if err == nil {
		r.status, r.attempt, r.delayed = lifecycle.Processing, is.Attempt, false
	}
	return "start " + r.id
}

// end makes a change that may end an attempt.
func (m *slotModel) end(r *modeled, name string, c lifecycle.Change) string {
	is := m.s.apply(r.id, c)
	was := r.status
	r.status, r.attempt = is.Status, is.Attempt
	switch {
	case is.Status.Terminal():
		m.leave(r)
	case was == lifecycle.Processing && is.Status == lifecycle.Pending:
		m.tickets++
		r.delayed = is.NotBefore.Sub(is.UpdatedAt) > time.Hour
		m.leave(r)
		r.ticket = m.tickets
		if !r.delayed {
			m.enter(r)
		}
		if is.Parked != r.waiting {
			m.s.Errorf("%s parked: %v, want %v", r.id, is.Parked, r.waiting)
		}
	}
	return name + " " + r.id
}

// ask lets a request wait for an answer, which keeps its slot.
func (m *slotModel) ask(r *modeled) string {
	c := ask(r.asked)
	c.Attempt, c.Timeout = r.attempt, 50_000*time.Hour
	is := m.s.apply(r.id, c)
	if r.status, r.asked = is.Status, is.Asked; is.Status != lifecycle.Waiting {
		m.s.Errorf("%s has asked, and is %s", r.id, is.Status)
	}
	return "ask " + r.id
}

// answer lets it be started again, with the slot that it has.
func (m *slotModel) answer(r *modeled) string {
	is := m.s.apply(r.id, lifecycle.Answer{Asked: r.asked, Answers: answersOf(10)})
	m.tickets++
	if r.status, r.ticket = is.Status, m.tickets; is.Status != lifecycle.Pending || is.Parked {
		m.s.Errorf("%s was answered, and is %s, parked %v", r.id, is.Status, is.Parked)
	}
	return "answer " + r.id
}

// standing holds what the store counts against the model.
func (m *slotModel) standing(n int, what string) {
	want := make(map[string]lifecycle.Standing)
	for _, r := range m.requests {
		all := want[r.sub.Route]
		if r.waiting {
			all.Parked++
		}
		if r.status == lifecycle.Waiting {
			all.Waiting++
		}
		if all != (lifecycle.Standing{}) {
			want[r.sub.Route] = all
		}
	}
	got, err := m.s.Store.(lifecycle.Standings).Standing(m.s.ctx)
	if err != nil || !maps.Equal(got, want) {
		m.s.Errorf("step %d, %s: %v stand still, %v; want %v", n, what, got, err, want)
	}
}

// reopened: slots are given anew, those that are worked on keep theirs.
func (m *slotModel) reopened() {
	m.turns = nil
	var pending []*modeled
	for _, r := range m.requests {
		r.waiting = false
		if r.held = r.held && (r.status == lifecycle.Processing || r.status == lifecycle.Waiting); r.status == lifecycle.Pending && !r.delayed {
			pending = append(pending, r)
		}
	}
	slices.SortFunc(pending, func(a, b *modeled) int {
		if a.sub.Priority != b.sub.Priority {
			return b.sub.Priority - a.sub.Priority
		}
		return a.ticket - b.ticket
	})
	for _, r := range pending {
		m.enter(r)
	}
	m.freed = nil
}

// check holds the store against the model, and both against what is promised.
func (m *slotModel) check(n int, what string) {
	m.s.Helper()
	if got := m.told.take(); !slices.Equal(got, m.freed) {
		m.s.Errorf("step %d, %s: told of %v, want %v", n, what, got, m.freed)
	}
	m.freed = nil
	if n%10 == 0 {
		m.standing(n, what)
	}
	for _, r := range m.requests {
		if r.status == lifecycle.Processing && r.sub.Concurrency.Limited() && !r.held {
			m.s.Errorf("step %d, %s: %s is worked on without a slot", n, what, r.id)
		}
		if key, route := m.fits(r); r.waiting && m.line(r.lane)[0] == r && key && route {
			m.s.Errorf("step %d, %s: %s waits although there is room", n, what, r.id)
		}
	}
	if n%50 != 0 {
		return
	}
	for r, err := range m.s.Unfinished(m.s.ctx) { // which has none that wait for an answer
		if err != nil {
			m.s.Fatal(err)
		}
		if want := m.requests[r.ID]; r.Parked != want.waiting || r.Status != want.status {
			m.s.Errorf("step %d: %s is %s, parked %v; want %s, %v", n, r.ID, r.Status, r.Parked, want.status, want.waiting)
		}
	}
	for id, r := range maps.All(m.requests) { // what has ended is not looked at any more
		if r.status.Terminal() {
			delete(m.requests, id)
		}
	}
}
