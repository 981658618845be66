package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/lifecycle"
)

// What is handed out, or worked by, is stored with a sum: a mark, CRC-32C (4 bytes), the value. The
// sum is over key and value, and begins with the table and the length of the key. A value that was
// damaged, or stands under another key than its own, is told from any other. Indexes have none, but
// for feeds: they are held against the records when the store is opened, see consistent.
//
// Up to version 5 values had no sum. None of them begins with the mark: it stands before the first
// letter of a status, a brace, a serial and a time of this century.
const (
	sealMark = 0x01
	sealSize = 5
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sealedTables are those whose values have a sum.
var sealedTables = [][]byte{
	requestsBucket, eventsBucket, piecesBucket, keysBucket, endpointsBucket, healthBucket, deliveriesBucket, attemptsBucket, messagesBucket, keptBucket,
	streamsBucket, streamPiecesBucket,
}

// isSealed and marks are by the place of a table in tableNames.
var isSealed = func() (is [256]bool) {
	for i, name := range tableNames {
		is[i] = slices.ContainsFunc(sealedTables, func(s []byte) bool { return &s[0] == &name[0] })
	}
	return is
}()

var marks = func() map[*byte]byte {
	m := make(map[*byte]byte, len(tableNames))
	for i, name := range tableNames {
		m[&name[0]] = byte(i)
	}
	return m
}()

// sealSum is the sum of a value under its key. The length of the key counts, so that no byte can
// change sides.
func sealSum(mark byte, key, value []byte) uint32 {
	return crc32.Update(crc32.Update(uint32(mark)<<24|uint32(len(key)), castagnoli, key), castagnoli, value)
}

// appendSeal appends what stands before a value.
func appendSeal(dst []byte, mark byte, key, value []byte) []byte {
	return binary.BigEndian.AppendUint32(append(dst, sealMark), sealSum(mark, key, value))
}

// withSeal returns a value as it is stored.
func withSeal(bucket, key, value []byte) []byte {
	return append(appendSeal(nil, marks[&bucket[0]], key, value), value...)
}

var errSum = errors.New("its bytes are not those that were stored")

// unseal returns the value behind its sum, a part of stored; nil for nil. strict: there is none
// without a sum.
func unseal(strict bool, bucket, key, stored []byte) ([]byte, error) {
	if len(stored) >= sealSize && stored[0] == sealMark {
		if binary.BigEndian.Uint32(stored[1:]) != sealSum(marks[&bucket[0]], key, stored[sealSize:]) {
			return nil, errSum
		}
		return stored[sealSize:], nil
	}
	if stored == nil {
		return nil, nil
	}
	if strict || len(stored) == 0 || &bucket[0] == &piecesBucket[0] || &bucket[0] == &keptBucket[0] ||
		&bucket[0] == &streamsBucket[0] || &bucket[0] == &streamPiecesBucket[0] ||
		&bucket[0] == &requestsBucket[0] && (stored[0] < 'a' || stored[0] > 'z') {
		return nil, errSum
	}
	return stored, nil
}

// read returns what is stored under a key of a sealed table; nil if nothing is.
func (j *journal) read(tx *bolt.Tx, bucket, key []byte) ([]byte, error) {
	return unseal(j.strict, bucket, key, tx.Bucket(bucket).Get(key))
}

// read returns what is stored under a key of a sealed table; nil if nothing is.
func (b *batch) read(bucket, key []byte) ([]byte, error) {
	return unseal(b.s.journal.strict, bucket, key, b.bucket(bucket).Get(key))
}

// damaged tells of something that was stored and is not what it was, and returns that.
func (s *Store) damaged(id, what string, err error) error {
	return s.options.Damages.Note(&lifecycle.DamageError{ID: id, What: what, Err: fmt.Errorf("store: %w", err)})
}
