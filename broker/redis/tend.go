package redis

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/hark-push/hark/broker"
	store "github.com/hark-push/hark/store/redis"
)

const (
	// least is the least time between two looks at what is due.
	least = 5 * time.Millisecond
	// Of a lease: how often it is renewed, and for how long nobody may be there, see
	// [store.Tending].
	renewals = 4
	gaps     = 2
)

// tend renews the lease in a partition, has what others have left handed out again and what is due
// taken, until the broker is closed.
func (b *Broker) tend(p *part) {
	beat := b.options.Lease / renewals
	timer := time.NewTimer(0)
	defer timer.Stop()
	// When it is renewed, when something is due, when it was looked last, by this process's clock.
	var next, due, looked time.Time
	for failed := 0; ; {
		select {
		case <-timer.C:
		case at := <-p.soon:
			if due.IsZero() || at.Before(due) {
				due = at
			}
			timer.Reset(max(time.Until(earliest(next, due)), least-time.Since(looked)))
			continue
		case <-b.ctx.Done():
			return
		}
		looked = time.Now()
		done, err := b.tendOnce(p)
		due = time.Time{}
		switch {
		case err != nil && b.ctx.Err() == nil:
			failed++
			next = time.Now().Add(min(pause(failed), beat))
		default:
			failed, next = 0, time.Now().Add(beat)
			if done.Due >= 0 {
				due = time.Now().Add(max(done.Due, least))
			}
		}
		timer.Reset(time.Until(earliest(next, due)))
	}
}

// earliest is the earlier of two times, of which the second may be zero.
func earliest(a, b time.Time) time.Time {
	if b.IsZero() || a.Before(b) {
		return a
	}
	return b
}

// tendOnce does it once.
func (b *Broker) tendOnce(p *part) (store.Tended, error) {
	b.mu.Lock()
	of := p.lease
	routes := b.consuming()
	begins, asleep := !of.begun, b.asleep(p)
	b.mu.Unlock()
	done, err := b.queue.Tend(b.ctx, p.number, store.Tending{
		Lease: of.name, New: begins, For: b.options.Lease, Gap: b.options.Lease / gaps, Limit: b.options.DeliveryLimit, Routes: routes,
		Sleeper: b.name, Asleep: asleep,
	})
	lost := errors.Is(err, store.ErrNoLease)
	if err != nil && !lost {
		if b.ctx.Err() == nil {
			b.log.Debug("what this process has of the work in Redis could not be renewed", slog.Int("partition", p.number), slog.Any("error", err))
		}
		return done, err
	}
	if done.Over > 0 {
		b.counts.takenOver.Add(int64(done.Again))
		b.log.Info("work of processes that are gone is handed out again", slog.Int("processes", done.Over), slog.Int("deliveries", done.Again))
	}
	if done.Aside > 0 {
		b.counts.putAside.Add(int64(done.Aside))
		b.log.Error("work was put aside: whoever was given it died too often", slog.Int("deliveries", done.Aside))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if lost {
		b.lose(p, of)
		return done, nil
	}
	if of.lost { // meanwhile
		return done, nil
	}
	of.begun, p.failed = true, 0
	if p.number == b.queue.Told() {
		b.told = routes
	}
	if done.Ready > 0 { // nobody has woken this process that should have
		b.rouse(p, "")
	}
	if done.Holds > len(of.out)+len(p.done) {
		p.look = true // as soon as no script is under way, whose answer may say why
	}
	b.plan()
	return done, nil
}

// consuming are the routes on which this process works. The caller holds the lock.
func (b *Broker) consuming() []string {
	routes := make(map[string]struct{})
	for _, c := range b.classes {
		if len(c.consumers) > 0 {
			for _, route := range c.routes {
				routes[route] = struct{}{}
			}
		}
	}
	return slices.Sorted(maps.Keys(routes))
}

// asleep are the routes for whose work this process waits to be woken. The caller holds the lock.
func (b *Broker) asleep(p *part) []string {
	routes := make(map[string]struct{})
	for _, c := range b.classes {
		if c.asleep[p.number] && c.room() > 0 {
			for _, route := range c.routes {
				routes[route] = struct{}{}
			}
		}
	}
	return slices.Sorted(maps.Keys(routes))
}

// audit gives back what Redis says that this process has and it knows nothing of: the answer to
// the script that took it was lost. Nothing is taken meanwhile.
func (b *Broker) audit(p *part, of *lease) {
	entries, err := b.queue.Held(context.Background(), p.number, of.name)
	b.mu.Lock()
	done := make(map[string]struct{}, len(p.done))
	for _, entry := range p.done {
		done[entry] = struct{}{}
	}
	entries = slices.DeleteFunc(entries, func(entry string) bool {
		_, settled := done[entry]
		return settled || of.out[entry] != nil
	})
	b.mu.Unlock()
	if err == nil && len(entries) > 0 {
		err = b.queue.Return(context.Background(), p.number, of.name, store.Returned, b.options.DeliveryLimit, entries...)
		if err == nil {
			b.log.Info("work was returned whose delivery was lost on the way from Redis", slog.Int("deliveries", len(entries)))
		}
	}
	if err != nil {
		b.log.Debug("what this process has taken could not be looked through", slog.Any("error", err))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	p.busy = false
	b.plan()
}

// rouse has a partition asked again for work of a route, or of any. It reports whether somebody
// wants it, besides what was asked for already. The caller holds the lock.
func (b *Broker) rouse(p *part, route string) (wanted bool) {
	p.woken++
	for _, c := range b.classes {
		if route == "" || slices.Contains(c.routes, route) {
			c.asleep[p.number] = false
			wanted = wanted || c.room() > c.asked
		}
	}
	return wanted
}

// awake implements store.Awake.
type awake struct{ *Broker }

// Work implements store.Awake.
func (b awake) Work(partition int, route string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.parts[partition]
	if b.rouse(p, route) {
		b.plan()
		return
	}
	if !b.closed {
		b.tasks.Go(func() {
			if err := b.queue.Pass(b.ctx, partition, route); err != nil && b.ctx.Err() == nil {
				b.log.Debug("nobody else could be woken for work", slog.String("route", route), slog.Any("error", err))
			}
		})
	}
}

// Due implements store.Awake.
func (b awake) Due(partition int, at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.parts[partition].hurry(time.Now().Add(at.Sub(b.queue.Now())))
}

// Missed implements store.Awake.
func (b awake) Missed(partition int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.parts[partition]
	b.rouse(p, "")
	p.hurry(time.Now())
	b.plan()
}

var _ broker.Delivery = (*delivery)(nil)
