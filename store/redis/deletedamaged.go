package redis

import (
	"context"
	"errors"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/lifecycle"
)

// DeleteDamaged implements lifecycle.Store. The life that the request has is found by going through
// all keys of its server, some at a time. What of its events cannot be read either says nothing of
// its owner: the entry in that one's list goes when the list is next read.
func (s *Store) DeleteDamaged(ctx context.Context, id string) (lifecycle.Request, error) {
	if err := ctx.Err(); err != nil {
		return lifecycle.Request{}, err
	}
	for range attempts {
		r, done, err := s.deleteDamaged(ctx, id)
		if err != nil {
			return lifecycle.Request{}, answered(ctx, err)
		}
		if done {
			return r, nil
		}
	}
	return lifecycle.Request{}, failed(ctx, errContended)
}

func (s *Store) deleteDamaged(ctx context.Context, id string) (lifecycle.Request, bool, error) {
	bound, cancel := s.bounded(ctx)
	defer cancel()
	stored, err := s.client.Get(bound, s.tags[s.partition(id)]+"r:"+id).Result()
	if errors.Is(err, goredis.Nil) {
		return lifecycle.Request{}, false, lifecycle.ErrNotFound
	}
	if err != nil {
		return lifecycle.Request{}, false, err
	}
	if _, err := decodeRecord(id, stored); err == nil {
		return lifecycle.Request{}, false, lifecycle.ErrNotFound
	}
	name, err := s.seek(ctx, id)
	if err != nil {
		return lifecycle.Request{}, false, err
	}
	return s.deleteAs(ctx, id, name, stored)
}

// deleteAs deletes a request that has a life, by its damaged record.
func (s *Store) deleteAs(ctx context.Context, id, name, stored string) (lifecycle.Request, bool, error) {
	r, err := s.lastKnown(ctx, id, name)
	if err != nil {
		return lifecycle.Request{}, false, err
	}
	waiting, open, err := s.unended(ctx, id)
	if err != nil {
		return lifecycle.Request{}, false, err
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	takes := r.Usage()
	if !open {
		takes.Open, takes.Waiting = 0, 0
		if result, err := s.content(ctx, r.Ref(), lifecycle.Output); err == nil && r.Result == nil {
			takes.Bytes += int64(len(result.Data))
		}
	}
	if err := s.forgetDeliveries(bound, r); err != nil {
		return lifecycle.Request{}, false, err
	}
	done, err := s.forgetAs(bound, r, takes, append([]any{stored}, waiting...)...)
	return r.Request, done, err
}

// seek returns the name of the life that a request has, its id if nothing says it.
func (s *Store) seek(ctx context.Context, id string) (string, error) {
	name := id
	for from := "0"; ; {
		bound, cancel := s.bounded(ctx)
		answer, err := s.run(bound, scripts.seek, s.partition(id), id, from)
		cancel()
		if err != nil {
			return "", err
		}
		for n := range answer.List(1) {
			_, found, _ := strings.Cut(answer.List(1).Text(n), ":")
			if of := lifecycle.ParseRef(found); of.ID == id {
				name = found
			}
		}
		if from = answer.Text(0); from == "0" {
			return name, nil
		}
	}
}

// lastKnown is the record of a request as its newest event that can be read tells of it, with the
// number of the newest one that there was. If there is none, it has a name alone.
func (s *Store) lastKnown(ctx context.Context, id, name string) (*record, error) {
	bound, cancel := s.bounded(ctx)
	defer cancel()
	events, err := s.client.LRange(bound, s.tags[s.partition(id)]+"h:"+name, 0, -1).Result()
	if err != nil {
		return nil, err
	}
	behind := uint64(0)
	for i := len(events) - 2; i >= 0; i -= 2 { // each is followed by its places
		r, err := decodeRecord(id, events[i])
		if err == nil && r.Ref().String() == name {
			r.Sequence += behind
			return r, nil
		}
		behind++
	}
	of := lifecycle.ParseRef(name)
	return &record{Request: lifecycle.Request{ID: of.ID, Life: of.Life, Sequence: behind}}, nil
}

// unended returns what there is of a request in pending, and whether it has not ended.
func (s *Store) unended(ctx context.Context, id string) (waiting []any, open bool, err error) {
	tag := s.tags[s.partition(id)]
	bound, cancel := s.bounded(ctx)
	err = s.client.ZScore(bound, tag+"processing", id).Err()
	cancel()
	if err != nil && !errors.Is(err, goredis.Nil) {
		return nil, false, err
	}
	open = err == nil
	x := &index{s: s, key: tag + "pending", from: "-"}
	for {
		entry, err := x.peek(ctx)
		if err != nil || entry == "" {
			return waiting, open || len(waiting) > 0, err
		}
		if idOf("pending", entry) == id {
			waiting = append(waiting, entry)
		}
		x.entries = x.entries[1:]
	}
}
