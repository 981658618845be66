package lifecycle_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// paced is a store with one request, of which it knows how fast its route works.
type paced struct {
	lifecycle.Store
	request lifecycle.Request
	pace    lifecycle.Pace
	reads   int
	err     error
}

func (s *paced) Get(context.Context, lifecycle.Ref) (lifecycle.Request, error) { return s.request, nil }

func (s *paced) Pace(_ context.Context, of string) (lifecycle.Pace, error) {
	if s.reads++; of != lifecycle.RoutePace("images") && of != lifecycle.OwnerPace("alice") {
		return lifecycle.Pace{}, errors.New(of)
	}
	return s.pace, s.err
}

// work returns the pace of so many that work side by side, each for a time, without a pause.
func work(sideBySide, ends int, each time.Duration, now time.Time) (p lifecycle.Pace) {
	gap := each / time.Duration(sideBySide)
	for n := range ends {
		at := now.Add(-gap * time.Duration(ends-1-n))
		p = p.After(lifecycle.PaceSample{Count: 1, Took: each, Since: at.Add(-each)}, at)
	}
	return p
}

func near(got, want, by time.Duration) bool { return (got - want).Abs() <= by }

// TestPace: a mean follows how long work takes and how much goes on at the same time, however its
// ends come together, and not how often there is some.
func TestPace(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, n := range []int{1, 4, 50} {
		p := work(n, 20*n, 10*time.Second, now)
		if gap := 10 * time.Second / time.Duration(n); !near(p.Each(), 10*time.Second, time.Millisecond) || !near(p.Between(), gap, gap/5) {
			t.Errorf("%d side by side: each %v, between %v", n, p.Each(), p.Between())
		}
	}
	// All of a round end in the same moment.
	var p lifecycle.Pace
	for round := range 40 {
		at := now.Add(time.Duration(round) * 10 * time.Second)
		for range 20 {
			p = p.After(lifecycle.PaceSample{Count: 1, Took: 10 * time.Second, Since: at.Add(-10 * time.Second)}, at)
		}
	}
	if !near(p.Between(), 500*time.Millisecond, 250*time.Millisecond) {
		t.Errorf("in rounds of 20: between %v", p.Between())
	}
	// One a day takes a second nevertheless, and an order of times that is none does no harm.
	p = lifecycle.Pace{}
	for day := range 20 {
		at := now.AddDate(0, 0, day)
		p = p.After(lifecycle.PaceSample{Count: 1, Took: time.Second, Since: at.Add(-time.Second)}, at)
		p = p.After(lifecycle.PaceSample{Count: 1, Took: time.Second, Since: at.Add(-time.Second)}, at.Add(-time.Hour))
	}
	if p.Between() > time.Second || p.Between() < time.Second/3 || !near(p.Each(), time.Second, time.Millisecond) || p.At.Before(now.AddDate(0, 0, 19)) {
		t.Errorf("one a day: %+v", p)
	}
	// It comes round when twice as many work.
	p = work(1, 40, 10*time.Second, now)
	for n := range 40 {
		at := now.Add(time.Duration(n+1) * 5 * time.Second)
		p = p.After(lifecycle.PaceSample{Count: 1, Took: 10 * time.Second, Since: at.Add(-10 * time.Second)}, at)
	}
	if !near(p.Between(), 5*time.Second, time.Second) {
		t.Errorf("twice as many: between %v", p.Between())
	}
	if zero := (lifecycle.Pace{}); zero.Each() != 0 || zero.Between() != 0 {
		t.Error("nothing is known, and something is said")
	}
}

// TestPaceTally: what a process gathers comes to the same as each step by itself.
func TestPaceTally(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var tally lifecycle.PaceTally
	given, took := 0, time.Duration(0)
	for n := range 1000 {
		at := now.Add(time.Duration(n) * time.Millisecond)
		s, ok := tally.Add(lifecycle.PaceSample{Of: "a", Count: 1, Took: time.Second, Since: at.Add(-time.Second)}, at)
		if !ok {
			continue
		}
		if given > 0 && s.Count != 100 {
			t.Errorf("%d at once", s.Count)
		}
		given += s.Count
		took += s.Took
	}
	if given != 901 || took != 901*time.Second { // the others are in the next one
		t.Errorf("%d that took %v", given, took)
	}
	if s, ok := tally.Add(lifecycle.PaceSample{Of: "b", Count: 1, Since: now}, now); !ok || s.Count != 1 {
		t.Error("another's is its own")
	}
}

// TestEstimate: of what waits, by what is before it and how fast that goes; never before now, and
// not after its time runs out; nothing where there is nothing to tell it from.
func TestEstimate(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	pending := func(position int) lifecycle.Request {
		return lifecycle.Request{
			ID: "a", Owner: "alice", Route: "images", Status: lifecycle.Pending, Position: &position,
			CreatedAt: now, UpdatedAt: now, ExpiresAt: now.Add(time.Hour),
		}
	}
	one, ten := work(1, 40, 10*time.Second, now), work(10, 400, 10*time.Second, now)
	percent := func(n float64, reported time.Duration) lifecycle.Request {
		r := pending(0)
		r.Status, r.StartedAt, r.UpdatedAt = lifecycle.Processing, now.Add(-10*time.Second), now.Add(-reported)
		if n > 0 {
			r.Percent = &n
		}
		return r
	}
	with := func(r lifecycle.Request, f func(r *lifecycle.Request)) lifecycle.Request { f(&r); return r }
	parked := func(r lifecycle.Request, before, most int) lifecycle.Request {
		r.Concurrency, r.Parked, r.InLine = lifecycle.Concurrency{Key: "k", Limit: most, Route: 9}, true, &before
		return r
	}
	for _, c := range []struct {
		name string
		r    lifecycle.Request
		pace lifecycle.Pace
		err  error
		in   time.Duration // < 0: not told
		by   time.Duration
	}{
		{"it is next", pending(0), one, nil, 10 * time.Second, time.Second},
		{"three are before it", pending(3), one, nil, 40 * time.Second, time.Second},
		{"three are before it, for ten", pending(3), ten, nil, 13 * time.Second, time.Second},
		{"a part of the next is over", pending(3), work(1, 40, 10*time.Second, now.Add(-5*time.Second)), nil, 40 * time.Second, time.Second},
		{"many are before it", pending(1_000_000_000), one, nil, time.Hour, 0},
		{"it is delayed", with(pending(0), func(r *lifecycle.Request) { r.NotBefore = now.Add(time.Minute) }), one, nil, 70 * time.Second, time.Second},
		{"others have been, long ago", pending(0), work(1, 40, 10*time.Second, now.Add(-100*time.Hour)), nil, 10 * time.Second, time.Second},
		{"nobody works", with(pending(0), func(r *lifecycle.Request) { r.UpdatedAt = now.Add(-10 * time.Minute) }), work(1, 40, 10*time.Second, now.Add(-9*time.Minute)), nil, -1, 0},
		{"it waits behind its key", parked(pending(0), 1, 1), ten, nil, 20 * time.Second, time.Second},
		{"six are before it behind its key, two at a time", parked(pending(3), 6, 2), ten, nil, 40 * time.Second, time.Second},
		{"its route is slower than its key", parked(pending(9), 2, 2), one, nil, 100 * time.Second, time.Second},
		{"it waits behind its key, nobody says where", with(parked(pending(0), 1, 1), func(r *lifecycle.Request) { r.InLine = nil }), ten, nil, -1, 0},
		{"it waits for its route alone", parked(pending(3), 3, 0), ten, nil, 13 * time.Second, time.Second},
		{"many are before it behind its key", parked(pending(0), 1_000_000_000, 1), ten, nil, time.Hour, 0},
		{"it has run out of time", with(pending(0), func(r *lifecycle.Request) { r.ExpiresAt = now.Add(-time.Second) }), one, nil, -1, 0},
		{"nothing is known", pending(0), lifecycle.Pace{}, nil, -1, 0},
		{"the store is away", pending(0), one, lifecycle.ErrUnavailable, -1, 0},
		{"a batch", with(pending(0), func(r *lifecycle.Request) { r.Batch = &lifecycle.Batch{Total: 3} }), one, nil, -1, 0},
		{"half is done", percent(50, 0), lifecycle.Pace{}, nil, 10 * time.Second, time.Second},
		{"half was done a while ago", percent(50, 8*time.Second), lifecycle.Pace{}, nil, 10 * time.Second, time.Second},
		{"it reports nothing", percent(0, 10*time.Second), work(1, 40, 30*time.Second, now), nil, 20 * time.Second, time.Second},
		{"it reports nothing, for longer than others", percent(0, 10*time.Second), work(1, 40, 5*time.Second, now), nil, -1, 0},
		{"it waits for an answer", with(pending(0), func(r *lifecycle.Request) { r.Status = lifecycle.Waiting }), one, nil, -1, 0},
		{"it has ended", with(pending(0), func(r *lifecycle.Request) { r.Status = lifecycle.Succeeded }), one, nil, -1, 0},
	} {
		store := &paced{request: c.r, pace: c.pace, err: c.err}
		s := lifecycle.New(store, nil, lifecycle.Options{Now: func() time.Time { return now }})
		r, err := s.Get(t.Context(), lifecycle.Principal{Subject: "alice"}, lifecycle.Named("a"))
		switch eta := r.ETA(); {
		case err != nil:
			t.Error(err)
		case c.in < 0:
			if !eta.IsZero() {
				t.Errorf("%s: in %v", c.name, eta.Sub(now))
			}
		case eta.Before(now) || !near(eta.Sub(now), c.in, c.by):
			t.Errorf("%s: in %v, want %v", c.name, eta.Sub(now), c.in)
		}
		s.Close()
	}

	// Many ask, and the store is read once.
	store := &paced{request: pending(0), pace: one}
	s := lifecycle.New(store, nil, lifecycle.Options{Now: func() time.Time { return now }})
	defer s.Close()
	for range 100 {
		_, _ = s.Get(t.Context(), lifecycle.Principal{Subject: "alice"}, lifecycle.Named("a"))
	}
	if store.reads > 2 { // within a second
		t.Errorf("read %d times", store.reads)
	}
	full := &lifecycle.FullError{Route: "images", Most: 3, Wanted: 5}
	if after := s.RetryAfter(t.Context(), full); !near(after, 20*time.Second, time.Second) {
		t.Errorf("two places in %v", after)
	}
	quota := &lifecycle.QuotaError{Owner: "alice", Policy: lifecycle.PolicyWaiting, Most: 3, Wanted: 4}
	if after := s.RetryAfter(t.Context(), quota); !near(after, 10*time.Second, time.Second) {
		t.Errorf("one of alice's in %v", after)
	}
	if after := s.RetryAfter(t.Context(), &lifecycle.QuotaError{Owner: "alice", Policy: lifecycle.PolicyOpen, Most: 3, Wanted: 4}); after != 0 {
		t.Errorf("what is open ends in %v", after)
	}
}
