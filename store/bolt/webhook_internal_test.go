package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/webhook/dispatch"
)

func hook(id string, concurrency int) dispatch.Endpoint {
	return dispatch.Endpoint{ID: id, Owner: "alice", Status: dispatch.Active, Concurrency: concurrency, Coalesce: concurrency == 1}
}

func addHook(t *testing.T, s *Store, e dispatch.Endpoint) {
	t.Helper()
	if _, err := s.CreateEndpoint(t.Context(), e); err != nil {
		t.Fatal(err)
	}
}

// TestMigrationToWebhooks: a file from before webhooks opens with all that was in it.
func TestMigrationToWebhooks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hark.db")
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(t.Context(), request("a")); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s, path, func(tx *bolt.Tx) error { // version 1 is what is left
		for _, name := range append(slices.Clone(webhookBuckets), requestKeysBucket) {
			if err := tx.DeleteBucket(name); err != nil {
				return err
			}
		}
		if err := old3(tx); err != nil {
			return err
		}
		return tx.Bucket(metaBucket).Put(versionKey, binary.BigEndian.AppendUint64(nil, 1))
	})
	if r, err := s.Get(t.Context(), lifecycle.Named("a")); err != nil || r.Sequence != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	addHook(t, s, hook("e", 1))
	if _, err := s.Apply(t.Context(), lifecycle.Named("a"), lifecycle.Start{}); err != nil {
		t.Error(err)
	}
	s = reopen(t, s, path, func(*bolt.Tx) error { return nil })
	page, err := s.ListDeliveries(t.Context(), "alice", "e", dispatch.Query{Limit: 10})
	if err != nil || len(page.Deliveries) != 1 || page.Deliveries[0].ID != "a_2" {
		t.Errorf("%+v, %v", page, err)
	}
}

// checkWebhooks compares the indexes with the deliveries, and what is in memory with what would be
// read from the file. The writer is to call it.
func checkWebhooks(t *testing.T, s *Store) {
	t.Helper()
	if err := func(tx *bolt.Tx) error {
		fresh := &Store{journal: s.journal}
		if err := fresh.loadEndpoints(tx); err != nil {
			return err
		}
		if len(fresh.endpoints.byID) != len(s.endpoints.byID) || len(s.endpoints.schedule) != len(s.endpoints.byID) ||
			fresh.endpoints.unsettled != s.endpoints.unsettled {
			t.Errorf("%d endpoints in the file, %d in memory, %d are scheduled", len(fresh.endpoints.byID), len(s.endpoints.byID), len(s.endpoints.schedule))
		}
		bySerial := make(map[uint64]*endpoint)
		for id, e := range s.endpoints.byID {
			f := fresh.endpoints.byID[id]
			if f == nil || f.serial != e.serial || f.unsettled != e.unsettled || !reflect.DeepEqual(f.Endpoint, e.Endpoint) || !reflect.DeepEqual(f.storedHealth, e.storedHealth) {
				t.Errorf("endpoint in memory: %+v\nin the file: %+v", e, f)
			}
			bySerial[e.serial] = e
		}
		want := map[string]map[string]string{"due": {}, "lanes": {}, "settled": {}, "message-index": {}}
		heads := make(map[string]bool)
		count := make(map[string]uint64)
		err := tx.Bucket(deliveriesBucket).ForEach(func(key, value []byte) error {
			endpoint := positionOf(key[:8])
			d, err := s.delivery(key, value)
			if err != nil {
				return err
			}
			count[d.ID]++
			want["message-index"][string(messageKey(endpoint, d.ID))] = string(key[8:])
			e := bySerial[endpoint]
			if d.State != dispatch.Waiting {
				want["settled"][string(settledKey(d.Settled, endpoint, d.serial))] = ""
				return nil
			}
			lane := laneKey(endpoint, d.Lane, d.serial)
			want["lanes"][string(lane)] = ""
			head := !heads[string(lane[:len(lane)-8])] // deliveries come in their order
			heads[string(lane[:len(lane)-8])] = true
			if e == nil || head || !e.Ordered() {
				want["due"][string(dueKey(endpoint, d.Due, d.serial))] = ""
			}
			return nil
		})
		if err != nil {
			return err
		}
		for name, keys := range want {
			got := make(map[string]string)
			if err := tx.Bucket([]byte(name)).ForEach(func(key, value []byte) error {
				if e := bySerial[positionOf(key[:8])]; e != nil || name == "settled" || name == "message-index" {
					got[string(key)] = string(value)
				}
				return nil
			}); err != nil {
				return err
			}
			maps.DeleteFunc(keys, func(key, _ string) bool {
				return (name == "due" || name == "lanes") && bySerial[positionOf([]byte(key[:8]))] == nil
			})
			if !maps.Equal(got, keys) {
				t.Errorf("%s: %d entries, want %d: %x, want %x", name, len(got), len(keys), slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(keys)))
			}
		}
		return tx.Bucket(messagesBucket).ForEach(func(id, stored []byte) error {
			value, err := unseal(true, messagesBucket, id, stored)
			if err != nil {
				return err
			}
			if n := positionOf(value[8:]); n != count[string(id)] || tx.Bucket(eventsBucket).Get(value[:8]) == nil {
				t.Errorf("message %s has %d deliveries, want %d, or no event", id, n, count[string(id)])
			}
			delete(count, string(id))
			return nil
		})
	}(s.journal.tx); err != nil {
		t.Error(err)
	}
}

// TestWebhookIndexes does things at random, several to a commit, of which some fail, and checks
// that all indexes fit, that what failed has left nothing, and in the end that nothing is left at
// all.
func TestWebhookIndexes(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s, err := Open(filepath.Join(t.TempDir(), "hark.db"), Options{
		NoSync: true, Now: func() time.Time { return now }, FeedRetention: time.Hour, WebhookRetention: 5 * time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := t.Context()
	random := rand.New(rand.NewPCG(7, 8))
	names := []string{"one", "two", "many"}
	for i, name := range names {
		addHook(t, s, hook(name, []int{1, 2, 50}[i]))
	}
	broken := errors.New("the disk is gone")
	var claims []dispatch.Claim
	requests := 0
	act := func() func() error { // what it returns runs on another goroutine
		endpoint := names[random.IntN(len(names))]
		id := fmt.Sprintf("r%d", max(0, requests-random.IntN(5)))
		switch random.IntN(12) {
		case 0, 1:
			requests++
			sub := request(fmt.Sprintf("r%d", requests))
			if requests%3 == 0 {
				sub.Webhook = &lifecycle.Webhook{Endpoint: "once"}
			}
			return func() error { _, err := s.Create(ctx, sub); return err }
		case 2:
			return func() error { _, err := s.Apply(ctx, lifecycle.Named(id), lifecycle.Start{}); return err }
		case 3, 4:
			return func() error { _, err := s.Apply(ctx, lifecycle.Named(id), lifecycle.Progress{}); return err }
		case 5:
			return func() error { _, err := s.Apply(ctx, lifecycle.Named(id), lifecycle.Succeed{}); return err }
		case 6:
			once := hook("once", 3)
			once.OneOff = true
			return func() error { _, err := s.CreateEndpoint(ctx, once); return err }
		case 7:
			return func() error {
				if err := s.DeleteEndpoint(ctx, "alice", endpoint); err != nil {
					return err
				}
				_, err := s.CreateEndpoint(ctx, hook(endpoint, 2))
				return err
			}
		case 8:
			concurrency := 1 + random.IntN(3)
			return func() error {
				e, _, err := s.Endpoint(ctx, "alice", endpoint)
				if err == nil {
					e.Concurrency = concurrency
					_, err = s.UpdateEndpoint(ctx, e)
				}
				return err
			}
		case 9:
			message := fmt.Sprintf("%s_%d", id, 1+random.IntN(4))
			return func() error {
				err := s.Resend(ctx, "alice", endpoint, message)
				if errors.Is(err, dispatch.ErrNotFound) {
					_, err = s.Enqueue(ctx, "alice", endpoint, []dispatch.Message{{ID: message, Lane: id, Type: "request.progress", Body: []byte("x")}})
				}
				return err
			}
		default:
			if len(claims) == 0 {
				return func() error { return nil }
			}
			c := claims[random.IntN(len(claims))]
			state := []dispatch.State{dispatch.Delivered, dispatch.Delivered, dispatch.Dead, dispatch.Waiting}[random.IntN(4)]
			return func() error {
				_, err := s.Settle(ctx, c, dispatch.Outcome{State: state, After: time.Minute})
				return err
			}
		}
	}
	for round := range 300 {
		fails := round%4 == 3
		leases := func() map[string]map[uint64]lease {
			all := make(map[string]map[uint64]lease)
			for id, e := range s.endpoints.byID {
				all[id] = maps.Clone(e.leases)
			}
			return all
		}
		var before, after map[string]map[uint64]lease
		block, entered := make(chan struct{}), make(chan struct{})
		answers := make(chan error, 20)
		go func() {
			answers <- s.write(ctx, func(*batch) error { before = leases(); close(entered); <-block; return nil })
		}()
		<-entered
		queue := func(f func() error) {
			waiting := len(s.ops)
			go func() { answers <- f() }()
			for len(s.ops) == waiting {
				time.Sleep(10 * time.Microsecond)
			}
		}
		n := 1
		for range 5 {
			f := act()
			queue(func() error {
				f() // may be refused, or have nothing to do
				return s.write(ctx, func(*batch) error { return nil })
			})
			n++
		}
		claimed := make(chan []dispatch.Claim, 1)
		queue(func() error {
			got, _, err := s.Claim(ctx, 5, 10*time.Minute)
			claimed <- got
			if fails {
				return nil
			}
			return err
		})
		n++
		if fails {
			queue(func() error {
				if err := s.write(ctx, func(b *batch) error { b.err = broken; return nil }); !errors.Is(err, broken) {
					return fmt.Errorf("the commit went well: %w", err)
				}
				return nil
			})
			n++
		}
		close(block)
		for range n {
			if err := <-answers; err != nil && !errors.Is(err, broken) {
				t.Fatal(err)
			}
		}
		if err := s.write(ctx, func(*batch) error { checkWebhooks(t, s); after = leases(); return nil }); err != nil {
			t.Fatal(err)
		}
		if fails && !reflect.DeepEqual(before, after) {
			t.Errorf("a commit that failed left leases: %v, before %v", after, before)
		}
		claims = append(claims, <-claimed...)
		if len(claims) > 20 {
			claims = claims[10:]
		}
		now = now.Add(time.Minute)
		if round%50 == 49 {
			if _, err := s.Sweep(ctx, 100); err != nil {
				t.Fatal(err)
			}
		}
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
	for _, name := range names {
		if err := s.DeleteEndpoint(ctx, "alice", name); err != nil {
			t.Error(err)
		}
	}
	for range 5 {
		now = now.Add(20 * time.Hour)
		for more := true; more; { // what the one-off endpoint has
			claims, _, err := s.Claim(ctx, 1000, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range claims {
				if _, err := s.Settle(ctx, c, dispatch.Outcome{State: dispatch.Delivered}); err != nil {
					t.Fatal(err)
				}
			}
			more = len(claims) > 0
		}
		if _, err := s.Sweep(ctx, 1000); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.journal.view(func(tx *bolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
			if key, _ := b.Cursor().First(); key != nil && !bytes.Equal(name, metaBucket) && !bytes.Equal(key, floorKey) {
				t.Errorf("%s: %q is left", name, key)
			}
			return nil
		})
	}); err != nil {
		t.Error(err)
	}
}
