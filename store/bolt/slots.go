package bolt

import (
	"cmp"
	"slices"
	"sync"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/lifecycle"
)

// slots are who has one of those that [lifecycle.Concurrency] is about, and who waits for one.
// scripts/slots.lua of store/redis does the same.
//
// None of it is stored. What is processing has its slot, and what is pending and due waits for one,
// or has it and is queued; when the store is opened everything is queued again anyway, so that
// slots are given anew then, in the order of work. The writer changes it with its batch, and takes
// it back if that cannot be made durable. Who reads may look at it.
type slots struct {
	mu     sync.RWMutex
	lanes  map[string]*lane
	routes map[string]*slotRoute
	of     map[string]slot // by id of the request
	parked map[string]int  // by route: how many wait
	turn   uint64          // the last one that was given
}

// slot is a request that has one, or waits for one.
type slot struct {
	ref, id, route, lane string
	most                 lifecycle.Concurrency
	level                int // of its priority, the first one first
	ticket               uint64
	held                 bool
}

func slotOf(r *record) slot {
	return slot{
		ref: r.Ref().String(), id: r.ID, route: r.Route, lane: r.Lane(), most: r.Concurrency,
		level: levels - 1 - level(r.Priority), ticket: r.Ticket,
	}
}

func (x slot) compare(y slot) int {
	return cmp.Or(cmp.Compare(x.level, y.level), cmp.Compare(x.ticket, y.ticket))
}

// lane is one with anybody in it.
type lane struct {
	held    int
	waiting []slot // in order
	turn    uint64 // when its turn is on a route that is full; 0: its first may not have one anyway
}

// slotRoute is a route that limits how much is worked on.
type slotRoute struct {
	held  int
	turns []turn // in order
}

type turn struct {
	number uint64
	lane   string
}

func (x turn) compare(y turn) int { return cmp.Compare(x.number, y.number) }

// The functions that follow change one thing each, and are each other's opposites. The caller holds
// the lock.

func (s *slots) lane(name string) *lane {
	l := s.lanes[name]
	if l == nil {
		l = new(lane)
		s.lanes[name] = l
	}
	return l
}

func (s *slots) route(name string) *slotRoute {
	r := s.routes[name]
	if r == nil {
		r = new(slotRoute)
		s.routes[name] = r
	}
	return r
}

// tidy leaves nothing of what nobody is in.
func (s *slots) tidy(x slot) {
	if l := s.lanes[x.lane]; l != nil && l.held == 0 && len(l.waiting) == 0 && l.turn == 0 {
		delete(s.lanes, x.lane)
	}
	if r := s.routes[x.route]; r != nil && r.held == 0 && len(r.turns) == 0 {
		delete(s.routes, x.route)
	}
}

func (s *slots) hold(x slot) {
	x.held = true
	s.lane(x.lane).held++
	if x.most.Route > 0 {
		s.route(x.route).held++
	}
	s.of[x.id] = x
}

func (s *slots) drop(x slot) {
	s.lane(x.lane).held--
	if x.most.Route > 0 {
		s.route(x.route).held--
	}
	delete(s.of, x.id)
	s.tidy(x)
}

func (s *slots) wait(x slot) {
	x.held = false
	l := s.lane(x.lane)
	at, _ := slices.BinarySearchFunc(l.waiting, x, slot.compare)
	l.waiting = slices.Insert(l.waiting, at, x)
	s.of[x.id] = x
	s.parked[x.route]++
}

func (s *slots) unwait(x slot) {
	l := s.lane(x.lane)
	at, _ := slices.BinarySearchFunc(l.waiting, x, slot.compare)
	if at == 0 { // as mostly
		l.waiting[0] = slot{}
		l.waiting = l.waiting[1:]
	} else {
		l.waiting = slices.Delete(l.waiting, at, at+1)
	}
	delete(s.of, x.id)
	if s.parked[x.route]--; s.parked[x.route] == 0 {
		delete(s.parked, x.route)
	}
	s.tidy(x)
}

func (s *slots) queue(x slot, number uint64) {
	s.lane(x.lane).turn = number
	r, t := s.route(x.route), turn{number, x.lane}
	at, _ := slices.BinarySearchFunc(r.turns, t, turn.compare)
	r.turns = slices.Insert(r.turns, at, t)
}

func (s *slots) unqueue(x slot, number uint64) {
	s.lane(x.lane).turn = 0
	r := s.route(x.route)
	if at, ok := slices.BinarySearchFunc(r.turns, turn{number: number}, turn.compare); ok {
		r.turns = slices.Delete(r.turns, at, at+1)
	}
	s.tidy(x)
}

// waits reports whether a request waits for a slot.
func (s *slots) waits(id string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	x, ok := s.of[id]
	return ok && !x.held
}

// inLine is lifecycle.Request.InLine of a request that waits for a slot; nil if it waits for none.
func (s *slots) inLine(id string) *int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	x, ok := s.of[id]
	if !ok || x.held {
		return nil
	}
	l := s.lanes[x.lane]
	before, _ := slices.BinarySearchFunc(l.waiting, x, slot.compare)
	return new(l.held + before)
}

// slotting is one step of the slots. Nobody reads meanwhile.
type slotting struct {
	*slots
	undo  []func()
	freed []string // names of those that waited and have a slot now
}

func (s *slotting) do(f, back func()) {
	f()
	s.undo = append(s.undo, back)
}

// enter lets a request have a slot, or wait for one, and reports whether it has one.
func (s *slotting) enter(x slot) bool {
	if _, ok := s.of[x.id]; !ok {
		s.do(func() { s.wait(x) }, func() { s.unwait(x) })
		s.settle(x)
		s.taken(x.id)
	}
	return s.of[x.id].held
}

// taken leaves out of those that are to be queued the one whose step this is.
func (s *slotting) taken(id string) {
	s.freed = slices.DeleteFunc(s.freed, func(ref string) bool { return lifecycle.ParseRef(ref).ID == id })
}

// leave takes from a request its slot, or its place in the line.
func (s *slotting) leave(id string) {
	x, ok := s.of[id]
	switch {
	case !ok:
		return
	case x.held:
		s.do(func() { s.drop(x) }, func() { s.hold(x) })
	default:
		s.do(func() { s.unwait(x) }, func() { s.wait(x) })
	}
	s.settle(x)
}

// settle gives slots to whom may have them, after something has changed in a lane.
func (s *slotting) settle(x slot) {
	s.line(x)
	for s.routes[x.route] != nil && len(s.routes[x.route].turns) > 0 {
		r := s.routes[x.route]
		next := s.lanes[r.turns[0].lane].waiting[0]
		if r.held >= next.most.Route {
			return
		}
		s.give(next)
		s.line(next)
	}
}

// line gives slots to the first of a lane as long as only its key limits them, or lets the lane
// wait for its turn on the route. Whoever had the turn has it no more.
func (s *slotting) line(x slot) {
	for l := s.lanes[x.lane]; l != nil; l = s.lanes[x.lane] {
		if len(l.waiting) == 0 || l.waiting[0].most.Limit > 0 && l.held >= l.waiting[0].most.Limit {
			s.unturn(x, l)
			return
		}
		first := l.waiting[0]
		if first.most.Route > 0 {
			if l.turn == 0 {
				s.turn++
				number := s.turn
				s.do(func() { s.queue(first, number) }, func() { s.unqueue(first, number) })
			}
			return
		}
		s.give(first)
	}
}

func (s *slotting) unturn(x slot, l *lane) {
	if number := l.turn; number != 0 {
		s.do(func() { s.unqueue(x, number) }, func() { s.queue(x, number) })
	}
}

// give gives the first of a lane its slot, and takes the lane's turn.
func (s *slotting) give(x slot) {
	s.unturn(x, s.lanes[x.lane])
	s.do(func() { s.unwait(x) }, func() { s.wait(x) })
	s.do(func() { s.hold(x) }, func() { s.drop(x) })
	s.freed = append(s.freed, x.ref)
}

// slotting makes a step of the slots with the batch.
func (b *batch) slotting(f func(s *slotting)) {
	all := &b.s.slots
	all.mu.Lock()
	defer all.mu.Unlock()
	s := &slotting{slots: all}
	f(s)
	b.freed = append(b.freed, s.freed...)
	b.undo = append(b.undo, func() {
		all.mu.Lock()
		defer all.mu.Unlock()
		for _, back := range slices.Backward(s.undo) {
			back()
		}
	})
}

// enterSlot lets a request have a slot, or wait for one, and reports whether it has one.
func (b *batch) enterSlot(r *record) (has bool) {
	b.slotting(func(s *slotting) { has = s.enter(slotOf(r)) })
	return has
}

// leaveSlot takes from a request its slot, or its place in the line.
func (b *batch) leaveSlot(id string) { b.slotting(func(s *slotting) { s.leave(id) }) }

// moveSlot does what a step that was made does with the slot.
func (b *batch) moveSlot(step lifecycle.SlotStep, r *record) {
	switch step {
	case lifecycle.SlotLeft:
		b.leaveSlot(r.ID)
	case lifecycle.SlotLeftFor:
		b.leaveSlot(r.ID)
		b.enterSlot(r)
	}
}

// giveSlots gives slots to what has not ended, when the store is opened.
func (s *Store) giveSlots(tx *bolt.Tx) error {
	all := &slotting{slots: &s.slots}
	all.lanes, all.routes, all.of, all.parked = make(map[string]*lane), make(map[string]*slotRoute), make(map[string]slot), make(map[string]int)
	each := func(bucket []byte, f func(r *record)) error {
		return tx.Bucket(bucket).ForEach(func(key, value []byte) error {
			if len(value) == 0 {
				value = key
			}
			if r := readable(value, tx.Bucket(requestsBucket).Get(value)); r != nil {
				f(r)
			}
			return nil
		})
	}
	if err := each(processingBucket, func(r *record) {
		if all := s.countsOf(&r.Request); all != nil {
			all.add(r.Route, 1)
		}
		if r.Concurrency.Limited() {
			all.hold(slotOf(r))
		}
	}); err != nil {
		return err
	}
	return each(pendingBucket, func(r *record) {
		if r.Concurrency.Limited() && !r.NotBefore.After(s.options.Now()) {
			all.enter(slotOf(r))
		}
	})
}

// Fits implements lifecycle.Slots.
func (s *Store) Fits(*lifecycle.Submission) bool { return true }

// OnSlot implements lifecycle.Slots. f runs on a goroutine that all changes wait for: it must not
// call the store. A call that is running when stop is called goes on.
func (s *Store) OnSlot(f func(of lifecycle.Ref)) (stop func()) {
	return s.freed.Add(func(of string) { f(lifecycle.ParseRef(of)) })
}
