package lifecycle_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/bolt"
)

// brokenQueue fails as told and counts what it took.
type brokenQueue struct {
	ready, enqueue error
	meanwhile      func(lifecycle.Request) // what happens before it fails
	took           int
	discarded      []lifecycle.Ref
}

func (q *brokenQueue) Ready(context.Context) error { return q.ready }
func (q *brokenQueue) Discard(r lifecycle.Request) { q.discarded = append(q.discarded, r.Ref()) }

func (q *brokenQueue) Enqueue(_ context.Context, r lifecycle.Request) error {
	if q.meanwhile != nil {
		q.meanwhile(r)
	}
	if q.enqueue == nil {
		q.took++
	}
	return q.enqueue
}

var client = lifecycle.Principal{Subject: "me", Roles: []lifecycle.Role{lifecycle.RoleClient}}

// a is what most requests here are called.
var a = lifecycle.Named("a")

func newService(t *testing.T, q lifecycle.Queue) (*lifecycle.Service, *bolt.Store) {
	t.Helper()
	store, err := bolt.Open(filepath.Join(t.TempDir(), "hark.db"), bolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return lifecycle.New(store, q, lifecycle.Options{}), store
}

// TestNothingHalfDoneStaysBehind: a submission whose work cannot be queued is refused,
// leaves nothing, and may be repeated.
func TestNothingHalfDoneStaysBehind(t *testing.T) {
	down := errors.New("down")
	for name, q := range map[string]*brokenQueue{"known before": {ready: down}, "found out": {enqueue: down}} {
		t.Run(name, func(t *testing.T) {
			s, store := newService(t, q)
			sub := lifecycle.Submission{ID: "a", Route: "r", Fingerprint: "f", Key: "k"}
			if _, err := s.Submit(t.Context(), client, sub); !errors.Is(err, lifecycle.ErrUnavailable) {
				t.Fatalf("submit: %v", err)
			}
			if _, err := store.Get(t.Context(), lifecycle.Named("a")); !errors.Is(err, lifecycle.ErrNotFound) {
				t.Errorf("left behind: %v", err)
			}
			*q = brokenQueue{}
			created, err := s.Submit(t.Context(), client, sub)
			if err != nil || created.Existed || created.Request.Status != lifecycle.Pending || q.took != 1 {
				t.Errorf("again: %+v %v", created, err)
			}
		})
	}
}

// TestQueuedAfterAll: the queue took the work and its answer was lost. What a processor
// has begun meanwhile is not taken back, nor canceled.
func TestQueuedAfterAll(t *testing.T) {
	for name, reports := range map[string][]lifecycle.Change{
		"running": {lifecycle.Start{}}, "done": {lifecycle.Start{}, lifecycle.Succeed{}}, "retried": {lifecycle.Start{}, lifecycle.Fail{Retry: true}},
	} {
		t.Run(name, func(t *testing.T) {
			q := &brokenQueue{enqueue: errors.New("not confirmed in time")}
			s, store := newService(t, q)
			q.meanwhile = func(r lifecycle.Request) {
				for _, c := range reports {
					if _, err := store.Apply(t.Context(), lifecycle.Named(r.ID), c); err != nil {
						t.Error(err)
					}
				}
			}
			sub := lifecycle.Submission{ID: "a", Route: "r", Fingerprint: "f", MaxAttempts: 3}
			if _, err := s.Submit(t.Context(), client, sub); err != nil {
				t.Errorf("submit: %v", err)
			}
			if r, err := store.Get(t.Context(), lifecycle.Named("a")); err != nil || r.Attempt != 1 || r.CancelRequested || r.Status == lifecycle.Canceled {
				t.Errorf("%+v %v", r, err)
			}
		})
	}
}

// TestSweptLeavesTheQueue: what expires while it waits is no work any more, and the queue is told
// so.
func TestSweptLeavesTheQueue(t *testing.T) {
	q := new(brokenQueue)
	s, store := newService(t, q)
	created, err := s.Submit(t.Context(), client, lifecycle.Submission{ID: "a", Life: lifecycle.NewLife(), Route: "r", Fingerprint: "f", Timeout: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for len(q.discarded) == 0 {
		swept, err := store.Sweep(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		s.Swept(swept.Ended)
	}
	if q.discarded[0] != created.Request.Ref() {
		t.Errorf("%v, want %v", q.discarded, created.Request.Ref())
	}
}

// TestRepeatedMeanwhile: a client that waits no longer submits again, at another node,
// and is told that its request is accepted. The first node does not take that back.
func TestRepeatedMeanwhile(t *testing.T) {
	q := &brokenQueue{enqueue: errors.New("not confirmed in time")}
	s, store := newService(t, q)
	well := new(brokenQueue)
	other := lifecycle.New(store, well, lifecycle.Options{})
	sub := lifecycle.Submission{ID: "a", Route: "r", Fingerprint: "f"}
	q.meanwhile = func(lifecycle.Request) {
		for range 2 {
			if created, err := other.Submit(t.Context(), client, sub); err != nil || !created.Existed {
				t.Errorf("meanwhile: %+v %v", created, err)
			}
		}
	}
	if _, err := s.Submit(t.Context(), client, sub); err != nil {
		t.Errorf("submit: %v", err)
	}
	if r, err := store.Get(t.Context(), lifecycle.Named("a")); err != nil || r.Status != lifecycle.Pending || well.took != 1 {
		t.Errorf("%+v %v, queued %d times", r, err, well.took)
	}
}

// TestWithdrawnIsReplaced: when the store fails while a submission is taken back, what is
// left does not stand in the way of its repetition; what a client canceled does.
func TestWithdrawnIsReplaced(t *testing.T) {
	q := new(brokenQueue)
	s, store := newService(t, q)
	sub := lifecycle.Submission{ID: "a", Route: "r", Fingerprint: "f"}
	for n, cancel := range []lifecycle.Cancel{{Withdrawn: true}, {}} {
		if _, err := s.Submit(t.Context(), client, sub); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Apply(t.Context(), lifecycle.Named("a"), cancel); err != nil {
			t.Fatal(err)
		}
		created, err := s.Submit(t.Context(), client, sub)
		if err != nil || created.Existed == cancel.Withdrawn || (created.Request.Status == lifecycle.Pending) != cancel.Withdrawn {
			t.Errorf("%d: %+v %v", n, created, err)
		}
		if _, err := s.Cancel(t.Context(), client, a); err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(t.Context(), client, a); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBackoff: a retry without a delay of its own waits for the one that its request asked for,
// else for the default; doubled with each failure, up to the longest, unless the first is longer.
func TestBackoff(t *testing.T) {
	for name, test := range map[string]struct {
		asked time.Duration
		said  time.Duration // by the report
		want  []time.Duration
	}{
		"the default":            {want: []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}},
		"the request's":          {asked: 2 * time.Minute, want: []time.Duration{2 * time.Minute, 4 * time.Minute, 5 * time.Minute}},
		"one beyond the longest": {asked: 10 * time.Minute, want: []time.Duration{10 * time.Minute, 10 * time.Minute}},
		"what the report says":   {asked: 2 * time.Minute, said: time.Hour, want: []time.Duration{time.Hour, time.Hour}},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newService(t, new(brokenQueue))
			if _, err := s.Submit(t.Context(), client, lifecycle.Submission{
				ID: "a", Route: "r", Fingerprint: "f", MaxAttempts: 9, RetryDelay: test.asked, Timeout: 24 * time.Hour,
			}); err != nil {
				t.Fatal(err)
			}
			for i, want := range test.want {
				if _, _, err := s.Start(t.Context(), a, lifecycle.Start{}); err != nil {
					t.Fatal(err)
				}
				r, err := s.Report(t.Context(), a, lifecycle.Fail{Retry: true, Delay: test.said})
				if err != nil {
					t.Fatal(err)
				}
				got := r.NotBefore.Sub(r.UpdatedAt)
				if least, most := want*8/10, want*12/10; got < least || got > most || test.said > 0 && got != want {
					t.Errorf("after %d failures %v, want %v", i+1, got, want)
				}
			}
		})
	}
}

func TestOnlyTheOwnerReads(t *testing.T) {
	s, _ := newService(t, new(brokenQueue))
	if _, err := s.Submit(t.Context(), client, lifecycle.Submission{ID: "a", Route: "r", Topic: "t", Fingerprint: "f"}); err != nil {
		t.Fatal(err)
	}
	stranger := lifecycle.Principal{Subject: "you", Roles: []lifecycle.Role{lifecycle.RoleClient}}
	_, get := s.Get(t.Context(), stranger, a)
	_, _, result := s.Result(t.Context(), stranger, a)
	_, cancel := s.Cancel(t.Context(), stranger, a)
	follow := func(c lifecycle.Channel) error {
		_, err := s.Follow(t.Context(), stranger, c)
		return err
	}
	for what, err := range map[string]error{
		"get": get, "result": result, "cancel": cancel, "delete": s.Delete(t.Context(), stranger, a),
		"follow": follow(lifecycle.Channel{Kind: lifecycle.RequestChannel, Name: "a"}),
		"owner":  follow(lifecycle.Channel{Kind: lifecycle.OwnerChannel, Name: "me"}),
		"topic":  follow(lifecycle.Channel{Kind: lifecycle.TopicChannel, Owner: "me", Name: "t"}),
	} {
		if !errors.Is(err, lifecycle.ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if page, err := s.List(t.Context(), stranger, lifecycle.Query{Limit: 10}); err != nil || len(page.Requests) != 0 {
		t.Errorf("list: %v %v", page, err)
	}
	if _, err := s.Submit(t.Context(), stranger, lifecycle.Submission{ID: "a", Route: "r", Fingerprint: "f"}); !errors.Is(err, lifecycle.ErrIDTaken) {
		t.Errorf("somebody else's id: %v", err)
	}
}
