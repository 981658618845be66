package storetest

import (
	"reflect"
	"sync"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// stepLog is a meter that keeps what it is told of steps.
type stepLog struct {
	mu  sync.Mutex
	all []lifecycle.Step
}

// Stepped implements lifecycle.StepMeter.
func (l *stepLog) Stepped(s lifecycle.Step) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, s)
}

func (l *stepLog) take() []lifecycle.Step {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.all
	l.all = nil
	return all
}

// testSteps: the meter is told once of each step that somebody counts, before whoever made the step
// has its answer, and not of one that was refused, or changed nothing.
func testSteps(s *suite) {
	log, ok := s.config.Meter.(*stepLog)
	if !ok {
		s.Fatal("the suite has another meter")
	}
	log.take()
	const none = -1
	step := func(to lifecycle.Status, waited, took time.Duration) lifecycle.Step {
		return lifecycle.Step{Route: "images", To: to, Created: to == lifecycle.Pending, Began: to == lifecycle.Processing, Ended: to.Terminal(), Waited: waited, Took: took}
	}
	told := func(what string, want ...lifecycle.Step) {
		s.Helper()
		got := log.take()
		for i := range got {
			if got[i].At.IsZero() {
				s.Errorf("%s: a step without a time: %+v", what, got[i])
			}
			got[i].At = time.Time{}
		}
		for i := range min(len(got), len(want)) { // the clock goes on by itself, too
			for _, d := range []struct{ got, want *time.Duration }{{&got[i].Waited, &want[i].Waited}, {&got[i].Took, &want[i].Took}} {
				if *d.want >= 0 && *d.got >= *d.want-time.Millisecond && *d.got < *d.want+time.Minute {
					*d.got = *d.want
				}
			}
		}
		if !reflect.DeepEqual(got, want) {
			s.Errorf("%s: told\n%+v, want\n%+v", what, got, want)
		}
	}

	delayed := submission("a")
	delayed.Delay = 10 * time.Minute
	s.create(delayed)
	told("created", step(lifecycle.Pending, none, none))
	if c, err := s.Create(s.ctx, delayed); err != nil || !c.Existed {
		s.Fatal(c, err)
	}
	told("submitted again")
	s.in.Advance(25 * time.Minute)
	s.apply("a", lifecycle.Start{})
	told("started, 15 minutes after it might", step(lifecycle.Processing, 15*time.Minute, none))
	s.apply("a", lifecycle.Progress{Step: new("half")})
	s.apply("a", lifecycle.Fail{Attempt: 1, Retry: true, Failure: lifecycle.Failure{Code: "x", Message: "y"}})
	s.apply("a", lifecycle.Start{})
	if _, err := s.Apply(s.ctx, lifecycle.Named("a"), lifecycle.Start{}); err == nil {
		s.Error("started twice")
	}
	told("tried again", lifecycle.Step{Route: "images", To: lifecycle.Pending, Returned: true, Waited: none, Took: none}, step(lifecycle.Processing, none, none))
	s.in.Advance(5 * time.Minute)
	s.apply("a", lifecycle.Succeed{Attempt: 2})
	told("ended, half an hour after it was submitted", step(lifecycle.Succeeded, none, 30*time.Minute))
	s.apply("a", lifecycle.Succeed{Attempt: 2})
	told("reported again")

	s.into("b", lifecycle.Failed)
	told("failed", step(lifecycle.Pending, none, none), step(lifecycle.Processing, 0, none), step(lifecycle.Failed, none, 0))
	s.apply("b", lifecycle.Redrive{})
	s.in.Advance(3 * time.Minute)
	s.apply("b", lifecycle.Start{})
	told("redriven", step(lifecycle.Processing, 3*time.Minute, none))
	s.apply("b", lifecycle.Succeed{Attempt: 2})
	told("ended once more", step(lifecycle.Succeeded, none, none))

	s.create(submission("c"))
	s.apply("c", lifecycle.Cancel{Withdrawn: true})
	withdrawn := step(lifecycle.Canceled, none, 0)
	withdrawn.Withdrawn = true
	told("withdrawn", step(lifecycle.Pending, none, none), withdrawn)

	s.create(submission("d"))
	s.in.Advance(time.Hour)
	if swept, err := s.Sweep(s.ctx, 10); err != nil || len(swept.Ended) != 1 {
		s.Fatal(swept, err)
	}
	told("swept", step(lifecycle.Pending, none, none), step(lifecycle.Expired, none, time.Hour))

	batch := submission("e")
	batch.Route, batch.Batch = "", &lifecycle.Batch{Total: 1}
	s.create(batch)
	told("a batch", lifecycle.Step{To: lifecycle.Pending, Created: true, Waited: none, Took: none})
}
