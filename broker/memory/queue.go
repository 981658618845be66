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
	order       int64         // lower first, in its line and among those due at once
	line        *line         // its owner's, nil while delayed
	element     *list.Element // in it
	index       int           // in delayed
}

// route is the ready jobs of one route and who takes them. Whenever the broker is
// unlocked, jobs wait only if no consumer is free.
type route struct {
	rotas        [levels]rota // by priority
	consumers    []*consumer
	nextConsumer int // consumer that is asked first
}

// rota is the ready jobs of one route and priority: a line for each owner of some. Owners take
// turns, a job each, so that who has many waiting keeps nobody else waiting for more than one of
// them.
type rota struct {
	owners map[string]*line
	turns  list.List // of *line, the one whose turn it is in front
}

// line is the ready jobs of an owner in a rota. There is none without a job.
type line struct {
	rota    *rota
	owner   string
	turn    int64         // lower first: the order of turns, over all rotas
	jobs    list.List     // of *item
	element *list.Element // in turns
}

const levels = 10

func (it *item) level() int { return min(max(it.job.Priority, 0), levels-1) }

// first returns the item that is next on the route, nil if none is.
func (r *route) first() *item {
	for level := levels - 1; level >= 0; level-- {
		if e := r.rotas[level].turns.Front(); e != nil {
			return e.Value.(*line).jobs.Front().Value.(*item)
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
		if wait <= 0 && old.line != nil && old.job.Route == j.Route && old.level() == it.level() && old.line.owner == j.Owner {
			old.job, old.redelivered = j, it.redelivered
			return nil
		}
		b.remove(old)
	} else if most > 0 && len(b.waiting) >= most {
		return broker.ErrUnavailable
	}
	if wait > 0 {
		it.order = b.behind()
		b.waiting[nameOf(j)] = it
		heap.Push(&b.delayed, it)
		b.wind()
		return nil
	}
	if !redelivered && b.leaves(it) {
		return nil
	}
	if c := r.next(); c != nil { // then nothing waits that it could take
		it.order = b.behind()
		b.start(it, c)
		return nil
	}
	b.waiting[nameOf(j)] = it
	b.push(it)
	return nil
}

// push puts an item at the back of its owner's line, whose first turn comes after those of all who
// wait already.
func (b *Broker) push(it *item) {
	it.order = b.behind()
	r := b.rotaOf(it)
	it.line = r.owners[it.job.Owner]
	if it.line == nil {
		it.line = r.enter(it.job.Owner)
		it.line.turn = it.order
		it.line.element = r.turns.PushBack(it.line)
	}
	it.element = it.line.jobs.PushBack(it)
}

// putBack puts a job that was handed out at the front of its owner's line, which, if it is a new
// one, has the next turn: nothing came of the one that the job had. If it was published again
// meanwhile, that one stays where it is.
func (b *Broker) putBack(j broker.Job) {
	if b.closed {
		return
	}
	if it := b.waiting[nameOf(j)]; it != nil {
		it.redelivered = true
		return
	}
	b.front--
	it := &item{job: j, redelivered: true, order: b.front}
	b.waiting[nameOf(j)] = it
	r := b.rotaOf(it)
	it.line = r.owners[j.Owner]
	if it.line == nil {
		it.line = r.enter(j.Owner)
		it.line.turn = it.order
		it.line.element = r.turns.PushFront(it.line)
	}
	it.element = it.line.jobs.PushFront(it)
	b.serve(b.routes[j.Route])
}

// behind returns an order, or a turn, that comes after all that were given.
func (b *Broker) behind() int64 {
	b.back++
	return b.back
}

func (b *Broker) rotaOf(it *item) *rota { return &b.routes[it.job.Route].rotas[it.level()] }

// enter returns a new line, which is to be given its turn and a job.
func (r *rota) enter(owner string) *line {
	if r.owners == nil {
		r.owners = make(map[string]*line)
	}
	l := &line{rota: r, owner: owner}
	r.owners[owner] = l
	return l
}

// remove forgets an item, whose owner keeps its turn.
func (b *Broker) remove(it *item) {
	delete(b.waiting, nameOf(it.job))
	if it.line == nil {
		heap.Remove(&b.delayed, it.index)
		return
	}
	it.line.remove(it)
	b.refill(placeOf(it))
}

func (l *line) remove(it *item) {
	l.jobs.Remove(it.element)
	it.line, it.element = nil, nil
	if l.jobs.Len() == 0 {
		l.rota.turns.Remove(l.element)
		delete(l.rota.owners, l.owner)
	}
}

// take removes the item whose owner's turn it is; the next turn of that owner comes after everybody
// else's.
func (b *Broker) take(it *item) {
	l := it.line
	b.remove(it)
	if l.jobs.Len() > 0 {
		l.turn = b.behind()
		l.rota.turns.MoveToBack(l.element)
	}
}

// wind sets the timer for the head of delayed.
func (b *Broker) wind() {
	if len(b.delayed) == 0 {
		return
	}
	wait := max(time.Until(b.delayed[0].job.NotBefore), 0)
	if b.timer == nil {
		b.timer = time.AfterFunc(wait, b.promote)
		return
	}
	b.timer.Reset(wait)
}

// promote moves what is due from delayed to its line. The timer calls it; once too
// often does no harm.
func (b *Broker) promote() {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	for len(b.delayed) > 0 && !now.Before(b.delayed[0].job.NotBefore) {
		b.push(heap.Pop(&b.delayed).(*item))
	}
	b.serveAll() // only now, so that priority and turns count among what became due together
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
