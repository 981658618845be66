package redis

import (
	"context"
	"iter"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/lifecycle"
)

// The scripts know nothing of batches, so that other requests do not pay for them. A batch is noted
// before it is stored, with the time that it is created at, and the note goes when it ends, or when
// somebody finds that there is none, or none any more.

// noteAge is how old a note must be before it may go: what it tells of may not be stored yet.
const noteAge = 10 * time.Minute

// noteBatch notes a batch that is about to be stored.
func (s *Store) noteBatch(ctx context.Context, partition int, id string, now time.Time) error {
	return s.client.ZAdd(ctx, s.tags[partition]+"batches", goredis.Z{Score: float64(micros(now)), Member: id}).Err()
}

// Batches implements lifecycle.Housekeeping.
func (s *Store) Batches(ctx context.Context) iter.Seq2[lifecycle.Request, error] {
	return func(yield func(lifecycle.Request, error) bool) {
		for partition := range s.tags {
			if !s.batchesOf(ctx, partition, yield) {
				return
			}
		}
	}
}

// batchesOf yields the batches of a partition that have not ended, those that were noted first
// before others.
func (s *Store) batchesOf(ctx context.Context, partition int, yield func(lifecycle.Request, error) bool) bool {
	for skip := 0; ; {
		notes, err := s.notes(ctx, partition, skip)
		ids := make([]string, len(notes))
		for i, note := range notes {
			ids[i], _ = note.Member.(string)
		}
		var found []lifecycle.Request
		if err == nil && len(ids) > 0 {
			found, err = s.fetch(ctx, ids)
		}
		if err != nil {
			yield(lifecycle.Request{}, err)
			return false
		}
		open := make(map[string]bool, len(found))
		for _, r := range found {
			if r.Batch != nil && !r.Status.Terminal() {
				open[r.ID] = true
				if !yield(r, nil) {
					return false
				}
			}
		}
		var over []any
		for i, note := range notes {
			if !open[ids[i]] {
				over = append(over, ids[i], micros(time.UnixMicro(int64(note.Score))))
			}
		}
		gone, err := s.dropNotes(ctx, partition, noteAge, over...)
		if err != nil {
			yield(lifecycle.Request{}, err)
			return false
		}
		if len(notes) < readAhead {
			return true
		}
		skip += len(notes) - gone
	}
}

// notes returns a page of the notes of a partition, behind so many.
func (s *Store) notes(ctx context.Context, partition, skip int) ([]goredis.Z, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	notes, err := s.client.ZRangeWithScores(bound, s.tags[partition]+"batches", int64(skip), int64(skip+readAhead-1)).Result()
	return notes, failed(ctx, err)
}

// dropNotes removes notes, each an id and when it was noted, in µs, that are old enough, unless a
// batch was noted again meanwhile. It returns how many there were.
func (s *Store) dropNotes(ctx context.Context, partition int, age time.Duration, notes ...any) (int, error) {
	if len(notes) == 0 {
		return 0, nil
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	answer, err := s.run(bound, scripts.denote, partition, append([]any{s.ahead.Load(), age.Microseconds()}, notes...)...)
	if err != nil {
		return 0, failed(ctx, err)
	}
	n, err := answer.Number(1)
	return int(n), failed(ctx, err)
}

// ended removes the note of a batch that has ended. If that fails, whoever reads the notes does it.
func (s *Store) ended(ctx context.Context, r *lifecycle.Request) {
	if r.Batch != nil && r.Status.Terminal() {
		_, _ = s.dropNotes(ctx, s.partition(r.ID), 0, r.ID, micros(r.CreatedAt))
	}
}

// Lead implements lifecycle.Leader, by a key that expires.
func (s *Store) Lead(ctx context.Context, what string, d time.Duration) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	answer, err := s.run(bound, scripts.lead, s.partition(what), what, s.name, d.Milliseconds())
	return answer.Verdict() == "ok", failed(ctx, err)
}
