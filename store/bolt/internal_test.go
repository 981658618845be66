package bolt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/codec"
)

func request(id string) lifecycle.Submission {
	return lifecycle.Submission{ID: id, Owner: "alice", Route: "images", MaxAttempts: 1, Timeout: time.Hour, Retention: time.Hour}
}

// TestKeyOfNothing: a key that names a request which is not there, as one may that came from a
// damaged store, is free, and the file is consistent afterwards.
func TestKeyOfNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hark.db")
	s := openLogged(t, path)
	lost := lifecycle.Request{ID: "lost", Life: "0123456789"}
	keyed := request("new")
	keyed.Key = "k"
	if err := s.write(t.Context(), func(b *batch) error {
		b.bindKey(&keyed, &lost, nil)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if created, err := s.Create(t.Context(), keyed); err != nil || created.Existed {
		t.Errorf("%+v, %v", created, err)
	}
	keyed.ID = "again"
	if created, err := s.Create(t.Context(), keyed); err != nil || !created.Existed || created.Request.ID != "new" {
		t.Errorf("%+v, %v", created, err)
	}
	openLogged(t, crash(t, path))
}

func TestMigration(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hark.db")
	open1, err := open(path, Options{}, migrations)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open1.Create(t.Context(), request("a")); err != nil {
		t.Fatal(err)
	}
	open1.Close()

	ran := 0
	step := func(tx *bolt.Tx) error {
		ran++
		_, err := tx.CreateBucket([]byte("new"))
		return err
	}
	failing := func(*bolt.Tx) error { return errors.New("no way") }
	if _, err := open(path, Options{}, append(slices.Clip(migrations), step, failing)); err == nil || !strings.Contains(err.Error(), "no way") {
		t.Fatalf("a step that fails: %v", err)
	}
	newer := append(slices.Clip(migrations), step)
	for range 2 { // the failed one left nothing behind; the second time there is nothing to do
		s, err := open(path, Options{}, newer)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(t.Context(), lifecycle.Named("a")); err != nil {
			t.Error(err)
		}
		s.Close()
	}
	if ran != 2 {
		t.Errorf("the step ran %d times", ran)
	}

	_, err = Open(path, Options{})
	want := fmt.Sprintf("version %d, this program knows up to version %d", len(newer), len(migrations))
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
		t.Errorf("a newer layout: %v", err)
	}
}

// reopen closes a store, changes its file, and opens it until the test ends.
func reopen(t *testing.T, s *Store, path string, change func(*bolt.Tx) error) *Store {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(change), db.Close()); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(path, Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestMigrationFromJSON: what a file of version 3 holds as JSON is read, and gone on with.
func TestMigrationFromJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hark.db")
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	sub := request("a")
	sub.Topic, sub.Headers = "cats", map[string]string{"Traceparent": "x"}
	if _, err := s.Create(t.Context(), sub); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(t.Context(), lifecycle.Named("a"), lifecycle.Start{}); err != nil {
		t.Fatal(err)
	}
	read := func() hub.History {
		t.Helper()
		h, err := wire.Source(s).Read(t.Context(), "request:a", 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		for i := range h.Messages {
			// The time of the event itself is more exact than that of its text.
			h.Messages[i].About, h.Messages[i].Thin = nil, nil
		}
		return h
	}
	before := read()
	if len(before.Messages) != 2 || !strings.Contains(string(before.Messages[0].Event), `"position":0`) {
		t.Fatalf("%+v", before)
	}
	s = reopen(t, s, path, func(tx *bolt.Tx) error {
		r, err := s.readRecord(tx, lifecycle.Named("a"))
		if err != nil {
			return err
		}
		old, err := json.Marshal(r)
		if err != nil {
			return err
		}
		events, i := tx.Bucket(eventsBucket), 0
		for _, at := range r.Positions.all() {
			value := bytes.Clone(events.Get(position(nil, at))[sealSize:][:eventHeader])
			value[eventRefs] &^= eventCompact
			if err := events.Put(position(nil, at), append(value, before.Messages[i].Event...)); err != nil {
				return err
			}
			i++
		}
		return errors.Join(
			tx.DeleteBucket(requestKeysBucket),
			tx.Bucket(requestsBucket).Put([]byte("a"), append([]byte(codec.StatusLetter(r.Status)), old...)),
			old3(tx),
		)
	})
	if h := read(); !reflect.DeepEqual(h, before) {
		t.Errorf("%+v, want %+v", h, before)
	}
	if _, err := s.Apply(t.Context(), lifecycle.Named("a"), lifecycle.Succeed{}); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Get(t.Context(), lifecycle.Named("a")); err != nil || r.Status != lifecycle.Succeeded || r.Headers["Traceparent"] != "x" || r.Topic != "cats" {
		t.Errorf("%+v, %v", r, err)
	}
	if h := read(); len(h.Messages) != 3 || !h.Messages[2].Last || !reflect.DeepEqual(h.Messages[:2], before.Messages) {
		t.Errorf("%+v", h)
	}
}

// old3 takes out of a file what layout 3 did not have.
func old3(tx *bolt.Tx) error {
	meta := tx.Bucket(metaBucket)
	for _, key := range [][]byte{generationKey, stateKey, sealedKey} {
		if err := meta.Delete(key); err != nil {
			return err
		}
	}
	return errors.Join(
		withoutStreams(tx), tx.DeleteBucket(piecesBucket), tx.DeleteBucket(deadBucket), tx.DeleteBucket(madeBucket), meta.Put(versionKey, position(nil, 3)),
	)
}

// FuzzStored: whatever is taken for a record or an event is one.
func FuzzStored(f *testing.F) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := record{
		Request: lifecycle.Request{ID: "a", Route: "images", Status: lifecycle.Pending, Sequence: 3, CreatedAt: now, Position: new(12)},
		Serial:  7, Ticket: 9, Due: now.UnixNano(), Positions: eventPositions{Oldest: 1, Newest: 5, Steps: []byte{5, 1}},
	}
	f.Add(r.append(nil))
	f.Add(appendEvent(nil, &r.Request, 0, lifecycle.EventRetrying, now, 2))
	f.Add(append(appendEventHeader(nil, now, 2), "{}"...))
	f.Add([]byte(`p{"id":"a"}`))
	r.Result, r.outOfLine = &lifecycle.Result{}, compacted
	f.Add(r.append(nil))
	f.Add(appendEvent(nil, &r.Request, compacted, lifecycle.EventSucceeded, now, 2))
	s := new(Store)
	f.Fuzz(func(t *testing.T, value []byte) {
		if r, err := decodeRecord("a", value); err == nil && value[1] == 0 && r.Status != "" && !(r.Percent != nil && *r.Percent != *r.Percent) {
			if again, err := decodeRecord("a", r.append(nil)); err != nil || !reflect.DeepEqual(r, again) {
				t.Errorf("%+v became %+v, %v", r, again, err)
			}
		}
		var event storedEvent
		if err := event.decode(value, nil); err == nil && event.outOfLine == 0 {
			if told, err := s.told(nil, &event); err != nil || text(told) == "" {
				t.Errorf("%q became nothing, %v", value, err)
			}
		}
	})
}

// TestFailedCommit: when the database fails, nobody's change is made, on disk or in memory.
func TestFailedCommit(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "hark.db"), Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := t.Context()
	for _, id := range []string{"a", "b", "c"} {
		if _, err := s.Create(ctx, request(id)); err != nil {
			t.Fatal(err)
		}
	}
	broken := errors.New("the disk is gone")
	block, entered := make(chan struct{}), make(chan struct{})
	answers := make(chan error, 10)
	// The first occupies the writer, so that the others share one batch.
	go func() {
		answers <- s.write(ctx, func(*batch) error { close(entered); <-block; return nil })
	}()
	<-entered
	enqueue := func(op func() error) {
		before := len(s.ops)
		go func() { answers <- op() }()
		for len(s.ops) == before {
			time.Sleep(time.Millisecond)
		}
	}
	enqueue(func() error { _, err := s.Apply(ctx, lifecycle.Named("a"), lifecycle.Start{}); return err })
	enqueue(func() error { _, err := s.Create(ctx, request("d")); return err })
	enqueue(func() error { return s.write(ctx, func(b *batch) error { b.err = broken; return nil }) })
	canceled, cancel := context.WithCancel(ctx)
	enqueue(func() error { _, err := s.Apply(canceled, lifecycle.Named("b"), lifecycle.Cancel{}); return err })
	cancel()
	if err := <-answers; !errors.Is(err, context.Canceled) { // before the writer took it
		t.Errorf("canceled while queued: %v", err)
	}
	close(block)
	// The first is, unless the batch before it was still in flight, so that it is in one with the
	// others.
	well := 0
	for range 4 {
		if err := <-answers; err == nil {
			well++
		} else if !errors.Is(err, lifecycle.ErrUnavailable) || !errors.Is(err, broken) {
			t.Errorf("%v", err)
		}
	}
	if well > 1 {
		t.Errorf("%d went well", well)
	}
	for i, id := range []string{"a", "b", "c"} {
		r, err := s.Get(ctx, lifecycle.Named(id))
		if err != nil || r.Status != lifecycle.Pending || r.Position == nil || *r.Position != i {
			t.Errorf("%s: %+v, %v", id, r, err)
		}
	}
	if _, err := s.Get(ctx, lifecycle.Named("d")); !errors.Is(err, lifecycle.ErrNotFound) {
		t.Errorf("d: %v", err)
	}
	// And all goes on without a gap.
	if r, err := s.Apply(ctx, lifecycle.Named("a"), lifecycle.Start{}); err != nil || r.Sequence != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	if h, err := s.Read(ctx, "owner:alice", 0, 10); err != nil || h.Top != 4 || len(h.Messages) != 4 {
		t.Errorf("feed: top %d, %d messages, %v", h.Top, len(h.Messages), err)
	}
	// A panic in an operation is its batch's error.
	if err := s.write(ctx, func(*batch) error { panic("oops") }); !errors.Is(err, lifecycle.ErrUnavailable) {
		t.Errorf("panic: %v", err)
	}
	if _, err := s.Apply(ctx, lifecycle.Named("b"), lifecycle.Cancel{}); err != nil {
		t.Error(err)
	}
}

// TestNothingIsLeft: when all is forgotten and aged, every bucket is empty but for
// the tops of feeds.
func TestNothingIsLeft(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s, err := Open(filepath.Join(t.TempDir(), "hark.db"), Options{
		NoSync: true, Now: func() time.Time { return now }, History: 8, FeedHistory: 16, FeedRetention: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := t.Context()
	for i := range 20 {
		sub := request(fmt.Sprintf("r%d", i))
		sub.Key, sub.Topic, sub.Retention = sub.ID, []string{"", "t"}[i%2], []time.Duration{time.Minute, 5 * time.Hour}[i%2]
		if _, err := s.Create(ctx, sub); err != nil {
			t.Fatal(err)
		}
		changes := []lifecycle.Change{lifecycle.Start{}, lifecycle.Release{}, lifecycle.Start{Redelivered: true}, lifecycle.Progress{Extend: 2 * time.Hour}}
		for range i {
			changes = append(changes, lifecycle.Progress{})
		}
		if i%3 == 0 { // the others run out of time
			changes = append(changes, lifecycle.Succeed{Result: &lifecycle.Content{Data: []byte("x")}})
		}
		for _, c := range changes {
			if _, err := s.Apply(ctx, lifecycle.Named(sub.ID), c); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 4 { // requests go before what they put into feeds, and after it
		now = now.Add(150 * time.Minute)
		if _, err := s.Sweep(ctx, 1000); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.journal.view(func(tx *bolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
			keys := 0
			_ = b.ForEach(func(_, _ []byte) error { keys++; return nil })
			// One number for all feeds, and how fast the route has worked.
			if want := map[string]int{"meta": 7, "kept": 2}[string(name)]; keys != want {
				t.Errorf("%s: %d keys, want %d", name, keys, want)
			}
			return nil
		})
	}); err != nil {
		t.Error(err)
	}
	if s.unfinished != 0 || len(s.live.records) != 0 {
		t.Errorf("%d unfinished, %d in the cache", s.unfinished, len(s.live.records))
	}
}

// TestCacheIsClearedWhenIdle: an idle store holds nothing of what waits in it, and goes on with it.
func TestCacheIsClearedWhenIdle(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "hark.db"), Options{CheckpointAfter: time.Millisecond, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	cached := func() int {
		s.live.mu.RLock()
		defer s.live.mu.RUnlock()
		return len(s.live.records)
	}
	if _, err := s.Create(t.Context(), request("a")); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(3 * time.Minute); cached() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d in the cache", cached())
		}
	}
	r, err := s.Apply(t.Context(), lifecycle.Named("a"), lifecycle.Start{})
	if err != nil || r.Status != lifecycle.Processing || r.Attempt != 1 {
		t.Errorf("%+v %v", r, err)
	}
}

func TestEventPositions(t *testing.T) {
	var want []uint64
	tr := eventPositions{Oldest: 1}
	for i := range uint64(300) {
		want = append(want, i*i*i+1)
		tr.add(want[i])
	}
	for _, oldest := range []uint64{1, 2, 250, 300} {
		cut := tr.from(oldest)
		cut.add(1 << 40)
		next := oldest
		for sequence, position := range cut.all() {
			if sequence != next || sequence <= 300 && position != want[sequence-1] || sequence == 301 && position != 1<<40 {
				t.Fatalf("from %d: %d at %d", oldest, sequence, position)
			}
			next++
		}
		if next != 302 {
			t.Errorf("from %d: up to %d", oldest, next)
		}
	}
}

// TestPositions compares with plain sets.
func TestPositions(t *testing.T) {
	var p positions
	random := rand.New(rand.NewPCG(3, 4))
	in := [levels]map[uint64]bool{}
	for i := range in {
		in[i] = map[uint64]bool{}
	}
	for range 20_000 {
		priority, ticket := random.IntN(levels), random.Uint64N(50_000)
		if random.IntN(2) == 0 {
			p.add("r", priority, ticket)
			in[priority][ticket] = true
		} else {
			p.remove("r", priority, ticket)
			delete(in[priority], ticket)
		}
	}
	for range 100 {
		priority, ticket := random.IntN(levels), random.Uint64N(50_000)
		want := 0
		for i := priority; i < levels; i++ {
			for other := range in[i] {
				if i > priority || other < ticket {
					want++
				}
			}
		}
		if got := p.ahead("r", priority, ticket); got != want {
			t.Errorf("ahead of %d at %d: %d, want %d", ticket, priority, got, want)
		}
	}
	if p.ahead("unknown", 0, 7) != 0 {
		t.Error("an unknown route has something ahead")
	}
}

func FuzzCursor(f *testing.F) {
	f.Add("alice", formatCursor("alice", 1))
	f.Add("alice", formatCursor("alice", 1<<63))
	f.Add("alice", formatCursor("alice", 1)+"\n")
	f.Add("bob", "")
	f.Add("", "AAAA")
	f.Fuzz(func(t *testing.T, owner, cursor string) {
		serial, ok := parseCursor(owner, cursor)
		if ok && formatCursor(owner, serial) != cursor {
			t.Errorf("%q is not the cursor of %d", cursor, serial)
		}
		formatted := formatCursor(owner, serial)
		if again, ok := parseCursor(owner, formatted); !ok || again != serial {
			t.Errorf("%q does not parse", formatted)
		}
	})
}

func BenchmarkPosition(b *testing.B) {
	var p positions
	for ticket := range uint64(100_000) {
		p.add("r", int(ticket%3), ticket)
	}
	b.ReportAllocs()
	for b.Loop() {
		p.ahead("r", 0, 99_999)
	}
}

// TestRecord: what a record is stored as is read back as the same, whatever of it is there.
func TestRecord(t *testing.T) {
	now := time.Unix(1e9, 1000).UTC()
	for n := range 16 {
		r := &record{
			Request: lifecycle.Request{ID: "a", Owner: "alice", Route: "images", Status: lifecycle.Processing, Sequence: 3, CreatedAt: now, UpdatedAt: now, ExpiresAt: now},
			Serial:  1 << 60, Due: 1 << 62, Positions: eventPositions{Oldest: 1},
		}
		if n&1 != 0 {
			r.Ticket = 1<<64 - 1
		}
		if n&2 != 0 {
			r.Positions.Newest = 1 << 63
			r.Positions.Steps = []byte{0xff, 0x00, 0x80, 0xfe, 0x01}
		}
		if n&4 != 0 {
			r.Result = &lifecycle.Result{Value: []byte(`"}"`)}
		}
		if n&8 != 0 {
			r.Key = `}`
		}
		value := r.append(nil)
		got, err := decodeRecord("a", value)
		if err != nil {
			t.Fatalf("%v: %s", err, value)
		}
		// It may be nil or empty.
		got.Positions.Steps = append(r.Positions.Steps[:0:0], got.Positions.Steps...)
		if !reflect.DeepEqual(got, r) || value[0] != 'r' {
			t.Errorf("%s is read as\n%+v, want\n%+v", value, got, r)
		}
	}
}
