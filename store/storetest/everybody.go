package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// testListAgainstModel makes random steps of many requests, of which ids are used again, and
// compares lists of everybody's and of single owners with what is found by going through all ids.
func testListAgainstModel(s *suite) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	defer func() {
		if s.Failed() {
			s.Logf("seed %d", seed)
		}
	}()
	owners, routes := []string{alice, bob, "alic"}, []string{"images", "images-2", "video"}
	topics := []string{"", "t1", "t2"}
	created := make(map[string]int) // by id: the how manieth it is
	n := 0
	pick := func(of []string) string { return of[random.IntN(len(of))] }
	apply := func(id string, c lifecycle.Change) {
		_, err := s.Apply(s.ctx, lifecycle.Named(id), c)
		if _, refused := errors.AsType[*lifecycle.TransitionError](err); err != nil && !refused && !errors.Is(err, lifecycle.ErrNotFound) {
			s.Fatalf("apply %T to %s: %v", c, id, err)
		}
	}
	step := func() {
		id := fmt.Sprintf("r%02d", random.IntN(60))
		switch roll := random.IntN(12); roll {
		case 0, 1, 2, 3:
			sub := submission(id)
			if random.IntN(8) == 0 {
				sub = batch(id, 3)
			} else {
				sub.Route = pick(routes)
			}
			sub.Owner, sub.Topic, sub.Retention = pick(owners), pick(topics), time.Duration(1+random.IntN(30))*time.Minute
			switch _, err := s.Create(s.ctx, sub); {
			case err == nil:
				if _, there := created[id]; !there {
					n++
					created[id] = n
				}
			case !errors.Is(err, lifecycle.ErrIDTaken):
				s.Fatal(err)
			}
		case 4, 5:
			apply(id, lifecycle.Start{})
		case 6:
			apply(id, lifecycle.Succeed{})
		case 7, 8:
			apply(id, lifecycle.Fail{Failure: failure})
		case 9:
			apply(id, pickChange(random))
		case 10:
			if err := s.Delete(s.ctx, lifecycle.Named(id)); err == nil {
				delete(created, id)
			} else if !errors.Is(err, lifecycle.ErrNotEnded) && !errors.Is(err, lifecycle.ErrNotFound) {
				s.Fatal(err)
			}
		case 11:
			s.in.Advance(time.Duration(random.IntN(90)) * time.Second)
			s.sweep(5)
		}
		s.in.Advance(2 * time.Millisecond)
	}
	for round := range 24 {
		for range 25 {
			step()
		}
		if round%8 == 7 && s.in.Reopen != nil {
			s.Store = s.in.Reopen()
		}
		var all []lifecycle.Request
		for id := range created {
			r, err := s.Get(s.ctx, lifecycle.Named(id))
			if errors.Is(err, lifecycle.ErrNotFound) {
				delete(created, id)
				continue
			}
			if err != nil {
				s.Fatal(err)
			}
			all = append(all, r)
		}
		slices.SortFunc(all, func(a, b lifecycle.Request) int { return created[b.ID] - created[a.ID] })
		for range 40 {
			q := lifecycle.Query{Limit: 1 + random.IntN(9)}
			if q.Owner = pick(owners); random.IntN(2) == 0 {
				q.All, q.Owner = true, ""
			}
			if random.IntN(2) == 0 {
				q.Route = pick(append([]string{"none"}, routes...))
			}
			if random.IntN(3) == 0 {
				q.Topic = pick(topics)
			}
			if random.IntN(2) == 0 {
				q.Status = lifecycle.Statuses[random.IntN(len(lifecycle.Statuses))]
			}
			if len(all) > 0 && random.IntN(3) == 0 {
				q.Since = all[random.IntN(len(all))].CreatedAt.Add(time.Duration(random.IntN(3)-1) * time.Microsecond)
			}
			if len(all) > 0 && random.IntN(3) == 0 {
				q.Until = all[random.IntN(len(all))].CreatedAt.Add(time.Duration(random.IntN(3)-1) * time.Microsecond)
			}
			var want []string
			for i := range all {
				if r := &all[i]; (q.All || r.Owner == q.Owner) && (q.Route == "" || r.Route == q.Route) && (q.Topic == "" || r.Topic == q.Topic) &&
					(q.Status == "" || r.Status == q.Status) && (q.Since.IsZero() || !r.CreatedAt.Before(q.Since)) && (q.Until.IsZero() || r.CreatedAt.Before(q.Until)) {
					want = append(want, r.ID)
				}
			}
			if got := s.list(q); !slices.Equal(got, want) {
				s.Fatalf("list %+v:\n%v\nwant\n%v", q, got, want)
			}
		}
	}
	s.listedAsStored()
}

// pickChange is one of the rarer changes.
func pickChange(random *rand.Rand) lifecycle.Change {
	return []lifecycle.Change{lifecycle.Cancel{}, lifecycle.Redrive{}, ask(0), lifecycle.FanOut{}, lifecycle.Release{}}[random.IntN(5)]
}

// listedAsStored holds each request of the list of everybody's against what is found by its id, and
// tries cursors that no page had.
func (s *suite) listedAsStored() {
	page, err := s.List(s.ctx, lifecycle.Query{All: true, Limit: 200})
	if err != nil {
		s.Fatal(err)
	}
	for _, r := range page.Requests {
		s.same("listed", r, s.get(r.ID))
	}
	s.create(submission("last-but-one"))
	s.create(submission("last"))
	if page, err = s.List(s.ctx, lifecycle.Query{All: true, Limit: 1}); err != nil || page.Next == "" {
		s.Fatal(page, err)
	}
	own, err := s.List(s.ctx, lifecycle.Query{Owner: alice, Limit: 1})
	if err != nil || own.Next == "" {
		s.Fatal(own, err)
	}
	for _, cursor := range []string{"x", "!", "AAAAAAAAAAAAAAAAAAAAAA", page.Next + "A", page.Next[1:], strings.ToLower(page.Next), own.Next} {
		if _, err := s.List(s.ctx, lifecycle.Query{All: true, Limit: 3, Cursor: cursor}); !errors.Is(err, lifecycle.ErrCursor) {
			s.Errorf("cursor %q: %v", cursor, err)
		}
	}
	if _, err := s.List(s.ctx, lifecycle.Query{Owner: alice, Limit: 3, Cursor: page.Next}); !errors.Is(err, lifecycle.ErrCursor) {
		s.Errorf("the cursor of everybody's, for one owner: %v", err)
	}
	for _, far := range []time.Time{time.Unix(0, 0), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC)} {
		for _, all := range []bool{false, true} {
			since, err := s.List(s.ctx, lifecycle.Query{Owner: alice, All: all, Since: far, Limit: 1})
			until, failed := s.List(s.ctx, lifecycle.Query{Owner: alice, All: all, Until: far, Limit: 1})
			if err = errors.Join(err, failed); err != nil || len(since.Requests)+len(until.Requests) != 1 {
				s.Errorf("%v: %v and %v, %v", far, since, until, err)
			}
		}
	}
}
