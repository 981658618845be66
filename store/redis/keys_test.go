package redis

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/servertest"
	"github.com/hark-push/hark/store/codec"
)

// apart returns a submission whose key lives in another partition than its id.
func apart(s *Store, key string, from int) lifecycle.Submission {
	for i := from; ; i++ {
		sub := lifecycle.Submission{
			ID: fmt.Sprint("r", i), Owner: "alice", Route: "images", MaxAttempts: 1, Timeout: time.Hour, Retention: time.Hour,
			Fingerprint: "f", Key: key, KeyLock: time.Minute,
		}
		if s.partition(sub.ID) != s.partition(digest(sub.Owner, key)) {
			return sub
		}
	}
}

// TestClaimOfTheDead: whoever claimed a key and died, or is so slow that its claim was
// taken over, creates nothing any more.
func TestClaimOfTheDead(t *testing.T) {
	server := servertest.Redis(t)
	ctx := t.Context()
	s, err := Open(ctx, server.URL, Options{Partitions: 8})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	slow := apart(s, "k", 0)
	c := creation{s: s, sub: &slow, partition: s.partition(slow.ID), digest: digest(slow.Owner, slow.Key)}
	token := newToken()
	if known, err := c.claim(ctx, token); known != nil || err != nil {
		t.Fatal(known, err)
	}
	quick := apart(s, "k", 1000)
	if _, err := s.Create(ctx, quick); !errors.Is(err, lifecycle.ErrKeyInProgress) {
		t.Errorf("while it is claimed: %v", err)
	}
	other := quick
	other.Fingerprint = "another"
	if _, err := s.Create(ctx, other); !errors.Is(err, lifecycle.ErrKeyReused) {
		t.Errorf("another body while it is claimed: %v", err)
	}
	s.Advance(2 * time.Minute)
	if created, err := s.Create(ctx, quick); err != nil || created.Existed {
		t.Fatalf("after the lock: %+v, %v", created, err)
	}
	if _, err := c.store(ctx, token); !errors.Is(err, errConflict) {
		t.Errorf("the slow one: %v", err)
	}
	if _, err := s.Get(ctx, lifecycle.Named(slow.ID)); !errors.Is(err, lifecycle.ErrNotFound) {
		t.Errorf("the slow one's request: %v", err)
	}
	// Told so, it tries again and finds the quick one's.
	if _, err := s.Create(ctx, slow); !errors.Is(err, lifecycle.ErrKeyInProgress) {
		t.Errorf("the slow one again: %v", err)
	}

	// A creation that happened while the claimant's answer was lost is found.
	late := apart(s, "late", 0)
	c = creation{s: s, sub: &late, partition: s.partition(late.ID), digest: digest(late.Owner, late.Key)}
	token = newToken()
	if _, err := c.claim(ctx, token); err != nil {
		t.Fatal(err)
	}
	if _, err := c.store(ctx, token); err != nil {
		t.Fatal(err)
	}
	s.Advance(2 * time.Minute)
	if again, err := s.Create(ctx, apart(s, "late", 1000)); err != nil || !again.Existed || again.Request.ID != late.ID {
		t.Errorf("%+v, %v", again, err)
	}

	// A request that could not be created frees its key.
	taken := apart(s, "taken", 0)
	taken.ID = quick.ID
	for n := 0; s.partition(taken.ID) == s.partition(digest("alice", taken.Key)); n++ {
		taken.Key = fmt.Sprint("taken", n)
	}
	taken.Fingerprint = "another"
	if _, err := s.Create(ctx, taken); !errors.Is(err, lifecycle.ErrIDTaken) {
		t.Errorf("a taken id: %v", err)
	}
	taken.ID = apart(s, taken.Key, 5000).ID
	if created, err := s.Create(ctx, taken); err != nil || created.Existed {
		t.Errorf("its key: %+v, %v", created, err)
	}
}

func FuzzCursor(f *testing.F) {
	f.Add("alice", formatCursor("alice", place{1, 0}))
	f.Add("alice", formatCursor("alice", place{1 << 53, 1023}))
	f.Add("alice", "\n"+formatCursor("alice", place{1, 0}))
	f.Add("bob", "")
	f.Add("", "AAAA")
	f.Fuzz(func(t *testing.T, owner, cursor string) {
		p, ok := parseCursor(owner, cursor)
		if ok && formatCursor(owner, p) != cursor {
			t.Errorf("%q is not the cursor of %v", cursor, p)
		}
		if again, ok := parseCursor(owner, formatCursor(owner, p)); !ok || again != p {
			t.Errorf("%v does not come back", p)
		}
	})
}

// FuzzDecodeEvent: whatever is taken for an event is one, and is its request's record, too.
func FuzzDecodeEvent(f *testing.F) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := record{
		Request: lifecycle.Request{ID: "r1", Route: "images", Status: lifecycle.Pending, Topic: "cats", Sequence: 3, CreatedAt: now, Position: new(12)},
		token:   "0123456789abcdef", ticket: "0000000000000001", serial: "0000000000000002", queue: "images\x009", event: lifecycle.EventRetrying,
	}
	f.Add(string(r.append(nil)))
	f.Add("0123456789abcdefp00000000000000010000000000000002images\x009\n{}")
	f.Add(string(wire.AppendEvent(nil, &r.Request, r.event)))
	f.Add("")
	f.Fuzz(func(t *testing.T, value string) {
		e, err := decodeEvent(value)
		if err != nil {
			return
		}
		if s, ok := codec.ParseEvent(wire.JSON(e.Event)); ok && !strings.HasPrefix(value, "{") {
			if r, err := decodeRecord(s.Request.ID, value); err != nil || r.Sequence != s.Sequence || r.event != s.Type || r.Position != nil {
				t.Errorf("%q is the event %+v and the record %+v, %v", value, s, r, err)
			}
		}
	})
}

// TestEventLetters: scripts know the same letters.
func TestEventLetters(t *testing.T) {
	for letter := range 256 {
		event := codec.EventType(byte(letter))
		if entry := fmt.Sprintf("%c = '%s'", letter, event); event != "" && !strings.Contains(deliveriesScript, entry) {
			t.Errorf("deliveries.lua has no %s", entry)
		}
	}
}
