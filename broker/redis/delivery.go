package redis

import (
	"errors"

	"github.com/hark-push/hark/broker"
	store "github.com/hark-push/hark/store/redis"
)

// delivery implements broker.Delivery. It belongs to the lease by which it was taken: if that has
// run out, to settle it has no effect.
type delivery struct {
	broker   *Broker
	part     *part
	lease    *lease
	work     store.Work
	consumer *consumer // nil if none was there to take it

	// The broker's lock guards what follows.
	settled  bool // acknowledged, returned, or taken back
	returned bool // the handle has returned
}

var errSettled = errors.New("delivery was settled before")

// Job implements broker.Delivery. The job does not tell its owner, nor a time that has passed.
func (d *delivery) Job() broker.Job {
	w := &d.work
	return broker.Job{ID: w.Request.ID, Life: w.Request.Life, Route: w.Route, Priority: w.Rank, Sequence: w.Sequence, Message: w.Message}
}

// Redelivered implements broker.Delivery.
func (d *delivery) Redelivered() bool { return d.work.Again }

// settle reports whether it was not settled before. The caller holds the lock.
func (d *delivery) settle() bool {
	was := d.settled
	d.settled = true
	return !was
}

// Ack implements broker.Delivery. Redis is told with others' in a moment; if that fails, or the
// lease has run out, the job is delivered again, and nobody needs it.
func (d *delivery) Ack() error {
	b := d.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	if !d.settle() {
		return errSettled
	}
	delete(d.consumer.out, d)
	closed := b.closed
	// Else it was given to this process once more, and is that delivery's.
	if d.lease.out[d.work.Entry] == d {
		delete(d.lease.out, d.work.Entry)
		if d.lease == d.part.lease {
			d.part.done = append(d.part.done, d.work.Entry)
		}
	}
	d.release()
	b.plan()
	if closed {
		return broker.ErrClosed
	}
	return nil
}

// Return implements broker.Delivery. It takes as long as Redis does.
func (d *delivery) Return() error {
	b := d.broker
	b.mu.Lock()
	if !d.settle() {
		b.mu.Unlock()
		return errSettled
	}
	closed := b.closed
	delete(d.consumer.out, d)
	b.mu.Unlock()
	if !closed { // else all goes back with the lease
		b.putBack(d.consumer.ctx, d.part, []*delivery{d}, store.Returned)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	d.release()
	if closed {
		return broker.ErrClosed
	}
	return nil
}

// release frees the place of a delivery that is both settled and handled, so that neither the jobs
// that are out nor the handles that run exceed the bound. The caller holds the lock.
func (d *delivery) release() {
	if !d.settled || !d.returned || d.consumer.ctx.Err() != nil {
		return
	}
	d.consumer.free++
	d.broker.plan()
}
