package bolt

import (
	"bytes"
	"encoding/binary"

	bolt "go.etcd.io/bbolt"
)

// lanes has every delivery that is not settled, in the order of its lane. due has those of
// them that may be claimed when their time comes: of an endpoint that is ordered, the first
// of each lane, else all.

// lane returns the deliveries of a lane that are not settled, in their order.
func (b *batch) lane(e *endpoint, lane string) []uint64 {
	var serials []uint64
	prefix := lanePrefix(e.serial, lane)
	cursor := b.bucket(lanesBucket).Cursor()
	for key, _ := cursor.Seek(prefix); bytes.HasPrefix(key, prefix); key, _ = cursor.Next() {
		if within(key, prefix) {
			serials = append(serials, offsetOf(key))
		}
	}
	return serials
}

// heads returns the first two of a lane, 0 for none.
func (b *batch) heads(e *endpoint, lane string) (first, second uint64) {
	prefix := lanePrefix(e.serial, lane)
	cursor := b.bucket(lanesBucket).Cursor()
	for key, _ := cursor.Seek(prefix); bytes.HasPrefix(key, prefix); key, _ = cursor.Next() {
		switch {
		case !within(key, prefix):
		case first == 0:
			first = offsetOf(key)
		default:
			return first, offsetOf(key)
		}
	}
	return first, 0
}

// await files a delivery that is not settled, or not any more.
func (b *batch) await(e *endpoint, d *delivery) {
	e.unsettled++
	b.s.endpoints.unsettled++
	b.put(lanesBucket, laneKey(e.serial, d.Lane, d.serial), nil)
	if !e.Ordered() {
		b.put(dueBucket, dueKey(e.serial, d.Due, d.serial), nil)
		return
	}
	first, second := b.heads(e, d.Lane)
	if first != d.serial {
		return // it waits for that one
	}
	b.put(dueBucket, dueKey(e.serial, d.Due, d.serial), nil)
	if second == 0 {
		return
	}
	if other, err := b.loadDelivery(e, second); err != nil {
		b.err = err
	} else {
		b.delete(dueBucket, dueKey(e.serial, other.Due, other.serial))
	}
}

// unawait takes out a delivery that is about to be settled.
func (b *batch) unawait(e *endpoint, d *delivery) {
	e.unsettled--
	b.s.endpoints.unsettled--
	b.delete(lanesBucket, laneKey(e.serial, d.Lane, d.serial))
	b.delete(dueBucket, dueKey(e.serial, d.Due, d.serial))
	if !e.Ordered() {
		return
	}
	first, _ := b.heads(e, d.Lane)
	if first == 0 {
		return
	}
	if next, err := b.loadDelivery(e, first); err != nil {
		b.err = err
	} else {
		b.put(dueBucket, dueKey(e.serial, next.Due, next.serial), nil)
	}
}

// postpone changes when a delivery is due.
func (b *batch) postpone(e *endpoint, d *delivery, due int64) {
	b.delete(dueBucket, dueKey(e.serial, d.Due, d.serial))
	d.Due = due
	if e.Ordered() {
		if first, _ := b.heads(e, d.Lane); first != d.serial {
			return
		}
	}
	b.put(dueBucket, dueKey(e.serial, d.Due, d.serial), nil)
}

// fileAll files all deliveries of an endpoint anew, which has become ordered, or is not any more.
func (b *batch) fileAll(e *endpoint) {
	prefix := position(nil, e.serial)
	type waiting struct {
		serial uint64
		head   bool
	}
	var all []waiting // gathered first: a cursor does not outlive a change
	var lane []byte
	cursor := b.bucket(lanesBucket).Cursor()
	for key, _ := cursor.Seek(prefix); bytes.HasPrefix(key, prefix); key, _ = cursor.Next() {
		this := key[:len(key)-8]
		all = append(all, waiting{offsetOf(key), !bytes.Equal(this, lane)})
		lane = append(lane[:0], this...)
	}
	for _, w := range all {
		d, err := b.loadDelivery(e, w.serial)
		if err != nil {
			b.err = err
			return
		}
		if key := dueKey(e.serial, d.Due, d.serial); w.head || !e.Ordered() {
			b.put(dueBucket, key, nil)
		} else {
			b.delete(dueBucket, key)
		}
	}
}

// firstDue returns the delivery that is due first and not lent, and when; 0 and never if there is
// none.
func (b *batch) firstDue(e *endpoint, now int64) (serial uint64, due int64) {
	prefix := position(nil, e.serial)
	cursor := b.bucket(dueBucket).Cursor()
	for key, _ := cursor.Seek(prefix); within16(key, prefix); key, _ = cursor.Next() {
		if serial := offsetOf(key); !e.lent(serial, now) {
			return serial, int64(binary.BigEndian.Uint64(key[8:]))
		}
	}
	return 0, never
}

func within16(key, prefix []byte) bool { return len(key) == 24 && bytes.HasPrefix(key, prefix) }

// firstOf returns the first key of a bucket that begins with prefix.
func firstOf(bucket *bolt.Bucket, prefix []byte) []byte {
	if key, _ := bucket.Cursor().Seek(prefix); bytes.HasPrefix(key, prefix) {
		return key
	}
	return nil
}
