package redis

import (
	"context"
	"iter"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/lifecycle"
)

// The scripts know nothing of batches, so that other requests do not pay for them. A batch is noted before it is stored, and the note goes
// when somebody finds that there is none, or none any more.

// noteAge is how old a note must be before it may go: what it tells of may not be stored yet.
const noteAge = 10 * time.Minute

// noteBatch notes a batch that is about to be stored.
func (s *Store) noteBatch(ctx context.Context, partition int, id string, now time.Time) error {
	return s.client.ZAdd(ctx, s.tags[partition]+"batches", goredis.Z{Score: float64(micros(now)), Member: id}).Err()
}

// Batches implements lifecycle.Keeper.
func (s *Store) Batches(ctx context.Context) iter.Seq2[lifecycle.Request, error] {
	return func(yield func(lifecycle.Request, error) bool) {
		for partition := range s.tags {
			if !s.batchesOf(ctx, partition, yield) {
				return
			}
		}
	}
}

// batchesOf yields the batches of a partition that have not ended.
func (s *Store) batchesOf(ctx context.Context, partition int, yield func(lifecycle.Request, error) bool) bool {
	notes, err := s.notes(ctx, partition)
	for len(notes) > 0 && err == nil {
		page := notes[:min(readAhead, len(notes))]
		notes = notes[len(page):]
		ids := make([]string, len(page))
		for i, note := range page {
			ids[i], _ = note.Member.(string)
		}
		var found []lifecycle.Request
		if found, err = s.fetch(ctx, ids); err != nil {
			break
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
		for i, note := range page {
			if !open[ids[i]] && err == nil {
				err = s.dropNote(ctx, partition, ids[i], note.Score)
			}
		}
	}
	if err != nil {
		yield(lifecycle.Request{}, err)
		return false
	}
	return true
}

func (s *Store) notes(ctx context.Context, partition int) ([]goredis.Z, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	notes, err := s.client.ZRangeWithScores(bound, s.tags[partition]+"batches", 0, -1).Result()
	return notes, failed(ctx, err)
}

// dropNote removes a note that is old enough, unless the batch was noted again meanwhile.
func (s *Store) dropNote(ctx context.Context, partition int, id string, score float64) error {
	bound, cancel := s.bounded(ctx)
	defer cancel()
	_, err := s.run(bound, scripts.denote, partition, s.ahead.Load(), id, strconv.FormatFloat(score, 'f', -1, 64), noteAge.Microseconds())
	return failed(ctx, err)
}
