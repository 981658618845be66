package bolt

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/bolt/wal"
	"github.com/hark-push/hark/webhook/dispatch"
)

// held is a log in which the sync of a frame waits until it is told how it ends.
type held struct {
	wal.File
	frame atomic.Bool
	begun chan struct{}
	end   chan error
}

func (h *held) WriteAt(p []byte, at int64) (int, error) {
	if at >= wal.HeaderBlock && len(p) > wal.FrameHeader { // no void
		h.frame.Store(true)
	}
	return h.File.WriteAt(p, at)
}

func (h *held) Sync() error {
	if !h.frame.Swap(false) {
		return h.File.Sync()
	}
	h.begun <- struct{}{}
	return <-h.end
}

// hold makes the syncs of a store wait from now on.
func hold(s *Store) *held {
	h := &held{File: s.journal.wal.File, begun: make(chan struct{}), end: make(chan error)}
	setLog(s, h)
	return h
}

// setLog puts another file in the place of the log's, while nobody uses that.
func setLog(s *Store, file wal.File) {
	_ = s.write(context.Background(), func(*batch) error { s.journal.wal.File = file; return nil })
}

// in runs an operation that is answered later.
func in(op func() error) <-chan error {
	answer := make(chan error, 1)
	go func() { answer <- op() }()
	return answer
}

// apply makes a change that is answered later, and returns when it has been applied.
func apply(s *Store, t *testing.T, id string, c lifecycle.Change) <-chan error {
	t.Helper()
	applied := make(chan struct{})
	answer := in(func() error {
		return s.write(t.Context(), func(b *batch) error {
			defer close(applied)
			_, err := b.change(lifecycle.Named(id), c, nil)
			return err
		})
	})
	<-applied
	return answer
}

// looking reads how far a channel is, and tells what was seen each time.
func looking(s *Store, t *testing.T, channel string) (seen <-chan uint64, top <-chan uint64) {
	each, last := make(chan uint64, 10), make(chan uint64, 1)
	go func() {
		var h lifecycle.History
		if err := s.view(t.Context(), func(tx *bolt.Tx) (err error) {
			c, _ := lifecycle.ParseKey(channel)
			if c.Feed() {
				h, err = s.readFeed(tx, c, 0, 10)
			} else {
				h, err = s.readRequest(tx, c.Ref(), 0, 10)
			}
			each <- h.Top
			return err
		}); err != nil {
			t.Error(err)
		}
		last <- h.Top
	}()
	return each, last
}

func bubble(t *testing.T, name string, f func(*testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

// none checks that nothing comes however long one waits.
func none[T any](t *testing.T, c <-chan T, what string) {
	t.Helper()
	synctest.Wait()
	select {
	case v := <-c:
		t.Errorf("%s: %v", what, v)
	default:
	}
}

func unavailableTo(t *testing.T, answer <-chan error, who string) {
	t.Helper()
	if err := <-answer; !errors.Is(err, lifecycle.ErrUnavailable) || !errors.Is(err, errDisk) && !strings.Contains(err.Error(), "size") {
		t.Errorf("%s: %v", who, err)
	}
}

// checkMemory compares what is in memory with what would be read from the file.
func checkMemory(t *testing.T, s *Store) {
	t.Helper()
	if err := s.write(t.Context(), func(*batch) error {
		fresh := &Store{journal: s.journal}
		if err := fresh.rebuild(s.journal.tx); err != nil {
			t.Error(err)
		}
		if s.unfinished != fresh.unfinished || !reflect.DeepEqual(tickets(&s.queue), tickets(&fresh.queue)) {
			t.Errorf("%d unfinished, queue %v; in the file %d, %v", s.unfinished, tickets(&s.queue), fresh.unfinished, tickets(&fresh.queue))
		}
		for c, f := range s.feeds {
			top, _, _ := newest(s.journal.tx.Bucket(feedsBucket).Cursor(), f.prefix)
			if f.top != top {
				t.Errorf("feed %v at %d, in the file at %d", c, f.top, top)
			}
		}
		checkWebhooks(t, s)
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// tickets returns the tickets of a queue.
func tickets(p *positions) map[string][]uint64 {
	all := make(map[string][]uint64)
	for route, lines := range p.routes {
		for priority := range lines {
			for _, c := range lines[priority].chunks {
				for bit := range uint64(chunkSize) {
					if c.bits[bit/64]&(1<<(bit%64)) != 0 {
						key := fmt.Sprint(route, priority)
						all[key] = append(all[key], c.index*chunkSize+bit)
					}
				}
			}
		}
	}
	return all
}

// TestNextBatchMeanwhile: while a batch is synced, the next one is applied, sees it, and waits; so
// does who reads that. When the first is on disk, it is made known though the next one is still
// running.
func TestNextBatchMeanwhile(t *testing.T) { synctest.Test(t, nextBatchMeanwhile) }

func nextBatchMeanwhile(t *testing.T) {
	s := openLogged(t, filepath.Join(t.TempDir(), "hark.db"))
	for _, id := range []string{"a", "b"} {
		if _, err := s.Create(t.Context(), request(id)); err != nil {
			t.Fatal(err)
		}
	}
	notifications := make(chan string, 10)
	s.Listen(func(channel string, m lifecycle.Message) {
		if strings.HasPrefix(channel, "request:") {
			notifications <- fmt.Sprint(channel, " ", m.Offset)
		}
	})
	log := hold(s)
	first := apply(s, t, "a", lifecycle.Start{})
	<-log.begun
	second := apply(s, t, "a", lifecycle.Progress{}) // only what runs can report progress
	running, block := make(chan struct{}), make(chan struct{})
	third := in(func() error {
		return s.write(t.Context(), func(*batch) error { close(running); <-block; return nil })
	})
	<-running // in the batch of the second

	log.end <- nil
	if err := <-first; err != nil {
		t.Error(err)
	}
	if r, err := s.Get(t.Context(), lifecycle.Named("a")); err != nil || r.Sequence != 2 {
		t.Errorf("when the first batch is on disk: %+v, %v", r, err)
	}
	if got := <-notifications; got != "request:a 2" {
		t.Errorf("notified of %s", got)
	}
	close(block)
	<-log.begun
	seen, top := looking(s, t, "request:a")
	if n := <-seen; n != 3 {
		t.Errorf("at %d, want to see what is applied", n)
	}
	fourth := apply(s, t, "b", lifecycle.Start{})
	if r, err := s.Get(t.Context(), lifecycle.Named("a")); err != nil || r.Sequence != 2 {
		t.Errorf("before the second batch is on disk: %+v, %v", r, err)
	}
	none(t, notifications, "it notified before the batch was durable")
	none(t, second, "answered before the batch was durable")
	none(t, third, "answered before the batch was durable")
	none(t, top, "read before it was durable")

	log.end <- nil
	if err := errors.Join(<-second, <-third); err != nil {
		t.Error(err)
	}
	if n := <-top; n != 3 {
		t.Errorf("read up to %d", n)
	}
	if got := <-notifications; got != "request:a 3" {
		t.Errorf("notified of %s", got)
	}
	<-log.begun
	none(t, notifications, "it notified before the batch was durable")
	log.end <- nil
	if err := <-fourth; err != nil {
		t.Error(err)
	}
	if got := <-notifications; got != "request:b 2" {
		t.Errorf("notified of %s", got)
	}
}

// TestBeginWaitsForItsBatchOnly: who begins gets the content with the batch of the start, whatever
// is applied behind it.
func TestBeginWaitsForItsBatchOnly(t *testing.T) { synctest.Test(t, beginWaitsForItsBatchOnly) }

func beginWaitsForItsBatchOnly(t *testing.T) {
	s := openLogged(t, filepath.Join(t.TempDir(), "hark.db"))
	for _, id := range []string{"a", "b"} {
		sub := request(id)
		sub.Content = lifecycle.Content{Type: "text/plain", Data: []byte(id)}
		if _, err := s.Create(t.Context(), sub); err != nil {
			t.Fatal(err)
		}
	}
	log := hold(s)
	var content lifecycle.Content
	first := in(func() (err error) {
		_, content, err = s.Begin(t.Context(), lifecycle.Named("a"), lifecycle.Start{})
		return err
	})
	<-log.begun
	second := apply(s, t, "b", lifecycle.Start{})
	none(t, first, "begun before it is durable")
	log.end <- nil
	if err := <-first; err != nil || string(content.Data) != "a" || content.Type != "text/plain" {
		t.Errorf("%+v, %v", content, err)
	}
	<-log.begun
	log.end <- nil
	if err := <-second; err != nil {
		t.Error(err)
	}
}

// TestRefusalWaits: what is refused because of a batch that is not on disk yet is answered when
// that is, and not refused if that is taken back.
func TestRefusalWaits(t *testing.T) {
	for _, lost := range []bool{false, true} {
		for _, writes := range []bool{false, true} { // in the batch of the refusal
			bubble(t, fmt.Sprintf("lost=%v,writes=%v", lost, writes), func(t *testing.T) {
				s := openLogged(t, filepath.Join(t.TempDir(), "hark.db"))
				if _, err := s.Create(t.Context(), request("a")); err != nil {
					t.Fatal(err)
				}
				log := hold(s)
				large := request("x")
				large.Content.Data = make([]byte, largeBody/2)
				first := in(func() error { _, err := s.Create(t.Context(), large); return err })
				<-log.begun
				var others []<-chan error
				if writes {
					others = append(others, apply(s, t, "a", lifecycle.Start{}))
				}
				refused := make(chan struct{})
				conflict := in(func() error {
					return s.write(t.Context(), func(b *batch) error {
						defer close(refused)
						other := request("x")
						other.Fingerprint = "another"
						found, err := b.found(&other)
						if err == nil {
							_, _, err = other.Match(found, b.now)
						}
						return err
					})
				})
				<-refused
				none(t, conflict, "refused before that is durable")
				if lost {
					s.journal.db.MaxSize = 1
					log.end <- errDisk
					unavailableTo(t, first, "the first")
					unavailableTo(t, conflict, "refused because of what was taken back")
					for _, other := range others {
						unavailableTo(t, other, "what shares its batch")
					}
					return
				}
				log.end <- nil
				if err := <-first; err != nil {
					t.Error(err)
				}
				if writes {
					<-log.begun
					none(t, conflict, "refused before its batch is durable")
					log.end <- nil
				}
				if err := <-conflict; !errors.Is(err, lifecycle.ErrIDTaken) {
					t.Errorf("%v", err)
				}
				for _, other := range others {
					if err := <-other; err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
}

// TestRefusedFrame: if the log refuses a batch, that and the one that was applied meanwhile go to
// the file, or both are taken back; who had read them reads again.
func TestRefusedFrame(t *testing.T) {
	for _, lost := range []bool{false, true} {
		bubble(t, fmt.Sprintf("lost=%v", lost), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "hark.db")
			s := openLogged(t, path)
			addHook(t, s, hook("one", 1))
			for _, id := range []string{"a", "b", "c"} {
				if _, err := s.Create(t.Context(), request(id)); err != nil {
					t.Fatal(err)
				}
			}
			claims, _, err := s.Claim(t.Context(), 1, 0)
			if err != nil || len(claims) != 1 {
				t.Fatal(claims, err)
			}
			var notified atomic.Int64
			s.Listen(func(string, lifecycle.Message) { notified.Add(1) })
			before := dump(t, s)
			file := s.journal.wal.File
			log := hold(s)
			large := request("x")
			large.Content.Data = make([]byte, largeBody/2)
			first := in(func() error { _, err := s.Create(t.Context(), large); return err })
			<-log.begun
			second := []<-chan error{
				apply(s, t, "a", lifecycle.Start{}),
				apply(s, t, "x", lifecycle.Start{}),
				apply(s, t, "x", lifecycle.Succeed{}),
			}
			settled := make(chan struct{})
			second = append(second, in(func() error {
				return s.write(t.Context(), func(b *batch) error {
					defer close(settled)
					e := s.endpoints.byID["one"]
					d, err := b.find(e, claims[0].ID)
					if err == nil {
						b.settle(e, d, dispatch.Outcome{State: dispatch.Delivered})
					}
					return err
				})
			}))
			<-settled
			seen, top := looking(s, t, "owner:alice")
			if n := <-seen; n != 7 {
				t.Errorf("at %d, want to see what is applied", n)
			}
			for _, answer := range second {
				none(t, answer, "answered before it was durable")
			}
			if lost {
				s.journal.db.MaxSize = 1
			}
			log.end <- errDisk
			if lost {
				unavailableTo(t, first, "the first batch")
				for _, answer := range second {
					unavailableTo(t, answer, "the second batch")
				}
				if n := <-top; n != 3 {
					t.Errorf("read up to %d, which was taken back", n)
				}
				if n := <-seen; n != 3 {
					t.Errorf("read again up to %d", n)
				}
				if got := dump(t, s); !maps.Equal(got, before) {
					t.Errorf("something is left: %d entries, want %d", len(got), len(before))
				}
				if notified.Load() != 0 {
					t.Errorf("%d notifications", notified.Load())
				}
				s.journal.db.MaxSize = 0
			} else {
				if err := <-first; err != nil {
					t.Error(err)
				}
				for _, answer := range second {
					if err := <-answer; err != nil {
						t.Error(err)
					}
				}
				if n := <-top; n != 7 {
					t.Errorf("read up to %d", n)
				}
				if s.journal.logged != 0 {
					t.Error("the log was used again before it was begun anew")
				}
			}
			checkMemory(t, s)
			setLog(s, file)
			lives(t, s, 0, 4, func() {}) // and all goes on
			checkMemory(t, s)
			want := dump(t, s)
			if got := dump(t, openLogged(t, crash(t, path))); !maps.Equal(got, want) {
				t.Errorf("after a crash %d entries, want %d", len(got), len(want))
			}
		})
	}
}

// TestFailedBatchAlone: a batch that fails while the one before is in flight takes nothing of that
// with it, unless the log refuses that.
func TestFailedBatchAlone(t *testing.T) { synctest.Test(t, failedBatchAlone) }

func failedBatchAlone(t *testing.T) {
	s := openLogged(t, filepath.Join(t.TempDir(), "hark.db"))
	if _, err := s.Create(t.Context(), request("a")); err != nil {
		t.Fatal(err)
	}
	log := hold(s)
	first := apply(s, t, "a", lifecycle.Start{})
	<-log.begun
	second := apply(s, t, "a", lifecycle.Progress{})
	failed := make(chan struct{})
	third := in(func() error {
		return s.write(t.Context(), func(b *batch) error {
			b.err = errDisk
			close(failed)
			return nil
		})
	})
	<-failed
	seen, top := looking(s, t, "request:a")
	if n := <-seen; n != 3 {
		t.Errorf("at %d, want to see what is applied", n)
	}
	none(t, second, "answered before what it rests on is durable")
	log.end <- nil
	if err := <-first; err != nil {
		t.Error(err)
	}
	unavailableTo(t, second, "what shares the batch")
	unavailableTo(t, third, "what failed")
	if n := <-top; n != 2 {
		t.Errorf("read up to %d", n)
	}
	if r, err := s.Get(t.Context(), lifecycle.Named("a")); err != nil || r.Sequence != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	checkMemory(t, s)
	again := apply(s, t, "a", lifecycle.Progress{})
	<-log.begun
	log.end <- nil
	if err := <-again; err != nil {
		t.Error(err)
	}

	// If the log has refused that, there is nothing to commit, and the log is not used behind it.
	before := dump(t, s)
	first = apply(s, t, "a", lifecycle.Progress{})
	<-log.begun
	second = in(func() error { return s.write(t.Context(), func(b *batch) error { b.err = errDisk; return nil }) })
	synctest.Wait()
	log.end <- errDisk
	unavailableTo(t, first, "what the log refused")
	unavailableTo(t, second, "what failed")
	if got := dump(t, s); !maps.Equal(got, before) {
		t.Errorf("something is left: %d entries, want %d", len(got), len(before))
	}
	checkMemory(t, s)
	if _, err := s.Apply(t.Context(), lifecycle.Named("a"), lifecycle.Progress{}); err != nil || s.journal.logged != 0 {
		t.Errorf("%d bytes in the log, %v", s.journal.logged, err)
	}
}

// TestFullLogWaits: a batch for which the log has no room goes to the file after the one in flight.
func TestFullLogWaits(t *testing.T) { synctest.Test(t, fullLogWaits) }

func fullLogWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hark.db")
	s := openLogged(t, path)
	if _, err := s.Create(t.Context(), request("a")); err != nil {
		t.Fatal(err)
	}
	log := hold(s)
	first := apply(s, t, "a", lifecycle.Start{})
	<-log.begun
	applied := make(chan struct{})
	second := in(func() error {
		return s.write(t.Context(), func(b *batch) error {
			b.put(bodiesBucket, []byte("large"), make([]byte, logCapacity))
			close(applied)
			return nil
		})
	})
	<-applied
	third := in(func() error { _, err := s.Apply(t.Context(), lifecycle.Named("a"), lifecycle.Progress{}); return err })
	seen, top := looking(s, t, "request:a")
	<-seen
	none(t, top, "read before it was durable")
	none(t, second, "answered before what it rests on is durable")
	if err := func() error { // the file is not written before
		left := crash(t, path)
		if got := dump(t, openLogged(t, left)); got[fmt.Sprintf("bodies %q", "large")] != "" {
			return errors.New("the file has what goes to it next")
		}
		return nil
	}(); err != nil {
		t.Error(err)
	}
	log.end <- nil
	if err := errors.Join(<-first, <-second); err != nil {
		t.Error(err)
	}
	<-log.begun // the third, in a log that begins anew
	if s.journal.logged != 0 {
		t.Errorf("%d bytes in the log", s.journal.logged)
	}
	log.end <- nil
	if err := <-third; err != nil {
		t.Error(err)
	}
	want := dump(t, s)
	if got := dump(t, openLogged(t, crash(t, path))); !maps.Equal(got, want) {
		t.Errorf("%d entries, want %d", len(got), len(want))
	}
}

// TestNearlyFullFile: what is in a file without much room goes there at once, without the log, so
// that each answer shows that it fits.
func TestNearlyFullFile(t *testing.T) { synctest.Test(t, nearlyFullFile) }

func nearlyFullFile(t *testing.T) {
	const most = 4 << 20
	s, err := Open(filepath.Join(t.TempDir(), "hark.db"), Options{NoSync: true, MaxSize: most})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i, room := 0, most; room > most/6; i++ { // clearly less than makes it tight
		if err := s.write(t.Context(), func(b *batch) error {
			room = s.journal.room()
			b.put(bodiesBucket, fmt.Append(nil, i), make([]byte, 20_000))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	hold(s) // nobody lets go of a sync
	for range 3 {
		if err := s.write(t.Context(), func(b *batch) error { b.put(bodiesBucket, []byte("small"), nil); return nil }); err != nil {
			t.Error(err)
		}
	}
}

// TestCloseWithBatchInFlight: what was taken before is answered, and there.
func TestCloseWithBatchInFlight(t *testing.T) { synctest.Test(t, closeWithBatchInFlight) }

func closeWithBatchInFlight(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hark.db")
	s := openLogged(t, path)
	for _, id := range []string{"a", "b"} {
		if _, err := s.Create(t.Context(), request(id)); err != nil {
			t.Fatal(err)
		}
	}
	log := hold(s)
	first := apply(s, t, "a", lifecycle.Start{})
	<-log.begun
	second := apply(s, t, "b", lifecycle.Start{})
	closed := in(s.Close)
	<-s.closing
	log.end <- nil
	<-log.begun
	none(t, closed, "closed before all is on disk")
	log.end <- nil
	if err := errors.Join(<-first, <-second, <-closed); err != nil {
		t.Error(err)
	}
	s = openLogged(t, path)
	for _, id := range []string{"a", "b"} {
		if r, err := s.Get(t.Context(), lifecycle.Named(id)); err != nil || r.Status != lifecycle.Processing {
			t.Errorf("%+v, %v", r, err)
		}
	}
}

// TestPipelineAtRandom: under changes from many sides, while the log and batches fail now and then,
// what was answered is there, what was not is not, who reads never sees anything go back, and
// notifications have no gap. So it is after a crash at any time.
func TestPipelineAtRandom(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hark.db")
	s := openLogged(t, path)
	const workers, rounds = 4, 100
	var acknowledged [workers]atomic.Uint64
	ids := make([]string, workers)
	for w := range workers {
		ids[w] = fmt.Sprintf("r%d", w)
		if _, err := s.Create(t.Context(), request(ids[w])); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Apply(t.Context(), lifecycle.Named(ids[w]), lifecycle.Start{}); err != nil {
			t.Fatal(err)
		}
		acknowledged[w].Store(2)
	}
	notified := make(map[string]uint64) // by whoever makes batches known, one after the other
	s.Listen(func(channel string, m lifecycle.Message) {
		if last := notified[channel]; last != 0 && m.Offset != last+1 {
			t.Errorf("%s: notified of %d after %d", channel, m.Offset, last)
		}
		notified[channel] = m.Offset
	})
	random := rand.New(rand.NewPCG(9, 10)) // the flusher's
	type crashed struct {
		path  string
		least [workers]uint64
	}
	var crashes []crashed
	log := &faulty{File: s.journal.wal.File}
	log.sync = func() {
		if len(crashes) < 20 && random.IntN(20) == 0 {
			var c crashed
			for w := range workers {
				c.least[w] = acknowledged[w].Load()
			}
			c.path = crash(t, path)
			crashes = append(crashes, c)
		}
	}
	setLog(s, log)
	var done atomic.Bool
	var wg, others sync.WaitGroup
	fails := 0
	others.Go(func() {
		// This breaks the log, and batches, which then take the one in flight with them if that is
		// refused.
		random := rand.New(rand.NewPCG(11, 12))
		for !done.Load() {
			fail, broken := random.IntN(4) == 0, random.IntN(4) == 0
			if err := s.write(t.Context(), func(b *batch) error {
				log.fail.Store(fail)
				if broken {
					b.err = errDisk
				}
				return nil
			}); err != nil {
				fails++
			}
		}
	})
	for w := range workers {
		wg.Go(func() {
			for range rounds {
				r, err := s.Apply(t.Context(), lifecycle.Named(ids[w]), lifecycle.Progress{})
				switch {
				case err == nil:
					if want := acknowledged[w].Add(1); r.Sequence != want {
						t.Errorf("%s at %d, want %d", ids[w], r.Sequence, want)
						return
					}
				case !errors.Is(err, lifecycle.ErrUnavailable):
					t.Error(err)
					return
				}
			}
		})
		others.Go(func() {
			top := uint64(0)
			for i := 0; !done.Load(); i++ {
				var now uint64
				if i%2 == 0 {
					h, err := s.Read(t.Context(), "request:"+ids[w], 0, 1)
					if err != nil {
						t.Error(err)
						return
					}
					now = h.Top
				} else {
					r, err := s.Get(t.Context(), lifecycle.Named(ids[w]))
					if err != nil {
						t.Error(err)
						return
					}
					now = r.Sequence
				}
				if now < top {
					t.Errorf("%s at %d after %d", ids[w], now, top)
					return
				}
				top = now
			}
		})
	}
	wg.Wait()
	done.Store(true)
	others.Wait()
	log.fail.Store(false)
	checkMemory(t, s)
	for w, id := range ids {
		h, err := s.Read(t.Context(), "request:"+id, 0, 1)
		if want := acknowledged[w].Load(); err != nil || h.Top != want || notified["request:"+id] != want && want > 2 {
			t.Errorf("%s at %d, notified up to %d, %v; want %d", id, h.Top, notified["request:"+id], err, want)
		}
	}
	crashes = append(crashes, crashed{path: crash(t, path)})
	for w := range workers {
		crashes[len(crashes)-1].least[w] = acknowledged[w].Load()
	}
	for _, c := range crashes {
		s := openLogged(t, c.path)
		for w, id := range ids {
			r, err := s.Get(t.Context(), lifecycle.Named(id))
			if err != nil || r.Sequence < c.least[w] {
				t.Errorf("after a crash %s is at %d, %v; want %d", id, r.Sequence, err, c.least[w])
			}
		}
		checkMemory(t, s)
	}
	t.Logf("%d crashes, %d batches failed, %d batches", len(crashes), fails, s.journal.number)
}

// TestReadAgain: what was read before it was taken back is in no answer.
func TestReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openLogged(t, filepath.Join(t.TempDir(), "hark.db"))
		for _, id := range []string{"a", "b", "c"} {
			if _, err := s.Create(t.Context(), request(id)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Apply(t.Context(), lifecycle.Named("a"), lifecycle.Start{}); err != nil {
			t.Fatal(err)
		}
		log := hold(s)
		large := request("x")
		large.Content.Data = make([]byte, largeBody/2)
		first := in(func() error { _, err := s.Create(t.Context(), large); return err })
		<-log.begun
		second := apply(s, t, "c", lifecycle.Start{})
		list, unfinished := make(chan []string, 1), make(chan []string, 1)
		go func() {
			page, err := s.List(t.Context(), lifecycle.Query{Owner: "alice", Limit: 10})
			if err != nil {
				t.Error(err)
			}
			var ids []string
			for _, r := range page.Requests {
				ids = append(ids, r.ID)
			}
			list <- ids
		}()
		go func() {
			var ids []string
			for r, err := range s.Unfinished(t.Context()) {
				if err != nil {
					t.Error(err)
				}
				ids = append(ids, r.ID)
			}
			unfinished <- ids
		}()
		content := in(func() error { _, err := s.Content(t.Context(), lifecycle.Named("x"), lifecycle.Input); return err })
		get := in(func() error { _, err := s.Get(t.Context(), lifecycle.Named("x")); return err })
		none(t, list, "listed before it is durable")
		none(t, unfinished, "unfinished before it is durable")
		none(t, content, "content before it is durable")
		none(t, get, "read before it is durable")
		s.journal.db.MaxSize = 1
		log.end <- errDisk
		unavailableTo(t, first, "the first batch")
		unavailableTo(t, second, "the second batch")
		if got := <-list; !slices.Equal(got, []string{"c", "b", "a"}) {
			t.Errorf("listed: %v", got)
		}
		if got := <-unfinished; !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Errorf("unfinished: %v", got)
		}
		for _, answer := range []<-chan error{content, get} {
			if err := <-answer; !errors.Is(err, lifecycle.ErrNotFound) {
				t.Errorf("what was taken back: %v", err)
			}
		}
	})
}
