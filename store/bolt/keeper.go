package bolt

import (
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

// Sweep implements lifecycle.Keeper. It also drops events that are too old from
// feeds, and what is settled of webhooks, which next does not tell of: sweep every few minutes in any case.
func (s *Store) Sweep(ctx context.Context, limit int) (done int, next time.Time, err error) {
	for {
		var n int
		var more bool
		err := s.write(ctx, func(b *batch) (err error) {
			n, more, next, err = b.sweep(min(limit-done, sweepRequests))
			return err
		})
		if err != nil {
			return done, time.Time{}, err
		}
		if done += n; !more || done >= limit {
			break
		}
	}
	for through := false; !through; {
		err := s.write(ctx, func(b *batch) error {
			through = b.age(sweepEvents) && b.prune(sweepEvents)
			return nil
		})
		if err != nil {
			return done, time.Time{}, err
		}
	}
	return done, next, nil
}

// sweep does the first limit of what is due and reports whether more is.
func (b *batch) sweep(limit int) (done int, more bool, next time.Time, err error) {
	type entry struct {
		due int64
		id  string
	}
	now := nanos(b.now)
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
		case err != nil:
			if b.writes == 0 {
				return 0, false, time.Time{}, err
			}
			b.err = err
			return 0, false, time.Time{}, nil
		case b.now.Before(r.ExpiresAt): // it was extended
			moved := new(*r)
			b.delete(expiryBucket, expiryKey(nil, e.due, e.id))
			b.schedule(moved)
			b.save(moved)
		case r.Status.Terminal():
			b.forget(r)
			done++
		default:
			if _, err := b.change(e.id, lifecycle.Expire{}, nil); err != nil && b.err == nil {
				b.err = err
			}
			done++
		}
	}
	if key, _ := b.bucket(expiryBucket).Cursor().First(); key != nil {
		at := int64(binary.BigEndian.Uint64(key))
		return done, at <= now, time.Unix(0, at).UTC(), nil
	}
	return done, false, time.Time{}, nil
}

// Unfinished implements lifecycle.Keeper: first what is being processed, then what
// is pending, each route by priority and then by how long it waits.
func (s *Store) Unfinished(ctx context.Context) iter.Seq2[lifecycle.Request, error] {
	return func(yield func(lifecycle.Request, error) bool) {
		if !s.eachOf(ctx, processingBucket, lifecycle.Processing, yield) {
			return
		}
		s.eachOf(ctx, pendingBucket, lifecycle.Pending, yield)
	}
}

// eachOf yields the requests that an index holds and that still have the status.
// It reads ahead in short transactions: a long one would keep the file from
// growing, and the consumer may write.
func (s *Store) eachOf(ctx context.Context, index []byte, status lifecycle.Status, yield func(lifecycle.Request, error) bool) bool {
	const ahead = 256
	var from []byte
	for {
		ids := make([]string, 0, ahead)
		var next []byte
		err := s.view(ctx, func(tx *bolt.Tx) error {
			ids = ids[:0]
			cursor := tx.Bucket(index).Cursor()
			key, value := cursor.Seek(from)
			for ; key != nil && len(ids) < ahead; key, value = cursor.Next() {
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
			if errors.Is(err, lifecycle.ErrNotFound) || err == nil && r.Status != status {
				continue
			}
			if err != nil {
				yield(lifecycle.Request{}, err)
				return false
			}
			if !yield(r.Request, nil) {
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
func (s *Store) OnCancel(f func(id string)) (stop func()) { return s.cancels.Add(f) }
