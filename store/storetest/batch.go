package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// batch is the submission of one with so many members.
func batch(id string, total int) lifecycle.Submission {
	sub := submission(id)
	sub.Route, sub.Batch = "", &lifecycle.Batch{Total: total}
	return sub
}

func ends(status lifecycle.Status, members ...int) []lifecycle.MemberEnd {
	all := make([]lifecycle.MemberEnd, len(members))
	for i, n := range members {
		all[i] = lifecycle.MemberEnd{Member: n, Status: status}
	}
	return all
}

// intoBatch brings a new batch of three to a status.
func (s *suite) intoBatch(id string, status lifecycle.Status) lifecycle.Request {
	s.Helper()
	r := s.create(batch(id, 3))
	if status == lifecycle.Expired {
		s.in.Advance(time.Hour)
		return s.apply(id, lifecycle.Expire{})
	}
	if status != lifecycle.Pending {
		r = s.apply(id, lifecycle.FanOut{})
	}
	switch status {
	case lifecycle.Succeeded, lifecycle.Failed:
		r = s.apply(id, lifecycle.Count{Ends: ends(status, 0, 1, 2)})
	case lifecycle.Canceled:
		s.apply(id, lifecycle.Cancel{})
		r = s.apply(id, lifecycle.Count{Ends: ends(status, 0, 1, 2)})
	}
	return r
}

// batchStatuses are those that a batch can have: it asks nothing.
var batchStatuses = slices.DeleteFunc(slices.Clone(lifecycle.Statuses), func(s lifecycle.Status) bool { return s == lifecycle.Waiting })

// testBatchMachine tries every change from every status of a batch, and the changes of batches on a
// request that is none.
func testBatchMachine(s *suite) {
	changes := []struct {
		name   string
		change lifecycle.Change
	}{
		{"start", lifecycle.Start{}},
		{"redelivered", lifecycle.Start{Redelivered: true}},
		{"progress", lifecycle.Progress{Percent: new(40.0)}},
		{"succeed", lifecycle.Succeed{}},
		{"fail", lifecycle.Fail{Retry: true}},
		{"release", lifecycle.Release{}},
		{"ask", ask(0)},
		{"answer", lifecycle.Answer{Asked: 1}},
		{"fan-out", lifecycle.FanOut{}},
		{"count", lifecycle.Count{Ends: ends(lifecycle.Failed, 1)}},
		{"count of all", lifecycle.Count{Ends: ends(lifecycle.Succeeded, 0, 1, 2)}},
		{"conclude", lifecycle.Conclude{}},
		{"cancel", lifecycle.Cancel{}},
		{"withdraw", lifecycle.Cancel{Withdrawn: true}},
		{"expire", lifecycle.Expire{}},
		{"redrive", lifecycle.Redrive{}},
	}
	const refused, ended, early, silent = lifecycle.ReasonBatch, lifecycle.ReasonEnded, lifecycle.ReasonEarly, "silent"
	// For each status, in the order of changes: the event, or why there is none.
	table := map[lifecycle.Status][]lifecycle.Reason{
		lifecycle.Pending:    {refused, refused, refused, refused, refused, refused, refused, refused, "started", silent, silent, refused, silent, "canceled", early, refused},
		lifecycle.Processing: {refused, refused, refused, refused, refused, refused, refused, refused, refused, "progress", "succeeded", refused, silent, refused, early, refused},
		lifecycle.Succeeded:  {ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, refused},
		lifecycle.Failed:     {ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, refused},
		lifecycle.Canceled:   {ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, silent, silent, ended, refused},
		lifecycle.Expired:    {ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, refused},
	}
	for _, from := range batchStatuses {
		for i, c := range changes {
			want := table[from][i]
			s.Run(string(from)+"/"+c.name, func(t *testing.T) {
				s := &suite{T: t, Store: s.Store, in: s.in, ctx: t.Context()}
				id := fmt.Sprint(from, i)
				before := s.intoBatch(id, from)
				after, err := s.Apply(s.ctx, lifecycle.Named(id), c.change)
				switch want {
				case refused, ended, early:
					var refusal *lifecycle.TransitionError
					if !errors.As(err, &refusal) || refusal.Reason != want || refusal.From != from {
						t.Fatalf("%+v, %v; want a refusal: %s", after, err, want)
					}
					s.same("after a refusal", s.get(id), before)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				s.same("get", s.get(id), after)
				s.consistent(id)
				events := s.types(id)
				if want == silent {
					if after.Status != from || len(events) != int(before.Sequence) {
						t.Errorf("%+v, events %v", after, events)
					}
					return
				}
				if events[len(events)-1] != "request."+string(want) || len(events) != int(before.Sequence)+1 {
					t.Errorf("events %v, want %s", events, want)
				}
			})
		}
	}
	s.create(submission("plain"))
	for _, c := range []lifecycle.Change{lifecycle.FanOut{}, lifecycle.Count{Ends: ends(lifecycle.Failed, 0)}, lifecycle.Conclude{}} {
		var refusal *lifecycle.TransitionError
		if _, err := s.Apply(s.ctx, lifecycle.Named("plain"), c); !errors.As(err, &refusal) {
			s.Errorf("%T: %v", c, err)
		}
	}
}

// testBatchCount: each end counts once, also those that are told before all members are stored, and
// the batch ends as they did.
func testBatchCount(s *suite) {
	s.create(batch("a", 10))
	s.apply("a", lifecycle.Count{Ends: ends(lifecycle.Succeeded, 0, 1)}) // quick ones
	r := s.apply("a", lifecycle.FanOut{Until: s.get("a").CreatedAt.Add(2 * time.Hour)})
	if r.Status != lifecycle.Processing || r.Percent == nil || *r.Percent != 20 || r.Batch.Open() != 8 || r.StartedAt.IsZero() {
		s.Errorf("fanned out: %+v %+v", r, r.Batch)
	}
	if until := r.CreatedAt.Add(2*time.Hour + time.Minute); !r.ExpiresAt.Equal(until) {
		s.Errorf("it expires %v, want %v", r.ExpiresAt, until)
	}
	s.in.Advance(90 * time.Minute)
	if done, _ := s.sweep(10); done != 0 {
		s.Error("it expired before its members")
	}
	r = s.apply("a", lifecycle.Count{Until: r.CreatedAt.Add(3 * time.Hour)}) // one was extended
	if until := r.CreatedAt.Add(3*time.Hour + time.Minute); !r.ExpiresAt.Equal(until) || r.Sequence != 2 {
		s.Errorf("it expires %v, want %v; %d events", r.ExpiresAt, until, r.Sequence)
	}
	for range 2 { // the second time it is no news
		r = s.apply("a", lifecycle.Count{Ends: slices.Concat(ends(lifecycle.Failed, 1, 2, 3, 3), ends(lifecycle.Canceled, 4), ends(lifecycle.Expired, 9), ends(lifecycle.Failed, 10, -1), ends(lifecycle.Pending, 5))})
		if b := r.Batch; r.Sequence != 3 || b.Succeeded != 2 || b.Failed != 2 || b.Canceled != 1 || b.Expired != 1 || b.Open() != 4 || *r.Percent != 60 {
			s.Errorf("%d events, %+v", r.Sequence, b)
		}
	}
	if s.in.Reopen != nil {
		s.Store = s.in.Reopen()
		s.same("reopened", s.get("a"), r)
	}
	r = s.apply("a", lifecycle.Count{Ends: ends(lifecycle.Succeeded, 5, 6, 7, 8)})
	if r.Status != lifecycle.Failed || r.Error == nil || r.Error.Code != "batch-failed" || r.Error.Message != "4 of 10 requests did not succeed." || r.Batch.Open() != 0 {
		s.Errorf("%+v", r)
	}
	s.consistent("a")
	if types := s.types("a"); !slices.Equal(types, []string{"request.accepted", "request.started", "request.progress", "request.failed"}) {
		s.Errorf("%v", types)
	}

	s.create(batch("quick", 2)) // all have ended before it was known that all are stored
	s.apply("quick", lifecycle.Count{Ends: ends(lifecycle.Succeeded, 0, 1)})
	if r := s.apply("quick", lifecycle.FanOut{}); r.Status != lifecycle.Processing {
		s.Errorf("quick: %s", r.Status)
	}
	if r := s.apply("quick", lifecycle.Count{}); r.Status != lifecycle.Succeeded {
		s.Errorf("quick: %s", r.Status)
	}

	for status, want := range map[lifecycle.Status]lifecycle.Status{lifecycle.Canceled: lifecycle.Canceled, lifecycle.Failed: lifecycle.Canceled, lifecycle.Succeeded: lifecycle.Succeeded} {
		id := "canceled-" + string(status)
		s.create(batch(id, 1))
		if r := s.apply(id, lifecycle.Cancel{}); r.Status != lifecycle.Pending || !r.CancelRequested {
			s.Errorf("%s: %+v", id, r)
		}
		s.apply(id, lifecycle.FanOut{})
		if r := s.apply(id, lifecycle.Count{Ends: ends(status, 0)}); r.Status != want {
			s.Errorf("%s: %s", id, r.Status)
		}
	}
}

// testBatchCountConcurrently: many tell of many ends at once, some of the same.
func testBatchCountConcurrently(s *suite) {
	const total = 200
	s.create(batch("a", total))
	s.apply("a", lifecycle.FanOut{})
	parallel(8, func(i int) {
		for n := range total / 4 {
			_, err := s.Apply(s.ctx, lifecycle.Named("a"), lifecycle.Count{Ends: ends(lifecycle.Succeeded, i/2*total/4+n)})
			var refusal *lifecycle.TransitionError
			if err != nil && !errors.As(err, &refusal) {
				s.Error(err)
			}
		}
	})
	if r := s.get("a"); r.Status != lifecycle.Succeeded || r.Batch.Succeeded != total || r.Sequence != total+2 {
		s.Errorf("%+v %+v", r, r.Batch)
	}
	s.consistent("a")
}

// concluding is a batch that is left to a Conclude when all members are counted.
func concluding(id string, total int) lifecycle.Submission {
	sub := batch(id, total)
	sub.Batch = &lifecycle.Batch{Total: total, FailFast: true, Joined: true, Then: "then-of-" + id, Limit: 1 << 20}
	return sub
}

// testBatchConclude: a batch that has to bring more than counts ends with that, once, and what it
// brings is kept as the result of a request is.
func testBatchConclude(s *suite) {
	refused := func(id string, reason lifecycle.Reason) {
		s.Helper()
		var refusal *lifecycle.TransitionError
		if _, err := s.Apply(s.ctx, lifecycle.Named(id), lifecycle.Conclude{}); !errors.As(err, &refusal) || refusal.Reason != reason {
			s.Errorf("%s: %v, want %s", id, err, reason)
		}
	}
	large := lifecycle.Content{Type: "application/json", Data: []byte(`["` + strings.Repeat("x", 300<<10) + `"]`)}
	small := lifecycle.Content{Type: "application/json", Data: []byte(`[1,null,{"a" : "` + strings.Repeat("y", 2000) + `"}]`)}
	trouble := &lifecycle.Failure{Code: "code", Message: "message"}
	for i, c := range []struct {
		with   lifecycle.Conclude
		failed int // members
		cancel bool
		want   lifecycle.Status
		err    *lifecycle.Failure
	}{
		{with: lifecycle.Conclude{Result: &large, Submitted: true}, want: lifecycle.Succeeded},
		{with: lifecycle.Conclude{Result: &small, Submitted: true}, failed: 1, want: lifecycle.Failed, err: &lifecycle.Failure{Code: "batch-failed", Message: "1 of 3 requests did not succeed."}},
		{with: lifecycle.Conclude{Failure: trouble, Submitted: true}, want: lifecycle.Failed, err: trouble},
		{with: lifecycle.Conclude{Failure: trouble}, failed: 3, want: lifecycle.Failed, err: &lifecycle.Failure{Code: "batch-failed", Message: "3 of 3 requests did not succeed.", Detail: "code: message"}},
		{with: lifecycle.Conclude{Result: &small}, failed: 2, cancel: true, want: lifecycle.Canceled},
		{with: lifecycle.Conclude{Submitted: true}, cancel: true, want: lifecycle.Succeeded},
	} {
		id := fmt.Sprint("b", i)
		s.create(concluding(id, 3))
		refused(id, lifecycle.ReasonBatch)
		s.apply(id, lifecycle.FanOut{})
		if c.cancel {
			s.apply(id, lifecycle.Cancel{})
		}
		s.apply(id, lifecycle.Count{Ends: ends(lifecycle.Succeeded, []int{0, 1, 2}[c.failed:]...)})
		if c.failed > 0 {
			refused(id, lifecycle.ReasonBatch)
			s.apply(id, lifecycle.Count{Ends: ends(lifecycle.Failed, []int{0, 1, 2}[:c.failed]...)})
		}
		before := s.get(id)
		if before.Status != lifecycle.Processing || before.Batch.Open() != 0 || *before.Percent != 100 {
			s.Fatalf("%s before it is concluded: %+v", id, before)
		}
		if again := s.apply(id, lifecycle.Count{Ends: ends(lifecycle.Succeeded, 0)}); again.Sequence != before.Sequence {
			s.Errorf("%s: %d events", id, again.Sequence)
		}
		r := s.apply(id, c.with)
		if r.Status != c.want || r.Sequence != before.Sequence+1 || r.Batch.Submitted != c.with.Submitted || r.Batch.Then != "then-of-"+id || !r.Batch.FailFast || r.Batch.Limit != 1<<20 ||
			!reflect.DeepEqual(r.Error, c.err) || (r.Result != nil) != (c.with.Result != nil) || r.EndedAt.IsZero() {
			s.Errorf("%s: %+v %+v %+v", id, r, r.Batch, r.Error)
		}
		check := func(when string) {
			s.Helper()
			s.same(id+when, s.get(id), r)
			s.consistent(id)
			content, err := s.Content(s.ctx, lifecycle.Named(id), lifecycle.Output)
			switch want := c.with.Result; {
			case want == nil:
				if !errors.Is(err, lifecycle.ErrNotFound) {
					s.Errorf("%s%s has a result: %v", id, when, err)
				}
			case err != nil || content.Type != want.Type || !bytes.Equal(content.Data, want.Data) || r.Result.Size != int64(len(want.Data)):
				s.Errorf("the result of %s%s: %d bytes, %v", id, when, len(content.Data), err)
			}
		}
		check("")
		if s.in.Reopen != nil {
			s.Store = s.in.Reopen()
			check(", reopened")
		}
		refused(id, lifecycle.ReasonEnded)
	}
	for range s.Batches(s.ctx) {
		s.Error("one has not ended")
	}
}

// testBatchConcludeConcurrently: of many who conclude a batch at once one does, with its result.
func testBatchConcludeConcurrently(s *suite) {
	s.create(concluding("a", 1))
	s.apply("a", lifecycle.FanOut{})
	s.apply("a", lifecycle.Count{Ends: ends(lifecycle.Succeeded, 0)})
	var did atomic.Int32
	var won atomic.Pointer[lifecycle.Content]
	parallel(8, func(i int) {
		// Some too large to be written with the step.
		result := &lifecycle.Content{Type: "text/plain", Data: bytes.Repeat([]byte{byte('a' + i)}, 10+i%2*(400<<10))}
		_, err := s.Apply(s.ctx, lifecycle.Named("a"), lifecycle.Conclude{Result: result})
		var refusal *lifecycle.TransitionError
		switch {
		case err == nil:
			did.Add(1)
			won.Store(result)
		case !errors.As(err, &refusal):
			s.Error(err)
		}
	})
	content, err := s.Content(s.ctx, lifecycle.Named("a"), lifecycle.Output)
	if did.Load() != 1 || err != nil || !bytes.Equal(content.Data, won.Load().Data) || s.get("a").Sequence != 4 {
		s.Errorf("%d did, %v, %d bytes, %+v", did.Load(), err, len(content.Data), s.get("a"))
	}
	s.consistent("a")
}

// testBatches: those that have not ended are found, and no other.
func testBatches(s *suite) {
	s.into("pending", lifecycle.Pending)
	s.into("processing", lifecycle.Processing)
	for _, status := range batchStatuses[:5] {
		s.intoBatch("batch-"+string(status), status)
	}
	member := submission("member")
	member.BatchID, member.Member = "batch-pending", 2
	if r := s.create(member); r.BatchID != "batch-pending" || r.Member != 2 {
		s.Errorf("%+v", r)
	}
	check := func(want ...string) {
		s.Helper()
		var got []string
		for r, err := range s.Batches(s.ctx) {
			if err != nil {
				s.Fatal(err)
			}
			s.same("batch", r, s.get(r.ID))
			got = append(got, r.ID)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			s.Errorf("%v, want %v", got, want)
		}
	}
	check("batch-pending", "batch-processing")
	if s.in.Reopen != nil {
		s.Store = s.in.Reopen()
		check("batch-pending", "batch-processing")
	}
	unfinished := 0
	for r, err := range s.Unfinished(s.ctx) {
		if err != nil {
			s.Fatal(err)
		}
		if r.Batch != nil {
			unfinished++
		}
	}
	if unfinished != 2 {
		s.Errorf("%d batches are unfinished", unfinished)
	}
	s.in.Advance(20 * time.Minute)
	check("batch-pending", "batch-processing")
	s.apply("batch-pending", lifecycle.Cancel{Withdrawn: true})
	if err := s.Delete(s.ctx, lifecycle.Named("batch-pending")); err != nil {
		s.Fatal(err)
	}
	s.create(batch("batch-pending", 1)) // again, while what was known of it may still be there
	check("batch-pending", "batch-processing")
	s.apply("batch-processing", lifecycle.Count{Ends: ends(lifecycle.Succeeded, 0, 1, 2)})
	check("batch-pending")
	s.in.Advance(20 * time.Minute)
	check("batch-pending")
	s.apply("batch-pending", lifecycle.Cancel{Withdrawn: true})
	check()
	check()

	page, err := s.List(s.ctx, lifecycle.Query{Owner: alice, Status: lifecycle.Canceled, Limit: 10})
	if err != nil || len(page.Requests) != 2 || page.Requests[0].Batch == nil {
		s.Errorf("list: %+v %v", page, err)
	}
	s.Run("many", func(t *testing.T) {
		s := &suite{T: t, Store: s.Store, in: s.in, ctx: t.Context()}
		const n = 600
		parallel(8, func(i int) {
			for k := range n / 8 {
				id := fmt.Sprintf("many-%d-%d", i, k)
				if _, err := s.Create(s.ctx, batch(id, 1)); err != nil {
					t.Error(err)
				}
				if k%2 == 0 {
					if _, err := s.Apply(s.ctx, lifecycle.Named(id), lifecycle.FanOut{}); err != nil {
						t.Error(err)
					}
				}
			}
		})
		found := make(map[string]bool)
		for r, err := range s.Batches(s.ctx) {
			if err != nil {
				t.Fatal(err)
			}
			found[r.ID] = true
		}
		if len(found) != n {
			t.Errorf("%d of %d", len(found), n)
		}
		for range s.Batches(s.ctx) {
			break // may stop at any time
		}
	})
}

// testSweepBatches: a sweep tells of the batches and members that it expires or forgets.
func testSweepBatches(s *suite) {
	member := submission("member")
	member.BatchID, member.Member = "batch", 1
	s.create(member)
	s.create(batch("batch", 2))
	s.into("plain", lifecycle.Pending)
	s.in.Advance(time.Hour)
	check := func(status lifecycle.Status, forgotten bool) {
		s.Helper()
		swept, err := s.Sweep(s.ctx, 10)
		want := 3
		if forgotten {
			want = 1
		}
		if err != nil || swept.Done != 3 || len(swept.Ended) != want {
			s.Fatalf("%+v %v", swept, err)
		}
		for _, r := range swept.Ended {
			if r.Status != status || (r.ID == "batch") != (r.Batch != nil) || (r.ID == "member") != (r.BatchID == "batch" && r.Member == 1) {
				s.Errorf("%+v", r)
			}
		}
	}
	check(lifecycle.Expired, false)
	s.in.Advance(24 * time.Hour)
	check(lifecycle.Expired, true) // as they were when they were forgotten
	s.gone("member")
	s.gone("batch")
}
