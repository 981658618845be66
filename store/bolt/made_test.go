package bolt

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/lifecycle"
)

// TestMadeOfOlderFile: what is in a file of the version before is in the list of everybody's when
// it is opened, whether that was killed half-way through it or not; and one call goes through so
// many, and no more.
func TestMadeOfOlderFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hark.db")
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s, err := Open(path, Options{NoSync: true, Now: func() time.Time { now = now.Add(time.Millisecond); return now }})
	if err != nil {
		t.Fatal(err)
	}
	const requests = 2*indexStep + 10
	var want []string // of route b, the newest first
	for i := range requests {
		sub := request(fmt.Sprintf("r%05d", i))
		sub.Owner, sub.Route = fmt.Sprint("owner-", i%7), []string{"a", "b"}[i%2]
		if i == 0 {
			sub.Topic = "rare"
		}
		if _, err := s.Create(t.Context(), sub); err != nil {
			t.Fatal(err)
		}
		if i%2 == 1 {
			want = slices.Insert(want, 0, sub.ID)
		}
	}
	check := func(what string) {
		t.Helper()
		var got []string
		for q := (lifecycle.Query{All: true, Route: "b", Limit: 500}); ; {
			page, err := s.List(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page.Requests {
				got = append(got, r.ID)
			}
			if q.Cursor = page.Next; q.Cursor == "" {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %d listed, want %d", what, len(got), len(want))
		}
		// The last one of all.
		for q, pages := (lifecycle.Query{All: true, Topic: "rare", Limit: 500}), 0; ; pages++ {
			page, err := s.List(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if q.Cursor = page.Next; q.Cursor == "" {
				if len(page.Requests) != 1 || page.Requests[0].ID != "r00000" || pages != (requests-1)/maxScanned {
					t.Errorf("%s: %v on page %d", what, page.Requests, pages)
				}
				break
			}
			if len(page.Requests) != 0 {
				t.Errorf("%s: %v on page %d", what, page.Requests, pages)
			}
		}
	}
	check("this version")
	s = reopen(t, s, path, func(tx *bolt.Tx) error {
		return errors.Join(withoutStreams(tx), tx.DeleteBucket(madeBucket), tx.Bucket(metaBucket).Put(versionKey, position(nil, madeSince-1)))
	})
	check("an older file")
	s = reopen(t, s, path, func(tx *bolt.Tx) error { // as if it had not come far
		r, err := s.readRecord(tx, lifecycle.Named("r00001"))
		if err != nil {
			return err
		}
		return errors.Join(tx.Bucket(madeBucket).Delete(madeKey(r)), tx.Bucket(keptBucket).Put(unmade, withSeal(keptBucket, unmade, nil)))
	})
	check("half an index")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Check(path, func(err error) { t.Error(err) }); err != nil {
		t.Error(err)
	}
}

// TestMadeIndexIsHeldAgainstRecords: a file whose list of everybody's lacks a request, has one
// more, or another topic, is not opened.
func TestMadeIndexIsHeldAgainstRecords(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(made *bolt.Bucket, key []byte) error
	}{
		{"one less", func(made *bolt.Bucket, key []byte) error { return made.Delete(key) }},
		{"one more", func(made *bolt.Bucket, _ []byte) error { return made.Put([]byte("images\x0012345678another"), nil) }},
		{"another topic", func(made *bolt.Bucket, key []byte) error { return made.Put(key, []byte("other")) }},
	} {
		path := filepath.Join(t.TempDir(), "hark.db")
		s, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Create(t.Context(), request("a")); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		db, err := bolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(db.Update(func(tx *bolt.Tx) error {
			made := tx.Bucket(madeBucket)
			key, _ := made.Cursor().First()
			return test.change(made, key)
		}), db.Close()); err != nil {
			t.Fatal(err)
		}
		if s, err := Open(path, Options{}); err == nil {
			t.Errorf("%s: it is opened", test.name)
			_ = s.Close()
		}
	}
}
