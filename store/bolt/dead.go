package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/codec"
)

// Requests that have failed stand in an index by route and time, and how many there are of a route
// in kept, so that nobody has to count them.

// deadKey is where a request stands that has failed; of a batch, which has no route, nowhere.
func deadKey(r *record) []byte {
	return routeKey(r.Route, r.EndedAt, r.ID)
}

// routeKey is where a request stands in an index by route and time.
func routeKey(route string, at time.Time, id string) []byte {
	return append(binary.BigEndian.AppendUint64(routePrefix(route), uint64(nanos(at))), id...)
}

// routePrefix is in front of the keys of a route.
func routePrefix(route string) []byte { return append([]byte(route), 0x00) }

// isDead reports whether a request is in the index.
func isDead(r *record) bool { return r.Status == lifecycle.Failed && r.Batch == nil }

// deadCount is where in kept stands how many requests of a route have failed, as a uvarint.
func deadCount(route string) []byte { return append([]byte(deadCounts), route...) }

const deadCounts = "dead\x00"

// bury takes a request that has failed into the index, unless it is there.
func (b *batch) bury(r *record) {
	if key := deadKey(r); !b.has(deadBucket, key) {
		b.put(deadBucket, key, nil)
		b.countDead(r.Route, 1)
	}
}

// exhume takes a request that has failed out of the index, if it is there.
func (b *batch) exhume(r *record) { b.exhumeAt(deadKey(r)) }

func (b *batch) exhumeAt(key []byte) {
	if b.has(deadBucket, key) {
		b.delete(deadBucket, key)
		route, _, _ := bytes.Cut(key, []byte{0x00})
		b.countDead(string(route), -1)
	}
}

// has reports whether a table has a key, see [checker.has].
func (b *batch) has(bucket, key []byte) bool {
	found, _ := b.bucket(bucket).Cursor().Seek(key)
	return bytes.Equal(found, key)
}

// countDead counts what a step changes. A count that is damaged begins anew, which is told.
func (b *batch) countDead(route string, more int64) {
	key := deadCount(route)
	value, err := b.read(keptBucket, key)
	if err != nil {
		_ = b.s.damaged("", "how many requests have failed on a route", err)
	}
	n, _ := binary.Uvarint(value)
	if is := int64(n) + more; is > 0 {
		b.put(keptBucket, key, binary.AppendUvarint(nil, uint64(is)))
		return
	}
	b.delete(keptBucket, key)
}

// DeadRoutes implements lifecycle.Dead.
func (s *Store) DeadRoutes(ctx context.Context, after string, limit int) ([]lifecycle.DeadRoute, error) {
	var routes []lifecycle.DeadRoute
	err := s.view(ctx, func(tx *bolt.Tx) error {
		routes = nil
		ends := tx.Bucket(deadBucket).Cursor()
		// From one route to the next, whatever the counts say.
		for from := append([]byte(after), 0x01); len(routes) < limit; {
			key, _ := ends.Seek(from)
			route, end, ok := cutDeadKey(key)
			if !ok {
				return nil
			}
			from = append([]byte(route), 0x01)
			found := lifecycle.DeadRoute{Route: route, Requests: 1, Oldest: end}
			newest, _ := seekBefore(ends, from)
			_, found.Newest, _ = cutDeadKey(newest)
			value, err := s.journal.read(tx, keptBucket, deadCount(route))
			if err != nil {
				_ = s.damaged("", "how many requests have failed on a route", err)
			}
			if n, size := binary.Uvarint(value); size > 0 {
				found.Requests = int64(n)
			}
			routes = append(routes, found)
		}
		return nil
	})
	return routes, err
}

// cutDeadKey takes a key of the index apart. It reports false if it is none.
func cutDeadKey(key []byte) (route string, end time.Time, ok bool) {
	name, rest, ok := bytes.Cut(key, []byte{0x00})
	if !ok || len(rest) <= 8 {
		return "", time.Time{}, false
	}
	return string(name), time.Unix(0, int64(binary.BigEndian.Uint64(rest))).UTC(), true
}

// DeadRequests implements lifecycle.Dead.
func (s *Store) DeadRequests(ctx context.Context, q lifecycle.DeadQuery) (lifecycle.Page, error) {
	prefix := routePrefix(q.Route)
	// Where to begin, and where to end: behind all if nothing is said.
	from, end := prefix, binary.BigEndian.AppendUint64(bytes.Clone(prefix), math.MaxUint64)
	if !q.Before.IsZero() {
		end = binary.BigEndian.AppendUint64(bytes.Clone(prefix), uint64(nanos(q.Before)))
	}
	if q.Cursor != "" {
		at, id, ok := codec.ParseDeadCursor(&q)
		if !ok {
			return lifecycle.Page{}, lifecycle.ErrCursor
		}
		seen := append(binary.BigEndian.AppendUint64(bytes.Clone(prefix), uint64(at)), id...)
		if q.Oldest {
			seen = append(seen, 0x00) // just behind it; no id goes on with that
			from = seen
		} else if bytes.Compare(seen, end) < 0 {
			end = seen
		}
	}
	var page lifecycle.Page
	err := s.view(ctx, func(tx *bolt.Tx) error {
		page = lifecycle.Page{}
		cursor := tx.Bucket(deadBucket).Cursor()
		var key, last []byte
		if q.Oldest {
			key, _ = cursor.Seek(from)
		} else {
			key, _ = seekBefore(cursor, end)
		}
		for scanned := 0; bytes.HasPrefix(key, prefix) && bytes.Compare(key, end) < 0; scanned++ {
			if scanned == maxScanned || len(page.Requests) >= max(q.Limit, 1) {
				at, id := int64(binary.BigEndian.Uint64(last[len(prefix):])), string(last[len(prefix)+8:])
				page.Next = codec.FormatDeadCursor(&q, at, id)
				return nil
			}
			last = append(last[:0], key...)
			// What is damaged was told.
			if r, err := s.record(tx, string(key[len(prefix)+8:])); err == nil {
				page.Requests = append(page.Requests, r.Request)
			}
			if q.Oldest {
				key, _ = cursor.Next()
			} else {
				key, _ = prev(cursor, key)
			}
		}
		return nil
	})
	return page, err
}

// unindexed is in kept as long as the index may lack what an older version has stored, see
// indexOld.
var unindexed = []byte("unindexed\x00dead")

// indexStep is how many requests are gone through in one change while indexes are made.
const indexStep = 2048

// failed returns the record of a request that has failed, nil for any other and for one that is
// damaged. It decodes no other.
func (s *Store) failed(key, stored []byte) *record {
	value, err := unseal(s.journal.strict, requestsBucket, key, stored)
	if err != nil || len(value) == 0 || string(value[:1]) != codec.StatusLetter(lifecycle.Failed) {
		return nil
	}
	if r := readAs(s.journal.strict, key, stored); r != nil && isDead(r) {
		return r
	}
	return nil
}
