package redis_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/servertest"
	"github.com/hark-push/hark/store/redis"
)

// taker takes what is queued in the one partition of a store.
type taker struct {
	*testing.T
	s     *redis.Store
	q     *redis.Queue
	lease string
}

func newTaker(t *testing.T, s *redis.Store, lease string) *taker {
	x := &taker{t, s, s.Queue(), lease}
	x.tend(true)
	return x
}

func (x *taker) tend(begins bool) redis.Tended {
	x.Helper()
	done, err := x.q.Tend(x.Context(), 0, redis.Tending{Lease: x.lease, New: begins, For: time.Minute, Gap: time.Hour, Limit: 3})
	if err != nil {
		x.Fatal(err)
	}
	return done
}

// take returns what is to be taken of images now, and is done with it.
func (x *taker) take() []redis.Work {
	x.Helper()
	taken, err := x.q.Take(x.Context(), 0, x.lease, "sleeper", nil, []redis.Want{{Routes: []string{"images"}, Most: 10}})
	if err != nil {
		x.Fatal(err)
	}
	var done []string
	for _, w := range taken[0].Work {
		done = append(done, w.Entry)
	}
	if len(done) > 0 {
		if _, err := x.q.Take(x.Context(), 0, x.lease, "sleeper", done, nil); err != nil {
			x.Fatal(err)
		}
	}
	return taken[0].Work
}

// wants asserts that these are there to be taken.
func (x *taker) wants(what string, ids ...string) []redis.Work {
	x.Helper()
	all := x.take()
	var got []string
	for _, w := range all {
		got = append(got, w.Request.ID)
	}
	if !slices.Equal(got, ids) {
		x.Errorf("%s: %v are there, want %v", what, got, ids)
	}
	return all
}

// step makes a change that has to succeed.
func (x *taker) step(id string, c lifecycle.Change) lifecycle.Request {
	x.Helper()
	r, err := x.s.Apply(x.Context(), lifecycle.Ref{ID: id}, c)
	if err != nil {
		x.Fatalf("%s: %T: %v", id, c, err)
	}
	return r
}

func (x *taker) create(sub lifecycle.Submission) {
	x.Helper()
	if _, err := x.s.Create(x.Context(), sub); err != nil {
		x.Fatal(err)
	}
}

// TestStepsQueue: whatever lets a request be worked on has queued it when it is made, and nothing
// else has.
func TestStepsQueue(t *testing.T) {
	s := open(t, servertest.Redis(t).URL, redis.Options{Queue: true})
	x := newTaker(t, s, "one")
	begin := func(id string) redis.Work {
		t.Helper()
		w := x.wants("before a start", id)
		r, content, err := s.Begin(t.Context(), w[0].Request, lifecycle.Start{Message: w[0].Message, Sequence: w[0].Sequence, Redelivered: w[0].Again})
		if err != nil || r.StartedBy != w[0].Message || string(content.Data) != string(submission(id).Content.Data) {
			t.Fatalf("%+v, %v", r, err)
		}
		return w[0]
	}

	x.create(submission("a"))
	first := begin("a")
	x.step("a", lifecycle.Fail{Retry: true, Delay: 20 * time.Minute})
	x.wants("a retry that waits")
	if done := x.tend(false); done.Due <= 19*time.Minute || done.Due > 20*time.Minute {
		t.Errorf("it is due in %v", done.Due)
	}
	s.Advance(20 * time.Minute)
	x.tend(false)
	if again := begin("a"); again.Message == first.Message || again.Again {
		t.Errorf("the retry came by the message of before, or as if it were that: %+v", again)
	}
	x.step("a", lifecycle.Release{})
	begin("a")
	question := lifecycle.Question{Name: "q", Message: "Well?"}
	x.step("a", lifecycle.Ask{Question: question, Timeout: time.Hour})
	x.wants("a question")
	x.step("a", lifecycle.Answer{Asked: 1, Answers: &lifecycle.Content{Type: "application/json", Data: []byte(`{"q":1}`)}})
	begin("a")
	x.step("a", lifecycle.Fail{Failure: lifecycle.Failure{Code: "no"}})
	x.wants("a failure")
	x.step("a", lifecycle.Redrive{})
	begin("a")
	x.step("a", lifecycle.Succeed{})
	x.wants("a success")

	later := submission("later")
	later.Delay = 20 * time.Minute
	x.create(later)
	x.create(submission("canceled"))
	x.step("canceled", lifecycle.Cancel{})
	x.wants("a delay and a cancellation")
	s.Advance(20 * time.Minute)
	x.tend(false)
	x.wants("what is due", "later")

	for _, id := range []string{"k1", "k2", "k3"} {
		limited := submission(id)
		limited.Concurrency = lifecycle.Concurrency{Key: "k", Limit: 1}
		x.create(limited)
	}
	begin("k1")
	x.step("k1", lifecycle.Succeed{})
	begin("k2")
	x.step("k2", lifecycle.Fail{Retry: true, Delay: 0}) // it waits behind the third one
	begin("k3")
	x.step("k3", lifecycle.Succeed{})
	begin("k2")

	batch := submission("batch")
	batch.Route, batch.Batch = "", &lifecycle.Batch{Total: 1}
	x.create(batch)
	high := submission("high")
	high.Priority = 9
	x.create(submission("low"))
	x.create(high)
	x.wants("priorities, and a batch", "high", "low")
}

// TestLostWork: what is lost is handed out again, marked and with its message, until that has
// happened too often. Put aside, it can be looked at, queued again, and forgotten.
func TestLostWork(t *testing.T) {
	s := open(t, servertest.Redis(t).URL, redis.Options{Queue: true})
	x := newTaker(t, s, "one")
	x.create(submission("a"))
	want := []redis.Want{{Routes: []string{"images"}, Most: 10}}
	var message string
	for n := range 3 {
		taken, err := x.q.Take(t.Context(), 0, "one", "sleeper", nil, want)
		if err != nil || len(taken[0].Work) != 1 {
			t.Fatalf("time %d: %v, %v", n, taken, err)
		}
		w := taken[0].Work[0]
		if w.Again != (n > 0) || n > 0 && w.Message != message || w.Sequence != 1 {
			t.Errorf("time %d: %+v", n, w)
		}
		message = w.Message
		how := redis.Lost
		if n == 1 { // which does not count
			if err := x.q.Return(t.Context(), 0, "one", redis.Returned, 3, w.Entry); err != nil {
				t.Fatal(err)
			}
			if taken, err = x.q.Take(t.Context(), 0, "one", "sleeper", nil, want); err != nil || !taken[0].Work[0].Again {
				t.Fatalf("%v, %v", taken, err)
			}
		}
		if err := x.q.Return(t.Context(), 0, "one", how, 3, w.Entry); err != nil {
			t.Fatal(err)
		}
	}
	x.wants("what was lost too often")
	aside, err := x.q.ListAside(t.Context(), "images", 10)
	if err != nil || len(aside) != 1 || aside[0].Work.Request.ID != "a" || aside[0].Reason != "delivery_limit" {
		t.Fatalf("%+v, %v", aside, err)
	}
	if n, err := x.q.ReviveAside(t.Context(), "images"); n != 1 || err != nil {
		t.Errorf("%d are queued again, %v", n, err)
	}
	x.wants("what was queued again", "a")
	if n, err := x.q.ForgetAside(t.Context(), "images"); n != 0 || err != nil {
		t.Errorf("%d are left, %v", n, err)
	}
	// A request that nobody has queued any more is queued when it is looked after, and once.
	for range 2 {
		if _, err := x.q.Put(t.Context(), redis.Work{Route: "images", Request: lifecycle.Ref{ID: "a"}}, time.Time{}, false); err != nil {
			t.Fatal(err)
		}
	}
	x.wants("what was put there", "a")
}

// TestAgreeOnQueue: what waits and what runs in a store whose work another queue has carried is
// queued when that is no longer so, and not while others go on with it.
func TestAgreeOnQueue(t *testing.T) {
	server := servertest.Redis(t)
	before := open(t, server.URL, redis.Options{})
	for _, id := range []string{"waits", "runs", "ended"} {
		if _, err := before.Create(t.Context(), submission(id)); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"runs", "ended"} {
		if _, _, err := before.Begin(t.Context(), lifecycle.Ref{ID: id}, lifecycle.Start{Message: "of-rabbitmq"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := before.Apply(t.Context(), lifecycle.Ref{ID: "ended"}, lifecycle.Succeed{}); err != nil {
		t.Fatal(err)
	}
	if err := before.AgreeOnQueue(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := before.Attend(t.Context(), lifecycle.Process{Name: "gateway"}, time.Minute); err != nil {
		t.Fatal(err)
	}

	s := open(t, server.URL, redis.Options{Queue: true})
	if err := s.AgreeOnQueue(t.Context()); !errors.Is(err, redis.ErrOtherQueue) {
		t.Fatalf("while another process is there: %v", err)
	}
	if err := before.Leave(t.Context(), "gateway"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.AgreeOnQueue(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	x := newTaker(t, s, "one")
	all := x.take()
	slices.SortFunc(all, func(a, b redis.Work) int { return len(a.Request.ID) - len(b.Request.ID) })
	if len(all) != 2 || all[0].Request.ID != "runs" || !all[0].Again || all[0].Message != "of-rabbitmq" || all[1].Request.ID != "waits" || all[1].Again {
		t.Fatalf("%+v", all)
	}
	r, _, err := s.Begin(t.Context(), all[0].Request, lifecycle.Start{Message: all[0].Message, Sequence: all[0].Sequence, Redelivered: true})
	if err != nil || r.Attempt != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	if err := s.Attend(t.Context(), lifecycle.Process{Name: "gateway"}, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := before.AgreeOnQueue(t.Context()); !errors.Is(err, redis.ErrOtherQueue) {
		t.Errorf("back to the other queue while a process is there: %v", err)
	}
}

// TestCommandsOfWork: that its work is queued costs a request two commands inside the script that
// stores it, and little for all that is taken together.
func TestCommandsOfWork(t *testing.T) {
	server := servertest.Redis(t)
	const requests = 10
	life := func(s *redis.Store, x *taker, name string) {
		var refs []lifecycle.Ref
		for i := range requests {
			created, err := s.Create(t.Context(), submission(fmt.Sprint(name, i)))
			if err != nil {
				t.Fatal(err)
			}
			refs = append(refs, created.Request.Ref())
		}
		messages := make(map[lifecycle.Ref]string)
		if x != nil {
			for _, w := range x.take() {
				messages[w.Request] = w.Message
			}
			if len(messages) != requests {
				t.Error("not all are taken at once")
			}
		}
		for _, of := range refs {
			if _, _, err := s.Begin(t.Context(), of, lifecycle.Start{Message: messages[of]}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Apply(t.Context(), of, lifecycle.Succeed{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	plain := open(t, server.URL, redis.Options{Prefix: "plain"})
	life(plain, nil, "warm")
	scripts, inside := executed(t, server, func() { life(plain, nil, "r") })
	s := open(t, server.URL, redis.Options{Prefix: "queued", Queue: true})
	x := newTaker(t, s, "one")
	life(s, x, "warm")
	queued, more := executed(t, server, func() { life(s, x, "r") })
	// Besides, either gets to know how fast the route works, ten times a second at most.
	if queued > scripts+2+requests/2 {
		t.Errorf("%d scripts for %d requests, and %d without the queue", queued, requests, scripts)
	}
	if more > inside+2*requests+10+4*requests/2 {
		t.Errorf("%d commands for %d requests, and %d without the queue", more, requests, inside)
	}
}

// TestNoLease: who has no lease is not counted among those who work, whatever he says, and whatever
// is left of what he said.
func TestNoLease(t *testing.T) {
	server := servertest.Redis(t)
	s := open(t, server.URL, redis.Options{Queue: true, Prefix: "hark"})
	x := newTaker(t, s, "one")
	tend := func(lease string, begins bool) error {
		_, err := x.q.Tend(t.Context(), 0, redis.Tending{Lease: lease, New: begins, For: time.Minute, Gap: time.Hour, Limit: 3, Routes: []string{"images"}})
		return err
	}
	if err := tend("two", true); err != nil {
		t.Fatal(err)
	}
	if err := x.q.Leave(t.Context(), 0, "two", "two", nil); err != nil {
		t.Fatal(err)
	}
	if err := tend("two", false); !errors.Is(err, redis.ErrNoLease) {
		t.Fatal(err)
	}
	admin := client(t, server)
	if left := admin.HGetAll(t.Context(), "hark:{p0}:q:on").Val(); left["two"] != "" {
		t.Errorf("it is noted for ever: %v", left)
	}
	admin.HSet(t.Context(), "hark:{p0}:q:on", "three", " images")
	if n, err := x.q.Consumers(t.Context()); err != nil || n["images"] != 0 {
		t.Errorf("%v work, %v", n, err)
	}
	if err := tend("one", false); err != nil {
		t.Fatal(err)
	}
	if n, err := x.q.Consumers(t.Context()); err != nil || n["images"] != 1 {
		t.Errorf("%v work, %v", n, err)
	}
}

// TestClockSetBack: the lease of one who is gone lasts no longer because the clock of the server
// was set back, or one took over whose clock is behind.
func TestClockSetBack(t *testing.T) {
	s := open(t, servertest.Redis(t).URL, redis.Options{Queue: true})
	x := newTaker(t, s, "one")
	x.create(submission("a"))
	s.Advance(24 * time.Hour)
	newTaker(t, s, "dead")
	if taken, err := x.q.Take(t.Context(), 0, "dead", "sleeper", nil, []redis.Want{{Routes: []string{"images"}, Most: 1}}); err != nil || len(taken[0].Work) != 1 {
		t.Fatalf("%+v, %v", taken, err)
	}
	s.Advance(-24 * time.Hour)
	x.tend(true)
	s.Advance(2 * time.Minute)
	if done := x.tend(true); done.Over != 1 || done.Again != 1 {
		t.Errorf("%+v", done)
	}
	x.wants("what the dead one had", "a")
}

// TestDamagedWork: a record that is damaged hinders nothing that is beside it. Whoever starts its
// request is told.
func TestDamagedWork(t *testing.T) {
	server := servertest.Redis(t)
	s := open(t, server.URL, redis.Options{Queue: true, Prefix: "hark"})
	x := newTaker(t, s, "one")
	for _, id := range []string{"a", "b", "c"} {
		x.create(submission(id))
	}
	admin := client(t, server)
	whole := admin.Get(t.Context(), "hark:{p0}:r:b").Val()
	admin.Set(t.Context(), "hark:{p0}:r:b", whole[:49], 0)
	if done, err := x.q.Put(t.Context(), redis.Work{Route: "images", Request: lifecycle.Ref{ID: "b"}}, time.Time{}, false); done || err != nil {
		t.Errorf("put: %v, %v", done, err)
	}
	all := x.wants("all of them", "a", "b", "c")
	if len(all) != 3 {
		return
	}
	if _, _, err := s.Begin(t.Context(), all[1].Request, lifecycle.Start{Message: all[1].Message}); err == nil {
		t.Error("a damaged one was started")
	}
	admin.ZAdd(t.Context(), "hark:{p0}:q:dead:images", goredis.Z{Score: float64(time.Now().UnixMicro()), Member: "delivery_limit " + all[1].Entry})
	if n, err := x.q.ReviveAside(t.Context(), "images"); n != 0 || err != nil {
		t.Errorf("%d were revived, %v", n, err)
	}
}

// TestReviveOnce: what was put aside and is there again, in the queue or with somebody, is not
// queued twice.
func TestReviveOnce(t *testing.T) {
	server := servertest.Redis(t)
	s := open(t, server.URL, redis.Options{Queue: true, Prefix: "hark"})
	x := newTaker(t, s, "one")
	admin := client(t, server)
	const key = "hark:{p0}:q:dead:images"
	aside := func(w redis.Work) {
		admin.ZAdd(t.Context(), key, goredis.Z{Score: float64(time.Now().UnixMicro()), Member: "delivery_limit " + w.Entry})
	}
	x.create(submission("held"))
	taken, err := x.q.Take(t.Context(), 0, "one", "sleeper", nil, []redis.Want{{Routes: []string{"images"}, Most: 1}})
	if err != nil || len(taken[0].Work) != 1 {
		t.Fatal(err)
	}
	held := taken[0].Work[0]
	if _, _, err := s.Begin(t.Context(), held.Request, lifecycle.Start{Message: held.Message}); err != nil {
		t.Fatal(err)
	}
	x.create(submission("lost"))
	lost := x.wants("one", "lost")[0]
	x.create(submission("queued"))
	queued := x.wants("another", "queued")[0]
	if done, err := x.q.Put(t.Context(), redis.Work{Request: queued.Request}, time.Time{}, false); !done || err != nil {
		t.Fatal(done, err)
	}
	for _, w := range []redis.Work{held, queued, lost} {
		aside(w)
	}
	admin.ZAdd(t.Context(), key, goredis.Z{Member: "rejected junk"})
	if n, err := x.q.ReviveAside(t.Context(), "images"); n != 1 || err != nil {
		t.Errorf("%d were revived, %v", n, err)
	}
	if left := admin.ZRange(t.Context(), key, 0, -1).Val(); !slices.Equal(left, []string{"rejected junk"}) {
		t.Errorf("%q are left", left)
	}
	// What is left is of 1970.
	if n, err := x.q.Asides(t.Context(), []string{"images"}); n["images"] != 0 || err != nil {
		t.Errorf("%d are put aside, %v", n["images"], err)
	}
	if all := x.wants("each once", "lost", "queued"); len(all) == 2 && (!all[0].Again || all[1].Again) {
		t.Errorf("%+v", all)
	}
}

// TestDirectStarts: a request that is started by one who did not take it is not in the queue any
// more; and much that nobody needs there is gone through in several steps.
func TestDirectStarts(t *testing.T) {
	server := servertest.Redis(t)
	s := open(t, server.URL, redis.Options{Queue: true, Prefix: "hark"})
	x := newTaker(t, s, "one")
	admin := client(t, server)
	const list = "hark:{p0}:q:r:images"
	x.create(submission("a"))
	if _, _, err := s.Begin(t.Context(), lifecycle.Ref{ID: "a"}, lifecycle.Start{Message: "mine"}); err != nil {
		t.Fatal(err)
	}
	if left := admin.ZRange(t.Context(), list, 0, -1).Val(); len(left) != 0 {
		t.Errorf("left in the queue: %q", left)
	}
	const needless = 5000
	var members []goredis.Z
	for i := range needless {
		members = append(members, goredis.Z{Member: fmt.Sprintf("5%016dgone%d", i+1, i)})
	}
	admin.ZAdd(t.Context(), list, members...)
	x.create(submission("b"))
	for steps := 1; ; steps++ {
		taken, err := x.q.Take(t.Context(), 0, "one", "sleeper", nil, []redis.Want{{Routes: []string{"images"}, Most: 1}})
		if err != nil {
			t.Fatal(err)
		}
		if taken[0].More {
			if len(taken[0].Work) > 0 || steps > needless/1000 || admin.Exists(t.Context(), "hark:{p0}:q:w:images").Val() > 0 {
				t.Fatalf("step %d: %+v", steps, taken)
			}
			continue
		}
		if steps < 2 || len(taken[0].Work) != 1 || taken[0].Work[0].Request.ID != "b" {
			t.Errorf("after %d steps: %+v", steps, taken)
		}
		break
	}
}

// TestTakenWhenFull: a server without memory has work taken, whatever else is wanted before.
func TestTakenWhenFull(t *testing.T) {
	server := servertest.Redis(t)
	s := open(t, server.URL, redis.Options{Queue: true})
	x := newTaker(t, s, "one")
	x.create(submission("a"))
	admin := client(t, server)
	if err := admin.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	taken, err := x.q.Take(t.Context(), 0, "one", "sleeper", nil, []redis.Want{{Routes: []string{"idle", "none"}, Most: 1}, {Routes: []string{"images"}, Most: 1}})
	if err != nil || len(taken[1].Work) != 1 {
		t.Errorf("%+v, %v", taken, err)
	}
}

// TestLeaveRedis: what dead processes had of a store whose work goes to another queue waits then,
// and nothing is left of the queue but what was put aside. Nobody does so while somebody has a
// lease.
func TestLeaveRedis(t *testing.T) {
	server := servertest.Redis(t)
	s := open(t, server.URL, redis.Options{Queue: true, Prefix: "hark", Partitions: 3})
	if err := s.AgreeOnQueue(t.Context()); err != nil {
		t.Fatal(err)
	}
	q := s.Queue()
	for partition := range q.Partitions() {
		if _, err := q.Tend(t.Context(), partition, redis.Tending{Lease: "dead", New: true, For: time.Minute, Gap: time.Hour, Limit: 3, Routes: []string{"images"}}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 9 {
		sub := submission(fmt.Sprint("r", i))
		sub.MaxAttempts = 1 + i%2 // of which one ends by that
		if _, err := s.Create(t.Context(), sub); err != nil {
			t.Fatal(err)
		}
	}
	later := submission("later")
	later.Delay = time.Hour
	if _, err := s.Create(t.Context(), later); err != nil {
		t.Fatal(err)
	}
	var begun []lifecycle.Ref
	for partition := range q.Partitions() {
		taken, err := q.Take(t.Context(), partition, "dead", "sleeper", nil, []redis.Want{{Routes: []string{"images"}, Most: 2}})
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range taken[0].Work {
			if _, _, err := s.Begin(t.Context(), w.Request, lifecycle.Start{Message: w.Message, Sequence: w.Sequence}); err != nil {
				t.Fatal(err)
			}
			begun = append(begun, w.Request)
		}
	}
	if len(begun) == 0 {
		t.Fatal("nothing is worked on")
	}
	admin := client(t, server)
	admin.ZAdd(t.Context(), "hark:{p0}:q:dead:images", goredis.Z{Member: "rejected junk"})

	other := open(t, server.URL, redis.Options{Prefix: "hark", Partitions: 3})
	if err := other.AgreeOnQueue(t.Context()); !errors.Is(err, redis.ErrOtherQueue) {
		t.Fatalf("while there is a lease: %v", err)
	}
	for partition := range q.Partitions() { // it runs out
		admin.ZAdd(t.Context(), fmt.Sprintf("hark:{p%d}:q:leases", partition), goredis.Z{Score: 1, Member: "dead"})
	}
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			if err := other.AgreeOnQueue(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	for _, of := range begun {
		r, err := other.Get(t.Context(), of)
		want := lifecycle.Pending
		if r.MaxAttempts == 1 {
			want = lifecycle.Failed
		}
		if err != nil || r.Status != want {
			t.Errorf("%s is %s, want %s, %v", of.ID, r.Status, want, err)
		}
	}
	if left := admin.Keys(t.Context(), "hark:*:q:*").Val(); !slices.Equal(left, []string{"hark:{p0}:q:dead:images"}) {
		t.Errorf("%q are left", left)
	}
	if where := admin.HGet(t.Context(), "hark:meta", "queue").Val(); where != "" {
		t.Errorf("the work is queued in %q", where)
	}
}

// TestMovedOnce: of several processes that find the work queued elsewhere one moves it.
func TestMovedOnce(t *testing.T) {
	server := servertest.Redis(t)
	before := open(t, server.URL, redis.Options{Prefix: "hark"})
	const requests = 300
	for i := range requests {
		if _, err := before.Create(t.Context(), submission(fmt.Sprint("r", i))); err != nil {
			t.Fatal(err)
		}
	}
	admin := client(t, server)
	// Somebody does it, and dies.
	admin.Set(t.Context(), "hark:{p0}:lead:queue", "somebody", 0)
	var all []*redis.Store
	for range 3 {
		all = append(all, open(t, server.URL, redis.Options{Prefix: "hark", Queue: true}))
	}
	impatient, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := all[0].AgreeOnQueue(impatient); err == nil {
		t.Error("two move it")
	}
	if n := admin.ZCard(t.Context(), "hark:{p0}:q:r:images").Val(); n != 0 {
		t.Errorf("%d are queued already", n)
	}
	admin.Del(t.Context(), "hark:{p0}:lead:queue")
	var moving sync.WaitGroup
	for _, s := range all {
		moving.Go(func() {
			if err := s.AgreeOnQueue(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	moving.Wait()
	if n := admin.ZCard(t.Context(), "hark:{p0}:q:r:images").Val(); n != requests {
		t.Errorf("%d are queued of %d", n, requests)
	}
}
