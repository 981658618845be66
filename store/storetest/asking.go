package storetest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// ask is the n-th question of a request, from 0.
func ask(n int) lifecycle.Ask {
	return lifecycle.Ask{Asked: n, Timeout: time.Minute, Question: lifecycle.Question{
		Name: fmt.Sprint("question-", n), Message: "Shall <it> go on?\nSo?", Schema: json.RawMessage(`{"type":"boolean"}`),
	}}
}

// answersOf are so many bytes of answers.
func answersOf(size int) *lifecycle.Content {
	return &lifecycle.Content{Type: "application/json", Data: slices.Concat([]byte(`{"a":"`), bytes.Repeat([]byte("x"), size-8), []byte(`"}`))}
}

func (s *suite) refuses(id string, c lifecycle.Change, want lifecycle.Reason) {
	s.Helper()
	_, err := s.Apply(s.ctx, lifecycle.Named(id), c)
	if refusal, ok := errors.AsType[*lifecycle.TransitionError](err); !ok || refusal.Reason != want {
		s.Errorf("%T of %s: %v, want a refusal: %s", c, id, err, want)
	}
}

func (s *suite) answers(id string, want *lifecycle.Content) {
	s.Helper()
	got, err := s.Content(s.ctx, lifecycle.Ref{ID: id, Life: life}, lifecycle.Answers)
	if want == nil {
		if !errors.Is(err, lifecycle.ErrNotFound) {
			s.Errorf("answers of %s: %d bytes, %v", id, len(got.Data), err)
		}
		return
	}
	if err != nil || got.Type != want.Type || !bytes.Equal(got.Data, want.Data) {
		s.Errorf("answers of %s: %.100s, %v; want %d bytes", id, got.Data, err, len(want.Data))
	}
}

// testAsking follows a request through questions: what waits is nobody's work, its attempt goes on
// with the answer, and all of it outlives a restart.
func testAsking(s *suite) {
	reopen := func() {
		if s.in.Reopen != nil {
			s.Store = s.in.Reopen()
		}
	}
	began := s.into("a", lifecycle.Processing)
	s.apply("a", lifecycle.Progress{Percent: new(40.0), Step: new("half")})
	s.in.Advance(20 * time.Minute)
	first := ask(0)
	first.Attempt = 1
	r := s.apply("a", first)
	if r.Status != lifecycle.Waiting || r.Asked != 1 || r.Attempt != 1 || r.Failures != 0 || r.Lease != 0 || r.StartedBy != "" || r.Question.Message != first.Question.Message {
		s.Errorf("it asks: %+v", r)
	}
	if !r.ExpiresAt.Equal(r.UpdatedAt.Add(time.Minute)) || r.Left != began.ExpiresAt.Sub(r.UpdatedAt) {
		s.Errorf("it waits until %v, and has %v left of the time until %v", r.ExpiresAt, r.Left, began.ExpiresAt)
	}
	s.same("get", s.get("a"), r)
	again := s.apply("a", first) // its answer was lost
	s.same("asked again", again, r)
	for _, other := range []lifecycle.Ask{ask(0), ask(1)} {
		other.Attempt, other.Question.Message = 1, "Something else?"
		s.refuses("a", other, lifecycle.ReasonStatus)
	}
	s.refuses("a", lifecycle.Progress{Attempt: 1}, lifecycle.ReasonStatus)
	s.refuses("a", lifecycle.Succeed{Attempt: 1}, lifecycle.ReasonStatus)
	s.answers("a", nil)
	for r, err := range s.Unfinished(s.ctx) {
		s.Errorf("somebody's work: %+v, %v", r, err)
	}
	reopen()
	s.same("after a restart", s.get("a"), r)
	s.consistent("a")

	// Those of each question replace those before, whatever their sizes.
	s.refuses("a", lifecycle.Answer{Asked: 2}, lifecycle.ReasonQuestion)
	left, answers := r.Left, answersOf(150<<10)
	r = s.apply("a", lifecycle.Answer{Asked: 1, Answers: answers})
	if r.Status != lifecycle.Pending || !r.Resumes || r.Question != nil || r.Attempt != 1 || r.Position == nil || r.AnswersSize != 150<<10 ||
		!r.ExpiresAt.Equal(r.UpdatedAt.Add(left)) {
		s.Errorf("it goes on: %+v", r)
	}
	s.answers("a", answers)
	s.refuses("a", lifecycle.Answer{Asked: 1, Answers: answersOf(10)}, lifecycle.ReasonAnswered)
	s.refuses("a", first, lifecycle.ReasonStatus)
	reopen()
	s.answers("a", answers)
	r = s.apply("a", lifecycle.Start{Message: "second"})
	if r.Status != lifecycle.Processing || r.Attempt != 1 || r.Resumes || r.StartedBy != "second" || r.Step != "half" || *r.Percent != 40 {
		s.Errorf("resumed: %+v", r)
	}
	s.refuses("a", first, lifecycle.ReasonQuestion) // late
	s.refuses("a", lifecycle.Release{Attempt: 1, Message: "first"}, lifecycle.ReasonMessage)
	s.refuses("a", lifecycle.Fail{Attempt: 1, Message: "first", Silent: true}, lifecycle.ReasonMessage)
	second := ask(1)
	second.Question.Default, second.Answers = json.RawMessage(`7`), answersOf(20)
	s.apply("a", second)
	s.answers("a", second.Answers)
	answers = answersOf(9 << 10)
	s.apply("a", lifecycle.Answer{Asked: 2, Answers: answers})
	s.apply("a", lifecycle.Start{})
	s.answers("a", answers)
	// The attempts that follow count, and have the answers too.
	if r = s.apply("a", lifecycle.Fail{Attempt: 1, Retry: true}); r.Failures != 1 || r.Resumes {
		s.Errorf("it failed: %+v", r)
	}
	if r = s.apply("a", lifecycle.Start{}); r.Attempt != 2 || r.Step != "" || r.Percent != nil {
		s.Errorf("the second attempt: %+v", r)
	}
	s.answers("a", answers)
	s.apply("a", lifecycle.Succeed{Attempt: 2, Result: &lifecycle.Content{Type: "text/plain", Data: []byte("done")}})
	s.answers("a", answers)
	s.refuses("a", lifecycle.Answer{Asked: 2}, lifecycle.ReasonEnded)
	s.consistent("a")
	want := []string{"accepted", "started", "progress", "waiting", "answered", "started", "waiting", "answered", "started", "retrying", "started", "succeeded"}
	for i := range want {
		want[i] = "request." + want[i]
	}
	if types := s.types("a"); !slices.Equal(types, want) {
		s.Errorf("events %v", types)
	}
	reopen()
	if got, err := s.Content(s.ctx, lifecycle.Named("a"), lifecycle.Output); err != nil || string(got.Data) != "done" {
		s.Errorf("result: %s, %v", got.Data, err)
	}
	if err := s.Delete(s.ctx, lifecycle.Named("a")); err != nil {
		s.Error(err)
	}
	s.answers("a", nil)
	s.create(submission("a"))
	s.answers("a", nil)

	// Cancellation: of what waits at once, of what runs when it asks.
	s.into("waiting", lifecycle.Waiting)
	if r = s.apply("waiting", lifecycle.Cancel{}); r.Status != lifecycle.Canceled || !r.CancelRequested || r.Question != nil {
		s.Errorf("canceled while it waits: %+v", r)
	}
	s.into("running", lifecycle.Processing)
	s.apply("running", lifecycle.Cancel{})
	late := ask(0)
	late.Question.Default, late.Answers = json.RawMessage(`1`), answersOf(10)
	if r = s.apply("running", late); r.Status != lifecycle.Canceled || r.Question != nil {
		s.Errorf("it asks although it is canceled: %+v", r)
	}
	s.into("answered", lifecycle.Waiting)
	s.apply("answered", lifecycle.Answer{Asked: 1, Answers: answersOf(10)})
	if r = s.apply("answered", lifecycle.Cancel{}); r.Status != lifecycle.Canceled {
		s.Errorf("canceled before it goes on: %+v", r)
	}
	for _, id := range []string{"waiting", "running", "answered"} {
		s.consistent(id)
	}

	// What its owner takes: it is open, and answers are stored for it.
	owner := func(id string, size int, q lifecycle.Quota) lifecycle.Submission {
		sub := limited(id, size, q)
		sub.Owner = "carol"
		return sub
	}
	s.create(owner("c", 0, lifecycle.Quota{}))
	s.apply("c", lifecycle.Start{})
	s.apply("c", ask(0))
	s.beyond(lifecycle.PolicyOpen, owner("d", 0, lifecycle.Quota{Open: 1}))
	s.apply("c", lifecycle.Answer{Asked: 1, Answers: answersOf(100)})
	s.beyond(lifecycle.PolicyStored, owner("d", 21, lifecycle.Quota{Bytes: 120}))
	s.apply("c", lifecycle.Cancel{})
	s.create(owner("e", 20, lifecycle.Quota{Open: 1, Bytes: 120}))
}

// testAskingExpires: the question has a time of its own. When that is over the request fails, or
// goes on with the default; the request's own time stands still until then.
func testAskingExpires(s *suite) {
	s.into("fails", lifecycle.Waiting)
	s.into("goes-on", lifecycle.Pending)
	s.apply("goes-on", lifecycle.Start{})
	preset := ask(0)
	preset.Question.Default, preset.Answers = json.RawMessage(`true`), answersOf(30)
	was := s.apply("goes-on", preset)
	long := ask(0)
	long.Timeout = 5 * time.Hour
	s.into("long", lifecycle.Processing)
	s.apply("long", long)
	if done, next := s.sweep(10); done != 0 || !around(next, s.get("fails").ExpiresAt) {
		s.Errorf("too early: %d, next %v, want %v", done, next, s.get("fails").ExpiresAt)
	}
	s.refuses("fails", lifecycle.Expire{}, lifecycle.ReasonEarly)
	s.in.Advance(2 * time.Minute)
	swept, err := s.Sweep(s.ctx, 10)
	if err != nil || swept.Done != 2 || len(swept.Ended) != 2 {
		s.Fatalf("%+v, %v", swept, err)
	}
	for _, r := range swept.Ended {
		s.same("swept", s.get(r.ID), r)
	}
	r := s.get("fails")
	if r.Status != lifecycle.Failed || r.Error == nil || r.Error.Code != lifecycle.CodeUnanswered || !r.ExpiresAt.Equal(r.EndedAt.Add(r.Retention)) {
		s.Errorf("not answered: %+v", r)
	}
	r = s.get("goes-on")
	if r.Status != lifecycle.Pending || !r.Resumes || r.Attempt != 1 || !r.ExpiresAt.Equal(r.UpdatedAt.Add(was.Left)) || r.Position == nil {
		s.Errorf("with the default: %+v", r)
	}
	s.answers("goes-on", preset.Answers)
	s.refuses("goes-on", lifecycle.Answer{Asked: 1}, lifecycle.ReasonAnswered)
	s.consistent("fails")
	s.consistent("goes-on")
	if types := s.types("fails"); types[len(types)-1] != "request.failed" {
		s.Errorf("events %v", types)
	}
	// It has outlived the hour that the request had, which is the same as before after the answer.
	s.in.Advance(4 * time.Hour)
	s.sweep(10)
	if r = s.apply("long", lifecycle.Answer{Asked: 1, Answers: answersOf(10)}); r.ExpiresAt.Sub(r.UpdatedAt) < 59*time.Minute {
		s.Errorf("%v left", r.ExpiresAt.Sub(r.UpdatedAt))
	}
	if s.get("goes-on").Status != lifecycle.Expired {
		s.Errorf("%s", s.get("goes-on").Status)
	}
}

// testAskingOneWinner lets answers, cancellations and expiry race: one of them wins, and its end is
// that of the request.
func testAskingOneWinner(s *suite) {
	for round := range 12 {
		id := fmt.Sprintf("r%d", round)
		s.into(id, lifecycle.Processing)
		q := ask(0)
		q.Timeout = time.Nanosecond // which is over at once
		q.Timeout += time.Duration(round%3) * time.Hour
		s.apply(id, q)
		s.in.Advance(time.Millisecond)
		var mu sync.Mutex
		won := make(map[lifecycle.Status]int)
		try := func(c lifecycle.Change) {
			r, err := s.Apply(s.ctx, lifecycle.Named(id), c)
			_, refused := errors.AsType[*lifecycle.TransitionError](err)
			if err != nil && !refused {
				s.Error(err)
			}
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				won[r.Status]++
			}
		}
		parallel(9, func(i int) {
			switch i % 3 {
			case 0:
				try(lifecycle.Answer{Asked: 1, Answers: answersOf(100 + i)})
			case 1:
				try(lifecycle.Cancel{})
			case 2:
				try(lifecycle.Expire{})
			}
		})
		r := s.get(id)
		s.consistent(id)
		switch types := s.types(id); r.Status {
		case lifecycle.Failed:
			if won[lifecycle.Pending] > 0 || won[lifecycle.Canceled] > 0 || len(types) != 4 {
				s.Errorf("%s: %v, events %v", id, won, types)
			}
		case lifecycle.Canceled: // at once, or after the answer
			if won[lifecycle.Failed] > 0 || won[lifecycle.Pending] > 1 || len(types) != 4+won[lifecycle.Pending] {
				s.Errorf("%s: %v, events %v", id, won, types)
			}
		default:
			s.Errorf("%s is %s", id, r.Status)
		}
	}
}

// model is what is expected of a request, told by other means than the machine's.
type model struct {
	status                   lifecycle.Status
	attempt, failures, asked int
	events                   int
	canceling, resumes       bool
	preset                   bool // the question has a default
	answers                  *lifecycle.Content
	redriven, past           int           // how often, and the attempts before
	ends                     time.Duration // when its time runs out, by the clock of the test
	left                     time.Duration
}

// testAgainstModel makes random changes to some requests, answers and restarts among them, and
// compares each with what is expected of it after each.
func testAgainstModel(s *suite) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	defer func() {
		if s.Failed() {
			s.Logf("seed %d", seed)
		}
	}()
	const most, timeout = 3, 100 * time.Minute
	var clock time.Duration // by how much the test has advanced that of the store
	requests := make(map[string]*model)
	for i := range 6 {
		id := fmt.Sprintf("m%d", i)
		sub := submission(id)
		sub.Timeout, sub.MaxAttempts, sub.Retention = timeout, most, 1000*time.Hour
		s.create(sub)
		requests[id] = &model{status: lifecycle.Pending, events: 1, ends: timeout}
	}
	ids := slices.Sorted(func(yield func(string) bool) {
		for id := range requests {
			if !yield(id) {
				return
			}
		}
	})
	for step := range 400 {
		id := ids[random.IntN(len(ids))]
		m := requests[id]
		var c lifecycle.Change
		taken := false
		finish := func(status lifecycle.Status) {
			m.status, m.resumes = status, false
			m.events++
		}
		running := m.status == lifecycle.Processing
		switch roll := random.IntN(13); roll {
		case 0, 1, 2:
			c = lifecycle.Start{}
			if taken = m.status == lifecycle.Pending; taken {
				if !m.resumes {
					m.attempt++
				}
				finish(lifecycle.Processing)
			}
		case 3, 4, 5:
			ask := ask(m.asked)
			ask.Timeout = time.Duration(1+random.IntN(15)) * 2 * time.Minute
			ask.Question.Message = fmt.Sprint("Question of step ", step, "?")
			preset := random.IntN(2) == 0
			if preset {
				ask.Question.Default, ask.Answers = json.RawMessage("0"), answersOf(20+random.IntN(6000))
			}
			c = ask
			if taken = running; taken {
				if preset {
					m.answers = ask.Answers
				}
				if m.canceling {
					finish(lifecycle.Canceled)
					break
				}
				finish(lifecycle.Waiting)
				m.asked++
				m.preset, m.left, m.ends = preset, m.ends-clock, clock+ask.Timeout
			}
		case 6, 7, 8:
			answers := answersOf(20 + random.IntN(6000))
			c = lifecycle.Answer{Asked: m.asked, Answers: answers}
			if taken = m.status == lifecycle.Waiting; taken {
				m.answers, m.ends = answers, clock+m.left
				finish(lifecycle.Pending)
				m.resumes = true
			}
		case 9:
			retry := random.IntN(4) > 0
			c = lifecycle.Fail{Failure: failure, Retry: retry}
			if taken = running; taken {
				m.failures++
				switch {
				case m.canceling:
					finish(lifecycle.Canceled)
				case retry && m.failures < most:
					finish(lifecycle.Pending)
				default:
					finish(lifecycle.Failed)
				}
			}
		case 10:
			if random.IntN(4) > 0 { // or all would be over soon
				c = lifecycle.Release{}
				if taken = running; taken {
					finish(map[bool]lifecycle.Status{false: lifecycle.Pending, true: lifecycle.Canceled}[m.canceling])
				}
				break
			}
			c = lifecycle.Cancel{}
			switch taken = !m.status.Terminal() || m.status == lifecycle.Canceled; {
			case running:
				m.canceling = true
			case taken && m.status != lifecycle.Canceled:
				m.canceling = true
				finish(lifecycle.Canceled)
			}
		case 11:
			s.in.Advance(2 * time.Minute)
			clock += 2 * time.Minute
			for _, other := range ids {
				m := requests[other]
				if m.status.Terminal() || clock < m.ends {
					continue
				}
				switch {
				case m.status == lifecycle.Waiting && m.preset:
					m.status, m.resumes, m.ends = lifecycle.Pending, true, clock+m.left
				case m.status == lifecycle.Waiting:
					m.status, m.resumes = lifecycle.Failed, false
				default:
					m.status, m.resumes = lifecycle.Expired, false
				}
				m.events++
			}
			if _, err := s.Sweep(s.ctx, 100); err != nil {
				s.Fatal(err)
			}
			if s.in.Reopen != nil && random.IntN(4) == 0 {
				s.Store = s.in.Reopen()
			}
		case 12:
			c = lifecycle.Redrive{}
			switch {
			case m.status == lifecycle.Failed:
				m.redriven, m.past, m.failures, m.ends = m.redriven+1, m.attempt, 0, clock+timeout
				finish(lifecycle.Pending)
				taken = true
			case m.status == lifecycle.Pending && m.redriven > 0 && m.attempt == m.past:
				taken = true // and nothing is changed
			}
		}
		if c != nil {
			_, err := s.Apply(s.ctx, lifecycle.Named(id), c)
			_, refused := errors.AsType[*lifecycle.TransitionError](err)
			if err != nil && !refused || refused == taken {
				s.Fatalf("step %d: %T of %s: %v, in the model %+v", step, c, id, err, m)
			}
		}
		for _, id := range ids {
			s.against(step, id, requests[id])
		}
		if s.Failed() {
			return
		}
		s.deadAgainst(step, requests)
		// Another one in its place, unless it is to be redriven.
		if m := requests[id]; m.status.Terminal() && (m.status != lifecycle.Failed || random.IntN(4) == 0) {
			if err := s.Delete(s.ctx, lifecycle.Named(id)); err != nil {
				s.Fatal(err)
			}
			sub := submission(id)
			sub.Timeout, sub.MaxAttempts, sub.Retention = timeout, most, 1000*time.Hour
			s.create(sub)
			requests[id] = &model{status: lifecycle.Pending, events: 1, ends: clock + timeout}
		}
	}
	for _, id := range ids {
		s.consistent(id)
	}
}

// against compares a request with its model.
func (s *suite) against(step int, id string, m *model) {
	s.Helper()
	r := s.get(id)
	if r.Status != m.status || r.Attempt != m.attempt || r.Failures != m.failures || r.Asked != m.asked || int(r.Sequence) != m.events || r.Redriven != m.redriven || r.Past != m.past ||
		r.Resumes != m.resumes || r.CancelRequested != m.canceling || (r.Question != nil) != (m.status == lifecycle.Waiting) {
		s.Errorf("step %d: %s is %+v, in the model %+v", step, id, r, m)
	}
	s.answers(id, m.answers)
}

// deadAgainst compares what has failed with the model.
func (s *suite) deadAgainst(step int, requests map[string]*model) {
	s.Helper()
	var want []string
	for id, m := range requests {
		if m.status == lifecycle.Failed {
			want = append(want, id)
		}
	}
	got := s.deadIDs(lifecycle.DeadQuery{Route: "images", Oldest: step%2 == 0, Limit: 1 + step%3})
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		s.Errorf("step %d: %v have failed, in the model %v", step, got, want)
	}
}
