package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// list walks all pages of a query.
func (s *suite) list(q lifecycle.Query) []string {
	s.Helper()
	var ids []string
	for {
		page, err := s.List(s.ctx, q)
		if err != nil {
			s.Fatalf("list %+v: %v", q, err)
		}
		if len(page.Requests) > q.Limit {
			s.Fatalf("list %+v: %d requests", q, len(page.Requests))
		}
		for _, r := range page.Requests {
			ids = append(ids, r.ID)
		}
		if page.Next == "" {
			return ids
		}
		q.Cursor = page.Next
	}
}

func testList(s *suite) {
	type listed struct {
		id, route, topic string
		status           lifecycle.Status
	}
	var newestFirst []listed
	for i := range 30 {
		l := listed{
			id: fmt.Sprintf("r%02d", (i*7)%30), route: []string{"images", "video"}[i%2],
			topic:  []string{"", "t1", "t2"}[i%3],
			status: []lifecycle.Status{lifecycle.Pending, lifecycle.Processing, lifecycle.Succeeded, lifecycle.Canceled, lifecycle.Waiting}[i%5],
		}
		sub := submission(l.id)
		sub.Route, sub.Topic = l.route, l.topic
		s.create(sub)
		switch l.status {
		case lifecycle.Canceled:
			s.apply(l.id, lifecycle.Cancel{})
		case lifecycle.Processing, lifecycle.Succeeded, lifecycle.Waiting:
			s.apply(l.id, lifecycle.Start{})
			switch l.status {
			case lifecycle.Succeeded:
				s.apply(l.id, lifecycle.Succeed{})
			case lifecycle.Waiting:
				s.apply(l.id, ask(0))
			}
		}
		newestFirst = slices.Insert(newestFirst, 0, l)
		s.in.Advance(2 * time.Millisecond)
	}
	foreign := submission("foreign")
	foreign.Owner = bob
	s.create(foreign)
	foreign = submission("near")
	foreign.Owner = "alic"
	s.create(foreign)

	for _, route := range []string{"", "images", "video", "none"} {
		for _, topic := range []string{"", "t1", "none"} {
			for _, status := range append([]lifecycle.Status{""}, lifecycle.Statuses...) {
				for _, limit := range []int{1, 4, 100} {
					var want []string
					for _, l := range newestFirst {
						if (route == "" || l.route == route) && (topic == "" || l.topic == topic) && (status == "" || l.status == status) {
							want = append(want, l.id)
						}
					}
					q := lifecycle.Query{Owner: alice, Route: route, Topic: topic, Status: status, Limit: limit}
					if got := s.list(q); !slices.Equal(got, want) {
						s.Errorf("list %+v:\n%v\nwant\n%v", q, got, want)
					}
				}
			}
		}
	}
	page, err := s.List(s.ctx, lifecycle.Query{Owner: alice, Limit: 3})
	if err != nil {
		s.Fatal(err)
	}
	for _, r := range page.Requests {
		s.same("listed", r, s.get(r.ID))
	}
	if ids := s.list(lifecycle.Query{Owner: "nobody", Limit: 3}); len(ids) != 0 {
		s.Errorf("nobody has %v", ids)
	}
	for _, cursor := range []string{"x", "!", "AAAAAAAAAAAAAAAA", page.Next + "A", "0"} {
		if _, err := s.List(s.ctx, lifecycle.Query{Owner: alice, Limit: 3, Cursor: cursor}); !errors.Is(err, lifecycle.ErrCursor) {
			s.Errorf("cursor %q: %v", cursor, err)
		}
	}
}

// testListWhileOthersWrite: what was there when a walk began is seen exactly once.
func testListWhileOthersWrite(s *suite) {
	const before = 40
	for i := range before {
		s.create(submission(fmt.Sprintf("old%02d", i)))
		s.in.Advance(2 * time.Millisecond)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := s.Create(s.ctx, submission(fmt.Sprintf("new%d-%d", w, i))); err != nil {
					s.Error(err)
				}
				if _, err := s.Apply(s.ctx, lifecycle.Named(fmt.Sprintf("old%02d", (w*10+i%10)%before)), lifecycle.Start{Redelivered: true}); err != nil {
					if _, ok := errors.AsType[*lifecycle.TransitionError](err); !ok {
						s.Error(err)
					}
				}
			}
		})
	}
	for range 10 {
		var old []string
		seen := map[string]bool{}
		for _, id := range s.list(lifecycle.Query{Owner: alice, Limit: 7}) {
			if seen[id] {
				s.Errorf("%s twice", id)
			}
			seen[id] = true
			if id[:3] == "old" {
				old = append(old, id)
			}
		}
		slices.Reverse(old)
		if len(old) != before || !slices.IsSorted(old) {
			s.Errorf("%d of %d: %v", len(old), before, old)
		}
	}
	close(stop)
	wg.Wait()
}
