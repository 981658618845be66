package redis

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/codec"
)

// Requests that have failed stand in an index of their partition, by route and time, which the
// script of each step keeps. What Redis has dropped by itself, after the margin, is in it until a
// sweep comes there.

// DeadRoutes implements lifecycle.Dead.
func (s *Store) DeadRoutes(ctx context.Context, after string, limit int) ([]lifecycle.DeadRoute, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	from := "-"
	if after != "" {
		from = "(" + after
	}
	named := make([]*goredis.StringSliceCmd, len(s.tags))
	if _, err := s.client.Pipelined(bound, func(p goredis.Pipeliner) error {
		for i, tag := range s.tags {
			named[i] = p.ZRangeByLex(bound, tag+"dead", &goredis.ZRangeBy{Min: from, Max: "+", Count: int64(limit)})
		}
		return nil
	}); err != nil {
		return nil, failed(ctx, err)
	}
	var names []string
	for _, command := range named {
		names = append(names, command.Val()...)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	routes := make([]lifecycle.DeadRoute, 0, min(len(names), limit))
	for _, name := range names[:min(len(names), limit)] {
		found, err := s.deadRoute(bound, name)
		if err != nil {
			return nil, failed(ctx, err)
		}
		if found.Requests > 0 { // else they have gone meanwhile
			routes = append(routes, found)
		}
	}
	return routes, nil
}

// deadRoute sums a route up over all partitions.
func (s *Store) deadRoute(ctx context.Context, route string) (lifecycle.DeadRoute, error) {
	all := lifecycle.DeadRoute{Route: route}
	counts, oldest, newest := make([]*goredis.IntCmd, len(s.tags)), make([]*goredis.ZSliceCmd, len(s.tags)), make([]*goredis.ZSliceCmd, len(s.tags))
	if _, err := s.client.Pipelined(ctx, func(p goredis.Pipeliner) error {
		for i, tag := range s.tags {
			key := tag + "dead:" + route
			counts[i], oldest[i], newest[i] = p.ZCard(ctx, key), p.ZRangeWithScores(ctx, key, 0, 0), p.ZRangeWithScores(ctx, key, -1, -1)
		}
		return nil
	}); err != nil {
		return all, err
	}
	for i := range s.tags {
		all.Requests += counts[i].Val()
		for _, z := range oldest[i].Val() {
			if at := time.UnixMicro(int64(z.Score)).UTC(); all.Oldest.IsZero() || at.Before(all.Oldest) {
				all.Oldest = at
			}
		}
		for _, z := range newest[i].Val() {
			if at := time.UnixMicro(int64(z.Score)).UTC(); at.After(all.Newest) {
				all.Newest = at
			}
		}
	}
	return all, nil
}

// timePlace is where a request stands in an index by time.
type timePlace struct {
	at int64 // µs
	id string
}

func (p timePlace) compare(o timePlace) int {
	return cmp.Or(cmp.Compare(p.at, o.at), strings.Compare(p.id, o.id))
}

// DeadRequests implements lifecycle.Dead.
func (s *Store) DeadRequests(ctx context.Context, q lifecycle.DeadQuery) (lifecycle.Page, error) {
	if err := ctx.Err(); err != nil {
		return lifecycle.Page{}, err
	}
	var seen *timePlace
	if q.Cursor != "" {
		at, id, ok := codec.ParseDeadCursor(&q)
		if !ok {
			return lifecycle.Page{}, lifecycle.ErrCursor
		}
		seen = &timePlace{at, id}
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	limit := max(q.Limit, 1)
	var places []timePlace
	for partition := range s.tags {
		// One more than the limit tells whether another page follows.
		some, err := s.deadPlaces(bound, partition, &q, seen, limit+1)
		if err != nil {
			return lifecycle.Page{}, failed(ctx, err)
		}
		places = append(places, some...)
	}
	slices.SortFunc(places, func(a, b timePlace) int {
		if q.Oldest {
			return a.compare(b)
		}
		return b.compare(a)
	})
	var page lifecycle.Page
	if len(places) > limit {
		places = places[:limit]
		last := places[limit-1]
		page.Next = codec.FormatDeadCursor(&q, last.at, last.id)
	}
	ids := make([]string, len(places))
	for i := range places {
		ids[i] = places[i].id
	}
	if len(ids) == 0 {
		return page, nil
	}
	found, err := s.fetch(ctx, ids)
	if err != nil {
		return lifecycle.Page{}, err
	}
	for _, r := range found { // some may have changed meanwhile
		if r.Status == lifecycle.Failed && r.Route == q.Route {
			page.Requests = append(page.Requests, r)
		}
	}
	return page, nil
}

// deadPlaces returns the first places of a partition that a query selects, behind one that was
// seen, at most most of them.
func (s *Store) deadPlaces(ctx context.Context, partition int, q *lifecycle.DeadQuery, seen *timePlace, most int) ([]timePlace, error) {
	span := goredis.ZRangeBy{Min: "-inf", Max: "+inf", Count: int64(most)}
	if !q.Before.IsZero() {
		span.Max = "(" + strconv.FormatInt(micros(q.Before), 10)
	}
	if seen != nil { // those of the same moment are passed over one by one
		at := strconv.FormatInt(seen.at, 10)
		if q.Oldest {
			span.Min = at
		} else {
			span.Max = at
		}
	}
	key := s.tags[partition] + "dead:" + q.Route
	var places []timePlace
	for {
		read := s.client.ZRevRangeByScoreWithScores
		if q.Oldest {
			read = s.client.ZRangeByScoreWithScores
		}
		entries, err := read(ctx, key, &span).Result()
		if err != nil {
			return nil, err
		}
		for _, z := range entries {
			id, _ := z.Member.(string)
			p := timePlace{int64(z.Score), id}
			if seen != nil && (q.Oldest && p.compare(*seen) <= 0 || !q.Oldest && p.compare(*seen) >= 0) {
				continue
			}
			if places = append(places, p); len(places) == most {
				return places, nil
			}
		}
		if len(entries) < most {
			return places, nil
		}
		span.Offset += int64(len(entries))
	}
}

// indexStep is how many requests are gone through at a time while an index is made.
const indexStep = 1000

// indexDead makes the index of what a store of an older version holds.
func (s *Store) indexDead(ctx context.Context) error {
	return s.eachStored(ctx, func(partition int, ids []string) error { return s.buryAll(ctx, partition, ids) })
}

// eachStored calls f with the requests of each partition, some at a time, maybe with some twice.
func (s *Store) eachStored(ctx context.Context, f func(partition int, ids []string) error) error {
	for partition, tag := range s.tags {
		for at := uint64(0); ; { // each request is among those that expire
			entries, next, err := s.client.ZScan(ctx, tag+"expiry", at, "", indexStep).Result()
			if err != nil {
				return err
			}
			ids := make([]string, 0, len(entries)/2)
			for i := 0; i < len(entries); i += 2 {
				ids = append(ids, entries[i])
			}
			if err := f(partition, ids); err != nil {
				return err
			}
			if at = next; at == 0 {
				break
			}
		}
	}
	return nil
}

// buryAll takes those of the requests of a partition into the index that have failed.
func (s *Store) buryAll(ctx context.Context, partition int, ids []string) error {
	tag := s.tags[partition]
	statuses := make([]*goredis.StringCmd, len(ids))
	if err := s.pipelined(ctx, len(ids), func(p goredis.Pipeliner, i int) {
		statuses[i] = p.GetRange(ctx, tag+"r:"+ids[i], statusAt, statusAt)
	}); err != nil {
		return err
	}
	var dead []string
	for i, command := range statuses {
		if command.Val() == codec.StatusLetter(lifecycle.Failed) {
			dead = append(dead, ids[i])
		}
	}
	records := make([]*goredis.StringCmd, len(dead))
	if err := s.pipelined(ctx, len(dead), func(p goredis.Pipeliner, i int) {
		records[i] = p.Get(ctx, tag+"r:"+dead[i])
	}); err != nil {
		return err
	}
	var args []any
	for i, command := range records {
		// What is damaged is told when it is read.
		if r, err := decodeRecord(dead[i], command.Val()); err == nil && r.Status == lifecycle.Failed && r.Batch == nil {
			args = append(args, r.ID, r.token, micros(r.EndedAt))
		}
	}
	if len(args) == 0 {
		return nil
	}
	_, err := s.run(ctx, scripts.bury, partition, args...)
	return err
}

// pipelined sends n commands in one round trip. That a key is not there is no error.
func (s *Store) pipelined(ctx context.Context, n int, add func(p goredis.Pipeliner, i int)) error {
	if n == 0 {
		return nil
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	_, err := s.client.Pipelined(bound, func(p goredis.Pipeliner) error {
		for i := range n {
			add(p, i)
		}
		return nil
	})
	if errors.Is(err, goredis.Nil) {
		return nil
	}
	return err
}
