package memory

import (
	"cmp"
	"container/heap"
	"container/list"
	"time"

	"github.com/hark-push/hark/broker"
)

// name is whose job it is.
type name struct{ id, life string }

func nameOf(j broker.Job) name { return name{j.ID, j.Life} }

// item is a job that waits.
type item struct {
	job         broker.Job
	redelivered bool
	order       int64         // lower first, among ready items and among those due at once
	element     *list.Element // in its line, nil while delayed
	index       int           // in delayed
}

// route is the ready jobs of one route and who takes them. Whenever the broker is
// unlocked, jobs wait only if no consumer is free.
type route struct {
	lines     [levels]list.List // of *item, by priority
	consumers []*consumer
	turn      int // consumer that is asked first
}

const levels = 10

func (it *item) level() int { return min(max(it.job.Priority, 0), levels-1) }

// first returns the item that is next on the route, nil if none is.
func (r *route) first() *item {
	for level := levels - 1; level >= 0; level-- {
		if e := r.lines[level].Front(); e != nil {
			return e.Value.(*item)
		}
	}
	return nil
}

// add lets a job wait until a consumer takes it. Only Recover and Return may say
// that it was handed out before. The caller holds the lock, as for everything below.
func (b *Broker) add(j broker.Job, redelivered bool, most int) error {
	if b.closed {
		return broker.ErrClosed
	}
	r := b.routes[j.Route]
	if r == nil {
		return broker.ErrUnknownRoute
	}
	it := &item{job: j, redelivered: redelivered}
	wait := time.Until(j.NotBefore)
	if old := b.waiting[nameOf(j)]; old != nil {
		if old.job.Sequence > j.Sequence { // this one is out of date
			return nil
		}
		it.redelivered = it.redelivered || old.redelivered
		if wait <= 0 && old.element != nil && old.job.Route == j.Route && old.level() == it.level() {
			old.job, old.redelivered = j, it.redelivered
			return nil
		}
		b.remove(old)
	} else if most > 0 && len(b.waiting) >= most {
		return broker.ErrUnavailable
	}
	b.waiting[nameOf(j)] = it
	if wait > 0 {
		b.back++
		it.order = b.back
		heap.Push(&b.delayed, it)
		b.wind()
		return nil
	}
	b.push(it)
	b.serve(r)
	return nil
}

// push puts an item at the back of its line.
func (b *Broker) push(it *item) {
	b.back++
	it.order = b.back
	it.element = b.routes[it.job.Route].lines[it.level()].PushBack(it)
}

// putBack puts a job that was handed out at the front of its line. If it was published
// again meanwhile, that one stays where it is.
func (b *Broker) putBack(j broker.Job) {
	if b.closed {
		return
	}
	if it := b.waiting[nameOf(j)]; it != nil {
		it.redelivered = true
		return
	}
	r := b.routes[j.Route]
	b.front--
	it := &item{job: j, redelivered: true, order: b.front}
	b.waiting[nameOf(j)] = it
	it.element = r.lines[it.level()].PushFront(it)
	b.serve(r)
}

func (b *Broker) remove(it *item) {
	delete(b.waiting, nameOf(it.job))
	if it.element != nil {
		b.routes[it.job.Route].lines[it.level()].Remove(it.element)
		it.element = nil
		return
	}
	heap.Remove(&b.delayed, it.index)
}

// wind sets the timer for the head of delayed.
func (b *Broker) wind() {
	if len(b.delayed) == 0 {
		return
	}
	wait := max(time.Until(b.delayed[0].job.NotBefore), 0)
	if b.timer == nil {
		b.timer = time.AfterFunc(wait, b.ring)
		return
	}
	b.timer.Reset(wait)
}

// ring moves what is due from delayed to its line. The timer calls it; once too
// often does no harm.
func (b *Broker) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	for len(b.delayed) > 0 && !now.Before(b.delayed[0].job.NotBefore) {
		b.push(heap.Pop(&b.delayed).(*item))
	}
	for _, r := range b.routes { // only now, so that priority counts among what became due together
		b.serve(r)
	}
	b.wind()
}

// delayed is a heap by NotBefore.
type delayed []*item

func (d delayed) Len() int { return len(d) }

func (d delayed) Less(i, j int) bool {
	return cmp.Or(d[i].job.NotBefore.Compare(d[j].job.NotBefore), cmp.Compare(d[i].order, d[j].order)) < 0
}

func (d delayed) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].index, d[j].index = i, j
}

func (d *delayed) Push(x any) {
	it := x.(*item)
	it.index = len(*d)
	*d = append(*d, it)
}

func (d *delayed) Pop() any {
	last := len(*d) - 1
	it := (*d)[last]
	(*d)[last] = nil
	*d = (*d)[:last]
	return it
}
