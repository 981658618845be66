package redis

import (
	"context"
	"errors"
	"iter"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/lifecycle"
)

// Unfinished implements lifecycle.Housekeeping: first what is being processed, then what
// is pending, each route by priority and then by how long it waits.
func (s *Store) Unfinished(ctx context.Context) iter.Seq2[lifecycle.Request, error] {
	return func(yield func(lifecycle.Request, error) bool) {
		if s.eachOf(ctx, "processing", lifecycle.Processing, yield) {
			s.eachOf(ctx, "pending", lifecycle.Pending, yield)
		}
	}
}

// readAhead is how many entries of an index are read at a time.
const readAhead = 256

// index walks through one partition's index in the order of names, or in any if that is not how it
// is sorted. What is there all the time comes, in any order maybe more than once.
type index struct {
	s       *Store
	key     string
	from    string // where to read on, as ZRANGEBYLEX takes it
	any     bool
	cursor  uint64 // where to read on in any order
	entries []string
	ended   bool
}

// peek returns the next entry, "" at the end.
func (x *index) peek(ctx context.Context) (string, error) {
	for x.any && len(x.entries) == 0 && !x.ended {
		if err := x.scan(ctx); err != nil {
			return "", err
		}
	}
	if len(x.entries) == 0 && !x.ended {
		bound, cancel := x.s.bounded(ctx)
		defer cancel()
		entries, err := x.s.client.ZRangeByLex(bound, x.key, &goredis.ZRangeBy{Min: x.from, Max: "+", Count: readAhead}).Result()
		if err != nil {
			return "", failed(ctx, err)
		}
		x.entries, x.ended = entries, len(entries) < readAhead
		if len(entries) > 0 {
			x.from = "(" + entries[len(entries)-1]
		}
	}
	if len(x.entries) == 0 {
		return "", nil
	}
	return x.entries[0], nil
}

// scan reads on in any order.
func (x *index) scan(ctx context.Context) error {
	bound, cancel := x.s.bounded(ctx)
	defer cancel()
	found, cursor, err := x.s.client.ZScan(bound, x.key, x.cursor, "", readAhead).Result()
	if err != nil {
		return failed(ctx, err)
	}
	for i := 0; i < len(found); i += 2 { // each with its score
		x.entries = append(x.entries, found[i])
	}
	x.cursor, x.ended = cursor, cursor == 0
	return nil
}

// eachOf yields the requests that an index holds in all partitions, merged, and that
// still have the status.
func (s *Store) eachOf(ctx context.Context, name string, status lifecycle.Status, yield func(lifecycle.Request, error) bool) bool {
	indexes := make([]*index, len(s.tags))
	for i, tag := range s.tags {
		indexes[i] = &index{s: s, key: tag + name, from: "-", any: name == "processing"}
	}
	for {
		batch, err := next(ctx, indexes, name)
		if err == nil && len(batch) == 0 {
			return true
		}
		var found []lifecycle.Request
		if err == nil {
			found, err = s.fetch(ctx, batch)
		}
		if err != nil {
			yield(lifecycle.Request{}, err)
			return false
		}
		for _, r := range found {
			if r.Status == status && !yield(r, nil) {
				return false
			}
		}
	}
}

// next takes the first ids from the indexes.
func next(ctx context.Context, indexes []*index, name string) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ids := make([]string, 0, readAhead)
	for len(ids) < readAhead {
		var first *index
		var entry string
		for _, x := range indexes {
			e, err := x.peek(ctx)
			if err != nil {
				return nil, err
			}
			if e != "" && (first == nil || e < entry) {
				first, entry = x, e
			}
		}
		if first == nil {
			break
		}
		first.entries = first.entries[1:]
		ids = append(ids, idOf(name, entry))
	}
	return ids, nil
}

// idOf is the request that an entry of an index stands for.
func idOf(name, entry string) string {
	if name == "pending" {
		for i := range len(entry) {
			if entry[i] == 0 && len(entry) > i+2+ticketSize {
				return entry[i+2+ticketSize:]
			}
		}
	}
	return entry
}

// fetch returns those of the requests that are there.
func (s *Store) fetch(ctx context.Context, ids []string) ([]lifecycle.Request, error) {
	bound, cancel := s.bounded(ctx)
	defer cancel()
	commands := make([]*goredis.StringCmd, len(ids))
	if _, err := s.client.Pipelined(bound, func(p goredis.Pipeliner) error {
		for i, id := range ids {
			commands[i] = p.Get(bound, s.tags[s.partition(id)]+"r:"+id)
		}
		return nil
	}); err != nil && !errors.Is(err, goredis.Nil) {
		return nil, failed(ctx, err)
	}
	found, records := make([]lifecycle.Request, 0, len(ids)), make([]*record, 0, len(ids))
	limited := false
	for i, command := range commands {
		value, err := command.Result()
		if errors.Is(err, goredis.Nil) {
			continue
		}
		if err != nil {
			return nil, failed(ctx, err)
		}
		r, err := s.record(ids[i], value)
		if err != nil { // that was told, and the others go on
			continue
		}
		found, records = append(found, r.Request), append(records, r)
		limited = limited || r.Concurrency.Limited()
	}
	if limited {
		if err := s.findParked(bound, found, records); err != nil && !errors.Is(err, goredis.Nil) {
			return nil, failed(ctx, err)
		}
	}
	return found, nil
}
