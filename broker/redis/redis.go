// Package redis is the broker of many processes whose store is in Redis, and whose work is queued
// there by the steps that let it be worked on ([store.Queue]). So nothing of a request that is
// stored needs to be published, and nothing can be stored and not queued.
//
// # Taking
//
// A process takes work of all its consumers together, up to what they have room for, with one
// script a partition at a time: what becomes free while one is under way is asked for by the next.
// The script notes what was taken under the lease of this process. Where there is less than was
// wanted the process sleeps, and is woken by the step that queues something; should that not be
// heard, it finds out when it renews its lease. What is done with is told with the next script, or
// a moment later: if it is not told, because the process dies, the work is handed out once more,
// and its start refused.
//
// With several partitions what is wanted is spread over those in which there may be work, and the
// first of them is another one each time. So priorities and order hold within a partition.
//
// # Leases
//
// All that a process has taken in a partition hangs off one lease, which it renews. When it dies,
// the lease runs out and whoever renews his own next hands its work out again, marked as
// redelivered. Is Redis away, nobody can renew, so no lease ends by that. If a process is cut off
// for longer than its lease lasts, others have its work: what it acknowledges then has no effect,
// and the attempts that it is at are fenced off by the store as soon as others have begun.
package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hark-push/hark/backoff"
	"github.com/hark-push/hark/broker"
	"github.com/hark-push/hark/lifecycle"
	store "github.com/hark-push/hark/store/redis"
)

// Options of a [Broker]. The zero value works.
type Options struct {
	// Lease is for how long a process may be silent before its work is handed out again. It renews
	// four times as often. Default 10 s.
	Lease time.Duration
	// DeliveryLimit is how often work may be lost with who was given it before it is put aside, see
	// [Broker.Asides]. Default 20, that of broker/rabbitmq.
	DeliveryLimit int
	Logger        *slog.Logger // default: discard
}

func (o Options) withDefaults() Options {
	if o.Lease <= 0 {
		o.Lease = 10 * time.Second
	}
	if o.DeliveryLimit <= 0 {
		o.DeliveryLimit = 20
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Broker implements broker.Broker. It knows all ten priorities, and delays by the server's clock.
type Broker struct {
	options Options
	log     *slog.Logger
	queue   *store.Queue
	name    string // of this process, as a sleeper
	routes  []string
	counts  counters

	ctx    context.Context // ends with Close
	stop   context.CancelFunc
	deaf   func() // stops to listen
	tasks  sync.WaitGroup
	parts  []*part
	ending sync.Once

	mu      sync.Mutex
	closed  bool
	classes []*class
	told    []string // routes that it said last it works on
}

var _ broker.Broker = (*Broker)(nil)

// New returns a broker of routes whose work is queued in a store, which was opened with
// [store.Options.Queue]. Close it before the store.
func New(s *store.Store, routes []string, o Options) *Broker {
	o = o.withDefaults()
	b := &Broker{options: o, log: o.Logger, queue: s.Queue(), name: strings.ToLower(rand.Text()[:16]), routes: slices.Compact(slices.Sorted(slices.Values(routes)))}
	b.ctx, b.stop = context.WithCancel(context.Background())
	for n := range b.queue.Partitions() {
		p := &part{number: n, soon: make(chan time.Time, 1), lease: newLease(b.name, 0)}
		b.parts = append(b.parts, p)
	}
	b.deaf = b.queue.Listen(b.name, awake{b})
	for _, p := range b.parts {
		b.tasks.Go(func() { b.tend(p) })
	}
	return b
}

// QueuedByStore says that what is stored is queued with that, so that whoever has stored it needs
// not publish it.
func (b *Broker) QueuedByStore() bool { return true }

// Publish implements broker.Broker. Of a request that is stored it does something only if that
// waits and is not queued, which no step of it leaves behind.
func (b *Broker) Publish(ctx context.Context, j broker.Job) error {
	_, err := b.Ensure(ctx, j)
	return err
}

// Ensure is Publish, and reports whether that did something.
func (b *Broker) Ensure(ctx context.Context, j broker.Job) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if b.ctx.Err() != nil {
		return false, broker.ErrClosed
	}
	if !b.knows(j.Route) {
		return false, fmt.Errorf("%w: %q", broker.ErrUnknownRoute, j.Route)
	}
	w := store.Work{Route: j.Route, Rank: j.Priority, Request: lifecycle.Ref{ID: j.ID, Life: j.Life}, Message: j.Message, Sequence: j.Sequence}
	done, err := b.queue.Put(ctx, w, j.NotBefore, false)
	if err != nil {
		return false, fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
	}
	return done, nil
}

func (b *Broker) knows(route string) bool {
	_, found := slices.BinarySearch(b.routes, route)
	return found
}

// Discard implements broker.Broker. The step that ends a request that waits takes it out of the
// queue, and what cannot be started any more is dropped when it is taken.
func (b *Broker) Discard(broker.Job) {}

// Consume implements broker.Broker. After Close it returns broker.ErrClosed once every handle has
// returned. While Redis is away it goes on waiting.
func (b *Broker) Consume(ctx context.Context, routes []string, prefetch int, handle func(broker.Delivery)) error {
	routes = slices.Compact(slices.Sorted(slices.Values(routes)))
	for _, route := range routes {
		if !b.knows(route) {
			return fmt.Errorf("%w: %q", broker.ErrUnknownRoute, route)
		}
	}
	c := &consumer{ctx: ctx, free: max(prefetch, 1), handle: handle, out: make(map[*delivery]struct{})}
	if !b.join(c, routes) {
		return broker.ErrClosed
	}
	var err error
	select {
	case <-ctx.Done():
	case <-b.ctx.Done():
		err = broker.ErrClosed
	}
	b.leave(c)
	c.running.Wait()
	b.giveUp(c)
	return err
}

// Close implements broker.Broker. It does not wait for the handles that run; their Consume does.
// What is not acknowledged is handed out again at once, if Redis can be told.
func (b *Broker) Close() error {
	b.ending.Do(func() {
		b.mu.Lock()
		b.closed = true
		b.mu.Unlock()
		b.stop()
		b.deaf()
		b.tasks.Wait()
		var leaving sync.WaitGroup
		for _, p := range b.parts {
			leaving.Go(func() { b.quit(p) })
		}
		leaving.Wait()
	})
	return nil
}

// quitTime bounds how long Close waits for Redis.
const quitTime = 2 * time.Second

// quit tells a partition what is done with, and gives back the rest. Nothing else is under way
// there.
func (b *Broker) quit(p *part) {
	ctx, cancel := context.WithTimeout(context.Background(), quitTime)
	defer cancel()
	b.mu.Lock()
	lease, done := p.lease, p.done
	p.done = nil
	b.mu.Unlock()
	if !lease.begun {
		return
	}
	var err error
	if len(done) > 0 {
		_, err = b.queue.Take(ctx, p.number, lease.name, b.name, done, nil)
	}
	if err = errors.Join(err, b.queue.Leave(ctx, p.number, lease.name, b.name, b.routes)); err != nil {
		b.log.Warn("work could not be handed back; it is when its lease runs out", slog.Any("error", err))
	}
}

// Ready returns nil: whether the queue can be reached is whether the store can.
func (b *Broker) Ready(context.Context) error { return nil }

// Consumers returns how many processes work on each route, of all that share the store, as they
// said within the last seconds.
func (b *Broker) Consumers(ctx context.Context) (map[string]int, error) {
	return b.queue.Consumers(ctx)
}

// Queue is the queue itself, for what was put aside there.
func (b *Broker) Queue() *store.Queue { return b.queue }

// Stats are the figures of one broker since it was made.
type Stats struct {
	Connected   bool  // the lease of this process holds in all partitions, as far as is known
	Taken       int64 // scripts that took work
	Delivered   int64 // handed to handles
	Redelivered int64 // of these, marked as such
	LeasesLost  int64 // of this process, which was cut off or stood still
	TakenOver   int64 // of others whose leases had run out, had handed out again by this process
	PutAside    int64 // by this process, because it was lost too often
	Failures    int64 // calls that Redis did not answer
}

type counters struct {
	taken, delivered, redelivered, leasesLost, takenOver, putAside, failures atomic.Int64
}

// Stats returns the figures as they are.
func (b *Broker) Stats() Stats {
	b.mu.Lock()
	connected := !b.closed && !slices.ContainsFunc(b.parts, func(p *part) bool { return !p.lease.begun || p.failed > 0 })
	b.mu.Unlock()
	c := &b.counts
	return Stats{
		Connected: connected, Taken: c.taken.Load(), Delivered: c.delivered.Load(), Redelivered: c.redelivered.Load(),
		LeasesLost: c.leasesLost.Load(), TakenOver: c.takenOver.Load(), PutAside: c.putAside.Load(), Failures: c.failures.Load(),
	}
}

// pause returns how long a partition is left alone that has failed so often in a row.
func pause(failed int) time.Duration {
	return backoff.Exponential(failed, 50*time.Millisecond, 2*time.Second)
}
