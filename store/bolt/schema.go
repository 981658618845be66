package bolt

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/store/bolt/wal"
)

// What marks a file as ours, and the version of its layout.
var (
	metaBucket = []byte("meta")
	formatKey  = []byte("format")
	formatName = []byte("hark")
	versionKey = []byte("version")
	// Since version 3: what tells the log of this file from that of another, and the number of the
	// last batch that the file has.
	identityKey = []byte("identity")
	batchKey    = []byte("batch")
)

// migration brings a file from the layout before it to the next one.
type migration func(*bolt.Tx) error

// migrations lead from an empty file to the current layout, in order. The
// version of a file is the number of them that it has been through. One that was
// released is never changed again.
var migrations = []migration{
	createBuckets,
	createWebhookBuckets,
	createLog,
	compactRecords,
	createLives,
	createPieces,
	moveValuesOut,
	createDead,
	createMade,
	createStreams,
}

// boundSince is the version since which a file says whether it has a log.
const boundSince = 6

// deadSince is the version since which a file has an index of what has failed.
const deadSince = 8

// madeSince is the version since which a file has an index of everybody's requests.
const madeSince = 9

// streamsSince is the version since which a file may have streams.
const streamsSince = 10

// indexedSince are the tables that a file of a version which has all others need not have: those of
// indexes, which are made when it is opened, and those of streams, of which it has none.
var indexedSince = map[*byte]uint64{
	&deadBucket[0]: deadSince, &madeBucket[0]: madeSince,
	&streamsBucket[0]: streamsSince, &streamPiecesBucket[0]: streamsSince, &streamDueBucket[0]: streamsSince,
}

// versionOf returns the version of the layout of a file.
func versionOf(tx *bolt.Tx) uint64 { return positionOf(tx.Bucket(metaBucket).Get(versionKey)) }

// migrate brings the file up to date in one transaction.
func migrate(db *bolt.DB, steps []migration) error {
	current := false
	if err := db.View(func(tx *bolt.Tx) error {
		meta := tx.Bucket(metaBucket)
		current = meta != nil && positionOf(meta.Get(versionKey)) == uint64(len(steps)) && bytes.Equal(meta.Get(formatKey), formatName)
		return nil
	}); err != nil || current {
		return err
	}
	return update(db, func(tx *bolt.Tx) error {
		meta := tx.Bucket(metaBucket)
		if meta == nil {
			if first, _ := tx.Cursor().First(); first != nil {
				return errForeign
			}
			created, err := tx.CreateBucket(metaBucket)
			if err != nil {
				return err
			}
			if err := errors.Join(created.Put(formatKey, formatName), created.Put(sealedKey, []byte{1})); err != nil {
				return err
			}
			meta = created
		} else if !bytes.Equal(meta.Get(formatKey), formatName) {
			return errForeign
		}
		version := positionOf(meta.Get(versionKey))
		if version > uint64(len(steps)) {
			return fmt.Errorf("its layout is version %d, this program knows up to version %d: run the program that wrote it, or a newer one; "+
				"nothing was changed", version, len(steps))
		}
		for i := version; i < uint64(len(steps)); i++ {
			if err := steps[i](tx); err != nil {
				return fmt.Errorf("migrate to layout %d, nothing was changed: %w", i+1, err)
			}
		}
		return meta.Put(versionKey, position(nil, uint64(len(steps))))
	})
}

// recoverOld brings into a file of an older layout what is in its log, and removes that.
func recoverOld(db *bolt.DB, path string) error {
	content, err := os.ReadFile(walPath(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var file binding
	if err := db.View(func(tx *bolt.Tx) (err error) {
		file, err = readBinding(tx)
		return err
	}); err != nil || file.version >= boundSince {
		return err
	}
	w := &wal.Log{Path: walPath(path)}
	copy(w.Identity[:], file.identity)
	if len(bytes.Trim(content, "\x00")) > 0 && !w.Has(content, file.batch) && !w.Has(content, file.batch+1) {
		return errLogForeign
	}
	end, last, err := w.Scan(content, file.batch)
	if err != nil {
		return fmt.Errorf("log %s: %w", w.Path, advised(err))
	}
	if end > 0 {
		if err := update(db, func(tx *bolt.Tx) error {
			tables := make(map[*byte]table, len(tableNames))
			for i, name := range tableNames {
				if b := tx.Bucket(name); b != nil {
					tables[&name[0]] = table{Bucket: b, mark: byte(i)}
				}
			}
			for rest := content[:end]; len(rest) > 0; {
				frame, _ := w.Cut(rest)
				if err := replay(tables, frame[wal.FrameHeader:]); err != nil {
					return err
				}
				rest = rest[len(frame):]
			}
			return tx.Bucket(metaBucket).Put(batchKey, position(nil, last))
		}); err != nil {
			return err
		}
	}
	return errors.Join(os.Remove(w.Path), wal.SyncDir(filepath.Dir(path)))
}

func createBuckets(tx *bolt.Tx) error {
	return create(
		tx, requestsBucket, eventsBucket, refsBucket, bodiesBucket, feedsBucket, agingBucket, ownersBucket,
		expiryBucket, pendingBucket, processingBucket, keysBucket,
	)
}

// webhookBuckets came with version 2.
var webhookBuckets = [][]byte{
	endpointsBucket, healthBucket, deletedBucket, deliveriesBucket, attemptsBucket, messagesBucket,
	messageIndexBucket, lanesBucket, dueBucket, settledBucket, keptBucket,
}

func createWebhookBuckets(tx *bolt.Tx) error { return create(tx, webhookBuckets...) }

// createLog makes a program that knows of no log refuse the file.
func createLog(tx *bolt.Tx) error {
	identity := make([]byte, 16)
	_, _ = rand.Read(identity) // never fails
	return errors.Join(tx.Bucket(metaBucket).Put(identityKey, identity), tx.Bucket(metaBucket).Put(batchKey, position(nil, 0)))
}

// compactRecords makes a program that knows only JSON refuse the file. What is JSON in it is read
// as it is.
func compactRecords(*bolt.Tx) error { return nil }

// createLives makes a program that would drop the lives of requests refuse the file. What is in it
// without one goes on as it is.
func createLives(tx *bolt.Tx) error { return create(tx, requestKeysBucket) }

// createPieces makes a program refuse the file that takes a missing log for an empty one, and does
// not know bodies in pieces, nor values with a sum. Whatever is without a sum is read as it is.
func createPieces(tx *bolt.Tx) error {
	meta := tx.Bucket(metaBucket)
	if err := errors.Join(
		create(tx, piecesBucket), meta.Put(generationKey, position(nil, wal.NewGeneration())), meta.Put(stateKey, []byte{stateClosed}),
	); err != nil {
		return err
	}
	kept := make(map[string][]byte) // what is in there is anything, so that all of it must have one
	if err := tx.Bucket(keptBucket).ForEach(func(k, v []byte) error {
		kept[string(k)] = bytes.Clone(v)
		return nil
	}); err != nil {
		return err
	}
	for k, v := range kept {
		if err := tx.Bucket(keptBucket).Put([]byte(k), withSeal(keptBucket, []byte(k), v)); err != nil {
			return err
		}
	}
	return nil
}

// moveValuesOut makes a program refuse the file that would show results without their value. What
// is in it with theirs is read as it is.
func moveValuesOut(*bolt.Tx) error { return nil }

// createDead makes a program refuse the file that would not keep the index of what has failed. What
// the file and its log have of it comes into the index when both are open, see indexOld.
func createDead(tx *bolt.Tx) error {
	fresh := tx.Bucket(metaBucket).Get(versionKey) == nil
	if err := create(tx, deadBucket); err != nil || fresh {
		return err
	}
	return tx.Bucket(keptBucket).Put(unindexed, withSeal(keptBucket, unindexed, nil))
}

// createMade makes a program refuse the file that would not keep the index of everybody's requests.
// It is filled as that of what has failed is.
func createMade(tx *bolt.Tx) error {
	fresh := tx.Bucket(metaBucket).Get(versionKey) == nil
	if err := create(tx, madeBucket); err != nil || fresh {
		return err
	}
	return tx.Bucket(keptBucket).Put(unmade, withSeal(keptBucket, unmade, nil))
}

// createStreams makes a program refuse the file that knows no streams, and would not forget the
// output of a request with that.
func createStreams(tx *bolt.Tx) error {
	return create(tx, streamsBucket, streamPiecesBucket, streamDueBucket)
}

func create(tx *bolt.Tx, names ...[]byte) error {
	for _, name := range names {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	return nil
}
