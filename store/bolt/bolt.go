// Package bolt keeps requests, their events, webhooks, streams and all their indexes in one bbolt
// file: the store of a single process that needs no server beside it.
//
// One goroutine writes. It takes whatever operations wait and runs them as one batch; another one
// writes that to a log, syncs the log once, and then answers all of them, while the next batch is
// run. An operation that has been answered survives the death of the process and of the machine.
// From time to time what the log holds is committed to the file.
//
// A file belongs to one process at a time; opening it a second time fails. The log is beside it,
// with "-wal" behind its name, and belongs to it: only a store that was closed is in the file
// alone.
package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/lifecycle/stall"
	"github.com/hark-push/hark/store/codec"
	"github.com/hark-push/hark/stream"
	"github.com/hark-push/hark/webhook/dispatch"
)

// Options of a [Store]. The zero value works.
type Options struct {
	// Now is the clock; default time.Now. Tests set it.
	Now func() time.Time

	// History is how many events are kept of each request, FeedHistory of each
	// feed; up to an eighth more may be there, because the oldest go in chunks.
	// Defaults: 256 and 10,000.
	History     int
	FeedHistory int

	// FeedRetention is how long a feed keeps an event; the next Sweep after it
	// (and after up to a 24th of it, an hour at most) drops the event. Default 24 hours.
	FeedRetention time.Duration

	// WebhookRetention is how long a delivery is kept after it was settled, and a one-off
	// endpoint after it was last named; the next Sweep after it forgets them. Default 7 days.
	WebhookRetention time.Duration

	// MaxSize bounds the file in bytes; 0 for no bound. New requests are refused with
	// lifecycle.ErrUnavailable before it is reached, so that room is left to finish and to forget
	// what is stored. Some megabytes are the least that makes sense, and some tens of them for a
	// file that was made without a bound, whose pages are larger.
	MaxSize int

	// CheckpointAfter is how long after the last change what is in the log is committed to the
	// file. Default one second.
	CheckpointAfter time.Duration

	// Stall says for how long no request expires and no claim of a delivery ends. Nil: never.
	Stall *stall.Watch

	// QueueDepth is how many operations may wait for the writer before
	// further callers block. Default 1024.
	QueueDepth int

	// Damages is told of what is found damaged; nil: nobody is.
	Damages *codec.Damages

	// Meter is told of steps of requests, when they are durable; nil: nobody is.
	Meter lifecycle.StepMeter
	// Calls is told of the calls to the store; nil: nobody is.
	Calls lifecycle.CallMeter

	// NoSync leaves out the sync to disk. UNSAFE: the death of the machine
	// can lose what was acknowledged, and the whole file. For tests.
	NoSync bool
}

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	set := func(n *int, to int) {
		if *n <= 0 {
			*n = to
		}
	}
	set(&o.History, codec.History)
	set(&o.FeedHistory, codec.FeedHistory)
	set(&o.QueueDepth, 1024)
	if o.FeedRetention <= 0 {
		o.FeedRetention = codec.FeedRetention
	}
	if o.CheckpointAfter <= 0 {
		o.CheckpointAfter = time.Second
	}
	if o.WebhookRetention <= 0 {
		o.WebhookRetention = codec.WebhookRetention
	}
	return o
}

// Store implements lifecycle.Store, lifecycle.Housekeeping, lifecycle.Cancellations,
// lifecycle.Source, dispatch.Store and stream.Store over one file. All methods may be called
// concurrently.
type Store struct {
	options Options
	journal *journal

	// The writer's inbox.
	ops     chan *op
	large   chan struct{} // held by whoever stores a large body
	ahead   *written      // that one, while it is no body yet; the writer's
	closing chan struct{} // closed by Close: nothing new is taken
	done    chan struct{} // closed when the writer has ended
	close   func() error

	failing atomic.Bool // the last change could not be made durable

	live  cache
	fresh fresh

	// The writer's, with what is not durable yet. Who reads may look at the queue.
	queue      positions
	slots      slots
	paces      paces
	asking     routeCounts // by route: requests that wait for an answer
	working    routeCounts // by route: requests that are worked on
	unfinished int         // requests that have not ended
	feeds      map[lifecycle.Channel]*feed
	scanned    []byte // up to where leftovers has scanned,
	scannedAll bool   // and whether that is all

	watched  watched
	listener atomic.Pointer[func(string, lifecycle.Message)]
	cancels  codec.Listeners
	freed    codec.Listeners // of slots

	endpoints endpoints // the writer's
	dues      codec.Listeners
}

var (
	_ lifecycle.Store         = (*Store)(nil)
	_ lifecycle.Housekeeping  = (*Store)(nil)
	_ lifecycle.Cancellations = (*Store)(nil)
	_ lifecycle.Source        = (*Store)(nil)
	_ lifecycle.Slots         = (*Store)(nil)
	_ lifecycle.Paces         = (*Store)(nil)
	_ lifecycle.Standings     = (*Store)(nil)
	_ lifecycle.Dead          = (*Store)(nil)
	_ dispatch.Store          = (*Store)(nil)
	_ stream.Store            = (*Store)(nil)
)

// ErrInUse: another process has the store.
var ErrInUse = errors.New("in use by another process")

// lockWait is how long Open waits for another process to let go of the file: a
// restart may overlap with the end of the process before.
const lockWait = time.Second

// Open opens the store in the file at path. The file is created if there is none,
// readable by its owner only, and so is its directory. A file of an older layout
// is brought up to date; one of a newer layout, and one that is no Hark store, is refused.
func Open(path string, o Options) (*Store, error) {
	return open(path, o, migrations)
}

func open(path string, o Options, steps []migration) (s *Store, err error) {
	o = o.withDefaults()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if err := begin(path, o, steps); err != nil {
		return nil, refused(path, err)
	}
	db, first, err := openWhole(path, o)
	if err != nil {
		return nil, refused(path, err)
	}
	s = &Store{
		options: o,
		ops:     make(chan *op, o.QueueDepth),
		large:   make(chan struct{}, 1),
		closing: make(chan struct{}),
		done:    make(chan struct{}),
		feeds:   make(map[lifecycle.Channel]*feed),
	}
	if err := s.prepare(db, path, first, steps); err != nil {
		return nil, errors.Join(refused(path, err), db.Close())
	}
	s.close = sync.OnceValue(func() error {
		close(s.closing)
		<-s.done
		return errors.Join(s.journal.close(), db.Close())
	})
	go s.writer()
	if err := errors.Join(s.dropAhead(), s.indexOld()); err != nil {
		return nil, errors.Join(refused(path, err), s.close())
	}
	return s, nil
}

// Close answers what is queued, and closes the file. Operations after it fail with
// lifecycle.ErrUnavailable.
func (s *Store) Close() error { return s.close() }

// pageSize is that of new files without a bound; others keep theirs. A checkpoint writes each page
// that has changed on its own, and the fewer, the sooner it is done.
const pageSize = 16 << 10

// openFile opens the database for reading and writing.
func openFile(path string, o Options) (*bolt.DB, error) {
	size := pageSize
	if o.MaxSize > 0 {
		size = 0 // the system's: what is kept back is meant for such
	}
	var opened *os.File
	db, err := bolt.Open(path, 0o600, &bolt.Options{
		OpenFile: func(name string, flag int, mode os.FileMode) (file *os.File, err error) {
			file, err = os.OpenFile(name, flag, mode)
			opened = file
			return file, err
		},
		Timeout:        lockWait,
		PageSize:       size,
		NoFreelistSync: true,
		FreelistType:   bolt.FreelistMapType,
		MaxSize:        o.MaxSize,
		NoSync:         o.NoSync,
	})
	if err != nil {
		return nil, err
	}
	if err := still(path, opened); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if o.MaxSize > 0 {
		// The file grows by this much at a time; all of the last step must fit.
		db.AllocSize = min(db.AllocSize, max(o.MaxSize/16, 64<<10))
	}
	return db, nil
}

// still returns an error if another file has taken the place of the one that is open: it was waited
// for whoever did that.
func still(path string, opened *os.File) error {
	is, err := os.Stat(path)
	if err != nil {
		return err
	}
	was, err := opened.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(is, was) {
		return bolterrors.ErrTimeout
	}
	return nil
}

// begin makes a new store where there is nothing of one.
func begin(path string, o Options, steps []migration) error {
	if err := begun(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return settle(path, o, steps)
}

// begun returns nil if there is something at path, and fs.ErrNotExist if there is nothing of a
// store.
func begun(path string) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.Size() == 0:
		return errFileEmpty
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if _, err := os.Stat(walPath(path)); err == nil {
		return fmt.Errorf("log %s: %w", walPath(path), errFileMissing)
	}
	return err
}

// openWhole opens the database of a file in which each page in use is whole. bbolt would panic over
// one that is not.
func openWhole(path string, o Options) (*bolt.DB, firstPages, error) {
	lock, err := openToRead(path)
	if err != nil {
		return nil, firstPages{}, err
	}
	damages, more := 0, 0
	seen, err := inspect(path, func(bucket, key []byte) {
		if damages++; damages > mostNoted {
			more++
			return
		}
		id := ""
		if &bucket[0] == &requestsBucket[0] {
			id = string(key)
		}
		_ = o.Damages.Note(&lifecycle.DamageError{ID: id, What: fmt.Sprintf("the entry %q of %s", key, bucket), Err: errSum})
	})
	if more > 0 {
		_ = o.Damages.Note(&lifecycle.DamageError{What: fmt.Sprintf("of %d further entries each", more), Err: errSum})
	}
	if err = errors.Join(err, lock.Close()); err != nil {
		return nil, seen.first, &pageError{err}
	}
	db, err := openFile(path, o)
	return db, seen.first, err
}

// openToRead keeps others from writing. It looks at nothing but the first pages.
func openToRead(path string) (*bolt.DB, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: lockWait, ReadOnly: true})
	if err != nil && strings.Contains(err.Error(), "file size too small") {
		// bbolt has no other name for it.
		return nil, &pageError{errors.New("it was cut")}
	}
	return db, err
}

// mostNoted is how many damages are told one by one when a store is opened.
const mostNoted = 20

// pageError is a file that cannot be read as it is.
type pageError struct{ err error }

func (e *pageError) Error() string { return "the file is damaged: " + e.err.Error() + ". " + orSalvage }
func (e *pageError) Unwrap() error { return e.err }

const orSalvage = "Nothing was changed. Bring back a copy of the store, the file together with its log; or take out what can still be read with " +
	"`store export --salvage`, and make a new store of that with `store import`"

// refused says why a file was not opened.
func refused(path string, err error) error {
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("store %s is %w: stop that first, or name another folder", path, ErrInUse)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch),
		errors.Is(err, errNoMeta):
		return fmt.Errorf("open store %s: not a Hark store, or it is damaged in its first pages: nothing was changed. Name another folder; or bring "+
			"back a copy of the store, the file together with its log", path)
	default:
		return fmt.Errorf("open store %s: %w", path, err)
	}
}

// prepare brings the layout up to date, opens the log, and rebuilds what is kept in memory.
func (s *Store) prepare(db *bolt.DB, path string, first firstPages, steps []migration) (err error) {
	defer recoverDamage(&err)
	if err := belong(db, path, first); err != nil {
		return err
	}
	if err := recoverOld(db, path); err != nil {
		return err
	}
	if err := migrate(db, steps); err != nil {
		return err
	}
	if s.journal, err = openJournal(db, path, first, s.options); err != nil {
		return err
	}
	if err := s.journal.view(s.rebuild); err != nil {
		s.journal.leave()
		return err
	}
	if err := first.whole(); err != nil {
		s.options.Damages.Mended(fmt.Errorf("store %s: %w", path, err))
	}
	return nil
}

// belong looks whether the file and what is beside it belong together, and whether what is left of
// its first pages is the newest state.
func belong(db *bolt.DB, path string, first firstPages) error {
	log, err := readLogFile(path)
	if err != nil {
		return err
	}
	return db.View(func(tx *bolt.Tx) error {
		// A database without anything becomes a store.
		if key, _ := tx.Cursor().First(); key == nil && !log.there {
			if first.lost {
				return first.older()
			}
			return nil
		}
		file, err := readBinding(tx)
		if err != nil {
			return err
		}
		if first.lost && !certain(file, log) {
			return first.older()
		}
		if file.version > uint64(len(migrations)) { // that is told
			return nil
		}
		if err := judge(file, log); err != nil {
			return fmt.Errorf("log %s: %w", walPath(path), err)
		}
		return nil
	})
}

// rebuild reads what is kept in memory.
func (s *Store) rebuild(tx *bolt.Tx) error {
	if err := tx.Bucket(pendingBucket).ForEach(func(key, _ []byte) error {
		route, priority, ticket, ok := parsePendingKey(key)
		if !ok {
			return fmt.Errorf("damaged key %q in the queue index", key)
		}
		s.queue.add(route, priority, ticket)
		s.unfinished++
		return nil
	}); err != nil {
		return err
	}
	if err := tx.Bucket(processingBucket).ForEach(func(_, _ []byte) error {
		s.unfinished++
		return nil
	}); err != nil {
		return err
	}
	if err := s.loadEndpoints(tx); err != nil {
		return err
	}
	if err := s.giveSlots(tx); err != nil {
		return err
	}
	s.loadPaces(tx)
	return s.consistent(tx)
}

// recoverDamage turns a panic into an error: one of bbolt is over a damaged page, any other one is
// a fault of this program and told as such, with the place where it came up. It is deferred itself.
func recoverDamage(err *error) {
	v := recover()
	if v == nil {
		return
	}
	at := cameUpIn()
	if strings.HasPrefix(at.Function, "go.etcd.io/bbolt") {
		*err = errPage
		return
	}
	*err = fmt.Errorf("%w: %v, in %s (%s:%d)", errFault, v, at.Function, filepath.Base(at.File), at.Line)
}

// cameUpIn returns where the panic that recoverDamage has recovered came up, or for what the
// standard library was called when it did. A function of ours that bbolt calls is not bbolt.
func cameUpIn() (frame runtime.Frame) {
	var callers [64]uintptr
	frames := runtime.CallersFrames(callers[:runtime.Callers(0, callers[:])])
	for panicking, more := false, true; more; {
		frame, more = frames.Next()
		switch {
		case frame.Function == "runtime.gopanic":
			panicking = true // what is above it is this recovery
		case panicking && !standard(frame.Function):
			return frame
		}
	}
	return frame
}

// standard reports whether a function, as the runtime names it, is of the standard library: the
// path of no package of that begins with the name of a host.
func standard(function string) bool {
	first, _, inFolder := strings.Cut(function, "/")
	return !inFolder && !strings.HasPrefix(first, "main.") || inFolder && !strings.Contains(first, ".")
}

// errFault is a panic that is nobody's but ours.
var errFault = errors.New("a fault of this program, not of the file; please report it")

// errPage is what bbolt has come upon, whose own words are of no help.
var errPage = fmt.Errorf("a page of the store's file is damaged. %s", orSalvage)
