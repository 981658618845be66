package bolt

import (
	"bytes"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/codec"
	"github.com/hark-push/hark/webhook/dispatch"
)

// indexError is an index that does not say what the records say. What it leads to could be missing,
// or another's.
type indexError struct{ what string }

func (e *indexError) Error() string { return "the file is damaged: " + e.what + ". " + orSalvage }

func damagedIndex(format string, args ...any) error { return &indexError{fmt.Sprintf(format, args...)} }

// consistent holds indexes against the records: they have no sums, and all that they hold follows
// from records. It stops at the first thing that is wrong. Records that are damaged themselves are
// not its concern, but that they are still found is.
//
// Files from before there were sums are let be: what was once left in them is not known.
func (s *Store) consistent(tx *bolt.Tx) error {
	if !s.journal.strict {
		return nil
	}
	c := checker{s: s, tx: tx}
	for _, part := range []func() error{c.requests, c.owners, c.keys, c.feeds, c.deliveries, c.references, c.streams} {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

type checker struct {
	s  *Store
	tx *bolt.Tx

	all, damaged        int // requests
	pending, processing int
	dead                int    // requests that have failed and are no batches
	unindexed           bool   // they are not in their index yet
	unmade              bool   // nor are all in that of everybody's
	referred            uint64 // references to events
	outputs             int    // requests to whose output something was appended
}

// has reports whether a bucket has a key. bbolt's Get does not tell an empty value that is not
// committed yet from none.
func (c *checker) has(bucket, key []byte) bool {
	found, _ := c.tx.Bucket(bucket).Cursor().Seek(key)
	return bytes.Equal(found, key)
}

// readable returns a record, nil if it is damaged.
func readable(key, stored []byte) *record { return readAs(true, key, stored) }

// readAs is readable for a file that has values without a sum, unless it is strict.
func readAs(strict bool, key, stored []byte) *record {
	value, err := unseal(strict, requestsBucket, key, stored)
	if err != nil {
		return nil
	}
	r, err := decodeRecord(string(key), value)
	if err != nil {
		return nil
	}
	return r
}

func (c *checker) count(bucket []byte) (n int) {
	cursor := c.tx.Bucket(bucket).Cursor()
	for key, _ := cursor.First(); key != nil; key, _ = cursor.Next() {
		n++
	}
	return n
}

func (c *checker) requests() error {
	var serial, ticket uint64
	c.unindexed = c.tx.Bucket(deadBucket) == nil || c.has(keptBucket, unindexed)
	c.unmade = c.tx.Bucket(madeBucket) == nil || c.has(keptBucket, unmade)
	if err := c.tx.Bucket(requestsBucket).ForEach(func(key, stored []byte) error {
		c.all++
		r := readable(key, stored)
		if r == nil {
			c.damaged++
			return nil
		}
		serial, ticket = max(serial, r.Serial), max(ticket, r.Ticket)
		for range r.Positions.all() {
			c.referred++
		}
		entry := c.tx.Bucket(ownersBucket).Get(ownerKey(r.Owner, r.Serial))
		switch {
		case string(entry) != codec.OwnerEntry(&r.Request):
			return damagedIndex("request %s is not in the list of its owner", r.ID)
		case !c.has(expiryBucket, expiryKey(nil, r.Due, r.ID)):
			return damagedIndex("request %s is not among those that expire", r.ID)
		case !c.unmade && !c.isMade(r):
			return damagedIndex("request %s is not in the list of everybody's", r.ID)
		}
		switch r.Status {
		case lifecycle.Pending:
			c.pending++
			if string(c.tx.Bucket(pendingBucket).Get(pendingKey(r))) != r.ID {
				return damagedIndex("request %s is not among those that wait", r.ID)
			}
		case lifecycle.Processing, lifecycle.Waiting:
			c.processing++
			if !c.has(processingBucket, processingKey(r)) {
				return damagedIndex("request %s is not among those that are worked on", r.ID)
			}
		}
		if r.HasOutput {
			c.outputs++
		}
		if isDead(r) {
			if c.dead++; !c.unindexed && !c.has(deadBucket, deadKey(r)) {
				return damagedIndex("request %s is not among those that have failed", r.ID)
			}
		}
		return nil
	}); err != nil {
		return err
	}
	if c.tx.Bucket(ownersBucket).Sequence() < serial || c.tx.Bucket(pendingBucket).Sequence() < ticket {
		return damagedIndex("numbers of requests would be given twice")
	}
	waiting, working := c.count(pendingBucket), c.count(processingBucket)
	if waiting < c.pending || working < c.processing || waiting+working > c.pending+c.processing+c.damaged {
		return damagedIndex("%d requests wait and %d are worked on, and the indexes have %d and %d", c.pending, c.processing, waiting, working)
	}
	if !c.unindexed {
		if n := c.count(deadBucket); n < c.dead || n > c.dead+c.damaged {
			return damagedIndex("%d requests have failed, and the index has %d", c.dead, n)
		}
	}
	if n := c.count(expiryBucket); n != c.all {
		return damagedIndex("there are %d requests, and %d of them expire", c.all, n)
	}
	if !c.unmade {
		// One that was damaged when the index was made is not in it.
		if n := c.count(madeBucket); n > c.all || n < c.all-c.damaged {
			return damagedIndex("there are %d requests, and %d in the list of everybody's", c.all, n)
		}
	}
	return nil
}

// isMade reports whether a request is in the index of everybody's, with its topic.
func (c *checker) isMade(r *record) bool {
	want := madeKey(r)
	key, topic := c.tx.Bucket(madeBucket).Cursor().Seek(want)
	return bytes.Equal(key, want) && string(topic) == r.Topic
}

func (c *checker) owners() error {
	n := 0
	if err := c.tx.Bucket(ownersBucket).ForEach(func(_, entry []byte) error {
		n++
		id, _, _ := codec.CutOwnerEntry(entry)
		if c.damaged > 0 && !c.has(requestsBucket, id) {
			return damagedIndex("request %q is not there, and is in the list of its owner", id)
		}
		return nil
	}); err != nil {
		return err
	}
	if n != c.all {
		return damagedIndex("there are %d requests, and %d in the lists of owners", c.all, n)
	}
	return nil
}

func (c *checker) keys() error {
	n := 0
	if err := c.tx.Bucket(requestKeysBucket).ForEach(func(key, _ []byte) error {
		n++
		at := bytes.IndexByte(key, 0)
		if at < 0 || !c.has(keysBucket, key[at+1:]) {
			return damagedIndex("an idempotency key of request %q is not there", key[:max(at, 0)])
		}
		return nil
	}); err != nil {
		return err
	}
	if have := c.count(keysBucket); have != n {
		return damagedIndex("there are %d idempotency keys, and %d are named", have, n)
	}
	return nil
}

// feeds have offsets without gaps, and only of the newest event it is known that it was there once.
func (c *checker) feeds() error {
	var name []byte
	var offset uint64
	emptied := false
	return c.tx.Bucket(feedsBucket).ForEach(func(key, value []byte) error {
		if len(key) < 9 || key[len(key)-9] != 0 {
			return damagedIndex("an entry of a feed is none")
		}
		at, err := c.s.journal.place(key, value)
		if err != nil {
			return damagedIndex("an entry of the feed %q is another", key[:len(key)-9])
		}
		if same := bytes.Equal(key[:len(key)-9], name); same && (offsetOf(key) != offset+1 || emptied || isBegin(value)) {
			return damagedIndex("the feed %q has a gap behind %d", name, offset)
		} else if !same {
			name = bytes.Clone(key[:len(key)-9])
			if _, err := lifecycle.ParseKey(string(name)); err != nil {
				return damagedIndex("there is no feed %q", name)
			}
		}
		offset, emptied = offsetOf(key), len(value) == 0
		if at > 0 {
			c.referred++
		}
		return nil
	})
}

func (c *checker) deliveries() error {
	var waiting, settled, all int
	var last uint64
	if err := c.tx.Bucket(deliveriesBucket).ForEach(func(key, stored []byte) error {
		if len(key) != 16 {
			return damagedIndex("a webhook delivery has no place")
		}
		all++
		endpoint := positionOf(key[:8])
		last = max(last, offsetOf(key))
		d, _ := c.s.delivery(key, stored)
		switch {
		case d == nil: // that was told
		case !bytes.Equal(c.tx.Bucket(messageIndexBucket).Get(messageKey(endpoint, d.ID)), key[8:]):
			return damagedIndex("webhook delivery %s cannot be found", d.ID)
		case d.State == dispatch.Waiting:
			if waiting++; !c.has(lanesBucket, laneKey(endpoint, d.Lane, d.serial)) {
				return damagedIndex("webhook delivery %s is not in its lane", d.ID)
			}
		default:
			if settled++; !c.has(settledBucket, settledKey(d.Settled, endpoint, d.serial)) {
				return damagedIndex("webhook delivery %s is not among those that are settled", d.ID)
			}
		}
		return nil
	}); err != nil {
		return err
	}
	if err := c.due(); err != nil {
		return err
	}
	lanes, ended := c.count(lanesBucket), c.count(settledBucket)
	if n := c.count(messageIndexBucket); n != all || lanes < waiting || ended < settled || lanes+ended > all {
		return damagedIndex("there are %d webhook deliveries, of which %d wait, and the indexes have %d and %d", all, waiting, n, lanes)
	}
	if c.tx.Bucket(deliveriesBucket).Sequence() < last {
		return damagedIndex("numbers of webhook deliveries would be given twice")
	}
	return c.tx.Bucket(messagesBucket).ForEach(func(_, _ []byte) error { c.referred++; return nil })
}

// due has every delivery that may be claimed: the first of each lane, and of an endpoint that keeps
// no order, all.
func (c *checker) due() error {
	bySerial := make(map[uint64]*endpoint, len(c.s.endpoints.byID))
	for _, e := range c.s.endpoints.byID {
		bySerial[e.serial] = e
	}
	var lane []byte
	return c.tx.Bucket(lanesBucket).ForEach(func(key, _ []byte) error {
		if len(key) < 17 {
			return damagedIndex("a lane of webhook deliveries is none")
		}
		first := !bytes.Equal(key[:len(key)-8], lane)
		lane = append(lane[:0], key[:len(key)-8]...)
		e := bySerial[positionOf(key[:8])]
		if e == nil || e.Ordered() && !first {
			return nil
		}
		at := pair(e.serial, offsetOf(key))
		d, err := c.s.delivery(at, c.tx.Bucket(deliveriesBucket).Get(at))
		if err == nil && !c.has(dueBucket, dueKey(e.serial, d.Due, d.serial)) {
			return damagedIndex("webhook delivery %s is never due", d.ID)
		}
		return nil
	})
}

// references are as many as events say that there are to them.
func (c *checker) references() error {
	var have, last uint64
	damaged := c.damaged
	refs := c.tx.Bucket(refsBucket)
	if err := c.tx.Bucket(eventsBucket).ForEach(func(key, stored []byte) error {
		last = max(last, positionOf(key))
		value, _ := unseal(true, eventsBucket, key, stored)
		if len(value) < eventHeader {
			damaged++
			return nil
		}
		left := value[eventRefs] &^ eventCompact
		if count := refs.Get(key); len(count) == 1 {
			left = count[0]
		}
		have += uint64(left)
		return nil
	}); err != nil {
		return err
	}
	if c.tx.Bucket(eventsBucket).Sequence() < last {
		return damagedIndex("places of events would be given twice")
	}
	if damaged == 0 && have != c.referred {
		return damagedIndex("%d references to events are counted, and there are %d", have, c.referred)
	}
	return nil
}
