package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/store/bolt/wal"
	"github.com/hark-push/hark/store/transfer"
)

// Summary is what a check has seen.
type Summary struct {
	Version  uint64 // of the layout
	Pages    int    // in use
	PageSize int    // bytes
	Size     int64  // of the file, in bytes
	Requests int
	Log      int64 // bytes of the log, 0 if there is none
}

// Check looks at everything that the store in the file at path holds, and at its log, and changes
// nothing. tell is called with each thing that is wrong. The error says why it could not be looked
// at any further.
func Check(path string, tell func(error)) (sum Summary, err error) {
	defer recoverDamage(&err)
	if err := begun(path); err != nil {
		return sum, refused(path, err)
	}
	lock, err := openToRead(path)
	if err != nil {
		return sum, refused(path, err)
	}
	seen, err := inspect(path, func(bucket, key []byte) {
		tell(fmt.Errorf("the entry %q of %s is damaged: %w", key, bucket, errSum))
	})
	if err = errors.Join(err, lock.Close()); err != nil {
		return sum, refused(path, &pageError{err})
	}
	sum.Pages, sum.PageSize, sum.Size = seen.used, seen.page, seen.size
	db, err := openFile(path, Options{})
	if err != nil {
		return sum, refused(path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := belong(db, path, seen.first); err != nil {
		return sum, refused(path, err)
	}
	j := &journal{db: db, newest: durable}
	s := &Store{options: Options{}.withDefaults(), journal: j}
	if sum.Version, sum.Log, err = j.peek(path); err != nil {
		return sum, refused(path, err)
	}
	if err := seen.first.whole(); err != nil {
		tell(fmt.Errorf("store %s: %w: nothing is lost, and it is written anew when a gateway starts", path, err))
	}
	if sum.Version < boundSince {
		return sum, nil // its log is read when it is opened
	}
	if err := j.begin(); err != nil {
		return sum, refused(path, err)
	}
	defer func() { _ = j.tx.Rollback() }()
	sum.Requests = (&checker{tx: j.tx}).count(requestsBucket)
	if err := s.rebuild(j.tx); err != nil {
		tell(err)
	}
	return sum, s.Export(func(transfer.Line) error { return nil }, tell)
}

// peek reads what the log holds, and leaves it as it is.
func (j *journal) peek(path string) (version uint64, size int64, err error) {
	var file binding
	if err := j.db.View(func(tx *bolt.Tx) (err error) {
		file, err = readBinding(tx)
		j.strict = tx.Bucket(metaBucket).Get(sealedKey) != nil
		return err
	}); err != nil {
		return 0, 0, err
	}
	content, err := os.ReadFile(walPath(path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, 0, err
	}
	j.number = file.batch
	if h := wal.DecodeHeader(content); h != nil && file.state == stateOpen {
		j.wal = &wal.Log{Path: walPath(path), Header: *h}
		end, last, err := j.wal.Recover(content, file.batch)
		if err != nil {
			return 0, 0, fmt.Errorf("log %s: %w", j.wal.Path, advised(err))
		}
		j.image, j.number, j.logged = content[wal.HeaderBlock:][:end:end], last, end
	}
	return file.version, int64(len(content)), nil
}
