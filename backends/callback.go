package backends

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hark-push/hark/backoff"
	"github.com/hark-push/hark/broker/rabbitmq"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/redis"
)

// eventSource is where events wait for the callback exchange, see [redis.Callback].
type eventSource interface {
	Partitions() int
	Lease() time.Duration
	Collect(ctx context.Context) (redis.Backlog, error)
	Listen(wake func(partition int)) (stop func())
	Take(ctx context.Context, partition int, published []string) ([]redis.CallbackEvent, time.Duration, error)
	Release(ctx context.Context, partition int, published []string) error
}

// exchange is where they go, see [rabbitmq.Broker].
type exchange interface {
	Ready(ctx context.Context) error
	PublishEvents(ctx context.Context, events []rabbitmq.Event) (confirmed int, err error)
}

// Callback publishes what any node has stored to the callback exchange: each partition
// by the node that has its lease, in order, at least once.
type Callback struct {
	source   eventSource
	exchange exchange
	text     func(*lifecycle.Event) []byte
	key      CallbackKey
	log      *slog.Logger
	wake     []chan struct{} // of each partition; holds a token when it has events again

	published, failures atomic.Int64
	failure             atomic.Pointer[error] // the last one
	backlog             atomic.Pointer[redis.Backlog]
}

// collectEvery is how often a gateway says that events are to be collected, and looks
// how many wait.
const collectEvery = 5 * time.Second

// newCallback has events collected from now on; Run publishes them.
func newCallback(ctx context.Context, from eventSource, to exchange, text func(*lifecycle.Event) []byte, log *slog.Logger) (*Callback, error) {
	c := &Callback{source: from, exchange: to, text: text, log: log, wake: make([]chan struct{}, from.Partitions())}
	for partition := range c.wake {
		c.wake[partition] = make(chan struct{}, 1)
	}
	backlog, err := from.Collect(ctx)
	c.backlog.Store(&backlog)
	return c, err
}

// Run publishes until ctx ends, then gives up what it has the lease of and returns.
func (c *Callback) Run(ctx context.Context) {
	stop := c.source.Listen(func(partition int) {
		select {
		case c.wake[partition] <- struct{}{}:
		default:
		}
	})
	defer stop()
	var running sync.WaitGroup
	for partition := range c.wake {
		running.Go(func() { (&publisher{Callback: c, partition: partition}).run(ctx) })
	}
	running.Go(func() { c.observe(ctx) })
	running.Wait()
}

// observe renews the collection, and tells when events pile up or are lost.
func (c *Callback) observe(ctx context.Context) {
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	dropped, failures, failing := c.backlog.Load().Dropped, int64(0), false
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		b, err := c.source.Collect(ctx)
		if err != nil {
			if ctx.Err() == nil {
				c.log.Warn("collecting events for the callback exchange could not be renewed", slog.Any("error", err))
			}
			continue
		}
		c.backlog.Store(&b)
		if b.Dropped > dropped {
			c.log.Error("events were dropped before they reached the callback exchange: too many wait", slog.Int64("dropped", b.Dropped-dropped))
		}
		dropped = b.Dropped
		failed := c.failures.Load() > failures
		failures = c.failures.Load()
		switch {
		case failed && !failing:
			c.log.Warn("events wait for the callback exchange", slog.Int("events", b.Events), slog.Duration("oldest", b.Oldest), slog.Any("error", *c.failure.Load()))
		case failing && !failed:
			c.log.Info("events reach the callback exchange again")
		}
		failing = failed
	}
}

// publisher publishes the events of one partition while it has the lease.
type publisher struct {
	*Callback
	partition int
	leased    bool     // as far as known
	confirmed []string // and still to be removed from the source
}

func (p *publisher) run(ctx context.Context) {
	defer p.release(ctx)
	for failed := 0; ctx.Err() == nil; {
		wake := p.wake[p.partition]
		wait, err := p.publishNext(ctx)
		switch {
		case errors.Is(err, redis.ErrLeaseLost):
			p.leased, p.confirmed = false, nil
			continue
		case err != nil && ctx.Err() == nil:
			p.failures.Add(1)
			p.failure.Store(&err)
			failed++
			// A notification does not make it work.
			wait, wake = backoff.Exponential(failed, 100*time.Millisecond, 5*time.Second), nil
		case err == nil:
			failed = 0
		}
		if wait <= 0 {
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-wake:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// publishNext removes what was published and publishes the next batch. It returns how long to
// wait for the next look if no notification comes; 0: there may be more at once.
func (p *publisher) publishNext(ctx context.Context) (wait time.Duration, err error) {
	if err := p.exchange.Ready(ctx); err != nil {
		p.release(ctx) // another node may reach the exchange
		return 0, err
	}
	waiting, held, err := p.source.Take(ctx, p.partition, p.confirmed)
	if err != nil {
		return 0, err
	}
	p.leased, p.confirmed = held == 0, nil
	switch {
	case held > 0:
		return held, nil
	case len(waiting) == 0:
		return p.source.Lease() / 3, nil // it has to be renewed
	}
	events := make([]rabbitmq.Event, len(waiting))
	for i, e := range waiting {
		events[i] = rabbitmq.Event{ID: e.ID(), Type: string(e.Type), Time: e.Time, Key: p.key.of(e.Event), Body: p.text(e.Event)}
	}
	// A batch that was begun is finished, so that a node that stops leaves none that
	// are published twice; and in time, while the lease lasts.
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.source.Lease()/2)
	defer cancel()
	n, err := p.exchange.PublishEvents(bound, events)
	for _, e := range waiting[:n] {
		p.confirmed = append(p.confirmed, e.Entry)
	}
	p.published.Add(int64(n))
	if err != nil {
		p.release(ctx)
	}
	return 0, err
}

// release gives the lease up. If that fails it runs out by itself.
func (p *publisher) release(ctx context.Context) {
	if !p.leased {
		return
	}
	err := p.source.Release(context.WithoutCancel(ctx), p.partition, p.confirmed)
	if err != nil && !errors.Is(err, redis.ErrLeaseLost) {
		p.log.Warn("a partition of the callback exchange could not be given up", slog.Int("partition", p.partition), slog.Any("error", err))
	}
	p.leased, p.confirmed = false, nil
}
