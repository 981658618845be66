package redis

import (
	"context"
	"slices"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/codec"
	"github.com/hark-push/hark/store/redis/link"
)

// Everybody's requests stand in an index of their partition, by route and the time of their
// creation. A list of one route goes through its part in each partition, and one of all merges the
// parts, of which there are as many as routes. What Redis has dropped by itself, after the margin,
// is in the index until a sweep, or a list, comes there.

// listAll is List of everybody's.
func (s *Store) listAll(ctx context.Context, q lifecycle.Query) (lifecycle.Page, error) {
	end := timePlace{at: 1 << 53} // in front of which the list goes on
	if !q.Until.IsZero() {
		end.at = min(micros(q.Until.Add(time.Microsecond-1)), end.at) // what was created in that one before it counts
	}
	if q.Cursor != "" {
		at, id, ok := codec.ParseAllCursor(q.Cursor)
		if !ok {
			return lifecycle.Page{}, lifecycle.ErrCursor
		}
		if seen := (timePlace{at, id}); seen.compare(end) < 0 {
			end = seen
		}
	}
	lowest := int64(0)
	if !q.Since.IsZero() {
		lowest = max(micros(q.Since), 0)
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	limit := max(q.Limit, 1)
	answers, err := s.runAll(bound, scripts.all, func(int) []any {
		// One more than the limit tells whether another page follows.
		return []any{q.Route, max(end.at, 0), end.id, lowest, q.Topic, codec.StatusLetter(q.Status), limit + 1, maxScanned}
	})
	if err != nil {
		return lifecycle.Page{}, failed(ctx, err)
	}
	var found []listed
	horizon := timePlace{at: -1} // below it, not all has been looked at
	for i, answer := range answers {
		part, stopped, err := decodeAll(i, answer)
		if err != nil {
			return lifecycle.Page{}, failed(ctx, err)
		}
		found = append(found, part...)
		if stopped.compare(horizon) > 0 {
			horizon = stopped
		}
	}
	madeAt := func(l *listed) timePlace { return timePlace{l.serial, l.id} }
	slices.SortFunc(found, func(a, b listed) int { return madeAt(&b).compare(madeAt(&a)) })
	found = slices.DeleteFunc(found, func(l listed) bool { return madeAt(&l).compare(horizon) < 0 })
	var page lifecycle.Page
	switch {
	case len(found) > limit:
		found = found[:limit]
		page.Next = codec.FormatAllCursor(found[limit-1].serial, found[limit-1].id)
	case horizon.at >= 0:
		page.Next = codec.FormatAllCursor(horizon.at, horizon.id)
	}
	readable := found[:0]
	for _, l := range found {
		if l.r, err = s.record(l.id, l.value); err == nil && q.Selects(&l.r.Request) { // else the damage was told
			readable = append(readable, l)
		}
	}
	page.Requests, err = s.presentAll(bound, readable)
	if err != nil {
		return lifecycle.Page{}, failed(ctx, err)
	}
	return page, nil
}

// decodeAll reads what one partition has found, and where it stopped looking; a negative time if it
// has seen all.
func decodeAll(partition int, answer link.Answer) ([]listed, timePlace, error) {
	stopped := timePlace{at: -1}
	if more, err := answer.Number(2); err != nil {
		return nil, stopped, err
	} else if more == 1 {
		at, err := answer.Number(0)
		if err != nil {
			return nil, stopped, err
		}
		stopped = timePlace{at, answer.Text(1)}
	}
	rows := answer.List(3)
	found := make([]listed, 0, len(rows)/4)
	for n := 0; n+3 < len(rows); n += 4 {
		at, err := rows.Number(n + 1)
		if err != nil {
			return nil, stopped, err
		}
		count, err := rows.Number(n + 3)
		if err != nil {
			return nil, stopped, err
		}
		found = append(found, listed{place: place{at, partition}, id: rows.Text(n), value: rows.Text(n + 2), count: int(count)})
	}
	return found, stopped, nil
}

// indexMade makes the index of what a store of an older version holds.
func (s *Store) indexMade(ctx context.Context) error {
	return s.eachStored(ctx, func(partition int, ids []string) error {
		tag := s.tags[partition]
		records := make([]*goredis.StringCmd, len(ids))
		if err := s.pipelined(ctx, len(ids), func(p goredis.Pipeliner, i int) {
			records[i] = p.Get(ctx, tag+"r:"+ids[i])
		}); err != nil {
			return err
		}
		var args []any
		for i, command := range records {
			// What is damaged is told when it is read.
			if r, err := decodeRecord(ids[i], command.Val()); err == nil {
				args = append(args, r.ID, r.Route, micros(r.CreatedAt))
			}
		}
		if len(args) == 0 {
			return nil
		}
		_, err := s.run(ctx, scripts.note, partition, args...)
		return err
	})
}
