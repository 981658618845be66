package redis

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hark-push/hark/backoff"
	"github.com/hark-push/hark/broker"
	store "github.com/hark-push/hark/store/redis"
)

// lease is that of this process in a partition. Once lost, all that was taken by it is others'.
type lease struct {
	name  string
	begun bool // the partition knows it
	lost  bool
	out   map[string]*delivery // by entry: taken and not settled
}

// newLease returns the n-th of a process in a partition.
func newLease(process string, n int) *lease {
	return &lease{name: process + "." + strconv.Itoa(n), out: make(map[string]*delivery)}
}

// part is what a broker knows of a partition. The broker's lock guards it.
type part struct {
	number int
	lease  *lease
	leases int // that were begun before

	busy    bool      // a script that takes is under way
	failed  int       // so many in a row have
	again   time.Time // when the next may follow, if some have failed
	done    []string  // entries to be let go of
	telling bool      // that is to happen in a moment
	look    bool      // what Redis says that the lease has is to be compared with what is known
	// Woken counts what has been heard: an answer that says that there is no more is out of date
	// if that was in between.
	woken uint64

	soon chan time.Time // holds when it is to be tended, if that is earlier than was thought
}

// class is the consumers of the same routes. The broker's lock guards it.
type class struct {
	routes    []string
	consumers []*consumer
	next      int    // consumer that is given something first
	turn      int    // partition that is asked first
	asked     int    // pieces that scripts under way may bring
	asleep    []bool // by partition: there is no more, and this process is woken when there is
}

// consumer is one running Consume. The broker's lock guards free and out.
type consumer struct {
	ctx     context.Context
	class   *class
	handle  func(broker.Delivery)
	free    int // deliveries that it may still be given
	out     map[*delivery]struct{}
	running sync.WaitGroup // its handles
}

func (c *consumer) takes() bool { return c.free > 0 && c.ctx.Err() == nil }

// room is how many pieces its consumers may be given.
func (c *class) room() (n int) {
	for _, of := range c.consumers {
		if of.takes() {
			n += of.free
		}
	}
	return n
}

// join makes a consumer known. It reports false after Close.
func (b *Broker) join(c *consumer, routes []string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	for _, known := range b.classes {
		if slices.Equal(known.routes, routes) {
			c.class = known
		}
	}
	if c.class == nil {
		c.class = &class{routes: routes, asleep: make([]bool, len(b.parts))}
		b.classes = append(b.classes, c.class)
	}
	c.class.consumers = append(c.class.consumers, c)
	if slices.ContainsFunc(routes, func(route string) bool { return !slices.Contains(b.told, route) }) {
		b.parts[b.queue.Told()].hurry(time.Now())
	}
	b.plan()
	return true
}

// leave lets a consumer be given nothing more. What the process may be woken for in its stead is
// passed on then.
func (b *Broker) leave(c *consumer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c.free = 0
	c.class.consumers = slices.DeleteFunc(c.class.consumers, func(other *consumer) bool { return other == c })
	if len(c.class.consumers) == 0 {
		b.classes = slices.DeleteFunc(b.classes, func(other *class) bool { return other == c.class })
	}
}

// giveUp takes back what a consumer that has gone did not settle.
func (b *Broker) giveUp(c *consumer) {
	b.mu.Lock()
	byPart := make(map[*part][]*delivery)
	for d := range c.out {
		if d.settle() && !b.closed { // else it has gone back with the lease
			byPart[d.part] = append(byPart[d.part], d)
		}
	}
	clear(c.out)
	b.mu.Unlock()
	for p, all := range byPart {
		b.putBack(c.ctx, p, all, store.Lost)
	}
}

// plan has work taken as far as there is room for it. The caller holds the lock.
func (b *Broker) plan() {
	if b.closed {
		return
	}
	now := time.Now()
	wants := make(map[*part][]wish)
	for _, c := range b.classes {
		room := c.room() - c.asked
		if room <= 0 {
			continue
		}
		var open []*part
		for i := range b.parts {
			p := b.parts[(c.turn+i)%len(b.parts)]
			if !c.asleep[p.number] && !p.look && p.open(now) {
				open = append(open, p)
			}
		}
		for i, p := range open {
			n := min((room+len(open)-i-1)/(len(open)-i), mostTaken)
			if n == 0 {
				break
			}
			room -= n
			c.asked += n
			c.turn = (p.number + 1) % len(b.parts)
			wants[p] = append(wants[p], wish{c, n})
		}
	}
	for _, p := range b.parts {
		switch {
		case p.look && !p.busy:
			p.look, p.busy = false, true
			of := p.lease
			b.tasks.Go(func() { b.audit(p, of) })
		case len(wants[p]) > 0, len(p.done) >= mostDone && p.open(now):
			b.begin(p, wants[p])
		case len(p.done) > 0 && !p.telling && !p.busy:
			// Mostly something is taken before that, and tells it.
			p.telling = true
			b.tasks.Go(func() { b.tellDone(p) })
		}
	}
}

const (
	mostTaken = 500 // pieces that one script takes for a class
	mostDone  = 200 // entries that are let go of at once
	doneTime  = 25 * time.Millisecond
)

// open reports whether a script may begin.
func (p *part) open(now time.Time) bool {
	return p.lease.begun && !p.busy && (p.failed == 0 || !now.Before(p.again))
}

// wish is what a class is to be given from a partition.
type wish struct {
	class *class
	most  int
}

// begin starts a script that takes. The caller holds the lock.
func (b *Broker) begin(p *part, wishes []wish) {
	p.busy = true
	done := p.done
	p.done = nil
	of, woken := p.lease, p.woken
	b.tasks.Go(func() { b.take(p, of, woken, done, wishes) })
}

// tellDone has entries let go of, unless something else does.
func (b *Broker) tellDone(p *part) {
	timer := time.NewTimer(doneTime)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-b.ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	p.telling = false
	if len(p.done) > 0 && !b.closed && p.open(time.Now()) {
		b.begin(p, nil)
	}
}

// take takes what is wished for in a partition and hands it out.
func (b *Broker) take(p *part, of *lease, woken uint64, done []string, wishes []wish) {
	wants := make([]store.Want, len(wishes))
	for i, w := range wishes {
		wants[i] = store.Want{Routes: w.class.routes, Most: w.most}
	}
	// Not the broker's context: whether something was taken has to be known.
	taken, err := b.queue.Take(context.Background(), p.number, of.name, b.name, done, wants)
	b.counts.taken.Add(1)
	var left []*delivery
	b.mu.Lock()
	p.busy = false
	for _, w := range wishes {
		w.class.asked -= w.most
	}
	switch {
	case errors.Is(err, store.ErrNoLease):
		b.lose(p, of)
	case err != nil:
		if p.lease == of { // else they are nobody's of this process any more
			p.done = append(done, p.done...) // once more does no harm
		}
		b.failed(p, err)
	default:
		p.failed = 0
		for i, w := range wishes {
			if len(taken[i].Work) < w.most && !taken[i].More && p.woken == woken {
				w.class.asleep[p.number] = true
			}
			left = append(left, b.hand(p, of, w.class, taken[i].Work)...)
		}
	}
	b.plan()
	b.mu.Unlock()
	if len(left) > 0 { // whoever wanted it has gone meanwhile
		b.putBack(b.ctx, p, left, store.Untouched)
	}
}

// hand gives the consumers of a class what was taken for them, in turn, and returns what none of
// them takes.
func (b *Broker) hand(p *part, of *lease, c *class, taken []store.Work) (left []*delivery) {
	for _, w := range taken {
		d := &delivery{broker: b, part: p, lease: of, work: w}
		of.out[w.Entry] = d
		to := c.free()
		if to == nil || b.closed {
			d.settled = true
			left = append(left, d)
			continue
		}
		d.consumer = to
		to.free--
		to.out[d] = struct{}{}
		b.counts.delivered.Add(1)
		if w.Again {
			b.counts.redelivered.Add(1)
		}
		to.running.Go(func() {
			to.handle(d)
			b.mu.Lock()
			defer b.mu.Unlock()
			d.returned = true
			d.release()
		})
	}
	return left
}

// free returns the consumer that is given something next, nil if none takes anything.
func (c *class) free() *consumer {
	for i := range c.consumers {
		at := (c.next + i) % len(c.consumers)
		if of := c.consumers[at]; of.takes() {
			c.next = at + 1
			return of
		}
	}
	return nil
}

// failed notes that a partition does not answer, and has it asked again later. The caller holds
// the lock.
func (b *Broker) failed(p *part, err error) {
	p.failed++
	b.counts.failures.Add(1)
	wait := pause(p.failed)
	p.again = time.Now().Add(wait)
	if p.failed == 1 {
		b.log.Warn("work cannot be taken from Redis; it is tried again until it can", slog.Int("partition", p.number), slog.Any("error", err))
	}
	b.tasks.Go(func() {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-b.ctx.Done():
			return
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.plan()
	})
}

// lose notes that a lease has run out: what was taken by it is handed out again, to whomever. The
// partition is to be tended at once, by which the next begins. The caller holds the lock.
func (b *Broker) lose(p *part, of *lease) {
	if of.lost || p.lease != of {
		return
	}
	of.lost = true
	b.counts.leasesLost.Add(1)
	b.log.Warn("work of this process is handed out again: it was silent for longer than its lease in Redis lasts",
		slog.Int("partition", p.number), slog.Int("deliveries", len(of.out)))
	p.leases++
	p.lease, p.done, p.look = newLease(b.name, p.leases), nil, false
	p.hurry(time.Now())
}

// hurry has the partition tended at a time at the latest. The caller holds the lock.
func (p *part) hurry(at time.Time) {
	select {
	case earlier := <-p.soon:
		if earlier.Before(at) {
			at = earlier
		}
	default:
	}
	p.soon <- at
}

// putBack returns work to the queue that was settled here for that. While Redis does not answer it
// is tried again until ctx ends; what is not returned by then is so when it is looked through what
// this process has, or with its lease.
func (b *Broker) putBack(ctx context.Context, p *part, all []*delivery, how string) {
	byLease := make(map[*lease][]string)
	b.mu.Lock()
	for _, d := range all {
		if d.lease.out[d.work.Entry] != d {
			continue // it was given to this process once more, and is that delivery's
		}
		if delete(d.lease.out, d.work.Entry); !d.lease.lost {
			byLease[d.lease] = append(byLease[d.lease], d.work.Entry)
		}
	}
	b.mu.Unlock()
	for of, entries := range byLease {
		for try := 1; ; try++ {
			err := b.queue.Return(context.Background(), p.number, of.name, how, b.options.DeliveryLimit, entries...)
			if err == nil {
				break
			}
			if try == 1 {
				b.log.Warn("work could not be returned to Redis; it is tried again", slog.Any("error", err))
			}
			if backoff.Wait(ctx, pause(try)) != nil || b.ctx.Err() != nil {
				return
			}
		}
	}
}
