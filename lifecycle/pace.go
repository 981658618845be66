package lifecycle

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"
)

// Pace is how fast work goes, as its store saw it lately: the work of a route by its ends, that of
// an owner by its starts. It is a mean over the newest steps in which each counts for less than the
// one after it. The zero value says nothing.
type Pace struct {
	Count float64   // of those steps, each by what it still counts for
	Took  float64   // how long they took together, in seconds, each from its beginning to its step
	Busy  float64   // seconds in which at least one of them had begun, and had not got there
	At    time.Time // of the newest one
}

// PaceSample is one step of a [Pace], or some of a moment together.
type PaceSample struct {
	Of    string // whose pace it is: [RoutePace] or [OwnerPace]
	Count int
	Took  time.Duration // of all together
	Since time.Time     // when the first of them began
}

// Paces is a store that knows them.
type Paces interface {
	// Pace returns how fast something goes by the samples that steps of any process have left; the
	// zero value if there are none of the last [PaceKept]. It is an estimate, of which a process
	// that dies may take the newest part of a second with it.
	Pace(ctx context.Context, of string) (Pace, error)
}

// RoutePace names the pace of a route: from the first start of a request to its end.
func RoutePace(route string) string { return "r:" + route }

// OwnerPace names the pace of an owner: from when a request might have started until it did. It is
// known of those whose waiting requests are counted.
func OwnerPace(owner string) string { return "o:" + owner }

const (
	// PaceKept is for how long a pace is kept of which nothing more is heard.
	PaceKept = 7 * 24 * time.Hour
	// PaceEvery is how often a process gives a sample of one pace. What happens in between is in
	// the next one.
	PaceEvery = 100 * time.Millisecond
	// PaceMost is how many paces a process or a file knows; beyond that it forgets the oldest.
	PaceMost = 1000
	// PaceLeast is how many samples make up a mean at least.
	PaceLeast = 8
)

// PaceOf returns what the step that leads from was to is says of a pace. What had to wait for a
// person says nothing of its route, nor does what was ended by others than its processor.
func PaceOf(was, is *Request) (sample PaceSample, ok bool) {
	switch {
	case is.Batch != nil:
	case was.Status == Processing && (is.Status == Succeeded || is.Status == Failed) && is.Asked == 0 && !is.StartedAt.IsZero():
		return PaceSample{RoutePace(is.Route), 1, max(is.UpdatedAt.Sub(is.StartedAt), 0), is.StartedAt}, true
	case was.Status == Pending && is.Status == Processing && is.CountedWaiting:
		due := later(was.UpdatedAt, was.NotBefore)
		return PaceSample{OwnerPace(is.Owner), 1, max(is.UpdatedAt.Sub(due), 0), due}, true
	}
	return PaceSample{}, false
}

// After returns p with a sample of a time. In scripts/pace.lua of store/redis: the same.
//
// So many samples make up the mean that each of those that go on at the same time is among them:
// they may well end together.
func (p Pace) After(s PaceSample, now time.Time) Pace {
	among := float64(PaceLeast)
	if p.Busy > 0 {
		among = max(among, 2*p.Took/p.Busy)
	}
	keep := max(1-float64(s.Count)/among, 1-1./PaceLeast)
	now = later(now, p.At)
	return Pace{
		Count: p.Count*keep + float64(s.Count),
		Took:  p.Took*keep + s.Took.Seconds(),
		Busy:  p.Busy*keep + max(now.Sub(later(p.At, s.Since)), 0).Seconds(),
		At:    now,
	}
}

// Each returns how long one of them takes, from its beginning to its step; 0 if that is not known.
func (p Pace) Each() time.Duration { return p.mean(p.Took) }

// Between returns how much time is between two of them while there is work: it is shorter the more
// go on at the same time. 0 if that is not known.
func (p Pace) Between() time.Duration { return p.mean(p.Busy) }

func (p Pace) mean(seconds float64) time.Duration {
	if p.Count <= 0 {
		return 0
	}
	return time.Duration(min(seconds/p.Count, math.MaxInt64/4e9) * float64(time.Second))
}

func later(x, y time.Time) time.Time {
	if y.After(x) {
		return y
	}
	return x
}

// stalledAfter is how many times longer than it should take nothing may end before nothing is
// estimated.
const stalledAfter = 4

// estimate returns when a request that has not ended will end, by the pace of its route; zero if
// there is nothing to tell that from. It is never before now, nor after the request's time runs
// out.
func estimate(r *Request, p Pace, now time.Time) time.Time {
	var end time.Time
	switch each := p.Each(); r.Status {
	case Pending:
		if r.Position == nil || r.Batch != nil || p.Count <= 0 {
			return time.Time{}
		}
		wait := time.Duration(min(float64(*r.Position)*float64(p.Between()), math.MaxInt64/4))
		idle := now.Sub(later(p.At, later(r.UpdatedAt, r.NotBefore)))
		if idle > stalledAfter*(each+p.Between())+time.Minute { // nobody works on it, as it seems
			return time.Time{}
		}
		if *r.Position > 0 { // of the one in front a part is over
			wait -= min(max(idle, 0), p.Between())
		}
		if most := r.Concurrency.Limit; r.Parked && most > 0 {
			if r.InLine == nil {
				return time.Time{}
			}
			// However fast its route goes: so many of its lane at a time, and each for as long as
			// those of its route take, which is all that is known of them.
			wait = max(wait, time.Duration(min(float64(*r.InLine)/float64(most)*float64(each), math.MaxInt64/4)))
		}
		end = later(now.Add(wait), r.NotBefore).Add(each)
	case Processing:
		if end = r.ETA(); end.Before(now) { // it has been silent since
			silent := *r
			silent.UpdatedAt = now
			end = silent.ETA()
		}
		if end.IsZero() && r.Batch == nil && p.Count > 0 {
			end = r.StartedAt.Add(each)
		}
	default:
		return time.Time{}
	}
	if end.After(r.ExpiresAt) {
		end = r.ExpiresAt
	}
	if end.Before(now) {
		return time.Time{}
	}
	return end
}

// PaceTally gathers what the steps of a process say of paces, so that the store gets it now and
// then. The zero value is empty. It may be used by many goroutines.
type PaceTally struct {
	mu sync.Mutex
	of map[string]*pacePart
}

type pacePart struct {
	sample PaceSample // that nobody has got yet
	given  time.Time
}

// Add takes note of a sample of a time, and returns what the store is to get now, if it is to get
// anything.
func (t *PaceTally) Add(s PaceSample, now time.Time) (PaceSample, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	part := t.of[s.Of]
	if part == nil {
		if t.of == nil || len(t.of) >= PaceMost { // what they have gathered is a part of a second
			t.of = make(map[string]*pacePart)
		}
		part = new(pacePart)
		t.of[s.Of] = part
	}
	if had := part.sample; had.Count > 0 {
		s.Count += had.Count
		s.Took += had.Took
		if had.Since.Before(s.Since) {
			s.Since = had.Since
		}
	}
	if since := now.Sub(part.given); since >= 0 && since < PaceEvery {
		part.sample = s
		return PaceSample{}, false
	}
	*part = pacePart{given: now}
	return s, true
}

// paceAge is for how long a service takes a pace that it has read for what is so.
const paceAge = time.Second

// knownPaces are those that a service has read.
type knownPaces struct {
	store Paces // nil: the store knows none
	now   func() time.Time

	mu sync.Mutex
	of map[string]knownPace
}

type knownPace struct {
	Pace
	read time.Time
}

// get returns a pace as it was a moment ago. While one reads it anew the others have the old one.
// What cannot be read is not known: it is an estimate.
func (k *knownPaces) get(ctx context.Context, of string) Pace {
	if k.store == nil {
		return Pace{}
	}
	k.mu.Lock()
	known, ok := k.of[of]
	if ok && time.Since(known.read) < paceAge {
		k.mu.Unlock()
		return known.Pace
	}
	if ok {
		k.put(of, known.Pace)
	}
	k.mu.Unlock()
	p, err := k.store.Pace(ctx, of)
	if err != nil {
		return known.Pace
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.put(of, p)
	return p
}

func (k *knownPaces) put(of string, p Pace) {
	if k.of == nil || len(k.of) >= PaceMost {
		k.of = make(map[string]knownPace)
	}
	k.of[of] = knownPace{p, time.Now()}
}

// estimate says when a request will end that has not, as far as that can be told.
func (s *Service) estimate(ctx context.Context, r *Request) {
	if r.Status != Pending && r.Status != Processing {
		return
	}
	var p Pace
	if r.Batch == nil {
		p = s.paces.get(ctx, RoutePace(r.Route))
	}
	r.Estimate = estimate(r, p, s.paces.now())
}

// RetryAfter returns when there is room, by the pace so far, for what [Service.Submit] has refused
// with an error that is or wraps a [*FullError] or the [*QuotaError] of [PolicyWaiting]; 0 if that
// is not known.
func (s *Service) RetryAfter(ctx context.Context, err error) time.Duration {
	var of string
	var places int64
	if full, ok := errors.AsType[*FullError](err); ok {
		of, places = RoutePace(full.Route), max(full.Wanted-full.Most, 1)
	}
	if quota, ok := errors.AsType[*QuotaError](err); ok && quota.Policy == PolicyWaiting {
		of, places = OwnerPace(quota.Owner), max(quota.Wanted-quota.Most, 1)
	}
	if of == "" {
		return 0
	}
	return time.Duration(min(float64(places)*float64(s.paces.get(ctx, of).Between()), math.MaxInt64/4))
}
