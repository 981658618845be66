// Package memory is the broker of a single process. It keeps jobs in memory only:
// when the process starts, whoever wires it up hands it the unfinished work of the
// store again, see [Broker.Recover].
//
// A job that waits is a few words in a list or a heap, no goroutine. With a [Backlog] behind it the
// broker keeps only the next ones of each owner, and reads the others when their time comes.
//
// Within a route and a priority the owners of jobs take turns, a job each. What one of them has
// waiting costs another one the wait for a single job, however many there are (round robin, the
// fair queueing of jobs that are taken to be alike). Whose jobs have no owner are one owner's.
package memory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hark-push/hark/broker"
)

// Options of a [Broker]. The zero value works.
type Options struct {
	// MaxWaiting bounds how many jobs may wait; beyond it Publish fails with
	// broker.ErrUnavailable. 0: no bound.
	MaxWaiting int
	// Backlog is where jobs can be read again that wait; nil: nowhere, so all are kept.
	Backlog Backlog
	// MaxKept is how many ready jobs of an owner, a route and a priority are kept if there is a
	// backlog. 0: 2000.
	MaxKept int
}

// Backlog yields the jobs of a route and a priority that wait, those of all owners, in their order.
// It is called by goroutines of the broker, and reads what was there when it was called, at least.
// A job has to be there before it is published, and until it has been handed out. After an error,
// which ends it, it is called again.
type Backlog func(ctx context.Context, route string, priority int) iter.Seq2[broker.Job, error]

// Broker implements broker.Broker. It knows all ten priorities and delays to the
// millisecond.
type Broker struct {
	options Options
	closing chan struct{} // closed by Close

	mu      sync.Mutex
	closed  bool
	routes  map[string]*route
	waiting map[name]*item // in a line or in delayed
	left    map[place]*left
	reading sync.WaitGroup     // of the backlog
	ctx     context.Context    // of that, until Close
	stop    context.CancelFunc // ends it
	delayed delayed
	timer   *time.Timer // for the head of delayed; nil until first needed
	back    int64       // the last order, or turn, that was given behind all others
	front   int64       // the last one that was given before all others
}

var _ broker.Broker = (*Broker)(nil)

// New returns a broker that carries jobs of the given routes.
func New(routes []string, o Options) *Broker {
	if o.MaxKept <= 0 {
		o.MaxKept = 2000
	}
	b := &Broker{
		options: o,
		left:    make(map[place]*left),
		closing: make(chan struct{}),
		routes:  make(map[string]*route),
		waiting: make(map[name]*item),
	}
	b.ctx, b.stop = context.WithCancel(context.Background())
	for _, name := range routes {
		b.routes[name] = new(route)
	}
	return b
}

// Publish implements broker.Broker. A job that waits already for the same life of its request is
// kept once: the newer one counts, but keeps the older one's place if both may start now.
func (b *Broker) Publish(ctx context.Context, j broker.Job) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.add(j, false, b.options.MaxWaiting)
}

// Recover takes over jobs as a start finds them unfinished, in their order, each with whether it
// may have been handed out before; those that were are kept whatever the backlog has. It takes all
// that it can; the error tells of the first that it cannot, for want of its route.
func (b *Broker) Recover(jobs iter.Seq2[broker.Job, bool]) error {
	var first error
	for j, redelivered := range jobs {
		b.mu.Lock()
		err := b.add(j, redelivered, 0)
		b.mu.Unlock()
		if errors.Is(err, broker.ErrClosed) {
			return err
		}
		if err != nil && first == nil {
			first = fmt.Errorf("job %s: %w", j.ID, err)
		}
	}
	return first
}

// Discard implements broker.Broker.
func (b *Broker) Discard(j broker.Job) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if it := b.waiting[nameOf(j)]; it != nil && it.job.Sequence <= j.Sequence {
		b.remove(it)
	}
}

// Consume implements broker.Broker. After Close it returns broker.ErrClosed once
// every handle has returned.
func (b *Broker) Consume(ctx context.Context, routes []string, prefetch int, handle func(broker.Delivery)) error {
	c := &consumer{ctx: ctx, free: max(prefetch, 1), handle: handle, holds: make(map[*delivery]struct{})}
	if err := b.join(c, routes); err != nil {
		return err
	}
	var err error
	select {
	case <-ctx.Done():
	case <-b.closing:
		err = broker.ErrClosed
	}
	b.leave(c)
	c.running.Wait()
	b.giveUp(c)
	return err
}

// Waiting returns how many jobs it keeps that wait, delayed ones included.
func (b *Broker) Waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting)
}

// Close implements broker.Broker. It does not wait for the handles that run; their
// Consume does.
func (b *Broker) Close() error {
	defer b.reading.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	b.stop()
	close(b.closing)
	if b.timer != nil {
		b.timer.Stop()
	}
	b.waiting, b.delayed = nil, nil
	return nil
}

// join makes a consumer known to its routes and hands it what waits.
func (b *Broker) join(c *consumer, routes []string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return broker.ErrClosed
	}
	for _, name := range routes {
		r := b.routes[name]
		if r == nil {
			return fmt.Errorf("%w: %q", broker.ErrUnknownRoute, name)
		}
		if !slices.Contains(c.routes, r) {
			c.routes = append(c.routes, r)
		}
	}
	for _, r := range c.routes {
		r.consumers = append(r.consumers, c)
	}
	b.feed(c)
	return nil
}

func (b *Broker) leave(c *consumer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range c.routes {
		r.consumers = slices.DeleteFunc(r.consumers, func(other *consumer) bool { return other == c })
	}
	c.free = 0
}

// giveUp takes back what a consumer that has gone held.
func (b *Broker) giveUp(c *consumer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	held := slices.SortedFunc(maps.Keys(c.holds), func(x, y *delivery) int {
		return cmp.Compare(y.item.order, x.item.order) // the oldest ends in front
	})
	for _, d := range held {
		d.settled = true
		b.putBack(d.item.job)
	}
	clear(c.holds)
}
