package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/bolt/wal"
	"github.com/hark-push/hark/store/transfer"
)

// Salvage writes down, as transfer.Write does, what can still be read of the store in the file at
// path and of its log, however damaged they are, and changes neither. text returns an event as
// clients get it; tell is called with each thing that cannot be read. Beside the file there must be
// room for a copy of it.
func Salvage(path string, to io.Writer, text func(*lifecycle.Event) []byte, tell func(error)) (lines int, err error) {
	defer recoverDamage(&err)
	lock, err := openToRead(path)
	if err != nil {
		return 0, refused(path, err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	copied := path + ".salvage"
	if err := os.Remove(copied); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.Remove(copied)) }()
	db, err := bolt.Open(copied, 0o600, &bolt.Options{NoSync: true, NoFreelistSync: true, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := copyWhole(db, path, tell); err != nil {
		return 0, err
	}
	j := &journal{db: db, newest: durable}
	s := &Store{options: Options{}.withDefaults(), journal: j}
	j.wal = &wal.Log{Path: walPath(path)}
	if err := j.begin(); err != nil {
		return 0, err
	}
	defer func() { _ = j.tx.Rollback() }()
	if err := tellFirst(j.tx, path, tell); err != nil {
		return 0, err
	}
	if err := j.replayWhole(path, tell); err != nil {
		return 0, err
	}
	return transfer.Write(to, s, text, tell)
}

// tellFirst tells what is damaged of the first pages, and whether something is missing therefore.
func tellFirst(tx *bolt.Tx, path string, tell func(error)) error {
	first, err := readFirstPages(path)
	if err != nil {
		return refused(path, err)
	}
	if first.whole() == nil {
		return nil
	}
	log, err := readLogFile(path)
	if err != nil {
		return err
	}
	file, err := readBinding(tx)
	if first.lost && (err != nil || !certain(file, log)) {
		tell(fmt.Errorf("store %s: %w: what is read is the state that the other one leads to, which may be the one before; "+
			"what was stored last may be missing", path, first.whole()))
		return nil //nolint:nilerr // without a binding nobody knows, which is told
	}
	tell(fmt.Errorf("store %s: %w: nothing is missing therefore", path, first.whole()))
	return nil
}

// copyWhole copies the entries of all pages that are whole.
func copyWhole(to *bolt.DB, path string, tell func(error)) (err error) {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	known := make(map[string]bool)
	tx, err := to.Begin(true)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	for _, name := range append([][]byte{metaBucket}, tableNames...) {
		known[string(name)] = true
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	size := 0
	p := &pages{file: file, size: info.Size(), skip: tell}
	p.leaf = func(bucket, key, value []byte) error {
		if !known[string(bucket)] || len(key) > bolt.MaxKeySize {
			return nil
		}
		if size += len(key) + len(value); size > compactBytes {
			if err := tx.Commit(); err != nil {
				return err
			}
			if tx, err = to.Begin(true); err != nil {
				return err
			}
			size = 0
		}
		return tx.Bucket(bucket).Put(bytes.Clone(key), bytes.Clone(value))
	}
	if err := p.walk(); err != nil {
		return refused(path, err)
	}
	return tx.Commit()
}

// replayWhole makes the changes of the log, as far as it is whole.
func (j *journal) replayWhole(path string, tell func(error)) error {
	meta := j.tx.Bucket(metaBucket)
	j.strict = meta.Get(sealedKey) != nil
	content, err := os.ReadFile(walPath(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if positionOf(meta.Get(versionKey)) >= boundSince {
		if len(content) < wal.HeaderBlock {
			tell(fmt.Errorf("log %s: %w", walPath(path), errTorn))
			return nil
		}
		content = content[wal.HeaderBlock:]
	}
	copy(j.wal.Identity[:], meta.Get(identityKey))
	after := positionOf(meta.Get(batchKey))
	for {
		frame, number := j.wal.Cut(content)
		if frame == nil || number != after+1 {
			if j.wal.Has(content, after+2) || number > after+1 {
				tell(fmt.Errorf("log %s: %w", walPath(path), errTorn))
			}
			return nil
		}
		if err := replay(j.tables, frame[wal.FrameHeader:]); err != nil {
			return err
		}
		content, after = content[len(frame):], number
	}
}
