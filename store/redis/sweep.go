package redis

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/lifecycle"
)

// Sweep implements lifecycle.Housekeeping. It also drops events that are too old from feeds,
// forgets webhook deliveries and relays what others could not, which next does not tell of: sweep
// every few minutes in any case.
func (s *Store) Sweep(ctx context.Context, limit int) (_ lifecycle.Swept, err error) {
	defer lifecycle.Told(s.options.Calls, lifecycle.OpSweep, time.Now(), &err)
	var swept lifecycle.Swept
	if err := ctx.Err(); err != nil {
		return swept, err
	}
	due, err := s.gather(ctx, limit)
	if err != nil {
		return swept, failed(ctx, err)
	}
	patience := s.reached(time.Now())
	if err := s.sweepAll(ctx, due, patience > 0, &swept); err != nil {
		return swept, err
	}
	swept.Next, err = s.nextDue(ctx)
	if now := s.Now(); patience > 0 && swept.Next.Before(now) {
		swept.Next = now.Add(patience) // that waits for its end to be read
	}
	return swept, failed(ctx, err)
}

// sweepers is how many requests a Sweep expires or forgets at a time. Each takes two round trips,
// which travel together with those of the others: one after the other they would take as long as
// all of them, and with a slow server requests would come to their end faster than they go.
const sweepers = 16

// sweepAll expires or forgets what is due. Whoever fails with one takes no other, so that one that
// cannot be done does not keep those behind it waiting, and a store that is away few.
func (s *Store) sweepAll(ctx context.Context, all []due, patient bool, swept *lifecycle.Swept) error {
	var mu sync.Mutex
	var errs []error
	take := func() (next due, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		if len(all) == 0 {
			return next, false
		}
		next, all = all[0], all[1:]
		return next, true
	}
	var sweeping sync.WaitGroup
	for range min(sweepers, len(all)) {
		sweeping.Go(func() {
			for next, ok := take(); ok; next, ok = take() {
				var one lifecycle.Swept
				err := s.sweepOne(ctx, next, patient, &one)
				mu.Lock()
				swept.Done += one.Done
				swept.Ended = append(swept.Ended, one.Ended...)
				if err != nil {
					errs = append(errs, err)
				}
				mu.Unlock()
				if err != nil {
					return
				}
				s.reached(time.Now()) // a long sweep is no stall
			}
		})
	}
	sweeping.Wait()
	if len(errs) > 0 {
		return errs[0]
	}
	return nil
}

// reached notes that the store answers, and that it did not if the last time is too long ago:
// reports that came meanwhile are read first. It returns for how long nothing is to expire yet.
func (s *Store) reached(now time.Time) time.Duration {
	const often = time.Second // in between two sweeps without a stall
	last := s.swept.Swap(now.UnixNano())
	if last != 0 {
		if gap := time.Duration(now.UnixNano()-last) - often; gap > 0 {
			s.options.Stall.Note(gap)
		}
	}
	return s.options.Stall.Left()
}

// due is a request whose time has come, or a stream.
type due struct {
	at        int64 // µs
	id        string
	stream    string // its key; "": it is a request
	partition int    // of a stream
}

func (s *Store) sweepOne(ctx context.Context, d due, patient bool, swept *lifecycle.Swept) error {
	if d.stream == "" {
		return s.expireOrForget(ctx, d.id, patient, swept)
	}
	forgot, err := s.sweepStream(ctx, d.partition, d.stream)
	if forgot {
		swept.Done++
	}
	return err
}

// gather returns the first limit of what is due in all partitions. On its way it
// ages feeds, forgets webhook deliveries and empties outboxes.
func (s *Store) gather(ctx context.Context, limit int) ([]due, error) {
	bound, cancel := s.bounded(ctx)
	defer cancel()
	answers, err := s.runAll(bound, scripts.due, func(int) []any {
		return []any{s.ahead.Load(), limit, s.options.FeedRetention.Microseconds(), len(s.tags), s.options.WebhookRetention.Microseconds()}
	})
	if err != nil {
		return nil, err
	}
	var all []due
	for i, answer := range answers {
		entries := answer.List(1)
		for n := 0; n+1 < len(entries); n += 2 {
			at, err := entries.Number(n + 1)
			if err != nil {
				return nil, err
			}
			all = append(all, due{at: at, id: entries.Text(n)})
		}
		streams := answer.List(5)
		for n := 0; n+1 < len(streams); n += 2 {
			at, err := streams.Number(n + 1)
			if err != nil {
				return nil, err
			}
			all = append(all, due{at: at, stream: streams.Text(n), partition: i})
		}
		if aging, err := answer.Number(2); err != nil {
			return nil, err
		} else if aging > 0 {
			if err := s.age(ctx, i); err != nil {
				return nil, err
			}
		}
		if forgotten, err := answer.Number(4); err != nil {
			return nil, err
		} else if forgotten > 0 {
			if err := s.purge(ctx, i); err != nil {
				return nil, err
			}
		}
		for n := range answer.List(3) {
			to, err := answer.List(3).Number(n)
			if err != nil {
				return nil, err
			}
			bound, cancel := s.bounded(ctx)
			err = s.relayAll(bound, route{i, int(to)})
			cancel()
			if err != nil {
				return nil, err
			}
		}
	}
	slices.SortStableFunc(all, func(a, b due) int { return cmp.Compare(a.at, b.at) })
	return all[:min(limit, len(all))], nil
}

// age drops what is too old from the feeds of a partition.
func (s *Store) age(ctx context.Context, partition int) error {
	for {
		bound, cancel := s.bounded(ctx)
		more, err := scripts.age.Run(bound, s.client, []string{s.tags[partition]}, s.ahead.Load(), s.options.FeedRetention.Microseconds(), s.alone, s.publish).Int()
		cancel()
		if err != nil || more == 0 {
			return err
		}
	}
}

// damagedAgain is when a damaged request that is due is looked at again.
const damagedAgain = time.Hour

// expireOrForget expires or forgets one request, and notes it if it was this call that did.
// patient: none expires.
func (s *Store) expireOrForget(ctx context.Context, id string, patient bool, swept *lifecycle.Swept) error {
	bound, cancel := s.bounded(ctx)
	defer cancel()
	p, err := s.snapshot(bound, id, "", countNothing, "")
	// The damage was told: the others go on.
	if _, damaged := errors.AsType[*lifecycle.DamageError](err); damaged {
		again := goredis.Z{Score: float64(micros(s.Now().Add(damagedAgain))), Member: id}
		return failed(ctx, s.client.ZAddXX(bound, s.tags[s.partition(id)]+"expiry", again).Err())
	}
	switch {
	case err != nil:
		return failed(ctx, err)
	case p.r == nil: // Redis dropped it, after the margin
		_, err := s.run(bound, scripts.tidy, s.partition(id), id)
		return failed(ctx, err)
	case p.now.Before(p.r.ExpiresAt):
		return nil // extended meanwhile
	case p.r.Status.Terminal():
		did, err := s.forget(bound, p.r)
		if did {
			swept.Add(p.r.Request, true)
		}
		return failed(ctx, err)
	case patient:
		return nil
	}
	ended, err := s.Apply(ctx, p.r.Ref(), lifecycle.Expire{})
	var refusal *lifecycle.TransitionError
	if errors.As(err, &refusal) || errors.Is(err, lifecycle.ErrNotFound) {
		return nil // another one was faster
	}
	if err == nil {
		swept.Add(ended, false)
	}
	return err
}

// nextDue returns when the next request, or stream, is due, zero if none is stored.
func (s *Store) nextDue(ctx context.Context) (time.Time, error) {
	bound, cancel := s.bounded(ctx)
	defer cancel()
	commands := make([]*goredis.ZSliceCmd, 0, 2*len(s.tags))
	if _, err := s.client.Pipelined(bound, func(p goredis.Pipeliner) error {
		for _, tag := range s.tags {
			commands = append(commands, p.ZRangeWithScores(bound, tag+"expiry", 0, 0), p.ZRangeWithScores(bound, tag+"y:due", 0, 0))
		}
		return nil
	}); err != nil {
		return time.Time{}, err
	}
	var next time.Time
	for _, command := range commands {
		for _, z := range command.Val() {
			if at := time.UnixMicro(int64(z.Score)).UTC(); next.IsZero() || at.Before(next) {
				next = at
			}
		}
	}
	return next, nil
}
