package bolt

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// What marks a file as ours, and the version of its layout.
var (
	metaBucket = []byte("meta")
	formatKey  = []byte("format")
	formatName = []byte("hark")
	versionKey = []byte("version")
	// Since version 3: what tells the log of this file from that of another, and the number of the last batch
	// that the file has.
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
}

// migrate brings the file up to date in one transaction.
func migrate(db *bolt.DB, steps []migration) error {
	return db.Update(func(tx *bolt.Tx) error {
		meta := tx.Bucket(metaBucket)
		if meta == nil {
			if first, _ := tx.Cursor().First(); first != nil {
				return errors.New("not a Hark store")
			}
			created, err := tx.CreateBucket(metaBucket)
			if err != nil {
				return err
			}
			if err := created.Put(formatKey, formatName); err != nil {
				return err
			}
			meta = created
		} else if !bytes.Equal(meta.Get(formatKey), formatName) {
			return errors.New("not a Hark store")
		}
		version := uint64(0)
		if v := meta.Get(versionKey); len(v) == 8 {
			version = binary.BigEndian.Uint64(v)
		}
		if version > uint64(len(steps)) {
			return fmt.Errorf("its layout is version %d, this program knows up to version %d", version, len(steps))
		}
		for i := version; i < uint64(len(steps)); i++ {
			if err := steps[i](tx); err != nil {
				return fmt.Errorf("migrate to layout %d: %w", i+1, err)
			}
		}
		return meta.Put(versionKey, binary.BigEndian.AppendUint64(nil, uint64(len(steps))))
	})
}

func createBuckets(tx *bolt.Tx) error {
	return create(
		tx, requestsBucket, eventsBucket, refsBucket, bodiesBucket, feedsBucket, agingBucket, ownersBucket,
		expiryBucket, pendingBucket, processingBucket, keysBucket,
	)
}

// webhookBuckets came with version 2.
var webhookBuckets = [][]byte{
	endpointsBucket, faresBucket, deletedBucket, deliveriesBucket, attemptsBucket, messagesBucket,
	messageIndexBucket, lanesBucket, dueBucket, settledBucket, keptBucket,
}

func createWebhookBuckets(tx *bolt.Tx) error { return create(tx, webhookBuckets...) }

// createLog makes a program that knows of no log refuse the file.
func createLog(tx *bolt.Tx) error {
	identity := make([]byte, 16)
	_, _ = rand.Read(identity) // never fails
	return errors.Join(tx.Bucket(metaBucket).Put(identityKey, identity), tx.Bucket(metaBucket).Put(batchKey, position(nil, 0)))
}

// compactRecords makes a program that knows only JSON refuse the file. What is JSON in it is read as it is.
func compactRecords(*bolt.Tx) error { return nil }

// createLives makes a program that would drop the lives of requests refuse the file. What is in it without one goes on as it is.
func createLives(tx *bolt.Tx) error { return create(tx, requestKeysBucket) }

func create(tx *bolt.Tx, names ...[]byte) error {
	for _, name := range names {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	return nil
}
