package lifecycle_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// concluding is a batch that joins results of so many bytes.
func concluding(id string, limit int64) lifecycle.Submission {
	sub := batch(id)
	sub.Batch = &lifecycle.Batch{Joined: true, Limit: limit}
	return sub
}

// next is what follows a batch.
func next(content string) *lifecycle.Submission {
	sub := &lifecycle.Submission{Route: "sum", Topic: "totals", Priority: 4, Fingerprint: "of the body"}
	if content != "" {
		sub.Content = lifecycle.Content{Type: "application/json", Data: []byte(content)}
	}
	return sub
}

// submitted submits a batch and returns its members.
func submitted(t *testing.T, s *lifecycle.Service, sub lifecycle.Submission, all []lifecycle.Submission, then *lifecycle.Submission) []lifecycle.Request {
	t.Helper()
	if _, err := s.Batches().Submit(t.Context(), client, sub, all, then); err != nil {
		t.Fatal(err)
	}
	page, _, _, err := s.Batches().Members(t.Context(), client, lifecycle.Named(sub.ID), 0, 1000)
	if err != nil || len(page) != len(all) {
		t.Fatalf("%d members, %v", len(page), err)
	}
	return page
}

// report ends a member by way of a service, which tells the batch.
func report(t *testing.T, s *lifecycle.Service, of lifecycle.Request, c lifecycle.Change) {
	t.Helper()
	if _, _, err := s.Start(t.Context(), of.Ref(), lifecycle.Start{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Report(t.Context(), of.Ref(), c); err != nil {
		t.Fatal(err)
	}
}

func succeed(mediaType, data string) lifecycle.Succeed {
	return lifecycle.Succeed{Result: &lifecycle.Content{Type: mediaType, Data: []byte(data)}}
}

var fails = lifecycle.Fail{Failure: lifecycle.Failure{Code: "broken", Message: "It broke.", Detail: "for the developer"}}

func content(t *testing.T, store lifecycle.Store, id string, part lifecycle.Part) lifecycle.Content {
	t.Helper()
	c, err := store.Content(t.Context(), lifecycle.Named(id), part)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestJoined: a place for each member, in their order: JSON byte for byte, other bytes in base64,
// null where there is nothing.
func TestJoined(t *testing.T) {
	s, store := newService(t, &picky{room: 100})
	large := `["` + strings.Repeat("ä", 400<<10) + `"]` // read in more pieces than one
	all := submitted(t, s, concluding("b", 4<<20), members(8), nil)
	report(t, s, all[3], succeed("image/png; x=\"1\"", "\x00\xff\x01\x02"))
	report(t, s, all[0], succeed("application/json", "{\"a\" : [1,\n2]}"))
	report(t, s, all[1], fails)
	report(t, s, all[2], lifecycle.Succeed{})
	report(t, s, all[4], succeed("application/problem+json", `{"a":`))
	report(t, s, all[5], succeed("application/json", large))
	report(t, s, all[6], succeed("application/json", ""))
	if r := status(t, store, "b"); r.Status != lifecycle.Processing || r.Result != nil {
		t.Errorf("before the last: %+v", r)
	}
	if _, err := s.Cancel(t.Context(), client, all[7].Ref()); err != nil {
		t.Fatal(err)
	}
	s.Close()
	want := "[{\"a\" : [1,\n2]},null,null,{\"contentType\":\"image/png; x=\\\"1\\\"\",\"contentBase64\":\"AP8BAg==\"}," +
		`{"contentType":"application/problem+json","contentBase64":"eyJhIjo="},` + large + `,{"contentType":"application/json","contentBase64":""},null]`
	got := content(t, store, "b", lifecycle.Output)
	r := status(t, store, "b")
	if got.Type != "application/json" || string(got.Data) != want || !json.Valid(got.Data) {
		t.Errorf("%s %d bytes, want %d\n%.300s", got.Type, len(got.Data), len(want), got.Data)
	}
	if r.Status != lifecycle.Failed || r.Error == nil || r.Error.Code != "batch-failed" || r.Error.Detail != "" || r.Result == nil || r.Result.Size != int64(len(want)) {
		t.Errorf("%+v %+v", r, r.Error)
	}
}

// TestJoinedTooLarge: one byte more than is allowed, and there is no result, but a reason.
func TestJoinedTooLarge(t *testing.T) {
	for _, c := range []struct {
		name            string
		limit           int64
		mediaType, data string
		fails           bool
		want            lifecycle.Status
		detail          bool
	}{
		{"it fits", 2*11 + 3, "application/json", `"123456789"`, false, lifecycle.Succeeded, false},
		{"too large", 2*11 + 2, "application/json", `"123456789"`, false, lifecycle.Failed, false},
		{"too large, and one failed", 12, "application/json", `"123456789"`, true, lifecycle.Failed, true},
		{"bytes that fit", 2*len64(`{"contentType":"text/plain","contentBase64":"YWJj"}`) + 3, "text/plain", "abc", false, lifecycle.Succeeded, false},
		{"bytes that do not", 2*len64(`{"contentType":"text/plain","contentBase64":"YWJj"}`) + 2, "text/plain", "abc", false, lifecycle.Failed, false},
		{"JSON that is none", 30, "application/json", "{", false, lifecycle.Failed, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, store := newService(t, &picky{room: 100})
			all := submitted(t, s, concluding("b", c.limit), members(2), nil)
			report(t, s, all[0], succeed(c.mediaType, c.data))
			if c.fails {
				report(t, s, all[1], fails)
			} else {
				report(t, s, all[1], succeed(c.mediaType, c.data))
			}
			s.Close()
			r := status(t, store, "b")
			if r.Status != c.want || (r.Result != nil) != (c.want == lifecycle.Succeeded) || r.Result != nil && r.Result.Size != c.limit {
				t.Errorf("%+v %+v %+v", r, r.Error, r.Result)
			}
			switch {
			case c.detail:
				if r.Error.Code != "batch-failed" || !strings.HasPrefix(r.Error.Detail, lifecycle.CodeJoinedTooLarge) {
					t.Errorf("%+v", r.Error)
				}
			case c.want == lifecycle.Failed:
				if r.Error.Code != lifecycle.CodeJoinedTooLarge {
					t.Errorf("%+v", r.Error)
				}
			}
		})
	}
}

func len64(s string) int64 { return int64(len(s)) }

// TestThen: one request follows, once, with what became of the members, and it has been counted
// since the batch was submitted.
func TestThen(t *testing.T) {
	q := &picky{room: 100}
	s, store := newService(t, q)
	sub := batch("b")
	sub.Life = "0123456789"
	sub.Headers = map[string]string{"Traceparent": "00-1-2-01"}
	sub.Batch = &lifecycle.Batch{Limit: 1 << 20}
	list := members(4)
	list[3].ID = "mine"
	all := submitted(t, s, sub, list, next(`{"keep" : "<&>"}`))
	id := status(t, store, "b").Batch.Then
	if r := status(t, store, "b"); id == "" || r.Batch.Submitted || r.Usage().Open != 2 || !r.Batch.Named {
		t.Errorf("%+v counts for %+v", r.Batch, r.Usage())
	}
	if _, err := store.Get(t.Context(), lifecycle.Named(id)); !errors.Is(err, lifecycle.ErrNotFound) {
		t.Errorf("it is there already: %v", err)
	}
	report(t, s, all[0], succeed("application/json", `{"n": "<1>"}`))
	report(t, s, all[1], fails)
	report(t, s, all[2], succeed("image/png", "123"))
	if err := s.Delete(t.Context(), client, all[2].Ref()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Cancel(t.Context(), client, all[3].Ref()); err != nil {
		t.Fatal(err)
	}
	s.Close()
	r, b := status(t, store, id), status(t, store, "b")
	if b.Status != lifecycle.Failed || !b.Batch.Submitted || b.Result != nil || b.Usage().Open != 0 {
		t.Errorf("%+v %+v", b, b.Batch)
	}
	if r.Status != lifecycle.Pending || r.Route != "sum" || r.Topic != "totals" || r.Priority != 4 || r.Owner != client.Subject || r.Headers["Traceparent"] != "00-1-2-01" || r.BatchID != "" || q.took[id] != 1 {
		t.Errorf("%+v, queued %d times", r, q.took[id])
	}
	want := fmt.Sprintf(`{"batch":{"id":"b","life":"0123456789","status":"failed","total":4,"succeeded":2,"failed":1,"canceled":1,"expired":0},"requests":[`+
		`{"id":%q,"status":"succeeded","result":{"type":"application/json","size":12,"value":{"n":"<1>"}}},`+
		`{"id":%q,"status":"failed","error":{"code":"broken","message":"It broke."}},`+
		`{"id":%q,"status":null},`+
		`{"id":"mine","life":%q,"status":"canceled"}],"content":{"keep":"<&>"}}`, all[0].ID, all[1].ID, all[2].ID, all[3].Life)
	if got := content(t, store, id, lifecycle.Input); got.Type != "application/json" || string(got.Data) != want {
		t.Errorf("it gets %s\n%s, want\n%s", got.Type, got.Data, want)
	}
}

// TestThenGetsWhatFits: values are left out before all has more bytes than it may, and what a
// processor says of a failure is cut; without a content there is none.
func TestThenGetsWhatFits(t *testing.T) {
	s, store := newService(t, &picky{room: 100})
	sub := batch("b")
	sub.Batch = &lifecycle.Batch{Limit: 1500}
	all := submitted(t, s, sub, members(4), next(""))
	value := `"` + strings.Repeat("v", 400) + `"`
	for _, m := range all[:3] {
		report(t, s, m, succeed("application/json", value))
	}
	report(t, s, all[3], lifecycle.Fail{Failure: lifecycle.Failure{Code: "x", Message: strings.Repeat("m", 2000)}})
	s.Close()
	got := string(content(t, store, status(t, store, "b").Batch.Then, lifecycle.Input).Data)
	if n := strings.Count(got, value); n != 1 || len(got) > 1500 || strings.Contains(got, `"content"`) || !json.Valid([]byte(got)) {
		t.Errorf("%d values in %d bytes: %s", n, len(got), got)
	}
}

// dying is a store whose process dies before it concludes, as often as is said.
type dying struct {
	lifecycle.Store
	dies atomic.Int32
}

func (d *dying) Apply(ctx context.Context, of lifecycle.Ref, c lifecycle.Change) (lifecycle.Request, error) {
	if _, ok := c.(lifecycle.Conclude); ok && d.dies.Add(-1) >= 0 {
		return lifecycle.Request{}, errors.New("dead")
	}
	return d.Store.Apply(ctx, of, c)
}

// TestConcludedOnce: whoever concludes a batch dies between its steps, and many go on with it at
// once. What follows is there once, and the batch ends once, with its result.
func TestConcludedOnce(t *testing.T) {
	_, store := newService(t, nil)
	d := &dying{Store: store}
	d.dies.Store(1)
	q := &picky{room: 100}
	s := lifecycle.New(d, q, lifecycle.Options{})
	all := submitted(t, s, concluding("b", 1<<20), members(3), next("1"))
	for _, m := range all {
		report(t, s, m, succeed("application/json", "7"))
	}
	s.Close()
	b := status(t, store, "b")
	id := b.Batch.Then
	if b.Status != lifecycle.Processing || b.Batch.Open() != 0 || b.Sequence < 3 || q.took[id] != 0 {
		t.Fatalf("it did not die: %+v", b)
	}
	if r := status(t, store, id); r.Status != lifecycle.Pending {
		t.Errorf("what follows is %s", r.Status)
	}
	var going sync.WaitGroup
	for range 4 {
		s := lifecycle.New(store, q, lifecycle.Options{})
		defer s.Close()
		going.Go(func() {
			if err := s.Batches().Reconcile(t.Context(), b); err != nil {
				t.Error(err)
			}
		})
	}
	going.Wait()
	after := status(t, store, "b")
	if after.Status != lifecycle.Succeeded || after.Sequence != b.Sequence+1 || string(after.Result.Value) != "[7,7,7]" || !after.Batch.Submitted {
		t.Errorf("%+v %+v", after, after.Batch)
	}
	if q.took[id] == 0 || len(list(t, store)) != 5 {
		t.Errorf("queued %d times, %d requests", q.took[id], len(list(t, store)))
	}
}

// TestConcludeWaitsForTheStore: an end is told, and the store is away then.
func TestConcludeWaitsForTheStore(t *testing.T) {
	_, store := newService(t, nil)
	a := &blinking{Store: store}
	a.fails.Store(2)
	s := lifecycle.New(a, &picky{room: 100}, lifecycle.Options{})
	defer s.Close()
	for _, m := range submitted(t, s, concluding("b", 1<<20), members(2), nil) {
		report(t, s, m, succeed("application/json", "1"))
	}
	for deadline := time.Now().Add(3 * time.Minute); status(t, store, "b").Status != lifecycle.Succeeded; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it was never concluded")
		}
	}
}

// blinking is a store that is away when it is to conclude.
type blinking struct {
	lifecycle.Store
	fails atomic.Int32
}

func (b *blinking) Apply(ctx context.Context, of lifecycle.Ref, c lifecycle.Change) (lifecycle.Request, error) {
	if _, ok := c.(lifecycle.Conclude); ok && b.fails.Add(-1) >= 0 {
		return lifecycle.Request{}, fmt.Errorf("%w: away", lifecycle.ErrUnavailable)
	}
	return b.Store.Apply(ctx, of, c)
}

// TestThenAfterCancel: nothing follows a batch that was canceled; what has succeeded in spite of
// that is followed.
func TestThenAfterCancel(t *testing.T) {
	s, store := newService(t, &picky{room: 100})
	for _, id := range []string{"canceled", "too-late"} {
		sub := concluding(id, 1<<20)
		all := submitted(t, s, sub, members(2), next("1"))
		report(t, s, all[0], succeed("application/json", "1"))
		if _, _, err := s.Start(t.Context(), all[1].Ref(), lifecycle.Start{}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Cancel(t.Context(), client, lifecycle.Named(id)); err != nil {
			t.Fatal(err)
		}
		last := lifecycle.Change(fails)
		if id == "too-late" {
			last = succeed("application/json", "2")
		}
		if _, err := s.Report(t.Context(), all[1].Ref(), last); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	r := status(t, store, "canceled")
	if r.Status != lifecycle.Canceled || r.Batch.Submitted || string(r.Result.Value) != "[1,null]" || r.Usage().Open != 0 {
		t.Errorf("%+v %+v", r, r.Batch)
	}
	if _, err := store.Get(t.Context(), lifecycle.Named(r.Batch.Then)); !errors.Is(err, lifecycle.ErrNotFound) {
		t.Errorf("something follows: %v", err)
	}
	if r := status(t, store, "too-late"); r.Status != lifecycle.Succeeded || !r.Batch.Submitted || string(r.Result.Value) != "[1,2]" {
		t.Errorf("%+v %+v", r, r.Batch)
	}
}

// TestCancelOfAllConcludes: a batch of which nothing runs ends when it is canceled, with its
// result.
func TestCancelOfAllConcludes(t *testing.T) {
	s, store := newService(t, &picky{room: 100})
	submitted(t, s, concluding("b", 100), members(3), nil)
	if _, err := s.Cancel(t.Context(), client, lifecycle.Named("b")); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if r := status(t, store, "b"); r.Status != lifecycle.Canceled || string(r.Result.Value) != "[null,null,null]" {
		t.Errorf("%+v", r)
	}
}

// TestThenWithATakenID: somebody has taken the id that was chosen, which everybody may know. The
// batch says so and ends.
func TestThenWithATakenID(t *testing.T) {
	s, store := newService(t, &picky{room: 100})
	all := submitted(t, s, batch("b"), members(1), next("1"))
	id := status(t, store, "b").Batch.Then
	thief := lifecycle.Principal{Subject: "thief", Roles: []lifecycle.Role{lifecycle.RoleClient}}
	if _, err := s.Submit(t.Context(), thief, lifecycle.Submission{ID: id, Route: "r", Fingerprint: "f"}); err != nil {
		t.Fatal(err)
	}
	report(t, s, all[0], lifecycle.Succeed{})
	s.Close()
	if r := status(t, store, "b"); r.Status != lifecycle.Failed || r.Error.Code != lifecycle.CodeNotSubmitted || r.Batch.Submitted {
		t.Errorf("%+v %+v", r, r.Error)
	}
	if r := status(t, store, id); r.Owner != "thief" || r.Status != lifecycle.Pending {
		t.Errorf("%+v", r)
	}
}

// TestFailFast: the first failure has the others canceled. What runs is asked to end, what waits
// ends at once; without it they go on.
func TestFailFast(t *testing.T) {
	for name, last := range map[string]lifecycle.Change{"failed": fails, "canceled": nil} {
		for _, fast := range []bool{true, false} {
			t.Run(fmt.Sprint(name, " ", fast), func(t *testing.T) {
				s, store := newService(t, &picky{room: 100})
				sub := batch("b")
				sub.Batch = &lifecycle.Batch{FailFast: fast}
				all := submitted(t, s, sub, members(40), nil)
				if _, _, err := s.Start(t.Context(), all[1].Ref(), lifecycle.Start{}); err != nil {
					t.Fatal(err)
				}
				report(t, s, all[2], lifecycle.Succeed{})
				if last != nil {
					report(t, s, all[0], last)
				} else if _, err := s.Cancel(t.Context(), client, all[0].Ref()); err != nil {
					t.Fatal(err)
				}
				s.Close() // waits for what that leads to
				r := status(t, store, "b")
				if !fast || last == nil {
					if r.Status != lifecycle.Processing || r.Batch.Open() != 38 || status(t, store, all[1].ID).CancelRequested {
						t.Errorf("%+v", r.Batch)
					}
					return
				}
				if r.Status != lifecycle.Processing || r.Batch.Canceled != 37 || r.Batch.Open() != 1 || !status(t, store, all[1].ID).CancelRequested || r.CancelRequested {
					t.Errorf("%+v", r.Batch)
				}
				s = lifecycle.New(store, &picky{}, lifecycle.Options{})
				if _, err := s.Report(t.Context(), all[1].Ref(), fails); err != nil {
					t.Fatal(err)
				}
				s.Close()
				if r := status(t, store, "b"); r.Status != lifecycle.Failed || r.Batch.Canceled != 38 || r.Error.Message != "39 of 40 requests did not succeed." {
					t.Errorf("%+v %+v", r.Batch, r.Error)
				}
			})
		}
	}
}

// TestFailFastIsReconciled: who was to cancel the others has died, or has not even counted the
// failure.
func TestFailFastIsReconciled(t *testing.T) {
	for _, counted := range []bool{true, false} {
		s, store := newService(t, &picky{room: 100})
		defer s.Close()
		sub := concluding("b", 1000)
		sub.Batch.FailFast = true
		all := submitted(t, s, sub, members(40), next("1"))
		for _, c := range []lifecycle.Change{lifecycle.Start{}, fails} {
			if _, err := store.Apply(t.Context(), all[5].Ref(), c); err != nil {
				t.Fatal(err)
			}
		}
		if counted {
			if _, err := store.Apply(t.Context(), lifecycle.Named("b"), lifecycle.Count{Ends: []lifecycle.MemberEnd{{Member: 5, Status: lifecycle.Failed}}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Batches().Reconcile(t.Context(), status(t, store, "b")); err != nil {
			t.Fatal(err)
		}
		if r := status(t, store, "b"); r.Status != lifecycle.Failed || r.Batch.Canceled != 39 || r.Batch.Failed != 1 || !r.Batch.Submitted {
			t.Errorf("counted %v: %+v %+v", counted, r, r.Batch)
		}
	}
}

// TestFailFastWhileItIsStored: a member fails while the others are being stored.
func TestFailFastWhileItIsStored(t *testing.T) {
	q := &picky{room: 200}
	s, store := newService(t, q)
	defer s.Close()
	var first atomic.Bool
	q.meanwhile = func(id string) {
		if first.CompareAndSwap(false, true) {
			for _, c := range []lifecycle.Change{lifecycle.Start{}, fails} {
				if _, err := s.Report(t.Context(), lifecycle.Named(id), c); err != nil {
					t.Error(err)
				}
			}
		}
	}
	sub := batch("b")
	sub.Batch = &lifecycle.Batch{FailFast: true}
	if _, err := s.Batches().Submit(t.Context(), client, sub, members(100), nil); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(3 * time.Minute); !status(t, store, "b").Status.Terminal(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%+v", status(t, store, "b").Batch)
		}
	}
	if b := status(t, store, "b").Batch; b.Failed != 1 || b.Canceled != 99 {
		t.Errorf("%+v", b)
	}
}

// wormy is a store in which a record is damaged.
type wormy struct {
	lifecycle.Store
	damaged string
}

func (w *wormy) Get(ctx context.Context, of lifecycle.Ref) (lifecycle.Request, error) {
	if of.ID == w.damaged {
		return lifecycle.Request{}, &lifecycle.DamageError{ID: of.ID, What: "the record", Err: errors.New("a byte is another")}
	}
	return w.Store.Get(ctx, of)
}

// TestDamagedMember: nobody can work on it, so it counts as failed, and holds nobody up.
func TestDamagedMember(t *testing.T) {
	_, store := newService(t, nil)
	w := &wormy{Store: store}
	s := lifecycle.New(w, &picky{room: 100}, lifecycle.Options{})
	all := submitted(t, s, concluding("b", 1000), members(2), next("1"))
	w.damaged = all[1].ID
	report(t, s, all[0], succeed("application/json", "1"))
	s.Close()
	s = lifecycle.New(w, &picky{room: 100}, lifecycle.Options{})
	defer s.Close()
	if err := s.Batches().Reconcile(t.Context(), status(t, store, "b")); err != nil {
		t.Fatal(err)
	}
	if r := status(t, store, "b"); r.Status != lifecycle.Failed || r.Batch.Failed != 1 || string(r.Result.Value) != "[1,null]" || !r.Batch.Submitted {
		t.Errorf("%+v %+v", r, r.Batch)
	}
}

// TestMembersAreKept until their batch is concluded, and what follows may have read them.
func TestMembersAreKept(t *testing.T) {
	_, store := newService(t, nil)
	s := lifecycle.New(store, &picky{room: 100}, lifecycle.Options{Limits: lifecycle.Limits{MaxRetention: 5 * time.Hour}})
	defer s.Close()
	list := members(3)
	for i, timeout := range []time.Duration{time.Hour, time.Minute, 2 * time.Hour} {
		list[i].Timeout, list[i].Retention = timeout, time.Millisecond
	}
	list[2].Retention = 5 * time.Hour
	last := next("1")
	last.Timeout, last.Retention = time.Hour, time.Millisecond
	all := submitted(t, s, concluding("b", 100), slices.Clone(list), last)
	b := status(t, store, "b")
	if b.ExpiresAt.Sub(b.CreatedAt) < 26*time.Hour {
		t.Errorf("it expires after %v", b.ExpiresAt.Sub(b.CreatedAt))
	}
	for i, want := range []time.Duration{3*time.Hour + time.Minute, 3*time.Hour + time.Minute, 5 * time.Hour} {
		if all[i].Retention != want {
			t.Errorf("%d is kept for %v, want %v", i, all[i].Retention, want)
		}
	}
	for _, m := range all {
		report(t, s, m, lifecycle.Succeed{})
	}
	s.Close()
	if r := status(t, store, b.Batch.Then); r.Retention != 5*time.Hour {
		t.Errorf("what follows is kept for %v", r.Retention)
	}
	s = lifecycle.New(store, &picky{room: 100}, lifecycle.Options{})
	defer s.Close()
	plain := submitted(t, s, batch("plain"), slices.Clone(list), nil)
	if b := status(t, store, "plain"); plain[0].Retention != time.Millisecond || b.Batch.Limit != 0 || b.ExpiresAt.Sub(b.CreatedAt) > 3*time.Hour {
		t.Errorf("%+v %+v", plain[0], b.Batch)
	}
}

// TestFullForWhatFollows: a route without room for what follows refuses the batch.
func TestFullForWhatFollows(t *testing.T) {
	_, store := newService(t, nil)
	s := lifecycle.New(store, &picky{room: 100}, lifecycle.Options{Limits: lifecycle.Limits{Waiting: 3, Quota: lifecycle.Quota{Open: 5}}})
	defer s.Close()
	last := next("1")
	last.Route = "r"
	var full *lifecycle.FullError
	if _, err := s.Batches().Submit(t.Context(), client, batch("b"), members(3), last); !errors.As(err, &full) {
		t.Errorf("the route: %v", err)
	}
	var over *lifecycle.QuotaError
	if _, err := s.Batches().Submit(t.Context(), client, batch("b"), members(4), next("1")); !errors.As(err, &over) {
		t.Errorf("the share: %v", err)
	}
	if left := list(t, store); len(left) != 0 {
		t.Errorf("%d are left", len(left))
	}
	all := submitted(t, s, batch("b"), members(2), next("1"))
	// What follows has its place in the share before it is there, and is not refused then.
	other := func(id string) error {
		_, err := s.Submit(t.Context(), client, lifecycle.Submission{ID: id, Route: "else", Fingerprint: id})
		return err
	}
	if err := other("first"); err != nil {
		t.Error(err)
	}
	if err := other("second"); !errors.As(err, &over) {
		t.Errorf("beside what is to follow: %v", err)
	}
	report(t, s, all[0], lifecycle.Succeed{})
	if err := other("second"); err != nil {
		t.Error(err)
	}
	all = all[1:]
	for _, m := range all {
		report(t, s, m, lifecycle.Succeed{})
	}
	s.Close()
	if r := status(t, store, "b"); r.Status != lifecycle.Succeeded || !r.Batch.Submitted {
		t.Errorf("%+v", r)
	}
}

// TestBatchesOfBefore: what was stored by a version without all that is read and goes on.
func TestBatchesOfBefore(t *testing.T) {
	s, store := newService(t, &picky{room: 100})
	all := submitted(t, s, batch("b"), members(2), nil)
	before := content(t, store, "b", lifecycle.Input)
	// The content that the version before has written, byte for byte.
	var want bytes.Buffer
	for i := range 2 {
		options := fmt.Sprintf(`{"route":"r","timeout":%d,"retention":%d,"maxAttempts":3,"type":"application/json"}`, time.Hour, 24*time.Hour)
		body := fmt.Sprintf(`{"n": %d}`, i)
		want.WriteByte(byte(len(options)))
		want.WriteString(options)
		want.WriteByte(byte(len(body)))
		want.WriteString(body)
	}
	if !bytes.Equal(before.Data, want.Bytes()) {
		t.Errorf("%q, want %q", before.Data, want.Bytes())
	}
	for _, m := range all {
		report(t, s, m, lifecycle.Succeed{})
	}
	s.Close()
	if r := status(t, store, "b"); r.Status != lifecycle.Succeeded || r.Result != nil {
		t.Errorf("%+v", r)
	}
}
