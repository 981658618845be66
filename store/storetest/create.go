package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/lifecycle"
)

func testCreate(s *suite) {
	sub := submission("a")
	sub.Topic, sub.Priority, sub.Delay = "order-42", 5, time.Minute
	sub.RetryDelay = 90 * time.Second
	sub.Call = &lifecycle.Call{Method: "PUT", Path: "/x/\x00y", Query: "y=1", RawPath: "/x%2F%00y"}
	sub.Headers = map[string]string{"Traceparent": "00-1-2-3"}
	r := s.create(sub)
	switch {
	case r.ID != "a", r.Owner != alice, r.Route != "images", r.Topic != "order-42", r.Priority != 5,
		r.Status != lifecycle.Pending, r.Sequence != 1, r.Attempt != 0, r.MaxAttempts != 3, r.RetryDelay != 90*time.Second,
		r.Retention != 24*time.Hour, r.Fingerprint != sub.Fingerprint, r.Key != "",
		r.Input != (lifecycle.ContentInfo{Type: "application/json", Size: 7}),
		!reflect.DeepEqual(r.Call, sub.Call), !reflect.DeepEqual(r.Headers, sub.Headers):
		s.Errorf("created: %+v", r)
	case r.CreatedAt.IsZero(), !r.UpdatedAt.Equal(r.CreatedAt),
		!r.ExpiresAt.Equal(r.CreatedAt.Add(time.Hour)), !r.NotBefore.Equal(r.CreatedAt.Add(time.Minute)):
		s.Errorf("times: created %v updated %v expires %v not before %v", r.CreatedAt, r.UpdatedAt, r.ExpiresAt, r.NotBefore)
	case r.Position == nil || *r.Position != 0:
		s.Errorf("position: %v", show(r.Position))
	}
	s.same("get", s.get("a"), r)
	s.consistent("a")
	for _, channel := range []string{requestChannel("a"), ownerChannel(alice), topicChannel(alice, "order-42")} {
		messages := s.all(channel, 0, 10)
		if len(messages) != 1 {
			s.Fatalf("channel %q has %d events", channel, len(messages))
		}
		e := s.decode(messages[0])
		if messages[0].Offset != 1 || e.Type != string(lifecycle.EventAccepted) || e.Subject != "order-42" ||
			e.Data.Position == nil || *e.Data.Position != 0 {
			s.Errorf("channel %q: %d %s", channel, messages[0].Offset, wire.JSON(messages[0].Event))
		}
	}
	// What the caller does with its own afterwards is no matter.
	sub.Headers["Traceparent"], sub.Call.Path = "changed", "changed"
	s.same("get after the caller changed its submission", s.get("a"), r)
}

func testCreateRepeated(s *suite) {
	s.create(submission("a"))
	started := s.apply("a", lifecycle.Start{})
	again, err := s.Create(s.ctx, submission("a"))
	if err != nil || !again.Existed || again.Reply != nil {
		s.Errorf("the same again: existed %v, reply %v, error %v", again.Existed, again.Reply, err)
	}
	s.same("the same again returns the current state", again.Request, started)
	other := submission("a")
	other.Fingerprint = "another"
	if _, err := s.Create(s.ctx, other); !errors.Is(err, lifecycle.ErrIDTaken) {
		s.Errorf("another body: %v", err)
	}
	foreign := submission("a")
	foreign.Owner = bob
	if _, err := s.Create(s.ctx, foreign); !errors.Is(err, lifecycle.ErrIDTaken) {
		s.Errorf("another owner: %v", err)
	}
	s.consistent("a")
	if n := len(s.all(ownerChannel(bob), 0, 10)); n != 0 {
		s.Errorf("a refused creation left %d events", n)
	}

	// Who repeats a submission keeps the first from being withdrawn.
	before := s.create(submission("b"))
	s.apply("b", lifecycle.Repeat{})
	s.apply("b", lifecycle.Repeat{})
	if r := s.get("b"); !r.Repeated || r.Status != lifecycle.Pending || r.Sequence != before.Sequence {
		s.Errorf("repeated: %+v", r)
	}
	if _, err := s.Apply(s.ctx, lifecycle.Named("b"), lifecycle.Cancel{Withdrawn: true}); err == nil {
		s.Error("it was withdrawn")
	}
	s.position("b", 0)
	s.consistent("b")
}

func testCreateConcurrently(s *suite) {
	for round := range 10 {
		id := fmt.Sprintf("r%d", round)
		var created, existed atomic.Int32
		parallel(16, func(int) {
			c, err := s.Create(s.ctx, submission(id))
			switch {
			case err != nil:
				s.Error(err)
			case c.Existed:
				existed.Add(1)
			default:
				created.Add(1)
			}
		})
		if created.Load() != 1 || existed.Load() != 15 {
			s.Errorf("created %d times, existed %d times", created.Load(), existed.Load())
		}
		if types := s.types(id); len(types) != 1 {
			s.Errorf("events %v", types)
		}
	}
}

func keyed(id, key string) lifecycle.Submission {
	sub := submission(id)
	sub.Key, sub.KeyLock, sub.Fingerprint = key, time.Minute, "fingerprint of "+key
	return sub
}

func testKey(s *suite) {
	first := s.create(keyed("a", "k"))
	if first.Key != "k" {
		s.Errorf("key %q", first.Key)
	}
	if _, err := s.Create(s.ctx, keyed("b", "k")); !errors.Is(err, lifecycle.ErrKeyInProgress) {
		s.Errorf("while the first is in progress: %v", err)
	}
	join := keyed("b", "k")
	join.Join = true
	joined, err := s.Create(s.ctx, join)
	if err != nil || !joined.Existed || !joined.Joined || joined.Reply != nil {
		s.Errorf("joining the first while it is in progress: %+v, %v", joined, err)
	}
	s.same("who joins gets the request", joined.Request, first)
	reused := keyed("b", "k")
	reused.Fingerprint = "another"
	if _, err := s.Create(s.ctx, reused); !errors.Is(err, lifecycle.ErrKeyReused) {
		s.Errorf("another body while in progress: %v", err)
	}
	reply := lifecycle.Reply{Status: 202, Body: []byte("{\"body\":\"\x00\xff\"}")}
	if err := s.SaveReply(s.ctx, lifecycle.Ref{ID: "a", Life: life}, alice, "k", reply); err != nil {
		s.Fatal(err)
	}
	started := s.apply("a", lifecycle.Start{})
	again, err := s.Create(s.ctx, keyed("b", "k"))
	if err != nil || !again.Existed || again.Joined || again.Reply == nil || !reflect.DeepEqual(*again.Reply, reply) {
		s.Errorf("repeat: %+v, %v", again, err)
	}
	s.same("a repeat returns the current state", again.Request, started)
	if _, err := s.Create(s.ctx, reused); !errors.Is(err, lifecycle.ErrKeyReused) {
		s.Errorf("another body: %v", err)
	}
	if again, err = s.Create(s.ctx, join); err != nil || again.Joined || again.Reply == nil {
		s.Errorf("joining what was answered: %+v, %v", again, err)
	}
	join.Fingerprint = "another"
	if _, err := s.Create(s.ctx, join); !errors.Is(err, lifecycle.ErrKeyReused) {
		s.Errorf("joining with another body: %v", err)
	}
	if _, err := s.Get(s.ctx, lifecycle.Named("b")); !errors.Is(err, lifecycle.ErrNotFound) {
		s.Errorf("a repeat left a request: %v", err)
	}

	// Keys of different owners have nothing to do with each other.
	foreign := keyed("c", "k")
	foreign.Owner = bob
	s.create(foreign)

	// A key whose call never came to an answer is free when its lock has passed.
	s.create(keyed("d", "lost"))
	s.in.Advance(time.Minute + time.Second)
	c, err := s.Create(s.ctx, keyed("e", "lost"))
	if err != nil || !c.Existed || c.Reply != nil || c.Request.ID != "d" {
		s.Errorf("after the lock: %+v, %v", c, err)
	}
	if err := s.SaveReply(s.ctx, lifecycle.Ref{ID: "a", Life: life}, alice, "never used", reply); err != nil {
		s.Errorf("reply for an unknown key: %v", err)
	}
	s.create(keyed("f", "never used"))

	// Keys have any form and length.
	long := string(bytes.Repeat([]byte("é\xff"), 5000))
	s.create(keyed("g", long))
	s.apply("g", lifecycle.Cancel{})
	if err := s.Delete(s.ctx, lifecycle.Named("g")); err != nil {
		s.Fatal(err)
	}
	s.create(keyed("h", long))
}

func testKeyConcurrently(s *suite) {
	var created, busy atomic.Int32
	parallel(16, func(i int) {
		_, err := s.Create(s.ctx, keyed(fmt.Sprintf("r%d", i), "k"))
		switch {
		case err == nil:
			created.Add(1)
		case errors.Is(err, lifecycle.ErrKeyInProgress):
			busy.Add(1)
		default:
			s.Error(err)
		}
	})
	if created.Load() != 1 || busy.Load() != 15 {
		s.Errorf("created %d times, in progress %d times", created.Load(), busy.Load())
	}
	if n := len(s.all(ownerChannel(alice), 0, 100)); n != 1 {
		s.Errorf("%d events", n)
	}
}

func testContextEnded(s *suite) {
	s.create(submission("a"))
	s.into("b", lifecycle.Canceled)
	top := len(s.all(ownerChannel(alice), 0, 10))
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	check := func(what string, err error) {
		s.Helper()
		if !errors.Is(err, context.Canceled) {
			s.Errorf("%s: %v", what, err)
		}
	}
	_, err := s.Create(ctx, submission("new"))
	check("Create", err)
	check("SaveReply", s.SaveReply(ctx, lifecycle.Ref{ID: "a", Life: life}, alice, "k", lifecycle.Reply{}))
	_, err = s.Apply(ctx, lifecycle.Named("a"), lifecycle.Start{})
	check("Apply", err)
	_, err = s.Get(ctx, lifecycle.Named("a"))
	check("Get", err)
	_, err = s.Content(ctx, lifecycle.Named("a"), lifecycle.Input)
	check("Content", err)
	_, err = s.List(ctx, lifecycle.Query{Owner: alice, Limit: 1})
	check("List", err)
	check("Delete", s.Delete(ctx, lifecycle.Named("b")))
	_, err = s.Sweep(ctx, 1)
	check("Sweep", err)
	for _, err = range s.Unfinished(ctx) {
		break
	}
	check("Unfinished", err)
	for _, err = range s.Batches(ctx) {
		break
	}
	check("Batches", err)
	_, err = s.Read(ctx, ownerChannel(alice), 0, 1)
	check("Read", err)
	_, err = s.Reset(ctx, ownerChannel(alice))
	check("Reset", err)
	check("Watch", s.Watch(ctx, ownerChannel(alice)))

	if n := len(s.all(ownerChannel(alice), 0, 10)); n != top {
		s.Errorf("%d events came", n-top)
	}
	if s.get("a").Status != lifecycle.Pending || s.get("b").Status != lifecycle.Canceled {
		s.Error("something changed")
	}
	if _, err := s.Get(s.ctx, lifecycle.Named("new")); !errors.Is(err, lifecycle.ErrNotFound) {
		s.Errorf("the new one: %v", err)
	}
}
