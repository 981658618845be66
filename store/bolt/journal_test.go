package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/bolt/wal"
	"github.com/hark-push/hark/store/codec"
)

// openLogged opens a store whose log is only emptied when it is full.
func openLogged(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(path, Options{NoSync: true, CheckpointAfter: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// crash returns the files of a store as the death of the machine leaves them now, in a new folder.
func crash(t *testing.T, path string) string {
	t.Helper()
	left := filepath.Join(t.TempDir(), "hark.db")
	for _, suffix := range []string{"", "-wal"} {
		content, err := os.ReadFile(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(left+suffix, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return left
}

// dump returns everything that is stored, but for what tells how far the log was read.
func dump(t *testing.T, s *Store) map[string]string {
	t.Helper()
	all := make(map[string]string)
	if err := s.journal.view(func(tx *bolt.Tx) error {
		for _, name := range tableNames {
			b := tx.Bucket(name)
			all[string(name)+" sequence"] = fmt.Sprint(b.Sequence())
			if err := b.ForEach(func(k, v []byte) error {
				all[fmt.Sprintf("%s %q", name, k)] = string(v)
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// lives runs requests through a store, one operation to a batch, and calls after behind each.
func lives(t *testing.T, s *Store, from, to int, after func()) {
	t.Helper()
	for i := from; i < to; i++ {
		sub := request(fmt.Sprintf("r%d", i))
		sub.Content = lifecycle.Content{Type: "text/plain", Data: []byte(strings.Repeat("x", i*37%500))}
		_, err := s.Create(t.Context(), sub)
		for _, c := range []lifecycle.Change{
			nil, lifecycle.Start{}, lifecycle.Progress{Percent: new(5.0)}, lifecycle.Succeed{Result: &lifecycle.Content{Data: []byte("done")}},
		} {
			if c != nil {
				_, err = s.Apply(t.Context(), lifecycle.Named(sub.ID), c)
			}
			if err != nil {
				t.Fatal(err)
			}
			after()
		}
		if i%3 == 2 {
			if err := s.Delete(t.Context(), lifecycle.Named(fmt.Sprintf("r%d", i-1))); err != nil {
				t.Fatal(err)
			}
			after()
		}
	}
}

// TestCutLog: wherever the log ends after a crash, what is there is what was made durable before,
// batch by batch.
func TestCutLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hark.db")
	s := openLogged(t, path)
	states, ends := []map[string]string{dump(t, s)}, []int{0}
	lives(t, s, 0, 12, func() {
		states = append(states, dump(t, s))
		ends = append(ends, s.journal.logged)
	})
	// That it is acknowledged comes behind the answer.
	for acknowledged := false; !acknowledged; time.Sleep(time.Millisecond) {
		log, err := os.ReadFile(walPath(path))
		if err != nil {
			t.Fatal(err)
		}
		h := wal.DecodeHeader(log)
		acknowledged = h != nil && h.Sealed == h.Base+uint64(len(ends)-1)
	}
	left := crash(t, path)
	log, err := os.ReadFile(walPath(left))
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(left)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	// upTo is the log as it is left when the machine dies while a batch is written, of which that
	// much is there.
	upTo := func(acknowledged, end int) []byte {
		h := *wal.DecodeHeader(log)
		h.Sealed, h.Turn = h.Base+uint64(acknowledged), h.Turn+1
		left := make([]byte, len(log))
		copy(left[h.Turn%2*wal.HeaderSlot:], h.Append(nil))
		copy(left[wal.HeaderBlock:], log[wal.HeaderBlock:][:end])
		return left
	}
	check := func(name string, log []byte, want map[string]string) {
		t.Helper()
		if err := errors.Join(os.WriteFile(left, file, 0o600), os.WriteFile(walPath(left), log, 0o600)); err != nil {
			t.Fatal(err)
		}
		s := openLogged(t, left)
		defer s.Close()
		if got := dump(t, s); !maps.Equal(got, want) {
			t.Errorf("%s: %d entries, want %d", name, len(got), len(want))
		}
		if _, err := s.Create(t.Context(), request("after")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := 1; i < len(ends); i++ {
		check(fmt.Sprintf("after batch %d", i), upTo(i, ends[i]), states[i])
		check(fmt.Sprintf("after batch %d, which was not acknowledged", i), upTo(i-1, ends[i]), states[i])
		inside := ends[i-1] + 1 + random.IntN(ends[i]-ends[i-1]-1)
		check(fmt.Sprintf("in batch %d, at %d", i, inside), upTo(i-1, inside), states[i-1])
		torn := upTo(i-1, ends[i])
		torn[wal.HeaderBlock+inside] ^= 1 << random.IntN(8)
		check(fmt.Sprintf("batch %d torn at %d", i, inside), torn, states[i-1])
	}

	// A batch that is damaged, but was followed by others, was acknowledged.
	for range 50 {
		i := 1 + random.IntN(len(ends)-1)
		damaged := bytes.Clone(log)
		damaged[wal.HeaderBlock+ends[i-1]+random.IntN(ends[i]-ends[i-1])] ^= 1 << random.IntN(8)
		if err := errors.Join(os.WriteFile(left, file, 0o600), os.WriteFile(walPath(left), damaged, 0o600)); err != nil {
			t.Fatal(err)
		}
		if s, err := Open(left, Options{}); err == nil {
			s.Close()
			t.Errorf("batch %d of %d is damaged: no error", i, len(ends)-1)
		} else if !errors.Is(err, errTorn) || !strings.Contains(err.Error(), walPath(left)) {
			t.Errorf("batch %d of %d is damaged: %v", i, len(ends)-1, err)
		}
	}
}

// TestCrashAroundCheckpoints: crashes at any time, checkpoints and the log of before among them,
// lose nothing.
func TestCrashAroundCheckpoints(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hark.db")
	s := openLogged(t, path)
	random := rand.New(rand.NewPCG(3, 4))
	from := 0
	for range 40 {
		to := from + 1 + random.IntN(8)
		lives(t, s, from, to, func() {
			if random.IntN(10) == 0 {
				if err := s.emptyLog(); err != nil {
					t.Fatal(err)
				}
			}
		})
		from = to
		left := crash(t, path)
		want := dump(t, s)
		s.Close()
		path = left
		s = openLogged(t, path)
		if got := dump(t, s); !maps.Equal(got, want) {
			t.Fatalf("%d entries, want %d", len(got), len(want))
		}
		// And what is in memory.
		for r, err := range s.Unfinished(t.Context()) {
			t.Errorf("unfinished: %s, %v", r.ID, err)
		}
	}
}

// TestLogIsFull: what the log has no room for goes to the file, together with what is in the log;
// so does one batch that is larger than the log.
func TestLogIsFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hark.db")
	s := openLogged(t, path)
	checkpoints, logged := 0, 0
	for i := range 100 {
		sub := request(fmt.Sprintf("r%d", i))
		sub.Content.Data = bytes.Repeat([]byte{byte(i)}, logCapacity/20)
		if i%50 == 30 {
			sub.Content.Data = bytes.Repeat([]byte{byte(i)}, logCapacity+1)
		}
		if _, err := s.Create(t.Context(), sub); err != nil {
			t.Fatal(err)
		}
		if s.journal.logged < logged {
			checkpoints++
		}
		logged = s.journal.logged
	}
	if checkpoints < 4 {
		t.Errorf("%d checkpoints", checkpoints)
	}
	if info, err := os.Stat(walPath(path)); err != nil || info.Size() > logCapacity+wal.LayBytes {
		t.Errorf("log of %d bytes, %v", info.Size(), err)
	}
	want := dump(t, s)
	s = openLogged(t, crash(t, path))
	if got := dump(t, s); !maps.Equal(got, want) {
		t.Errorf("%d entries, want %d", len(got), len(want))
	}
}

// TestClosedStoreIsOneFile: after Close the log is gone, and without it nothing is missing. So it
// is in the file some time after the last change, but that can only be said by whoever gives the
// log up.
func TestClosedStoreIsOneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hark.db")
	s := openLogged(t, path)
	lives(t, s, 0, 10, func() {})
	want := dump(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(walPath(path)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the log: %v", err)
	}
	s, err := Open(path, Options{CheckpointAfter: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := dump(t, s); !maps.Equal(got, want) {
		t.Errorf("%d entries, want %d", len(got), len(want))
	}
	if _, err := s.Create(t.Context(), request("late")); err != nil {
		t.Fatal(err)
	}
	for logged := -1; logged != 0; time.Sleep(time.Millisecond) {
		s.journal.mu.RLock()
		logged = s.journal.logged
		s.journal.mu.RUnlock()
	}
	left := crash(t, path)
	if err := os.Remove(walPath(left)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(left, Options{}); !errors.Is(err, errLogMissing) {
		t.Errorf("without the log: %v", err)
	}
	if kept, err := DiscardLog(left); err != nil || kept != "" {
		t.Errorf("%q, %v", kept, err)
	}
	if _, err := openLogged(t, left).Get(t.Context(), lifecycle.Named("late")); err != nil {
		t.Error(err)
	}
}

// TestLogOfAnother: the log of another store is none, and that of a newer copy of this one is an
// error.
func TestLogOfAnother(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.db"), filepath.Join(dir, "b.db")
	s, other := openLogged(t, a), openLogged(t, b)
	lives(t, s, 0, 3, func() {})
	lives(t, other, 0, 5, func() {})
	older := crash(t, a)
	foreign := crash(t, b)
	if err := errors.Join(s.emptyLog(), other.emptyLog()); err != nil {
		t.Fatal(err)
	}
	lives(t, s, 3, 6, func() {})
	log, err := os.ReadFile(walPath(a))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(walPath(older), log, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(older, Options{}); !errors.Is(err, errGap) || !strings.Contains(err.Error(), walPath(older)) {
		t.Errorf("a log that goes on from later: %v", err)
	}
	if err := os.Rename(walPath(foreign), walPath(older)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(older, Options{}); !errors.Is(err, errLogForeign) {
		t.Errorf("the log of another store: %v", err)
	}
}

// faulty is a file that fails, or waits.
type faulty struct {
	wal.File
	fail atomic.Bool
	sync func()
}

var errDisk = errors.New("the disk is gone")

func (f *faulty) WriteAt(p []byte, at int64) (int, error) {
	if f.fail.Load() {
		n, _ := f.File.WriteAt(p[:len(p)/2], at)
		return n, errDisk
	}
	return f.File.WriteAt(p, at)
}

func (f *faulty) Sync() error {
	if f.sync != nil {
		f.sync()
	}
	return f.File.Sync()
}

// TestLogFails: if the log cannot be written, the file is; if neither can, nothing of the batch is
// there, and all goes on when one of them can again.
func TestLogFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hark.db")
	s := openLogged(t, path)
	log := &faulty{File: s.journal.wal.File}
	setLog(s, log)
	lives(t, s, 0, 4, func() {})

	log.fail.Store(true)
	lives(t, s, 4, 8, func() {})
	same := func(when string) {
		t.Helper()
		want := dump(t, s)
		if got := dump(t, openLogged(t, crash(t, path))); !maps.Equal(got, want) {
			t.Errorf("%s: %d entries, want %d", when, len(got), len(want))
		}
	}
	same("after the log failed")

	log.fail.Store(false)
	lives(t, s, 8, 12, func() {})
	same("when it works again")

	log.fail.Store(true)
	before := dump(t, s)
	large := request("large")
	// There is less room than that in the file, and more in the log.
	large.Content.Data = bytes.Repeat([]byte("x"), 3*logCapacity/4)
	create := func() error {
		// The body comes in the same batch.
		return s.write(t.Context(), func(b *batch) error {
			w := &written{id: large.ID, body: codec.EncodeBody(large.Content)}
			b.create(&large, nil, lifecycle.NewRequest(&large, b.now), w)
			return nil
		})
	}
	s.journal.db.MaxSize = 1
	for range 3 {
		if err := create(); !errors.Is(err, lifecycle.ErrUnavailable) {
			t.Fatalf("log and file fail: %v", err)
		}
		if got := dump(t, s); !maps.Equal(got, before) {
			t.Errorf("something is left of what failed: %d entries, want %d", len(got), len(before))
		}
		if r, err := s.Get(t.Context(), lifecycle.Named("r8")); err != nil || r.Status != lifecycle.Succeeded {
			t.Errorf("meanwhile: %+v, %v", r, err)
		}
		same("while both fail")
	}
	log.fail.Store(false)
	s.journal.db.MaxSize = 0
	if err := create(); err != nil {
		t.Error(err)
	}
	if s.journal.logged != 0 {
		t.Error("the log was used before it was begun anew")
	}
	lives(t, s, 12, 16, func() {})
	same("when both work again")

	// After the file has failed it may have more than is known, so it comes first.
	large.ID, large.Content.Data = "larger", bytes.Repeat([]byte("x"), logCapacity)
	s.journal.db.MaxSize = 1
	if err := create(); !errors.Is(err, lifecycle.ErrUnavailable) {
		t.Fatalf("the file fails: %v", err)
	}
	s.journal.db.MaxSize = 0
	if _, err := s.Create(t.Context(), request("small")); err != nil || s.journal.logged != 0 {
		t.Errorf("%d bytes are in the log, %v", s.journal.logged, err)
	}
	same("after the file failed")
}

// TestBackwards: cursors find what is before a key also where all of a page has been deleted.
func TestBackwards(t *testing.T) {
	db, err := bolt.Open(filepath.Join(t.TempDir(), "b.db"), 0o600, &bolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	name := []byte("b")
	key := func(i int) []byte { return fmt.Appendf(nil, "key %06d", i) }
	const n = 5000
	if err := db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket(name)
		for i := 0; i < n && err == nil; i++ {
			err = b.Put(key(i), make([]byte, 20))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(5, 6))
	for round := range 20 {
		tx, err := db.Begin(true)
		if err != nil {
			t.Fatal(err)
		}
		b := tx.Bucket(name)
		there := make([]bool, n)
		for i := range there {
			there[i] = true
		}
		for range round {
			from := random.IntN(n)
			for i := from; i < min(from+random.IntN(1500), n); i++ {
				there[i] = false
				if err := b.Delete(key(i)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if round == 19 {
			clear(there)
			for i := range n {
				if err := b.Delete(key(i)); err != nil {
					t.Fatal(err)
				}
			}
		}
		before := func(i int) []byte {
			for i--; i >= 0; i-- {
				if there[i] {
					return key(i)
				}
			}
			return nil
		}
		for range 300 {
			i := random.IntN(n + 2)
			c := b.Cursor()
			got, _ := seekBefore(c, key(i))
			if want := before(min(i, n)); !bytes.Equal(got, want) {
				t.Fatalf("before %d: %q, want %q", i, got, want)
			}
			for range 3 {
				if got == nil {
					break
				}
				var at int
				if _, err := fmt.Sscanf(string(got), "key %d", &at); err != nil {
					t.Fatal(err)
				}
				want := before(at)
				if got, _ = prev(c, got); !bytes.Equal(got, want) {
					t.Fatalf("before %d: %q, want %q", at, got, want)
				}
			}
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
	}
}

// FuzzLog: whatever is in a log, it is read without a panic, and what is taken of it is a beginning
// of it that reads the same again.
func FuzzLog(f *testing.F) {
	path := filepath.Join(f.TempDir(), "hark.db")
	s, err := Open(path, Options{NoSync: true, CheckpointAfter: time.Hour})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	for _, id := range []string{"a", "b"} {
		if _, err := s.Create(f.Context(), request(id)); err != nil {
			f.Fatal(err)
		}
	}
	j := s.journal
	image := bytes.Clone(j.image[:j.logged])
	first, _ := j.wal.Cut(image)
	f.Add(image)
	f.Add(first)
	f.Add(append(bytes.Clone(image), first...))
	f.Add(image[len(first):])
	f.Add(first[wal.FrameHeader:])
	f.Fuzz(func(t *testing.T, log []byte) {
		end, last, err := j.wal.Scan(log, 0)
		if err == nil {
			again, number, err := j.wal.Scan(log[:end], 0)
			if err != nil || again != end || number != last {
				t.Errorf("%d bytes up to batch %d, then %d bytes up to batch %d, %v", end, last, again, number, err)
			}
		}
		// What a frame holds, as if its sum fit.
		j.mu.Lock()
		defer j.mu.Unlock()
		_ = replay(j.tables, log)
		j.takeBack()
		if j.tx == nil {
			t.Error("the log cannot be read again")
		}
	})
}
