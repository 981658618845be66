package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/codec"
	"github.com/hark-push/hark/webhook/dispatch"
)

// scanEntries is how many entries of a table are gone through while changes wait.
const scanEntries = 2048

// scan returns the keys of the entries of a table that match.
func (s *Store) scan(ctx context.Context, bucket []byte, match func(key, value []byte) bool) (keys [][]byte, err error) {
	var from []byte
	for more := true; more; {
		var found [][]byte
		var next []byte
		if err := s.view(ctx, func(tx *bolt.Tx) error {
			found = found[:0] // it may be called again
			cursor := tx.Bucket(bucket).Cursor()
			key, value := cursor.Seek(from)
			for range scanEntries {
				if key == nil {
					break
				}
				if match(key, value) {
					found = append(found, bytes.Clone(key))
				}
				key, value = cursor.Next()
			}
			next, more = bytes.Clone(key), key != nil
			return nil
		}); err != nil {
			return nil, err
		}
		keys, from = append(keys, found...), next
	}
	return keys, nil
}

// remains is what leads to a request, and away from it, when its record cannot be read.
type remains struct {
	id                                   string
	owners, expires, waiting, dead, made [][]byte // keys
	events                               [][]byte // keys, the oldest first
}

// remainsOf looks for what there is of a request. Nothing changes a request whose record is
// damaged, but for Sweep, which moves when it expires.
func (s *Store) remainsOf(ctx context.Context, id string) (found remains, err error) {
	found.id = id
	wanted := []byte(id)
	byID := func(_, value []byte) bool { return bytes.Equal(value, wanted) }
	owned := func(_, value []byte) bool {
		of, _, _ := bytes.Cut(value, []byte{0})
		return bytes.Equal(of, wanted)
	}
	expires := func(key, _ []byte) bool { return len(key) > 8 && bytes.Equal(key[8:], wanted) }
	failed := func(key, _ []byte) bool {
		_, rest, _ := bytes.Cut(key, []byte{0})
		return expires(rest, nil)
	}
	// Which the writer looks at closely.
	told := func(_, value []byte) bool { return bytes.Contains(value, wanted) }
	for _, part := range []struct {
		to     *[][]byte
		bucket []byte
		match  func(key, value []byte) bool
	}{
		{&found.owners, ownersBucket, owned},
		{&found.waiting, pendingBucket, byID},
		{&found.events, eventsBucket, told},
		{&found.expires, expiryBucket, expires},
		{&found.dead, deadBucket, failed},
		{&found.made, madeBucket, failed},
	} {
		if *part.to, err = s.scan(ctx, part.bucket, part.match); err != nil {
			return remains{}, err
		}
	}
	return found, nil
}

// errMoved: what was found of a request is not where it was.
var errMoved = errors.New("it was changed meanwhile")

// DeleteDamaged implements lifecycle.Store. It goes through the tables that lead to a request by
// something else than its id, a part at a time, so that others need not wait for it.
func (s *Store) DeleteDamaged(ctx context.Context, id string) (lifecycle.Request, error) {
	for {
		found, err := s.remainsOf(ctx, id)
		if err != nil {
			return lifecycle.Request{}, err
		}
		var was lifecycle.Request
		err = s.write(ctx, func(b *batch) (err error) {
			was, err = b.deleteDamaged(&found)
			return err
		})
		if !errors.Is(err, errMoved) {
			return was, err
		}
	}
}

func (b *batch) deleteDamaged(found *remains) (lifecycle.Request, error) {
	r, err := b.load(found.id)
	if err == nil { // then the value of its result may be damaged, which is out of line
		if _, err := b.s.whole(b.s.journal.tx, r); err == nil {
			return lifecycle.Request{}, lifecycle.ErrNotFound
		}
		b.forgetDeliveries(&r.Request)
		b.forget(r)
		return r.Request, nil
	}
	if _, damaged := errors.AsType[*lifecycle.DamageError](err); !damaged {
		return lifecycle.Request{}, err
	}
	return b.deleteRemains(found)
}

// deleteRemains deletes a request whose record cannot be read.
func (b *batch) deleteRemains(found *remains) (lifecycle.Request, error) {
	for _, key := range found.expires {
		if at, _ := b.bucket(expiryBucket).Cursor().Seek(key); !bytes.Equal(at, key) {
			return lifecycle.Request{}, errMoved
		}
	}
	events := b.eventsOf(found)
	r := lifecycle.Request{ID: found.id}
	if len(events) > 0 {
		r = *events[len(events)-1].request
	}
	if r.Owner == "" && len(found.owners) > 0 { // events of older layouts do not name it
		r.Owner = ownerOf(found.owners[0])
	}
	b.forgetDeliveries(&r)
	b.forgetEvents(&r, events)
	b.delete(requestsBucket, []byte(found.id))
	b.deleteBodies(found.id)
	for _, key := range found.owners {
		b.delete(ownersBucket, key)
	}
	for _, key := range found.expires {
		b.delete(expiryBucket, key)
	}
	for _, key := range found.dead {
		b.exhumeAt(key)
	}
	for _, key := range found.made {
		b.delete(madeBucket, key)
	}
	for _, key := range found.waiting {
		b.delete(pendingBucket, key)
		if route, priority, ticket, ok := parsePendingKey(key); ok {
			queue := &b.s.queue
			queue.remove(route, priority, ticket)
			b.undo = append(b.undo, func() { queue.add(route, priority, ticket) })
		}
		b.begin(-1)
	}
	// See processingKey.
	for _, key := range [][]byte{[]byte(found.id), append([]byte{0x00}, found.id...)} {
		if at, _ := b.bucket(processingBucket).Cursor().Seek(key); bytes.Equal(at, key) {
			b.delete(processingBucket, key)
			b.begin(-1)
			b.countStatus(&r, -1)
		}
	}
	b.leaveSlot(found.id)
	b.forgetKeys(&record{Request: r})
	b.use(r.Owner, r.Usage(), lifecycle.Usage{})
	b.forgetOutput(r.Ref(), r.Owner)
	b.changed[found.id] = nil
	return r, nil
}

// ownerOf returns the owner that a key of owners names.
func ownerOf(key []byte) string { return string(key[:max(len(key)-9, 0)]) }

// told is an event that can be read.
type told struct {
	key     []byte
	request *lifecycle.Request
}

// eventsOf reads the events that tell of a request. If others had its id before, those of the last
// one count: what feeds still have of the others is theirs.
func (b *batch) eventsOf(found *remains) (events []told) {
	for _, key := range found.events {
		value, err := b.read(eventsBucket, key)
		if err != nil || len(value) <= eventHeader {
			continue
		}
		var r *lifecycle.Request
		if value[eventRefs]&eventCompact != 0 {
			r, _, _, err = eventRecord(value[eventHeader:])
		} else {
			e, _ := codec.ParseEvent(bytes.Clone(value[eventHeader:]))
			r = &lifecycle.Request{ID: e.Request.ID, Life: e.Request.Life, Topic: e.Topic, Sequence: e.Sequence}
		}
		if err == nil && r.ID == found.id {
			events = append(events, told{key, r})
		}
	}
	if len(events) == 0 {
		return nil
	}
	life := events[len(events)-1].request.Life
	return slices.DeleteFunc(events, func(e told) bool { return e.request.Life != life })
}

// forgetEvents is what forget does with events, for those of a request of which nobody knows any
// more which of them its own channel refers to: those to which there are more references than feeds
// and webhook messages have.
func (b *batch) forgetEvents(r *lifecycle.Request, events []told) {
	if len(events) == 0 {
		return
	}
	held := make(map[uint64]int)
	for _, feed := range r.Channels()[1:] {
		prefix := feedPrefix(feed)
		cursor := b.bucket(feedsBucket).Cursor()
		for key, value := cursor.Seek(prefix); bytes.HasPrefix(key, prefix) && len(key) == len(prefix)+8; key, value = cursor.Next() {
			if at, err := b.s.journal.place(key, value); err == nil {
				held[at]++
			}
		}
	}
	roomy := b.roomy(len(events))
	for _, e := range events {
		at := binary.BigEndian.Uint64(e.key)
		message := dispatch.MessageID(e.request.Ref(), e.request.Sequence)
		if b.posted(message) {
			held[at]++
		} else if roomy {
			b.wipe(at)
		}
		if b.references(at) > held[at] {
			b.unref(at)
		}
	}
}

// references returns how many refer to an event, as they are counted.
func (b *batch) references(at uint64) int {
	b.key = position(b.key[:0], at)
	if count := b.bucket(refsBucket).Get(b.key); len(count) == 1 {
		return int(count[0])
	}
	if value, err := b.read(eventsBucket, b.key); err == nil && len(value) >= eventHeader {
		return int(value[eventRefs] &^ eventCompact)
	}
	return 0
}
