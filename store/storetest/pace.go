package storetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// pace returns what the store knows of a pace once that is so.
func (s *suite) pace(of string, so func(lifecycle.Pace) bool) (p lifecycle.Pace) {
	s.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		var err error
		if p, err = part[lifecycle.Paces](s).Pace(s.ctx, of); err != nil {
			s.Fatal(err)
		}
		if so(p) {
			return p
		}
		if time.Now().After(deadline) {
			s.Fatalf("%s: %+v", of, p)
		}
	}
}

// testPace: how fast a route works, and an owner's requests are started, follows from the steps
// that say it, and outlives the store's being opened again.
func testPace(s *suite) {
	unknown := func(p lifecycle.Pace) bool { return p == lifecycle.Pace{} }
	images, alices := lifecycle.RoutePace("images"), lifecycle.OwnerPace(alice)
	s.pace(images, unknown)
	known := lifecycle.Pace{}
	for n := range 20 { // one at a time, ten seconds each
		id := fmt.Sprint("r", n)
		sub := submission(id)
		sub.CountWaiting = true
		s.create(sub)
		s.in.Advance(2 * time.Second)
		s.apply(id, lifecycle.Start{})
		s.in.Advance(10 * time.Second)
		s.apply(id, lifecycle.Succeed{Attempt: 1})
		known = s.pace(images, func(p lifecycle.Pace) bool { return p.At.After(known.At) })
	}
	about := func(what string, got, want time.Duration) {
		s.Helper()
		if got < want-time.Millisecond || got > want+want/2 { // the clock goes on by itself, too
			s.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	about("each", known.Each(), 10*time.Second)
	about("between", known.Between(), 10*time.Second)
	starts := s.pace(alices, func(p lifecycle.Pace) bool { return p.Count > 7 })
	about("starts", starts.Between(), 2*time.Second)

	// What says nothing: a person was asked, it was canceled, nobody counts what waits.
	s.into("asked", lifecycle.Waiting)
	s.apply("asked", lifecycle.Answer{Asked: 1, Answers: answersOf(10)})
	s.apply("asked", lifecycle.Start{})
	s.apply("asked", lifecycle.Succeed{Attempt: 1})
	s.into("canceled", lifecycle.Canceled)
	if s.in.Reopen != nil {
		s.Store = s.in.Reopen()
	}
	s.pace(images, func(p lifecycle.Pace) bool {
		return p.Count > 6 && p.Count <= known.Count && p.Between() > 9*time.Second
	})

	// Of a start that is refused nothing is said.
	before := s.pace(alices, func(lifecycle.Pace) bool { return true })
	if _, err := s.Apply(s.ctx, lifecycle.Named("canceled"), lifecycle.Start{}); err == nil || errors.Is(err, lifecycle.ErrUnavailable) {
		s.Error(err)
	}
	s.pace(alices, func(p lifecycle.Pace) bool { return p == before })
}
