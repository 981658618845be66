package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/lifecycle"
)

// TestDeadOfOlderFile: what has failed in a file of the version before is in the index when it is
// opened, whether that was killed half-way through it or not.
func TestDeadOfOlderFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hark.db")
	s, err := Open(path, Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	const requests = indexStep + 10
	failed := make(map[string]int)
	for i := range requests {
		sub := request(fmt.Sprintf("r%05d", i))
		sub.Route = []string{"a", "b"}[i%2]
		if _, err := s.Create(t.Context(), sub); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Apply(t.Context(), lifecycle.Named(sub.ID), lifecycle.Start{}); err != nil {
			t.Fatal(err)
		}
		var end lifecycle.Change = lifecycle.Succeed{}
		if i%10 < 3 {
			end = lifecycle.Fail{}
			failed[sub.Route]++
		}
		if _, err := s.Apply(t.Context(), lifecycle.Named(sub.ID), end); err != nil {
			t.Fatal(err)
		}
	}
	want := func(what string) {
		t.Helper()
		routes, err := s.DeadRoutes(t.Context(), "", 10)
		got := make(map[string]int)
		for _, r := range routes {
			got[r.Route] = int(r.Requests)
		}
		if err != nil || !maps.Equal(got, failed) {
			t.Errorf("%s: %v, %v, want %v", what, got, err, failed)
		}
		page, err := s.DeadRequests(t.Context(), lifecycle.DeadQuery{Route: "a", Oldest: true, Limit: 2})
		if err != nil || len(page.Requests) != 2 || page.Requests[0].ID != "r00000" || page.Requests[1].ID != "r00002" {
			t.Errorf("%s: %+v, %v", what, page, err)
		}
	}
	s = reopen(t, s, path, func(tx *bolt.Tx) error {
		kept := tx.Bucket(keptBucket)
		return errors.Join(
			withoutStreams(tx), tx.DeleteBucket(deadBucket), tx.DeleteBucket(madeBucket), kept.Delete(deadCount("a")), kept.Delete(deadCount("b")),
			tx.Bucket(metaBucket).Put(versionKey, position(nil, deadSince-1)),
		)
	})
	want("an older file")
	s = reopen(t, s, path, func(tx *bolt.Tx) error { // as if it had not come far
		r, err := s.readRecord(tx, lifecycle.Named("r00001"))
		if err != nil {
			return err
		}
		count := withSeal(keptBucket, deadCount("b"), binary.AppendUvarint(nil, uint64(failed["b"]-1)))
		return errors.Join(
			tx.Bucket(deadBucket).Delete(deadKey(r)), tx.Bucket(keptBucket).Put(deadCount("b"), count),
			tx.Bucket(keptBucket).Put(unindexed, withSeal(keptBucket, unindexed, nil)),
		)
	})
	want("half an index")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Check(path, func(err error) { t.Error(err) }); err != nil {
		t.Error(err)
	}
}

// TestDeadIndexIsHeldAgainstRecords: a file whose index lacks what has failed, or has more, is not
// opened.
func TestDeadIndexIsHeldAgainstRecords(t *testing.T) {
	for _, less := range []bool{true, false} {
		path := filepath.Join(t.TempDir(), "hark.db")
		s, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Create(t.Context(), request("a")); err != nil {
			t.Fatal(err)
		}
		for _, c := range []lifecycle.Change{lifecycle.Start{}, lifecycle.Fail{}} {
			if _, err := s.Apply(t.Context(), lifecycle.Named("a"), c); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		db, err := bolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(db.Update(func(tx *bolt.Tx) error {
			dead := tx.Bucket(deadBucket)
			if key, _ := dead.Cursor().First(); less {
				return dead.Delete(key)
			}
			return dead.Put([]byte("images\x0012345678another"), nil)
		}), db.Close()); err != nil {
			t.Fatal(err)
		}
		if s, err := Open(path, Options{}); err == nil {
			t.Errorf("it is opened, less: %v", less)
			_ = s.Close()
		}
	}
}
