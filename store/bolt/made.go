package bolt

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/codec"
)

// Everybody's requests stand in an index by route and the time of their creation. A list of one
// route goes through its part, and one of all merges the parts, of which there are as many as
// routes.

// madeKey is where a request stands in the index; a batch has the route "".
func madeKey(r *record) []byte { return routeKey(r.Route, r.CreatedAt, r.ID) }

// note takes a request into the index.
func (b *batch) note(r *record) { b.put(madeBucket, madeKey(r), []byte(r.Topic)) }

// madePlace is where a request stands among everybody's.
type madePlace struct {
	at int64 // ns
	id string
}

func placeOf(r *record) madePlace { return madePlace{nanos(r.CreatedAt), r.ID} }

func (p madePlace) compare(o madePlace) int {
	return cmp.Or(cmp.Compare(p.at, o.at), cmp.Compare(p.id, o.id))
}

// key is the place as it stands in the index behind the route.
func (p madePlace) key() []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(p.at)), p.id...)
}

// nanosAt is nanos of a time that somebody has asked for, which may be any.
func nanosAt(t time.Time) int64 {
	switch year := t.Year(); { // the scale begins with 1970, and ends in 2262
	case year < 1970:
		return 0
	case year > 2200:
		return math.MaxInt64
	}
	return nanos(t)
}

// listAll is List of everybody's.
func (s *Store) listAll(ctx context.Context, q lifecycle.Query) (lifecycle.Page, error) {
	end := madePlace{at: math.MaxInt64} // before which the list goes on
	if !q.Until.IsZero() {
		end.at = nanosAt(q.Until)
	}
	if q.Cursor != "" {
		at, id, ok := codec.ParseAllCursor(q.Cursor)
		if !ok {
			return lifecycle.Page{}, lifecycle.ErrCursor
		}
		if seen := (madePlace{at, id}); seen.compare(end) < 0 {
			end = seen
		}
	}
	var page lifecycle.Page
	err := s.view(ctx, func(tx *bolt.Tx) error {
		page = lifecycle.Page{}
		if ids, few := fewOf(tx, &q); few {
			s.listFew(tx, &q, ids, end, &page)
		} else {
			s.listMade(tx, &q, end, &page)
		}
		return nil
	})
	if err != nil {
		return lifecycle.Page{}, err
	}
	return page, nil
}

// fewOf returns what an index of a status has, if that selects by the query's and has no more than
// one call goes through: whatever else is kept, the list is whole then.
func fewOf(tx *bolt.Tx, q *lifecycle.Query) (ids []string, few bool) {
	var bucket, prefix []byte
	idOf := func(_, value []byte) []byte { return value }
	switch {
	case q.Status == lifecycle.Pending:
		bucket = pendingBucket
		if q.Route != "" {
			prefix = append([]byte(q.Route), 0x00)
		}
	case q.Status == lifecycle.Processing || q.Status == lifecycle.Waiting:
		bucket = processingBucket
		// See processingKey.
		idOf = func(key, _ []byte) []byte { return bytes.TrimPrefix(key, []byte{0x00}) }
	case q.Status == lifecycle.Failed && q.Route != "": // without a route there are batches, too
		bucket, prefix = deadBucket, routePrefix(q.Route)
		idOf = func(key, _ []byte) []byte { return key[len(prefix)+8:] }
	default:
		return nil, false
	}
	cursor := tx.Bucket(bucket).Cursor()
	for key, value := cursor.Seek(prefix); key != nil && bytes.HasPrefix(key, prefix); key, value = cursor.Next() {
		if len(ids) == maxScanned {
			return nil, false
		}
		ids = append(ids, string(idOf(key, value)))
	}
	return ids, true
}

// listFew makes a page of those of some requests that a query selects.
func (s *Store) listFew(tx *bolt.Tx, q *lifecycle.Query, ids []string, end madePlace, page *lifecycle.Page) {
	var found []*record
	for _, id := range ids {
		// What is damaged was told.
		if r, err := s.record(tx, id); err == nil && q.Selects(&r.Request) && placeOf(r).compare(end) < 0 {
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b *record) int { return placeOf(b).compare(placeOf(a)) })
	if limit := max(q.Limit, 1); len(found) > limit {
		found = found[:limit]
		last := placeOf(found[limit-1])
		page.Next = codec.FormatAllCursor(last.at, last.id)
	}
	for _, r := range found {
		s.addTo(tx, page, r)
	}
}

// addTo adds a request to a page, unless the value of its result is damaged, which was told.
func (s *Store) addTo(tx *bolt.Tx, page *lifecycle.Page, r *record) {
	if whole, err := s.whole(tx, r); err == nil {
		page.Requests = append(page.Requests, s.present(whole))
	}
}

// madePart goes backwards through what the index has of a route.
type madePart struct {
	cursor     *bolt.Cursor
	prefix     []byte
	key, topic []byte // nil: there is no more
}

// place is where it is, as it stands in the index behind the route.
func (p *madePart) place() []byte { return p.key[len(p.prefix):] }

// keep takes what was read, if it is of the route and not from before since.
func (p *madePart) keep(since []byte) bool {
	if !bytes.HasPrefix(p.key, p.prefix) || len(p.place()) <= 8 || bytes.Compare(p.place(), since) < 0 {
		p.key = nil
	}
	return p.key != nil
}

// madeParts returns what the index has of the query's route, or of each, before a place.
func madeParts(tx *bolt.Tx, q *lifecycle.Query, end, since []byte) (parts []*madePart) {
	add := func(prefix []byte) {
		p := &madePart{cursor: tx.Bucket(madeBucket).Cursor(), prefix: prefix}
		p.key, p.topic = seekBefore(p.cursor, append(bytes.Clone(prefix), end...))
		if p.keep(since) {
			parts = append(parts, p)
		}
	}
	if q.Route != "" {
		add(routePrefix(q.Route))
		return parts
	}
	cursor := tx.Bucket(madeBucket).Cursor()
	for from := []byte(nil); ; { // from one route to the next
		key, _ := cursor.Seek(from)
		at := bytes.IndexByte(key, 0x00)
		if at < 0 {
			return parts
		}
		add(bytes.Clone(key[:at+1]))
		from = append(bytes.Clone(key[:at]), 0x01)
	}
}

// listMade makes a page of what the index of everybody's requests leads to.
func (s *Store) listMade(tx *bolt.Tx, q *lifecycle.Query, end madePlace, page *lifecycle.Page) {
	var since []byte
	if !q.Since.IsZero() {
		since = madePlace{at: nanosAt(q.Since)}.key()
	}
	parts := madeParts(tx, q, end.key(), since)
	var last []byte
	for scanned := 0; len(parts) > 0; scanned++ {
		if scanned == maxScanned || len(page.Requests) >= max(q.Limit, 1) {
			page.Next = codec.FormatAllCursor(int64(binary.BigEndian.Uint64(last)), string(last[8:]))
			return
		}
		newest := slices.MaxFunc(parts, func(a, b *madePart) int { return bytes.Compare(a.place(), b.place()) })
		last = append(last[:0], newest.place()...)
		if q.Topic == "" || string(newest.topic) == q.Topic {
			if r := s.selected(tx, q, newest.place()[8:]); r != nil {
				s.addTo(tx, page, r)
			}
		}
		newest.key, newest.topic = prev(newest.cursor, newest.key)
		if !newest.keep(since) {
			parts = slices.DeleteFunc(parts, func(p *madePart) bool { return p == newest })
		}
	}
}

// selected returns a request if the query selects it, nil else, or if it is damaged, which is told.
// It decodes none that has another status.
func (s *Store) selected(tx *bolt.Tx, q *lifecycle.Query, id []byte) *record {
	value, err := s.journal.read(tx, requestsBucket, id)
	if err == nil && q.Status != "" && len(value) > 0 && string(value[:1]) != codec.StatusLetter(q.Status) {
		return nil
	}
	r, err := s.record(tx, string(id))
	if err != nil || !q.Selects(&r.Request) {
		return nil
	}
	return r
}

// unmade is in kept as long as the index may lack what an older version has stored.
var unmade = []byte("unindexed\x00made")

// indexOld makes the indexes of a file that comes from an older version: of what has failed, and of
// all. If the process ends meanwhile, the next one goes through all requests again, and takes in
// what is missing.
func (s *Store) indexOld() error {
	ctx := context.Background()
	var dead, made bool
	if err := s.view(ctx, func(tx *bolt.Tx) error {
		dead, made = tx.Bucket(keptBucket).Get(unindexed) != nil, tx.Bucket(keptBucket).Get(unmade) != nil
		return nil
	}); err != nil || !dead && !made {
		return err
	}
	for from, more := []byte(nil), true; more; {
		if err := s.write(ctx, func(b *batch) error {
			var found []*record // gathered first: a cursor does not outlive a change
			cursor := b.bucket(requestsBucket).Cursor()
			key, stored := cursor.Seek(from)
			for n := 0; key != nil && n < indexStep; n++ {
				if made {
					// What is damaged is told when it is read.
					if r := readAs(s.journal.strict, key, stored); r != nil {
						found = append(found, r)
					}
				} else if r := s.failed(key, stored); r != nil {
					found = append(found, r)
				}
				key, stored = cursor.Next()
			}
			from, more = bytes.Clone(key), key != nil
			for _, r := range found {
				if dead && isDead(r) {
					b.bury(r)
				}
				if made {
					b.note(r)
				}
			}
			if !more {
				b.delete(keptBucket, unindexed)
				b.delete(keptBucket, unmade)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// serialAt returns the serial from which on an owner's requests were created at a time or later,
// but for those whose place and time are apart, see [lifecycle.ClockSlack]. It looks at as many
// records as halving all of them takes.
func (s *Store) serialAt(tx *bolt.Tx, prefix []byte, at int64) (uint64, error) {
	cursor := tx.Bucket(ownersBucket).Cursor()
	first, _ := cursor.Seek(prefix)
	if !within(first, prefix) {
		return 0, nil
	}
	low := offsetOf(first)
	last, _ := seekBefore(cursor, binary.BigEndian.AppendUint64(bytes.Clone(prefix), math.MaxUint64))
	if !within(last, prefix) {
		return 0, nil
	}
	for high := offsetOf(last) + 1; low < high; {
		middle := low + (high-low)/2
		key, entry := cursor.Seek(binary.BigEndian.AppendUint64(bytes.Clone(prefix), middle))
		var r *record
		for ; within(key, prefix) && offsetOf(key) < high; key, entry = cursor.Next() {
			id, _, _ := codec.CutOwnerEntry(entry)
			var err error
			if r, err = s.record(tx, string(id)); err == nil {
				break
			} else if _, damaged := errors.AsType[*lifecycle.DamageError](err); !damaged {
				return 0, err
			}
		}
		if r == nil || nanos(r.CreatedAt) >= at {
			high = middle
		} else {
			low = offsetOf(key) + 1
		}
	}
	return low, nil
}
