package storetest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

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
	got, err := part[lifecycle.Standings](m.s).Standing(m.s.ctx)
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
