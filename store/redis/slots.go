package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/redis/link"
)

// What scripts/slots.lua does.
const (
	slotEnter  = "e"
	slotStart  = "s"
	slotLeave  = "l"
	slotAgain  = "a"
	slotReview = "v"
)

// slotArgument is what scripts/slots.lua is told of a request, and what it is to do.
func slotArgument(what string, r *lifecycle.Request) string {
	c := r.Concurrency
	return what + strconv.Itoa(c.Limit) + " " + strconv.Itoa(c.Route) + " " + r.Lane()
}

// slotOf is what a step has scripts/slots.lua do, "" for nothing.
func slotOf(step lifecycle.SlotStep, r *lifecycle.Request) string {
	switch step {
	case lifecycle.SlotNeeded:
		return slotArgument(slotStart, r)
	case lifecycle.SlotLeft:
		return slotArgument(slotLeave, r)
	case lifecycle.SlotLeftFor:
		return slotArgument(slotAgain, r)
	case lifecycle.SlotKept:
	}
	return ""
}

// Fits implements lifecycle.Slots. What is limited by its route is in the partition of that, else
// in that of its lane.
func (s *Store) Fits(sub *lifecycle.Submission) bool {
	if len(s.tags) == 1 {
		return true
	}
	home := sub.Lane()
	if sub.Concurrency.Route > 0 {
		home = sub.Route
	}
	return sub.ID != "" && s.partition(sub.ID) == s.partition("slots:"+home)
}

// OnSlot implements lifecycle.Slots. f runs on goroutines that make steps.
func (s *Store) OnSlot(f func(of lifecycle.Ref)) (stop func()) {
	return s.freed.Add(func(of string) { f(lifecycle.ParseRef(of)) })
}

// tellFreed tells of requests that have a slot now, from a place of an answer on.
func (s *Store) tellFreed(answer link.Answer, from int) {
	for i := from; i < len(answer); i++ {
		s.freed.Tell(answer.Text(i))
	}
}

// ReviewSlots takes slots from requests that are not there any more, in the lane and on the route
// of one that waits: its record was damaged and deleted, say. Nothing else does, because whatever
// ends a request takes its slot in the same step.
func (s *Store) ReviewSlots(ctx context.Context, r *lifecycle.Request) error {
	bound, cancel := s.bounded(ctx)
	defer cancel()
	answer, err := s.run(bound, s.writers.review, s.partition(r.ID), slotArgument(slotReview, r))
	if err != nil {
		return failed(ctx, err)
	}
	s.tellFreed(answer.List(1), 0)
	return nil
}

// entry is the request's entry among those of its lane that wait for a slot.
func (r *record) entry() string {
	c := r.Concurrency
	return fmt.Sprintf("%s%s %d %d %s", r.queue[len(r.queue)-1:], r.ticket, c.Limit, c.Route, r.Ref())
}

// Standing implements lifecycle.Standings.
func (s *Store) Standing(ctx context.Context) (map[string]lifecycle.Standing, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	answers := make([]*goredis.MapStringStringCmd, len(s.tags))
	if _, err := s.client.Pipelined(bound, func(p goredis.Pipeliner) error {
		for i, tag := range s.tags {
			answers[i] = p.HGetAll(bound, tag+"stand")
		}
		return nil
	}); err != nil {
		return nil, failed(ctx, err)
	}
	all := make(map[string]lifecycle.Standing)
	for _, answer := range answers {
		for field, text := range answer.Val() {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil || n == 0 || field == "" {
				continue
			}
			standing := all[field[1:]]
			if field[0] == 'p' {
				standing.Parked += n
			} else {
				standing.Waiting += n
			}
			all[field[1:]] = standing
		}
	}
	return all, nil
}

// lineUp says of requests that wait for a slot how many of their lane are before them. Where none
// is limited it asks nobody.
func (s *Store) lineUp(ctx context.Context, found []lifecycle.Request, records []*record) error {
	type place struct{ before, held *goredis.IntCmd }
	places := make(map[int]place)
	_, err := s.client.Pipelined(ctx, func(p goredis.Pipeliner) error {
		for i, r := range records {
			if r.Status == lifecycle.Pending && r.Concurrency.Limited() {
				tag, lane := s.tags[s.partition(r.ID)], r.Lane()
				places[i] = place{p.ZRank(ctx, tag+"c:w:"+lane, r.entry()), p.SCard(ctx, tag+"c:h:"+lane)}
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, goredis.Nil) {
		return err
	}
	for i, at := range places {
		if at.before.Err() == nil && at.held.Err() == nil { // else it waits for none
			found[i].Parked, found[i].InLine = true, new(int(at.before.Val()+at.held.Val()))
		}
	}
	return nil
}

// findParked notes which of the requests wait for a slot. Where no request is limited it asks
// nobody.
func (s *Store) findParked(ctx context.Context, found []lifecycle.Request, records []*record) error {
	waits := make(map[int]*goredis.FloatCmd)
	_, err := s.client.Pipelined(ctx, func(p goredis.Pipeliner) error {
		for i, r := range records {
			if r.Status == lifecycle.Pending && r.Concurrency.Limited() {
				waits[i] = p.ZScore(ctx, s.tags[s.partition(r.ID)]+"c:w:"+r.Lane(), r.entry())
			}
		}
		return nil
	})
	for i, command := range waits {
		found[i].Parked = command.Err() == nil
	}
	return err
}
