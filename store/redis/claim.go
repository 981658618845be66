package redis

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/store/redis/link"
	"github.com/hark-push/hark/webhook/dispatch"
)

// Claim implements dispatch.Queue. With several partitions it first asks each when something may be
// claimed, then those where that is now, another one first each time. One that does not answer is
// left out for a while, so that the others do not wait for it. If an answer is lost, what was lent
// in it comes back when the lease ends.
func (s *Store) Claim(ctx context.Context, limit int, grace time.Duration) ([]dispatch.Claim, time.Duration, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	round := claimRound{s: s, limit: max(limit, 0), grace: grace, next: dispatch.MaxNext}
	ready := round.ready(bound)
	for len(ready) > 0 {
		ready = round.ask(bound, ready)
	}
	if len(round.claims) == 0 && round.err != nil {
		return nil, 0, failed(ctx, round.err)
	}
	if round.err != nil { // what was lent must not be lost
		s.log.LogAttrs(ctx, slog.LevelWarn, "webhook deliveries of some partitions cannot be claimed", slog.Any("error", round.err))
	}
	return round.claims, round.next, nil
}

// claimRound is one call of Claim.
type claimRound struct {
	s      *Store
	limit  int
	grace  time.Duration
	claims []dispatch.Claim
	next   time.Duration
	err    error
}

const (
	claimWait  = time.Second // for as long it is waited for what partitions say about when to claim
	claimPause = 5 * time.Second
)

// ready returns the partitions where something may be claimed now.
func (c *claimRound) ready(ctx context.Context) []int {
	s := c.s
	if len(s.tags) == 1 {
		return s.all
	}
	partitions := c.answering(time.Now())
	bound, cancel := context.WithTimeout(ctx, claimWait)
	defer cancel()
	answers, errs := s.runOn(bound, hooks.next, partitions, func(int) []any { return []any{s.ahead.Load()} })
	var ready []int
	for i, partition := range partitions {
		if errs[i] != nil {
			c.fail(errs[i])
			if ctx.Err() == nil {
				s.claimAgain[partition].Store(time.Now().Add(claimPause).UnixNano())
			}
			continue
		}
		next, err := answers[i].Number(0)
		if err != nil {
			c.fail(err)
			continue
		}
		if next == 0 && c.limit > 0 {
			ready = append(ready, partition)
		} else {
			c.wait(next)
		}
	}
	return ready
}

// answering returns the partitions to ask, another one first each time: all if none has answered.
func (c *claimRound) answering(now time.Time) []int {
	s := c.s
	partitions := make([]int, 0, len(s.all))
	first := int(s.turn.Add(1) % uint32(len(s.all)))
	again := dispatch.MaxNext
	for _, partition := range slices.Concat(s.all[first:], s.all[:first]) {
		if left := time.Duration(s.claimAgain[partition].Load() - now.UnixNano()); left > 0 {
			again = min(again, left)
		} else {
			partitions = append(partitions, partition)
		}
	}
	if len(partitions) == 0 {
		return s.all
	}
	c.next = min(c.next, again)
	return partitions
}

// fail notes that a partition did not answer: it is to be asked again.
func (c *claimRound) fail(err error) {
	c.err, c.next = err, min(c.next, claimPause)
}

// wait notes when something may be claimed, in µs; -1: never.
func (c *claimRound) wait(next int64) {
	if next >= 0 {
		c.next = min(c.next, time.Duration(next)*time.Microsecond)
	}
}

// ask claims from partitions, shared out evenly, and returns those that may have more to claim.
func (c *claimRound) ask(ctx context.Context, ready []int) []int {
	s, left := c.s, c.limit-len(c.claims)
	n := max(min(left, len(ready)), 1)
	asked, others := ready[:n], ready[n:]
	share, rest := left/len(asked), left%len(asked)
	limits := make(map[int]int, len(asked))
	for i, partition := range asked {
		limits[partition] = share
		if i < rest {
			limits[partition]++
		}
	}
	token := newToken()
	answers, errs := s.runLarge(ctx, hooks.claim, asked, func(partition int) []any {
		return []any{s.ahead.Load(), limits[partition], c.grace.Microseconds(), token, s.options.Stall.Left().Microseconds()}
	})
	var again []int
	for i, answer := range answers {
		before := len(c.claims)
		next, err := c.take(answer, token)
		if err = errors.Join(errs[i], err); err != nil {
			c.fail(err)
			continue
		}
		if next == 0 && len(c.claims)-before == limits[asked[i]] && limits[asked[i]] > 0 {
			again = append(again, asked[i])
		} else {
			c.wait(next)
		}
	}
	again = slices.Concat(others, again)
	if len(c.claims) == c.limit {
		if len(again) > 0 {
			c.next = 0
		}
		return nil
	}
	return again
}

// take reads what a partition has lent, and when it may lend again, in µs.
func (c *claimRound) take(answer link.Answer, token string) (next int64, err error) {
	if answer == nil {
		return 0, nil // there is an error
	}
	n, err := answer.Numbers(0, 2)
	if err != nil {
		return 0, err
	}
	for i := range answer.List(2) {
		lent := answer.List(2).List(i)
		e, err := decodeEndpoint(lent.List(0))
		if err != nil {
			return 0, err
		}
		h, err := decodeHealth(lent.List(1))
		if err != nil {
			return 0, err
		}
		for j := range lent.List(2) {
			row := lent.List(2).List(j)
			attempts, err := row.Number(3)
			if err != nil {
				return 0, err
			}
			event, err := messageOf(row.Text(4))
			if err != nil { // the others go on; this one is lent again when the lease has run out
				_ = c.s.damaged("", "the body of webhook message "+row.Text(0), err)
				continue
			}
			c.claims = append(c.claims, dispatch.Claim{
				Message:  dispatch.Message{ID: row.Text(0), Lane: row.Text(1), Type: row.Text(2), Event: event},
				Endpoint: e, Health: h, Attempt: int(attempts) + 1, At: at(n[0]), Token: token,
			})
		}
	}
	return n[1], nil
}

// runLarge is runOn for answers that are large, so that others should not wait behind them.
func (s *Store) runLarge(ctx context.Context, script *goredis.Script, partitions []int, args func(partition int) []any) ([]link.Answer, []error) {
	if len(partitions) > 1 {
		return s.runOn(ctx, script, partitions, args)
	}
	answer, err := s.client.RunAlone(ctx, script, s.tags[partitions[0]], args(partitions[0])...)
	return []link.Answer{answer}, []error{err}
}
