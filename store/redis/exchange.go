package redis

import (
	"context"
	"errors"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/redis/link"
)

// The callback exchange gets all events of all processes. What is on its way there is collected in
// Redis, in the steps that make the events (exchange_append.lua), until who has the lease on a
// partition has published it. The scripts of this file are exchange_*.lua; backends publishes.

// ErrLeaseLost: somebody else took over while events were published, and may publish
// them again.
var ErrLeaseLost = errors.New("the lease on a partition's events was lost")

// CallbackOptions of a [Callback]. The zero value works.
type CallbackOptions struct {
	// Backlog is how many events wait at most, over all partitions; beyond it the
	// oldest are dropped. The last one who collects decides. Default 100,000.
	Backlog int

	// Lease is for how long a partition stays with who takes its events and then
	// gives no sign of life; by the server's clock. Default 10 s.
	Lease time.Duration

	// Batch is how many events are taken at a time; default 256.
	Batch int
}

// Callback is what the store collects for the callback exchange, as one of those who
// publish it there sees it. All methods may be called concurrently, those that name
// a partition by one goroutine for each. What goes wrong with Redis is lifecycle.ErrUnavailable.
type Callback struct {
	s       *Store
	options CallbackOptions
	token   string // names this one in leases
}

// Callback returns what is collected. A store has one.
func (s *Store) Callback(o CallbackOptions) *Callback {
	if o.Backlog <= 0 {
		o.Backlog = 100_000
	}
	if o.Lease <= 0 {
		o.Lease = 10 * time.Second
	}
	if o.Batch <= 0 {
		o.Batch = 256
	}
	return &Callback{s: s, options: o, token: newToken()}
}

// Partitions is into how many parts the events are spread. A topic is in one, and so
// are the events of a request.
func (c *Callback) Partitions() int { return len(c.s.tags) }

// Lease is that of the options.
func (c *Callback) Lease() time.Duration { return c.options.Lease }

// Backlog is what waits to be published, over all partitions.
type Backlog struct {
	Events  int
	Oldest  time.Duration // age of the oldest
	Dropped int64         // events dropped so far because too many waited
}

// collectFor is for how long events are collected after the last Collect.
const collectFor = 24 * time.Hour

// Collect has all events that anybody stores from now on collected, for a day, and
// returns what waits.
func (c *Callback) Collect(ctx context.Context) (Backlog, error) {
	bound, cancel := c.s.bounded(ctx)
	defer cancel()
	partitions := len(c.s.tags)
	most := (c.options.Backlog + partitions - 1) / partitions
	answers, err := c.s.runAll(bound, exchange.collect, func(int) []any { return []any{most, collectFor.Milliseconds()} })
	if err != nil {
		return Backlog{}, failed(ctx, err)
	}
	var sum Backlog
	for _, answer := range answers {
		events, err1 := answer.Number(0)
		age, err2 := answer.Number(1)
		dropped, err3 := answer.Number(2)
		if err := errors.Join(err1, err2, err3); err != nil {
			return Backlog{}, failed(ctx, err)
		}
		sum.Events += int(events)
		sum.Oldest = max(sum.Oldest, time.Duration(age)*time.Millisecond)
		sum.Dropped += dropped
	}
	return sum, nil
}

// Listen calls wake when a partition has events again that this one may take. It must
// not block. Now and then a call is lost, so take without it too.
func (c *Callback) Listen(wake func(partition int)) (stop func()) {
	name := func(partition int) string { return c.s.tags[partition] + "b:callback" }
	for partition := range c.s.tags {
		c.s.subscriber(partition).Subscribe(name(partition), link.HandlerFunc(func(holder string) {
			if holder == "" || holder == c.token {
				wake(partition)
			}
		}))
	}
	return func() {
		for partition := range c.s.tags {
			c.s.subscriber(partition).Unsubscribe(name(partition))
		}
	}
}

// CallbackEvent is an event that waits to be published.
type CallbackEvent struct {
	*lifecycle.Event
	Entry string // its place in the partition, for Take and Release
}

// Take removes the events that were published from a partition and returns the oldest of the
// others, in order. It takes or renews the lease. If somebody else has it, held is how long
// they may at least keep it. ErrLeaseLost: nothing was removed; take anew, with nothing published.
func (c *Callback) Take(ctx context.Context, partition int, published []string) (events []CallbackEvent, held time.Duration, err error) {
	args := []any{c.s.ahead.Load(), c.token, c.options.Lease.Microseconds(), c.options.Batch}
	answer, err := c.run(ctx, exchange.take, partition, args, published)
	if err != nil {
		return nil, 0, err
	}
	switch answer.Verdict() {
	case "ok":
		for i := range answer.List(1) {
			entry := answer.List(1).List(i)
			e, err := decodeEvent(entry.List(1).Text(3))
			if err != nil { // it must not be in the way of the others
				_ = c.s.damaged("", "an event for the callback exchange", err)
				if err := c.s.client.XDel(ctx, c.s.tags[partition]+"callback:events", entry.Text(0)).Err(); err != nil {
					return nil, 0, failed(ctx, err)
				}
				continue
			}
			events = append(events, CallbackEvent{Event: e.Event, Entry: entry.Text(0)})
		}
		return events, 0, nil
	case "held":
		if len(published) > 0 {
			return nil, 0, ErrLeaseLost
		}
		µs, err := answer.Number(1)
		return nil, time.Duration(µs) * time.Microsecond, failed(ctx, err)
	case "lost":
		return nil, 0, ErrLeaseLost
	default:
		return nil, 0, failed(ctx, link.ErrAnswer)
	}
}

// Release removes the events that were published from a partition and gives the lease
// up, so that others need not wait. ErrLeaseLost: nothing was removed.
func (c *Callback) Release(ctx context.Context, partition int, published []string) error {
	answer, err := c.run(ctx, exchange.release, partition, []any{c.token, c.s.publish}, published)
	if err == nil && answer.Verdict() != "ok" {
		err = ErrLeaseLost
	}
	return err
}

// run runs a script by itself: what it answers is large, so that others should not wait behind it.
func (c *Callback) run(ctx context.Context, script *goredis.Script, partition int, args []any, entries []string) (link.Answer, error) {
	for _, entry := range entries {
		args = append(args, entry)
	}
	bound, cancel := c.s.bounded(ctx)
	defer cancel()
	answer, err := c.s.client.RunAlone(bound, script, c.s.tags[partition], args...)
	return answer, failed(ctx, err)
}
