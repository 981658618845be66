package storetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

func testCreate(s *suite) {
	sub := submission("a")
	sub.Topic, sub.Priority, sub.Delay = "order-42", 5, time.Minute
	sub.Call = &lifecycle.Call{Method: "PUT", Path: "/x", Query: "y=1"}
	sub.Headers = map[string]string{"Traceparent": "00-1-2-3"}
	r := s.create(sub)
	switch {
	case r.ID != "a", r.Owner != alice, r.Route != "images", r.Topic != "order-42", r.Priority != 5,
		r.Status != lifecycle.Pending, r.Sequence != 1, r.Attempt != 0, r.MaxAttempts != 3,
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
			s.Errorf("channel %q: %d %s", channel, messages[0].Offset, messages[0].Event)
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
	reused := keyed("b", "k")
	reused.Fingerprint = "another"
	if _, err := s.Create(s.ctx, reused); !errors.Is(err, lifecycle.ErrKeyReused) {
		s.Errorf("another body while in progress: %v", err)
	}
	reply := lifecycle.Reply{Status: 202, Body: []byte("{\"body\":\"\x00\xff\"}")}
	if err := s.SaveReply(s.ctx, alice, "k", reply); err != nil {
		s.Fatal(err)
	}
	started := s.apply("a", lifecycle.Start{})
	again, err := s.Create(s.ctx, keyed("b", "k"))
	if err != nil || !again.Existed || again.Reply == nil || !reflect.DeepEqual(*again.Reply, reply) {
		s.Errorf("repeat: %+v, %v", again, err)
	}
	s.same("a repeat returns the current state", again.Request, started)
	if _, err := s.Create(s.ctx, reused); !errors.Is(err, lifecycle.ErrKeyReused) {
		s.Errorf("another body: %v", err)
	}
	if _, err := s.Get(s.ctx, "b"); !errors.Is(err, lifecycle.ErrNotFound) {
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
	if err := s.SaveReply(s.ctx, alice, "never used", reply); err != nil {
		s.Errorf("reply for an unknown key: %v", err)
	}
	s.create(keyed("f", "never used"))

	// Keys have any form and length.
	long := string(bytes.Repeat([]byte("é\xff"), 5000))
	s.create(keyed("g", long))
	s.apply("g", lifecycle.Cancel{})
	if err := s.Delete(s.ctx, "g"); err != nil {
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

func testContent(s *suite) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	large := make([]byte, 1<<20)
	rand.Read(large)
	for i, c := range []lifecycle.Content{
		{Type: "application/octet-stream", Data: every},
		{Type: "image/png", Data: large},
		{Type: "text/plain; charset=utf-8"},
		{Type: "", Data: []byte{0}},
		{Type: "application/json", Data: []byte("{ \"spaces\" : \"<kept>\" }\n")},
	} {
		id := fmt.Sprintf("r%d", i)
		sub := submission(id)
		sub.Content = lifecycle.Content{Type: c.Type, Data: bytes.Clone(c.Data)}
		s.create(sub)
		clear(sub.Content.Data) // the store has its own
		s.apply(id, lifecycle.Start{})
		if _, err := s.Content(s.ctx, id, lifecycle.Output); !errors.Is(err, lifecycle.ErrNotFound) {
			s.Errorf("result before the end: %v", err)
		}
		result := lifecycle.Content{Type: c.Type, Data: bytes.Clone(c.Data)}
		s.apply(id, lifecycle.Succeed{Result: &result})
		clear(result.Data)
		for _, part := range []lifecycle.Part{lifecycle.Input, lifecycle.Output} {
			for range 2 {
				got, err := s.Content(s.ctx, id, part)
				if err != nil || got.Type != c.Type || !bytes.Equal(got.Data, c.Data) {
					s.Fatalf("content %d part %d: %q, %d bytes, %v; want %q, %d bytes", i, part, got.Type, len(got.Data), err, c.Type, len(c.Data))
				}
				clear(got.Data) // the caller owns it
			}
		}
	}
	if r := s.get("r4"); string(r.Result.Value) != `{"spaces":"<kept>"}` {
		s.Errorf("inlined result: %s", r.Result.Value)
	}
	s.into("without", lifecycle.Succeeded)
	if _, err := s.Content(s.ctx, "without", lifecycle.Output); !errors.Is(err, lifecycle.ErrNotFound) {
		s.Errorf("success without a result: %v", err)
	}
	if _, err := s.Content(s.ctx, "unknown", lifecycle.Input); !errors.Is(err, lifecycle.ErrNotFound) {
		s.Errorf("unknown request: %v", err)
	}
}

func testDelete(s *suite) {
	if err := s.Delete(s.ctx, "unknown"); !errors.Is(err, lifecycle.ErrNotFound) {
		s.Errorf("unknown: %v", err)
	}
	sub := keyed("a", "k")
	sub.Topic = "t"
	s.create(sub)
	for range 2 { // pending, processing
		if err := s.Delete(s.ctx, "a"); !errors.Is(err, lifecycle.ErrNotEnded) {
			s.Errorf("not ended: %v", err)
		}
		if s.get("a").Status == lifecycle.Pending {
			s.apply("a", lifecycle.Start{})
		}
	}
	s.apply("a", lifecycle.Succeed{Result: &lifecycle.Content{Type: "text/plain", Data: []byte("x")}})
	if err := s.Delete(s.ctx, "a"); err != nil {
		s.Fatal(err)
	}
	s.gone("a")
	if err := s.Delete(s.ctx, "a"); !errors.Is(err, lifecycle.ErrNotFound) {
		s.Errorf("twice: %v", err)
	}
	for _, channel := range []string{ownerChannel(alice), topicChannel(alice, "t")} {
		if n := len(s.all(channel, 0, 10)); n != 3 {
			s.Errorf("feed %q has %d events left, want 3", channel, n)
		}
	}
	r := s.create(sub) // the id and the key are free
	if r.Sequence != 1 {
		s.Errorf("sequence %d", r.Sequence)
	}
	if types := s.types("a"); len(types) != 1 {
		s.Errorf("events of the new request: %v", types)
	}
	if n := len(s.all(ownerChannel(alice), 0, 10)); n != 4 {
		s.Errorf("the feed has %d events, want 4", n)
	}
}

// gone checks that nothing of a request is left but in feeds.
func (s *suite) gone(id string) {
	s.Helper()
	if _, err := s.Get(s.ctx, id); !errors.Is(err, lifecycle.ErrNotFound) {
		s.Errorf("get %s: %v", id, err)
	}
	if _, err := s.Apply(s.ctx, id, lifecycle.Cancel{}); !errors.Is(err, lifecycle.ErrNotFound) {
		s.Errorf("apply to %s: %v", id, err)
	}
	for _, part := range []lifecycle.Part{lifecycle.Input, lifecycle.Output} {
		if _, err := s.Content(s.ctx, id, part); !errors.Is(err, lifecycle.ErrNotFound) {
			s.Errorf("content of %s: %v", id, err)
		}
	}
	if h, err := s.Read(s.ctx, requestChannel(id), 0, 10); err != nil || h.Top != 0 || len(h.Messages) != 0 {
		s.Errorf("channel of %s: %d events, top %d, %v", id, len(h.Messages), h.Top, err)
	}
	if _, err := s.Reset(s.ctx, requestChannel(id)); !errors.Is(err, lifecycle.ErrNotFound) {
		s.Errorf("reset of %s: %v", id, err)
	}
	page, err := s.List(s.ctx, lifecycle.Query{Owner: alice, Limit: 1000})
	if err != nil {
		s.Error(err)
	}
	for _, r := range page.Requests {
		if r.ID == id {
			s.Errorf("%s is listed", id)
		}
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
	check("SaveReply", s.SaveReply(ctx, alice, "k", lifecycle.Reply{}))
	_, err = s.Apply(ctx, "a", lifecycle.Start{})
	check("Apply", err)
	_, err = s.Get(ctx, "a")
	check("Get", err)
	_, err = s.Content(ctx, "a", lifecycle.Input)
	check("Content", err)
	_, err = s.List(ctx, lifecycle.Query{Owner: alice, Limit: 1})
	check("List", err)
	check("Delete", s.Delete(ctx, "b"))
	_, _, err = s.Sweep(ctx, 1)
	check("Sweep", err)
	for _, err = range s.Unfinished(ctx) {
		break
	}
	check("Unfinished", err)
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
	if _, err := s.Get(s.ctx, "new"); !errors.Is(err, lifecycle.ErrNotFound) {
		s.Errorf("the new one: %v", err)
	}
}
