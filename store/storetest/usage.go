package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// limited is a submission of so many bytes, of an owner with a quota.
func limited(id string, size int, q lifecycle.Quota) lifecycle.Submission {
	sub := submission(id)
	sub.Content = lifecycle.Content{Type: "text/plain", Data: bytes.Repeat([]byte("x"), size)}
	sub.Quota = q
	return sub
}

// beyond creates what has to be refused by a policy.
func (s *suite) beyond(policy string, sub lifecycle.Submission) {
	s.Helper()
	_, err := s.Create(s.ctx, sub)
	if e, ok := errors.AsType[*lifecycle.QuotaError](err); !ok || e.Policy != policy {
		s.Errorf("%s: %v, want %s", sub.ID, err, policy)
	}
	if _, err := s.Get(s.ctx, lifecycle.Named(sub.ID)); !errors.Is(err, lifecycle.ErrNotFound) {
		s.Errorf("%s is there: %v", sub.ID, err)
	}
}

// testUsage: what an owner takes rises with what is stored for it, once, and falls when that ends,
// is deleted, expires or is forgotten; what others take is no matter.
func testUsage(s *suite) {
	open, stored := lifecycle.Quota{Open: 3}, lifecycle.Quota{Bytes: 100}
	for _, id := range []string{"a", "b", "c"} {
		s.create(limited(id, 10, open))
	}
	s.beyond(lifecycle.PolicyOpen, limited("d", 10, open))
	if again, err := s.Create(s.ctx, limited("c", 10, open)); err != nil || !again.Existed {
		s.Errorf("what is there is refused: %v", err)
	}
	other := limited("other", 10, open)
	other.Owner = "bob"
	s.create(other)
	s.apply("a", lifecycle.Start{})
	s.beyond(lifecycle.PolicyOpen, limited("d", 10, open)) // it runs
	s.apply("a", lifecycle.Succeed{Result: &lifecycle.Content{Type: "text/plain", Data: bytes.Repeat([]byte("y"), 50)}})
	s.beyond(lifecycle.PolicyStored, limited("d", 21, stored)) // 80 are there
	s.create(limited("d", 20, lifecycle.Quota{Open: 3, Bytes: 100}))
	s.beyond(lifecycle.PolicyOpen, limited("e", 0, open))
	s.apply("b", lifecycle.Cancel{})
	s.create(limited("e", 0, open))
	s.beyond(lifecycle.PolicyStored, limited("f", 1, stored))

	// What has ended and is deleted is not stored any more: 60 less.
	if err := s.Delete(s.ctx, lifecycle.Named("a")); err != nil {
		s.Fatal(err)
	}
	s.beyond(lifecycle.PolicyStored, limited("f", 61, stored))
	s.create(limited("f", 60, stored))

	// All expires, and is forgotten.
	s.in.Advance(2 * time.Hour)
	s.sweep(100)
	for _, id := range []string{"g", "h", "i"} {
		s.create(limited(id, 0, open))
	}
	s.beyond(lifecycle.PolicyOpen, limited("j", 0, open))
	s.beyond(lifecycle.PolicyStored, limited("j", 1, stored))
	for range 2 {
		s.in.Advance(48 * time.Hour)
		for done := 1; done > 0; {
			done, _ = s.sweep(100)
		}
	}
	s.create(limited("k", 100, stored))
	s.beyond(lifecycle.PolicyStored, limited("l", 1, stored))

	// A batch counts for its requests until they are stored.
	batch := limited("batch", 0, lifecycle.Quota{Open: 5})
	batch.Route, batch.Batch = "", &lifecycle.Batch{Total: 3}
	s.create(batch) // with k, that is all
	s.beyond(lifecycle.PolicyOpen, limited("m", 0, lifecycle.Quota{Open: 5}))
	s.apply("batch", lifecycle.FanOut{Until: time.Now().Add(1000 * time.Hour)})
	s.create(limited("m", 0, lifecycle.Quota{Open: 5}))
	if s.in.Reopen == nil || s.in.Approximate {
		return
	}
	s.Store = s.in.Reopen()
	s.beyond(lifecycle.PolicyStored, limited("n", 1, stored))
	s.beyond(lifecycle.PolicyOpen, limited("n", 0, lifecycle.Quota{Open: 3}))
}

// testUsageWaiting: what an owner has waiting is counted of what is submitted with a limit of that,
// rises and falls with each step that lets a request wait or not, and comes to nothing in the end.
func testUsageWaiting(s *suite) {
	if s.in.Approximate {
		s.Skip("is within a moment, see testUsageConcurrently")
	}
	most := lifecycle.Quota{Waiting: 2}
	waits := func(id string) lifecycle.Submission {
		sub := limited(id, 0, most)
		sub.CountWaiting = true
		return sub
	}
	full := func(id string) {
		s.Helper()
		s.beyond(lifecycle.PolicyWaiting, waits(id))
	}
	s.create(submission("before")) // there was no limit then
	s.create(waits("a"))
	s.create(waits("b"))
	full("c")
	s.create(submission("free")) // and this one is submitted where there is none
	other := waits("other")
	other.Owner = bob
	s.create(other)
	s.apply("before", lifecycle.Start{}) // which is no matter
	full("c")
	s.apply("a", lifecycle.Start{})
	s.create(waits("c"))
	full("d")
	// What waits again is never refused, even if that is more than may.
	s.apply("a", lifecycle.Fail{Attempt: 1, Failure: failure, Retry: true, Delay: time.Minute})
	full("d")
	s.apply("b", lifecycle.Cancel{})
	full("d")
	s.in.Advance(time.Minute)
	s.apply("a", lifecycle.Start{})
	s.create(waits("d"))
	full("e")
	s.apply("a", ask(0))
	full("e")
	s.apply("c", lifecycle.Start{})
	s.apply("a", lifecycle.Answer{Asked: 1, Answers: answersOf(10)})
	full("e") // d and a
	s.apply("a", lifecycle.Start{})
	if s.in.Reopen != nil {
		s.Store = s.in.Reopen()
	}
	s.create(waits("e"))
	full("f")
	s.in.Advance(2 * time.Hour) // all expires
	s.sweep(100)

	batch := waits("batch")
	batch.Route, batch.Batch, batch.Timeout = "", &lifecycle.Batch{Total: 2}, 1000*time.Hour
	s.create(batch)
	full("g")
	s.apply("batch", lifecycle.FanOut{Until: time.Now().Add(1000 * time.Hour)})
	s.create(waits("g"))
	s.create(waits("h"))
	full("i")
	s.apply("g", lifecycle.Cancel{})
	if err := s.Delete(s.ctx, lifecycle.Named("g")); err != nil {
		s.Fatal(err)
	}
	s.create(waits("i"))
	full("j")
}

// testUsageConcurrently: of many that are submitted at once, no more are taken than are allowed,
// and all of those.
func testUsageConcurrently(s *suite) {
	const most, calls = 10, 60
	var taken, refused atomic.Int32
	var all sync.WaitGroup
	for i := range calls {
		all.Go(func() {
			sub := limited(fmt.Sprint("r", i), 7, lifecycle.Quota{Open: most, Bytes: 7 * most, Waiting: most})
			sub.CountWaiting = true
			_, err := s.Create(s.ctx, sub)
			if _, over := errors.AsType[*lifecycle.QuotaError](err); over {
				refused.Add(1)
			} else if err == nil {
				taken.Add(1)
			} else {
				s.Error(err)
			}
		})
	}
	all.Wait()
	if s.in.Approximate { // over partitions, within a moment
		if taken.Load() < most || taken.Load()+refused.Load() != calls {
			s.Errorf("%d were taken and %d refused, of %d with room for %d", taken.Load(), refused.Load(), calls, most)
		}
		return
	}
	if taken.Load() != most || refused.Load() != calls-most {
		s.Errorf("%d were taken and %d refused, of %d with room for %d", taken.Load(), refused.Load(), calls, most)
	}
}
