package redis

import (
	"testing"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/servertest"
	store "github.com/hark-push/hark/store/redis"
)

// TestWanted: who has asked for as much as he has room for does not want what he is woken for, so
// that somebody else is.
func TestWanted(t *testing.T) {
	c := &class{routes: []string{"a"}, asleep: []bool{true}, consumers: []*consumer{{ctx: t.Context(), free: 2}}, asked: 2}
	b, p := &Broker{classes: []*class{c}}, new(part)
	if b.rouse(p, "a") {
		t.Error("it is wanted by one who has no room")
	}
	if c.asleep[0] || p.woken != 1 {
		t.Error("an answer that is on its way is believed")
	}
	if c.asked = 1; !b.rouse(p, "a") {
		t.Error("nobody wants it")
	}
}

// TestLook: what a process has without knowing it is looked for as soon as no script is under way,
// and a partition that answers is not taken for one that fails.
func TestLook(t *testing.T) {
	s, err := store.Open(t.Context(), servertest.Redis(t).URL, store.Options{Queue: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	b := New(s, []string{"a"}, Options{})
	defer func() { _ = b.Close() }()
	p := b.parts[0]
	// until waits for something that stands under the lock.
	until := func(condition func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
			b.mu.Lock()
			done := condition()
			b.mu.Unlock()
			if done {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal("not in time")
			}
		}
	}
	until(func() bool { return p.lease.begun })
	if _, err := b.queue.Put(t.Context(), store.Work{Route: "a", Request: lifecycle.Ref{ID: "1"}}, time.Time{}, false); err != nil {
		t.Fatal(err)
	}
	take := func() []store.Work {
		t.Helper()
		taken, err := b.queue.Take(t.Context(), 0, p.lease.name, b.name, nil, []store.Want{{Routes: []string{"a"}, Most: 1}})
		if err != nil {
			t.Fatal(err)
		}
		return taken[0].Work
	}
	if len(take()) != 1 {
		t.Fatal("it is not there")
	}
	b.mu.Lock()
	p.busy, p.failed = true, 3
	b.mu.Unlock()
	if _, err := b.tendOnce(p); err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	if !p.look || p.failed != 0 {
		t.Errorf("it will look: %v, %d failures", p.look, p.failed)
	}
	p.busy = false
	b.plan()
	b.mu.Unlock()
	until(func() bool { return !p.busy && !p.look })
	if len(take()) != 1 {
		t.Error("it was not given back")
	}
}

// TestDoneBefore: what was done under a lease that is lost is not told under the next one.
func TestDoneBefore(t *testing.T) {
	s, err := store.Open(t.Context(), servertest.Redis(t).URL, store.Options{Queue: true})
	if err != nil {
		t.Fatal(err)
	}
	b := New(s, []string{"a"}, Options{})
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	p := b.parts[0]
	for _, of := range []*lease{newLease("before", 0), p.lease} {
		b.take(p, of, 0, []string{"entry"}, nil)
		if kept := len(p.done) > 0; kept != (of == p.lease) {
			t.Errorf("of lease %s: kept: %v", of.name, kept)
		}
	}
	b.tasks.Wait()
}
