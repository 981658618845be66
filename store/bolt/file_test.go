package bolt_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	bbolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/bolt"
	"github.com/hark-push/hark/webhook/dispatch"
)

func TestOneProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hark.db")
	open(t, path, bolt.Options{})
	_, err := bolt.Open(path, bolt.Options{})
	if err == nil || !strings.Contains(err.Error(), "in use by another process") || !strings.Contains(err.Error(), path) {
		t.Errorf("%v", err)
	}
}

func TestModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no file modes")
	}
	path := filepath.Join(t.TempDir(), "a", "b", "hark.db")
	open(t, path, bolt.Options{})
	for name, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700 | os.ModeDir} {
		info, err := os.Stat(name)
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
}

// TestNoStore: what is no store of ours is refused, named, and left as it is.
func TestNoStore(t *testing.T) {
	dir := t.TempDir()
	foreign := filepath.Join(dir, "foreign.db")
	db, err := bbolt.Open(foreign, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket([]byte("somebody else's"))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	db.Close()
	text := filepath.Join(dir, "notes.txt")
	if err := os.WriteFile(text, bytes.Repeat([]byte("not a database\n"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{foreign, text} {
		before, _ := os.ReadFile(path)
		_, err := bolt.Open(path, bolt.Options{})
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "not a Hark store") {
			t.Errorf("%s: %v", path, err)
		}
		if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
			t.Errorf("%s was changed", path)
		}
	}
}

// TestDamaged: a file with damaged pages gives an error, not a crash.
func TestDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hark.db")
	s := open(t, path, bolt.Options{NoSync: true})
	for i := range 200 {
		if _, err := s.Create(t.Context(), submission(fmt.Sprintf("r%d", i))); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const meta = 2 * 16 << 10 // the meta pages
	damaged := bytes.Clone(whole)
	rand.Read(damaged[meta:])
	metas := bytes.Clone(whole)
	rand.Read(metas[:meta])
	for name, content := range map[string][]byte{"pages": damaged, "metas": metas, "cut": whole[:len(whole)/4]} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := bolt.Open(path, bolt.Options{})
		if err == nil {
			s.Close()
			t.Errorf("%s: no error", name)
		} else if !strings.Contains(err.Error(), "damaged") || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestClosed: everything fails cleanly, also what waits.
func TestClosed(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "hark.db"), bolt.Options{NoSync: true})
	var done atomic.Int32
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := 0; ; i++ {
				if _, err := s.Create(context.Background(), submission(fmt.Sprintf("r%d-%d", w, i))); err != nil {
					if !errors.Is(err, lifecycle.ErrUnavailable) {
						t.Error(err)
					}
					return
				}
				if done.Add(1) == 500 {
					go s.Close()
				}
			}
		})
	}
	wg.Wait()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	_, err := s.Get(t.Context(), lifecycle.Named("r0-0"))
	if !errors.Is(err, lifecycle.ErrUnavailable) {
		t.Errorf("get: %v", err)
	}
	if _, err := s.Read(t.Context(), "owner:alice", 0, 1); !errors.Is(err, lifecycle.ErrUnavailable) {
		t.Errorf("read: %v", err)
	}
}

// TestPageSizes: a file keeps the pages that it was made with, and is used whatever bound there is
// later.
func TestPageSizes(t *testing.T) {
	for _, made := range []int{0, 64 << 20} {
		path := filepath.Join(t.TempDir(), "hark.db")
		want := 0
		for i, most := range []int{made, 0, 64 << 20} {
			s := open(t, path, bolt.Options{MaxSize: most, NoSync: true})
			for n := range 100 {
				if _, err := s.Create(t.Context(), submission(fmt.Sprintf("r%d-%d", i, n))); err != nil {
					t.Fatal(err)
				}
			}
			s.Close()
			db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
			if err != nil {
				t.Fatal(err)
			}
			size := db.Info().PageSize
			if db.Close(); i == 0 {
				want = size
			}
			if size != want || (made == 0) != (size == 16<<10) && os.Getpagesize() != 16<<10 {
				t.Errorf("pages of %d bytes, made with a bound of %d, opened with %d", size, made, most)
			}
		}
	}
}

// TestFull: a file at its maximum size refuses new work, lets what is there end
// and be forgotten, and takes new work again.
func TestFull(t *testing.T) {
	const most = 4 << 20
	path := filepath.Join(t.TempDir(), "hark.db")
	clock := newClock()
	s := open(t, path, bolt.Options{MaxSize: most, NoSync: true, Now: clock.Now})
	body := make([]byte, 20_000)
	for round := range 3 {
		var created []string
		for i := 0; ; i++ {
			sub := submission(fmt.Sprintf("r%d-%d", round, i))
			sub.Content.Data = body
			_, err := s.Create(t.Context(), sub)
			if errors.Is(err, lifecycle.ErrUnavailable) {
				if _, err := s.Get(t.Context(), lifecycle.Named(sub.ID)); !errors.Is(err, lifecycle.ErrNotFound) {
					t.Errorf("the refused request is there: %v", err)
				}
				break
			}
			if err != nil || i > 1000 {
				t.Fatal(i, err)
			}
			created = append(created, sub.ID)
		}
		if len(created) < 50 {
			t.Errorf("round %d: only %d requests fit", round, len(created))
		}
		top := uint64(0)
		for _, id := range created {
			r, err := s.Get(t.Context(), lifecycle.Named(id))
			if err != nil || r.Sequence != 1 {
				t.Fatalf("%s: %+v, %v", id, r, err)
			}
			if r, err = s.Apply(t.Context(), lifecycle.Named(id), lifecycle.Cancel{}); err != nil {
				t.Fatal(err)
			}
			top = r.Sequence
		}
		if top != 2 {
			t.Errorf("top %d", top)
		}
		for _, id := range created {
			if err := s.Delete(t.Context(), lifecycle.Named(id)); err != nil {
				t.Fatal(err)
			}
		}
		clock.Advance(48 * time.Hour)
		if _, err := s.Sweep(t.Context(), 1000); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Size() > most {
		t.Errorf("%d bytes, %v", info.Size(), err)
	}
}

// TestFullWithWebhooks: also what is to be delivered of the end of a request finds room.
func TestFullWithWebhooks(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "hark.db"), bolt.Options{MaxSize: 2 << 20, NoSync: true})
	endpoints := []string{"a", "b", "c", "d"}
	for _, id := range endpoints {
		e := dispatch.Endpoint{ID: id, Owner: "alice", Status: dispatch.Active, Concurrency: 1}
		if _, err := s.CreateEndpoint(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for ; ; n++ {
		if _, err := s.Create(t.Context(), submission(fmt.Sprintf("r%d", n))); errors.Is(err, lifecycle.ErrUnavailable) {
			break
		} else if err != nil || n > 1000 {
			t.Fatal(n, err)
		}
	}
	if n < 20 {
		t.Errorf("only %d requests fit", n)
	}
	if _, err := s.Enqueue(t.Context(), "alice", "a", []dispatch.Message{{ID: "m", Body: make([]byte, 200_000)}}); !errors.Is(err, lifecycle.ErrUnavailable) {
		t.Errorf("enqueue: %v", err)
	}
	for i := range n {
		if _, err := s.Apply(t.Context(), lifecycle.Named(fmt.Sprintf("r%d", i)), lifecycle.Cancel{}); err != nil {
			t.Fatalf("end of %d of %d: %v", i, n, err)
		}
	}
	for settled := 0; settled < 2*n*len(endpoints); {
		claims, _, err := s.Claim(t.Context(), 100, time.Minute)
		if err != nil || len(claims) == 0 {
			t.Fatalf("%d of %d settled, then %d claims, %v", settled, 2*n*len(endpoints), len(claims), err)
		}
		for _, c := range claims {
			o := dispatch.Outcome{State: dispatch.Delivered, Attempt: dispatch.Attempt{Response: make([]byte, 1000)}}
			if _, err := s.Settle(t.Context(), c, o); err != nil {
				t.Fatalf("settle %d: %v", settled, err)
			}
			settled++
		}
	}
}

// TestFullByProgress: reports fill the file until they are refused; what runs can
// still end, and positions and offsets are those of what was acknowledged.
func TestFullByProgress(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "hark.db"), bolt.Options{MaxSize: 2 << 20, NoSync: true, History: 1 << 20, FeedHistory: 1 << 20})
	if _, err := s.Create(t.Context(), submission("a")); err != nil {
		t.Fatal(err)
	}
	r, err := s.Apply(t.Context(), lifecycle.Named("a"), lifecycle.Start{})
	message := strings.Repeat("x", 2000)
	for err == nil {
		var next lifecycle.Request
		if next, err = s.Apply(t.Context(), lifecycle.Named("a"), lifecycle.Progress{Message: &message}); err == nil {
			r = next
		}
	}
	if !errors.Is(err, lifecycle.ErrUnavailable) {
		t.Fatal(err)
	}
	if now, err := s.Get(t.Context(), lifecycle.Named("a")); err != nil || now.Sequence != r.Sequence {
		t.Errorf("after the refusal: %d, %v; want %d", now.Sequence, err, r.Sequence)
	}
	end, err := s.Apply(t.Context(), lifecycle.Named("a"), lifecycle.Fail{})
	if err != nil || end.Sequence != r.Sequence+1 {
		t.Fatalf("end: %+v, %v", end, err)
	}
	if h, err := s.Read(t.Context(), "owner:alice", end.Sequence-1, 10); err != nil || h.Top != end.Sequence || len(h.Messages) != 1 {
		t.Errorf("feed: top %d, %d messages, %v", h.Top, len(h.Messages), err)
	}
	if err := s.Delete(t.Context(), lifecycle.Named("a")); err != nil {
		t.Errorf("delete: %v", err)
	}
}

// TestSpaceIsReused: a store through which requests pass stops growing.
func TestSpaceIsReused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hark.db")
	clock := newClock()
	// The log is small with that bound.
	s := open(t, path, bolt.Options{NoSync: true, Now: clock.Now, FeedRetention: time.Hour, MaxSize: 64 << 20})
	body := make([]byte, 2000)
	var sizes []int64
	for round := range 24 {
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for i := range 30 {
					sub := submission(fmt.Sprintf("r%d-%d-%d", round, w, i))
					sub.Content.Data, sub.Topic, sub.Key = body, fmt.Sprintf("t%d", w), sub.ID
					_, err := s.Create(t.Context(), sub)
					for _, c := range []lifecycle.Change{
						lifecycle.Start{}, lifecycle.Progress{}, lifecycle.Succeed{Result: &lifecycle.Content{Data: body}},
					} {
						if err == nil {
							_, err = s.Apply(t.Context(), lifecycle.Named(sub.ID), c)
						}
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		clock.Advance(3 * time.Hour)
		if swept, err := s.Sweep(t.Context(), 10_000); err != nil || swept.Done != 240 || !swept.Next.IsZero() {
			t.Fatalf("sweep: %+v, %v", swept, err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, info.Size())
	}
	if sizes[len(sizes)-1] > sizes[len(sizes)/2] {
		t.Errorf("the file keeps growing: %v", sizes)
	}
}

// TestPositionOfMany: a position costs microseconds however many wait.
func TestPositionOfMany(t *testing.T) {
	const n = 5000
	path := filepath.Join(t.TempDir(), "hark.db")
	s := open(t, path, bolt.Options{NoSync: true})
	var wg sync.WaitGroup
	for w := range 100 {
		wg.Go(func() {
			for i := range n / 100 {
				if _, err := s.Create(t.Context(), submission(fmt.Sprintf("r%d-%d", w, i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	check := func() {
		t.Helper()
		i := 0
		for r, err := range s.Unfinished(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if i%997 == 0 {
				got, err := s.Get(t.Context(), lifecycle.Named(r.ID))
				if err != nil || got.Position == nil || *got.Position != i {
					t.Fatalf("request %d: %+v, %v", i, got, err)
				}
			}
			i++
		}
		if i != n {
			t.Errorf("%d requests", i)
		}
	}
	check()
	s.Close()
	s = open(t, path, bolt.Options{NoSync: true})
	check()
}
