package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/store/bolt/wal"
)

// A file and its log know each other. The file says whether it is complete, or whether a log
// belongs to it; both name the generation, a number that is drawn anew at each checkpoint. So a log
// that is missing, emptied, another's or of another time is told from one that there need not be,
// and an old copy of the file from the file.
//
// At a checkpoint the log is told the next generation, then the file is committed with it, then the
// log begins with it. Between the two the log knows both.

// The keys of the bucket meta, since version 6.
var (
	generationKey = []byte("generation")
	stateKey      = []byte("state") // stateOpen or stateClosed
	sealedKey     = []byte("sealed")
)

const (
	stateOpen   = 'o' // there is a log, and it may hold what the file does not
	stateClosed = 'c' // there need not be one
)

// binding is what a file says of itself and its log.
type binding struct {
	identity   []byte
	version    uint64
	batch      uint64 // the last one that the file has
	generation uint64
	state      byte
}

// bound reports whether the file is of a layout that says whether it has a log.
func (b *binding) bound() bool { return b.state != 0 }

func readBinding(tx *bolt.Tx) (binding, error) {
	meta := tx.Bucket(metaBucket)
	if meta == nil || !bytes.Equal(meta.Get(formatKey), formatName) {
		return binding{}, errForeign
	}
	b := binding{
		identity: bytes.Clone(meta.Get(identityKey)), version: positionOf(meta.Get(versionKey)), batch: positionOf(meta.Get(batchKey)),
		generation: positionOf(meta.Get(generationKey)),
	}
	if state := meta.Get(stateKey); len(state) == 1 && (state[0] == stateOpen || state[0] == stateClosed) {
		b.state = state[0]
	}
	if b.version >= boundSince && (!b.bound() || b.generation == 0 || len(b.identity) != wal.IdentitySize) {
		return binding{}, errDamagedMeta
	}
	return b, nil
}

// logFile is what is beside the file of a store.
type logFile struct {
	there  bool
	header *wal.Header // nil if there is none
	blank  bool        // nothing but zeros, or nothing at all
}

func readLogFile(path string) (logFile, error) {
	content, err := os.ReadFile(walPath(path))
	if errors.Is(err, fs.ErrNotExist) {
		return logFile{}, nil
	}
	if err != nil {
		return logFile{}, err
	}
	l := logFile{there: true, header: wal.DecodeHeader(content)}
	l.blank = len(bytes.Trim(content, "\x00")) == 0
	return l, nil
}

// What is wrong with a file and its log. Each says what to do.
var (
	errForeign     = errors.New("it is not a Hark store: name the file of one, or another folder")
	errDamagedMeta = errors.New("it is damaged where it says what it is: bring back a copy of the store, the file together with its log")

	errFileMissing = errors.New("the file is missing, but its log is there: nothing was changed. Bring the file back; or, to begin anew without " +
		"what was stored, move the log away")
	errFileEmpty = errors.New("the file is empty: nothing was changed. Bring back a copy of the store, the file together with its log; or, " +
		"to begin anew without what was stored, move the empty file away, and its log if there is one")
	errLogMissing = errors.New("its log is missing: the gateway was not stopped, and what was accepted last is in that log. Nothing was changed. " +
		"Bring the log back; " + orDiscard)
	errLogBlank = errors.New("its log is empty: the gateway was not stopped, and what was accepted last was in that log. Nothing was changed. " +
		"Bring the log back; " + orDiscard)
	errLogHead = errors.New("the beginning of its log is damaged: what was accepted last is in that log. Nothing was changed. " +
		"Bring back a copy of the store, the file together with its log; " + orDiscard)
	errLogForeign = errors.New("the log beside it belongs to another store. Nothing was changed. Put the log where it belongs, and bring back this " +
		"store's own; " + orDiscard)
	errLogStray = errors.New("the log beside it does not belong to it, and it needs none: it was closed. Nothing was changed. Move that log away")
	errLogOlder = errors.New("the log beside it is older than the file, an old copy perhaps. Nothing was changed. Bring back the log that was with " +
		"this file; " + orDiscard)
	errGap = errors.New("the log goes on from a newer state than that of the file, which may be an old copy. Nothing was changed. Bring back the file " +
		"that was with this log; " + orDiscard)
	errTorn = errors.New("its log is damaged: changes were acknowledged that cannot be read in it any more. Nothing was changed. Bring back a copy of " +
		"the store, the file together with its log; " + orDiscard)
)

// advised says of what is wrong with frames what to do.
func advised(err error) error {
	switch {
	case errors.Is(err, wal.ErrMissing):
		return errTorn
	case errors.Is(err, wal.ErrLater):
		return errGap
	}
	return err
}

const orDiscard = "or, to go on with the file alone and lose what was in the log only, use `store discard-log`"

// walPath is where the log of a store is.
func walPath(path string) string { return path + "-wal" }

// judge says whether a file and what is beside it belong together. It is asked before anything is
// written.
func judge(file binding, log logFile) error {
	h := log.header
	switch {
	case !file.bound():
		if h != nil {
			return errGap // the log is of a newer layout than the file
		}
		return nil // whether there was a log cannot be told
	case file.state == stateClosed && (!log.there || log.blank):
		return nil
	case !log.there:
		return errLogMissing
	case log.blank:
		return errLogBlank
	case h == nil && file.state == stateClosed:
		return errLogStray
	case h == nil:
		return errLogHead
	case !bytes.Equal(h.Identity[:], file.identity) && file.state == stateClosed:
		return errLogStray
	case !bytes.Equal(h.Identity[:], file.identity):
		return errLogForeign
	case file.generation == h.Generation || file.generation == h.Next:
		if file.state == stateClosed && h.Sealed > file.batch {
			return errGap
		}
		return nil
	case h.Base > file.batch || h.Sealed > file.batch && file.state == stateClosed:
		return errGap
	case file.state == stateClosed:
		return errLogStray
	default:
		return errLogOlder
	}
}

// certain reports whether a file of which only one of the first pages can be read is nevertheless
// known to be of the newest state. Two states can follow that of the file: one that has a log, and
// one that was closed. A closed file is followed by the former only, and its log is beside it; and
// the log says which state the file must be of.
func certain(file binding, log logFile) bool {
	if !file.bound() || judge(file, log) != nil {
		return false
	}
	return file.state == stateOpen || !log.there || log.blank
}

// DiscardLog lets the store in a closed file at path go on without its log: what only that has is
// lost. The log is renamed, not deleted. It returns how it is called now, "" if there was none.
func DiscardLog(path string) (kept string, err error) {
	if info, err := os.Stat(path); err != nil || info.Size() == 0 {
		return "", refused(path, errors.Join(errFileEmpty, err))
	}
	db, err := openFile(path, Options{})
	if err != nil {
		return "", refused(path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	defer recoverDamage(&err)
	first, err := readFirstPages(path)
	if err != nil {
		return "", refused(path, err)
	}
	log, err := readLogFile(path)
	if err != nil {
		return "", err
	}
	if err := db.View(func(tx *bolt.Tx) error {
		file, err := readBinding(tx)
		if err == nil && first.lost && !certain(file, log) {
			// It would be taken for the newest then.
			err = first.older()
		}
		return err
	}); err != nil {
		return "", refused(path, err)
	}
	if _, err := os.Stat(walPath(path)); err == nil {
		kept = walPath(path) + ".discarded-" + time.Now().UTC().Format("20060102T150405.000")
		if err := os.Rename(walPath(path), kept); err != nil {
			return "", err
		}
		if err := wal.SyncDir(filepath.Dir(path)); err != nil {
			return kept, err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return kept, update(db, func(tx *bolt.Tx) error {
		meta := tx.Bucket(metaBucket)
		if meta.Get(stateKey) == nil { // of an older layout, which does without
			return nil
		}
		return errors.Join(
			meta.Put(stateKey, []byte{stateClosed}),
			meta.Put(generationKey, position(nil, wal.NewGeneration())),
		)
	})
}

// settle prepares the places of a new store so that an empty file is never one: the file gets its
// name when it is a store.
func settle(path string, o Options, steps []migration) error {
	made := path + ".new"
	if err := os.Remove(made); err != nil && !errors.Is(err, fs.ErrNotExist) { // left by a crash
		return err
	}
	db, err := openFile(made, o)
	if err != nil {
		return err
	}
	err = migrate(db, steps)
	err = errors.Join(err, db.Close())
	if err == nil {
		err = os.Link(made, path) // unlike a rename it fails if somebody else was faster
		if err != nil && !errors.Is(err, fs.ErrExist) {
			err = rename(made, path) // a file system without links
		} else {
			err = nil
		}
	}
	if err == nil {
		err = wal.SyncDir(filepath.Dir(path))
	}
	if gone := os.Remove(made); err == nil && gone != nil && !errors.Is(gone, fs.ErrNotExist) {
		err = gone
	}
	if err != nil {
		return fmt.Errorf("new file: %w", err)
	}
	return nil
}

// rename gives a file a name that nothing has.
func rename(from, to string) error {
	if _, err := os.Stat(to); err == nil {
		return nil
	}
	return os.Rename(from, to)
}
