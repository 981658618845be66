package storetest

import (
	"maps"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// testDepths: what has not ended is counted by route, through every step that changes that, and it
// is known since when the one waits that has waited for longest.
func testDepths(s *suite) {
	check := func(what string, want map[string]lifecycle.Depth) {
		s.Helper()
		got, err := part[lifecycle.Depths](s).Depths(s.ctx, []string{"images", "video", "none"})
		if err != nil || !maps.EqualFunc(got, want, func(x, y lifecycle.Depth) bool {
			return x.Pending == y.Pending && x.Processing == y.Processing && x.Oldest.Equal(y.Oldest)
		}) {
			s.Errorf("%s: %+v, %v; want %+v", what, got, err, want)
		}
	}
	since := func(id string) time.Time { return s.get(id).UpdatedAt }
	check("empty", map[string]lifecycle.Depth{"images": {}, "video": {}, "none": {}})
	for _, id := range []string{"a", "b", "c"} {
		s.create(submission(id))
		s.in.Advance(time.Second)
	}
	urgent := submission("urgent")
	urgent.Priority = 9 // which is in front, and has waited for less
	s.create(urgent)
	other := submission("video-1")
	other.Route = "video"
	s.create(other)
	longer := submission("imagesque")
	longer.Route = "images2" // of another route whose name begins so
	s.create(longer)
	check("all wait", map[string]lifecycle.Depth{
		"images": {Pending: 4, Oldest: since("a")}, "video": {Pending: 1, Oldest: since("video-1")}, "none": {},
	})
	for _, id := range []string{"a", "b", "c"} {
		s.apply(id, lifecycle.Start{})
	}
	check("three are worked on", map[string]lifecycle.Depth{
		"images": {Pending: 1, Processing: 3, Oldest: since("urgent")}, "video": {Pending: 1, Oldest: since("video-1")}, "none": {},
	})
	c := ask(0)
	c.Attempt, c.Timeout = 1, time.Hour
	s.apply("a", c)
	s.apply("b", lifecycle.Start{Redelivered: true}) // a new attempt counts once
	s.in.Advance(time.Second)
	s.apply("c", lifecycle.Release{Attempt: 1})
	check("one asks, one begins anew, one is handed back", map[string]lifecycle.Depth{
		"images": {Pending: 2, Processing: 1, Oldest: since("urgent")}, "video": {Pending: 1, Oldest: since("video-1")}, "none": {},
	})
	s.apply("urgent", lifecycle.Cancel{})
	s.apply("video-1", lifecycle.Start{})
	now := map[string]lifecycle.Depth{
		"images": {Pending: 1, Processing: 1, Oldest: since("c")}, "video": {Processing: 1}, "none": {},
	}
	check("one is canceled", now)
	if s.in.Reopen != nil {
		s.Store = s.in.Reopen()
		check("opened again", now)
	}
	s.apply("a", lifecycle.Answer{Asked: 1, Answers: answersOf(10)})
	s.apply("b", lifecycle.Fail{Attempt: 2, Failure: lifecycle.Failure{Code: "x"}})
	s.apply("video-1", lifecycle.Succeed{Attempt: 1})
	check("answered, failed, succeeded", map[string]lifecycle.Depth{"images": {Pending: 2, Oldest: since("c")}, "video": {}, "none": {}})
	s.apply("b", lifecycle.Redrive{Timeout: time.Hour})
	check("redriven", map[string]lifecycle.Depth{"images": {Pending: 3, Oldest: since("c")}, "video": {}, "none": {}})
	s.in.Advance(2 * time.Hour)
	for done := 1; done > 0; {
		done, _ = s.sweep(10)
	}
	check("expired", map[string]lifecycle.Depth{"images": {}, "video": {}, "none": {}})
}
