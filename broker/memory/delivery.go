package memory

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/hark-push/hark/broker"
)

// consumer is one running Consume. The broker's lock guards free and holds.
type consumer struct {
	ctx     context.Context
	routes  []*route
	handle  func(broker.Delivery)
	free    int                    // deliveries that it may still be given
	holds   map[*delivery]struct{} // handed out and not settled
	running sync.WaitGroup         // its handles
}

// takes reports whether c may be given a job.
func (c *consumer) takes() bool { return c.free > 0 && c.ctx.Err() == nil }

// serve hands the jobs of a route to its free consumers, in turn.
func (b *Broker) serve(r *route) {
	for it := r.first(); it != nil; it = r.first() {
		c := r.next()
		if c == nil {
			return
		}
		b.hand(it, c)
	}
}

// serveAll hands out what waits on all routes: what comes first of all of them, to whoever takes
// it.
func (b *Broker) serveAll() {
	for {
		var best *item
		for _, r := range b.routes {
			if it := r.first(); it != nil && it.before(best) && slices.ContainsFunc(r.consumers, (*consumer).takes) {
				best = it
			}
		}
		if best == nil {
			return
		}
		b.hand(best, b.routes[best.job.Route].next())
	}
}

// before reports whether an item that is the first of its route comes before that of another one,
// which may be nil: a higher priority does, then the owner whose turn comes first.
func (it *item) before(other *item) bool {
	return other == nil || it.level() > other.level() || it.level() == other.level() && it.line.turn < other.line.turn
}

// next returns the free consumer that is asked next.
func (r *route) next() *consumer {
	for i := range r.consumers {
		at := (r.nextConsumer + i) % len(r.consumers)
		if c := r.consumers[at]; c.takes() {
			r.nextConsumer = at + 1
			return c
		}
	}
	return nil
}

// feed gives a consumer what waits on its routes: the highest priority first, then the
// owner whose turn comes first on any of them.
func (b *Broker) feed(c *consumer) {
	for c.takes() {
		var best *item
		for _, r := range c.routes {
			if it := r.first(); it != nil && it.before(best) {
				best = it
			}
		}
		if best == nil {
			return
		}
		b.hand(best, c)
	}
}

// hand gives a consumer the first item of a route.
func (b *Broker) hand(it *item, c *consumer) {
	b.take(it)
	b.start(it, c)
}

// start starts a handle for an item that waits no more.
func (b *Broker) start(it *item, c *consumer) {
	d := &delivery{broker: b, consumer: c, item: it}
	c.free--
	c.holds[d] = struct{}{}
	c.running.Go(func() {
		c.handle(d)
		b.mu.Lock()
		defer b.mu.Unlock()
		d.returned = true
		d.release()
	})
}

// delivery implements broker.Delivery. The broker's lock guards its flags.
type delivery struct {
	broker   *Broker
	consumer *consumer
	item     *item
	settled  bool // acknowledged, returned, or taken back
	returned bool // the handle has returned
}

var errSettled = errors.New("delivery was settled before")

// Job implements broker.Delivery.
func (d *delivery) Job() broker.Job { return d.item.job }

// Redelivered implements broker.Delivery.
func (d *delivery) Redelivered() bool { return d.item.redelivered }

// Ack implements broker.Delivery.
func (d *delivery) Ack() error { return d.settle(false) }

// Return implements broker.Delivery.
func (d *delivery) Return() error { return d.settle(true) }

func (d *delivery) settle(back bool) error {
	b := d.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	if d.settled {
		return errSettled
	}
	d.settled = true
	delete(d.consumer.holds, d)
	if back {
		b.putBack(d.item.job)
	} else if l := b.left[placeOf(d.item)]; l != nil && l.reading {
		l.settled[nameOf(d.item.job)] = d.item.job.Sequence
	}
	d.release()
	if b.closed {
		return broker.ErrClosed
	}
	return nil
}

// release frees the place of a delivery that is both settled and handled, so
// that neither the jobs that are out nor the handles that run exceed the bound.
func (d *delivery) release() {
	b, c := d.broker, d.consumer
	if !d.settled || !d.returned || b.closed {
		return
	}
	c.free++
	b.feed(c)
}
