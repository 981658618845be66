package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"iter"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/lifecycle"
)

// How much Sweep does in one commit, so that others need not wait long.
const (
	sweepRequests = 64
	sweepEvents   = 1024
)

// How many bytes of values Sweep writes into events in one commit, and when it looks again at what
// waits because a bounded file has no room for one.
const (
	sweepValues = 256 << 10
	roomAgain   = time.Minute
)

// damagedAgain is when a damaged request that is due is looked at again.
const damagedAgain = time.Hour

// Sweep implements lifecycle.Housekeeping. It also drops events that are too old from feeds, and
// what is settled of webhooks, which next does not tell of: sweep every few minutes in any case.
func (s *Store) Sweep(ctx context.Context, limit int) (_ lifecycle.Swept, err error) {
	defer lifecycle.Told(s.options.Calls, lifecycle.OpSweep, time.Now(), &err)
	var all lifecycle.Swept
	for {
		var swept lifecycle.Swept
		var more bool
		err := s.write(ctx, func(b *batch) error {
			swept, more = b.sweep(min(limit-all.Done, sweepRequests))
			return nil
		})
		if err != nil {
			all.Next = time.Time{}
			return all, err
		}
		all.Done, all.Next, all.Ended = all.Done+swept.Done, swept.Next, append(all.Ended, swept.Ended...)
		if !more || all.Done >= limit {
			break
		}
	}
	if err := s.sweepStreams(ctx, &all, limit); err != nil {
		all.Next = time.Time{}
		return all, err
	}
	for through := false; !through; {
		err := s.write(ctx, func(b *batch) error {
			through = b.age(sweepEvents) && b.leftovers(sweepEvents) && b.prune(sweepEvents) && b.clearLeft(sweepEvents)
			return nil
		})
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

// sweepStreams lets go of streams that are due, as many as a limit of all leaves.
func (s *Store) sweepStreams(ctx context.Context, all *lifecycle.Swept, limit int) error {
	var next time.Time
	for more := true; more; {
		done := 0
		if err := s.write(ctx, func(b *batch) error {
			done, next, more = b.sweepStreams(min(limit-all.Done, sweepRequests))
			return nil
		}); err != nil {
			return err
		}
		all.Done += done
		more = more && all.Done < limit
	}
	if all.Next.IsZero() || !next.IsZero() && next.Before(all.Next) {
		all.Next = next
	}
	return nil
}

// sweep does the first limit of what is due and reports whether more is.
func (b *batch) sweep(limit int) (swept lifecycle.Swept, more bool) {
	type entry struct {
		due int64
		id  string
	}
	now, patience, patient := nanos(b.now), b.s.options.Stall.Left(), false
	values, waits := 0, false
	due := make([]entry, 0, sweepRequests) // gathered first: a cursor does not outlive a change
	cursor := b.bucket(expiryBucket).Cursor()
	for key, _ := cursor.First(); key != nil && len(due) < limit; key, _ = cursor.Next() {
		at := int64(binary.BigEndian.Uint64(key))
		if at > now {
			break
		}
		due = append(due, entry{at, string(key[8:])})
	}
	for _, e := range due {
		r, err := b.load(e.id)
		switch {
		case errors.Is(err, lifecycle.ErrNotFound):
			b.delete(expiryBucket, expiryKey(nil, e.due, e.id))
		case err != nil: // it is damaged, which was told, and the others go on
			b.delete(expiryBucket, expiryKey(nil, e.due, e.id))
			b.put(expiryBucket, expiryKey(nil, nanos(b.now.Add(damagedAgain)), e.id), nil)
		case b.now.Before(r.ExpiresAt): // it was extended
			moved := new(*r)
			b.delete(expiryBucket, expiryKey(nil, e.due, e.id))
			b.schedule(moved)
			b.save(moved)
		case r.Status.Terminal():
			owed := b.owes(r)
			if owed > 0 && (values > sweepValues || !b.holds(owed)) { // the others go first
				waits = true
				continue
			}
			values += owed
			b.forget(r)
			swept.Add(r.Request, true)
		case patience > 0: // its end may have been reported, and is about to be read
			patient = true
		default:
			ended, err := b.change(r.Ref(), lifecycle.Expire{}, nil)
			if errors.Is(err, errFull) {
				// It would go on with a default, and does when there is room.
				waits = true
				continue
			}
			if err != nil && b.err == nil {
				b.err = err
			}
			swept.Add(ended, false)
		}
	}
	if key, _ := b.bucket(expiryBucket).Cursor().First(); key != nil {
		at := int64(binary.BigEndian.Uint64(key))
		switch { // when what stands there now is looked at again
		case patient:
			at = now + int64(patience)
		case waits && swept.Done == 0:
			at = now + int64(roomAgain)
		}
		swept.Next = time.Unix(0, at).UTC()
		return swept, at <= now
	}
	return swept, false
}

// Unfinished implements lifecycle.Housekeeping: first what is being processed, then what
// is pending, each route by priority and then by how long it waits.
func (s *Store) Unfinished(ctx context.Context) iter.Seq2[lifecycle.Request, error] {
	return func(yield func(lifecycle.Request, error) bool) {
		if !s.eachOf(ctx, processingBucket, nil, lifecycle.Processing, yield) {
			return
		}
		s.eachOf(ctx, pendingBucket, nil, lifecycle.Pending, yield)
	}
}

// Waiting yields the requests that are pending on a route with a priority, the one that has waited
// for longest first.
func (s *Store) Waiting(ctx context.Context, route string, priority int) iter.Seq2[lifecycle.Request, error] {
	return func(yield func(lifecycle.Request, error) bool) {
		s.eachOf(ctx, pendingBucket, pendingPrefix(route, priority), lifecycle.Pending, yield)
	}
}

// Batches implements lifecycle.Housekeeping. In either index they stand in front of all others.
func (s *Store) Batches(ctx context.Context) iter.Seq2[lifecycle.Request, error] {
	return func(yield func(lifecycle.Request, error) bool) {
		if s.eachOf(ctx, pendingBucket, []byte{0x00}, lifecycle.Pending, yield) {
			// This comes first, or one that is fanned out meanwhile would be missed.
			s.eachOf(ctx, processingBucket, []byte{0x00}, lifecycle.Processing, yield)
		}
	}
}

// eachOf yields the requests that an index holds under a prefix and that still have the status.
// It reads ahead in short transactions: a long one would keep the file from
// growing, and the consumer may write.
func (s *Store) eachOf(ctx context.Context, index, prefix []byte, status lifecycle.Status, yield func(lifecycle.Request, error) bool) bool {
	const ahead = 256
	from := prefix
	for {
		ids := make([]string, 0, ahead)
		var next []byte
		err := s.view(ctx, func(tx *bolt.Tx) error {
			ids = ids[:0]
			cursor := tx.Bucket(index).Cursor()
			key, value := cursor.Seek(from)
			for ; key != nil && bytes.HasPrefix(key, prefix) && len(ids) < ahead; key, value = cursor.Next() {
				if len(value) > 0 {
					ids = append(ids, string(value))
				} else {
					ids = append(ids, string(key))
				}
				next = append(append(next[:0], key...), 0x00) // just behind it
			}
			return nil
		})
		if err != nil {
			yield(lifecycle.Request{}, err)
			return false
		}
		for _, id := range ids {
			r, err := s.load(ctx, id)
			_, damaged := errors.AsType[*lifecycle.DamageError](err)
			if damaged || errors.Is(err, lifecycle.ErrNotFound) || err == nil && r.Status != status {
				continue // what is damaged was told
			}
			if err != nil {
				yield(lifecycle.Request{}, err)
				return false
			}
			out := r.Request
			out.Parked = out.Status == lifecycle.Pending && out.Concurrency.Limited() && s.slots.waits(out.ID)
			if !yield(out, nil) {
				return false
			}
		}
		if len(ids) < ahead {
			return true
		}
		from = next
	}
}

// OnCancel implements lifecycle.Cancellations. f runs on a goroutine that all
// changes wait for: it must not call the store. A call that is running when stop is called
// goes on.
func (s *Store) OnCancel(f func(of lifecycle.Ref)) (stop func()) {
	return s.cancels.Add(func(of string) { f(lifecycle.ParseRef(of)) })
}
