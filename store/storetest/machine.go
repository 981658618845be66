package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

var failure = lifecycle.Failure{Code: "boom", Message: "It broke.", Detail: "at line 3", Trace: "main.go:3"}

// testMachine tries every change from every status. The table is written out by
// hand, so that it does not agree with the machine by construction.
func testMachine(s *suite) {
	changes := []struct {
		name   string
		change lifecycle.Change
	}{
		{"start", lifecycle.Start{}},
		{"redelivered", lifecycle.Start{Redelivered: true}},
		{"progress", lifecycle.Progress{Percent: new(40.0), Step: new("resizing")}},
		{"succeed", lifecycle.Succeed{Result: &lifecycle.Content{Type: "text/plain", Data: []byte("x")}}},
		{"fail", lifecycle.Fail{Failure: failure}},
		{"retry", lifecycle.Fail{Failure: failure, Retry: true, Delay: time.Minute}},
		{"release", lifecycle.Release{}},
		{"ask", ask(0)},
		{"answer", lifecycle.Answer{Asked: 1}},
		{"cancel", lifecycle.Cancel{}},
		{"expire", lifecycle.Expire{}},
		{"redrive", lifecycle.Redrive{}},
	}
	const refused, ended, early, silent, asks, unfailed = "refused", "ended", "early", "silent", "asks nothing", "has not failed"
	// For each status, in the order of changes: the event, or why there is none.
	table := map[lifecycle.Status][]string{
		lifecycle.Pending:    {"started", "started", refused, refused, refused, refused, refused, refused, asks, "canceled", early, unfailed},
		lifecycle.Processing: {refused, "started", "progress", "succeeded", "failed", "retrying", "retrying", "waiting", asks, silent, early, unfailed},
		// Asking the same again changes nothing, see testAsking.
		lifecycle.Waiting:   {refused, refused, refused, refused, refused, refused, refused, refused, "answered", "canceled", early, unfailed},
		lifecycle.Succeeded: {ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, unfailed},
		lifecycle.Failed:    {ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, "redriven"},
		lifecycle.Canceled:  {ended, ended, ended, ended, ended, ended, ended, ended, ended, silent, ended, unfailed},
		lifecycle.Expired:   {ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, unfailed},
	}
	status := map[string]lifecycle.Status{
		"started": lifecycle.Processing, "progress": lifecycle.Processing, "retrying": lifecycle.Pending,
		"waiting": lifecycle.Waiting, "answered": lifecycle.Pending, "redriven": lifecycle.Pending,
		"succeeded": lifecycle.Succeeded, "failed": lifecycle.Failed, "canceled": lifecycle.Canceled,
	}
	reason := map[string]lifecycle.Reason{
		refused: lifecycle.ReasonStatus, ended: lifecycle.ReasonEnded, early: lifecycle.ReasonEarly,
		asks: lifecycle.ReasonQuestion, unfailed: lifecycle.ReasonNotFailed,
	}
	for _, from := range lifecycle.Statuses {
		for i, c := range changes {
			want := table[from][i]
			s.Run(string(from)+"/"+c.name, func(t *testing.T) {
				s := &suite{T: t, Store: s.Store, in: s.in, ctx: t.Context()}
				id := string(from) + "-" + c.name
				before := s.into(id, from)
				after, err := s.Apply(s.ctx, lifecycle.Named(id), c.change)
				if r, isRefused := reason[want]; isRefused {
					var refusal *lifecycle.TransitionError
					if !errors.As(err, &refusal) || refusal.Reason != r || refusal.From != from || refusal.ID != id {
						t.Fatalf("%+v, %v; want a refusal: %s", after, err, want)
					}
					s.same("after a refusal", s.get(id), before)
					if n := len(s.all(requestChannel(id), 0, 100)); n != int(before.Sequence) {
						t.Errorf("a refusal left %d events", n-int(before.Sequence))
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				s.same("get", s.get(id), after)
				s.consistent(id)
				if want == silent {
					if after.Status != from || after.Sequence != before.Sequence || !after.CancelRequested {
						t.Errorf("after: %+v", after)
					}
					return
				}
				types := s.types(id)
				if after.Status != status[want] || after.Sequence != before.Sequence+1 || types[len(types)-1] != "request."+want {
					t.Errorf("%s at %d, events %v; want %s", after.Status, after.Sequence, types, want)
				}
				if after.Status == lifecycle.Pending && after.Position == nil {
					t.Error("no position")
				}
			})
		}
	}
	if _, err := s.Apply(s.ctx, lifecycle.Named("unknown"), lifecycle.Start{}); !errors.Is(err, lifecycle.ErrNotFound) {
		s.Errorf("unknown request: %v", err)
	}
}

// testSilent: a change without an event is stored all the same, and nobody is told of it but, of a
// cancellation that was asked for, who works on it.
func testSilent(s *suite) {
	told := make(chan string, 16)
	defer s.OnCancel(func(of lifecycle.Ref) { told <- of.ID })()
	after := make(map[string]lifecycle.Request)
	silent := func(id string, c lifecycle.Change, changed func(was, is lifecycle.Request) bool) {
		s.Helper()
		was := s.get(id)
		is := s.apply(id, c)
		if is.Sequence != was.Sequence || !is.UpdatedAt.Equal(was.UpdatedAt) || !changed(was, is) {
			s.Errorf("%T of %s: %+v\nbefore: %+v", c, id, is, was)
		}
		s.same(fmt.Sprintf("get after %T of %s", c, id), s.get(id), is)
		s.consistent(id)
		after[id] = is
	}
	s.into("repeated", lifecycle.Pending)
	silent("repeated", lifecycle.Repeat{}, func(_, is lifecycle.Request) bool { return is.Repeated })
	s.intoBatch("counted", lifecycle.Pending)
	silent("counted", lifecycle.Count{Ends: ends(lifecycle.Succeeded, 0)}, func(_, is lifecycle.Request) bool {
		return is.Batch.Succeeded == 1 && is.Batch.Has(0) && *is.Percent > 0
	})
	r := s.intoBatch("extended", lifecycle.Processing)
	silent("extended", lifecycle.Count{Until: r.ExpiresAt.Add(time.Hour)}, func(was, is lifecycle.Request) bool {
		return is.ExpiresAt.After(was.ExpiresAt)
	})
	asked := func(_, is lifecycle.Request) bool { return is.CancelRequested }
	s.intoBatch("marked-batch", lifecycle.Pending)
	silent("marked-batch", lifecycle.Cancel{}, asked)
	s.into("marked", lifecycle.Processing)
	silent("marked", lifecycle.Cancel{}, asked)
	select {
	case id := <-told: // of the first that anybody is told of
		if id != "marked" {
			s.Errorf("told of %s", id)
		}
	case <-time.After(20 * time.Second):
		s.Error("not told of what was marked")
	}
	if s.in.Reopen == nil {
		return
	}
	s.Store = s.in.Reopen()
	for id, r := range after {
		s.same(id+" after a restart", s.get(id), r)
	}
}

// testAttempts follows requests over several attempts.
func testAttempts(s *suite) {
	stale := func(id string, c lifecycle.Change) {
		s.Helper()
		_, err := s.Apply(s.ctx, lifecycle.Named(id), c)
		var refusal *lifecycle.TransitionError
		if !errors.As(err, &refusal) || refusal.Reason != lifecycle.ReasonStale {
			s.Errorf("%T of a superseded attempt: %v", c, err)
		}
	}
	s.create(submission("fenced"))
	s.apply("fenced", lifecycle.Start{})
	if r := s.apply("fenced", lifecycle.Start{Redelivered: true}); r.Attempt != 2 || r.Failures != 1 {
		s.Errorf("redelivered: attempt %d, failures %d", r.Attempt, r.Failures)
	}
	stale("fenced", lifecycle.Progress{Attempt: 1})
	stale("fenced", lifecycle.Succeed{Attempt: 1, Result: &lifecycle.Content{Data: []byte("stale")}})
	stale("fenced", lifecycle.Fail{Attempt: 1})
	stale("fenced", lifecycle.Release{Attempt: 1})
	if _, err := s.Content(s.ctx, lifecycle.Named("fenced"), lifecycle.Output); !errors.Is(err, lifecycle.ErrNotFound) {
		s.Errorf("a refused result was stored: %v", err)
	}
	s.apply("fenced", lifecycle.Progress{Attempt: 2})
	s.apply("fenced", lifecycle.Succeed{Attempt: 2})
	stale("fenced", lifecycle.Succeed{Attempt: 1})
	s.consistent("fenced")

	s.create(submission("tried")) // three attempts
	for attempt := 1; attempt <= 3; attempt++ {
		s.apply("tried", lifecycle.Start{})
		r := s.apply("tried", lifecycle.Fail{Attempt: attempt, Failure: failure, Retry: true, Delay: time.Minute})
		want := lifecycle.Pending
		if attempt == 3 {
			want = lifecycle.Failed
		}
		if r.Status != want || r.Failures != attempt || r.Error == nil || *r.Error != failure {
			s.Errorf("attempt %d: %+v", attempt, r)
		}
		if want == lifecycle.Pending && !r.NotBefore.Equal(r.UpdatedAt.Add(time.Minute)) {
			s.Errorf("attempt %d: not before %v, updated %v", attempt, r.NotBefore, r.UpdatedAt)
		}
	}
	s.consistent("tried")

	s.create(submission("dying"))
	s.apply("dying", lifecycle.Start{})
	s.apply("dying", lifecycle.Start{Redelivered: true})
	s.apply("dying", lifecycle.Start{Redelivered: true})
	if r := s.apply("dying", lifecycle.Start{Redelivered: true}); r.Status != lifecycle.Failed || r.Attempt != 3 {
		s.Errorf("died three times: %s, attempt %d", r.Status, r.Attempt)
	}

	for name, c := range map[string]lifecycle.Change{
		"fail": lifecycle.Fail{Retry: true}, "release": lifecycle.Release{}, "redelivered": lifecycle.Start{Redelivered: true},
	} {
		id := "canceled-" + name
		s.create(submission(id))
		s.apply(id, lifecycle.Start{})
		s.apply(id, lifecycle.Cancel{})
		s.apply(id, lifecycle.Progress{}) // is still taken
		if r := s.apply(id, c); r.Status != lifecycle.Canceled {
			s.Errorf("%s after cancel: %s", name, r.Status)
		}
		if types := s.types(id); !slices.Equal(types, []string{"request.accepted", "request.started", "request.progress", "request.canceled"}) {
			s.Errorf("%s after cancel: %v", name, types)
		}
	}
}

// testOneWinner lets changes that exclude each other race.
func testOneWinner(s *suite) {
	for round := range 10 {
		id := fmt.Sprintf("r%d", round)
		s.create(submission(id))
		var mu sync.Mutex
		won := map[string]int{}
		try := func(name string, c lifecycle.Change) {
			_, err := s.Apply(s.ctx, lifecycle.Named(id), c)
			var refusal *lifecycle.TransitionError
			if err != nil && !errors.As(err, &refusal) {
				s.Error(err)
			}
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				won[name]++
			}
		}
		parallel(8, func(int) { try("start", lifecycle.Start{}) })
		parallel(9, func(i int) {
			switch i % 3 {
			case 0:
				try("end", lifecycle.Succeed{})
			case 1:
				try("end", lifecycle.Fail{})
			case 2:
				try("end", lifecycle.Fail{Failure: failure})
			}
		})
		if won["start"] != 1 || won["end"] != 1 {
			s.Errorf("winners: %v", won)
		}
		s.consistent(id)
		if r := s.get(id); r.Sequence != 3 {
			s.Errorf("%d events", r.Sequence)
		}
	}
}
