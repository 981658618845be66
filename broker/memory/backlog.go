package memory

import (
	"time"

	"github.com/hark-push/hark/broker"
)

// place is where a ready job waits: in the line of its owner.
type place struct {
	route    string
	priority int
	owner    string
}

func placeOf(it *item) place { return place{it.job.Route, it.level(), it.job.Owner} }

// left says that jobs of a place are in the backlog alone. There is none where all are kept.
type left struct {
	jobs    int  // that have been left there, ever
	reading bool // somebody reads the backlog for the place
	// Sequences of those since that one began: what it has read of them is no news.
	settled map[name]uint64
}

// againAfter is how long it takes until the backlog is read again after it has failed.
const againAfter = time.Second

// leaves reports whether a job that may start now is left to the backlog: its place has as many as
// are kept, or has left some that come before it.
func (b *Broker) leaves(it *item) bool {
	if b.options.Backlog == nil {
		return false
	}
	at := placeOf(it)
	l := b.left[at]
	if l == nil {
		if b.kept(at) < b.options.MaxKept {
			return false
		}
		l = new(left)
		b.left[at] = l
	}
	l.jobs++
	return true
}

// kept is how many jobs of a place are kept.
func (b *Broker) kept(at place) int {
	if l := b.routes[at.route].rotas[at.priority].owners[at.owner]; l != nil {
		return l.jobs.Len()
	}
	return 0
}

// refill reads the backlog for a place that has left jobs there, if half of what is kept has gone.
func (b *Broker) refill(at place) {
	l := b.left[at]
	if l == nil || l.reading || b.closed || b.kept(at) > b.options.MaxKept/2 {
		return
	}
	l.reading, l.settled = true, make(map[name]uint64)
	b.reading.Go(func() { b.read(at, l) })
}

// read keeps jobs of the backlog again until there are as many as are kept, or no more are left.
func (b *Broker) read(at place, l *left) {
	for {
		b.mu.Lock()
		before := l.jobs
		clear(l.settled)
		b.mu.Unlock()
		full, err := b.readOnce(at, l)
		if err != nil {
			select {
			case <-b.ctx.Done():
				return
			case <-time.After(againAfter):
				continue
			}
		}
		b.mu.Lock()
		if full || l.jobs == before {
			l.settled = nil
			if l.reading = false; !full {
				delete(b.left, at)
			}
			b.refill(at) // it may have been emptied meanwhile
			b.mu.Unlock()
			return
		}
		b.mu.Unlock() // some were left while it was read
	}
}

// readOnce reads the backlog from its beginning, and reports whether there are more jobs than are
// kept.
func (b *Broker) readOnce(at place, l *left) (full bool, err error) {
	for j, err := range b.options.Backlog(b.ctx, at.route, at.priority) {
		if err != nil {
			return false, err
		}
		if j.Owner != at.owner {
			continue
		}
		b.mu.Lock()
		full = b.keep(j, l)
		b.mu.Unlock()
		if full {
			return true, nil
		}
	}
	return false, nil
}

// keep puts a job of the backlog into its line, unless it waits there, is out or was settled
// meanwhile, and reports whether there is no room. One that waits again since is none of these.
func (b *Broker) keep(j broker.Job, l *left) (full bool) {
	if b.closed {
		return true
	}
	it := &item{job: j}
	at := placeOf(it)
	sequence, settled := l.settled[nameOf(j)]
	if settled && sequence >= j.Sequence || b.waiting[nameOf(j)] != nil || b.out(j) {
		return false
	}
	if b.kept(at) >= b.options.MaxKept {
		return true
	}
	if time.Until(j.NotBefore) > 0 { // it was published for itself
		return false
	}
	b.waiting[nameOf(j)] = it
	b.push(it)
	b.serve(b.routes[j.Route])
	return false
}

// out reports whether a job, or a newer one for the same request, has been handed out and not been
// settled.
func (b *Broker) out(j broker.Job) bool {
	for _, c := range b.routes[j.Route].consumers {
		for d := range c.holds {
			if nameOf(d.item.job) == nameOf(j) && d.item.job.Sequence >= j.Sequence {
				return true
			}
		}
	}
	return false
}
