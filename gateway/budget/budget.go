// Package budget bounds the memory that all calls of a process take together, so that nobody takes
// it from everybody else: bytes are reserved before they are taken. Each of those who reserve has a
// share, and what is large leaves room to what is small. Who gets nothing waits for a moment.
package budget

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Errors of [Reservation.Grow], when a reservation has waited in vain, or too many wait already.
var (
	// ErrShare: one of those whom the reservation is for has all that it may have, by other
	// reservations.
	ErrShare = errors.New("the share is used up")
	// ErrFull: all reservations together have all that there is.
	ErrFull = errors.New("the budget is used up")
	// ErrSlow: the reservation was taken away, because others wait and it was filled too slowly.
	ErrSlow = errors.New("it was filled too slowly while others wait")
)

const (
	// Small is up to how many bytes a reservation is a small one.
	Small = 64 << 10
	// pressAfter is how long a reservation waits until slow ones are looked for.
	pressAfter = time.Second

	maxWaiting     = 512 // reservations
	maxWaitingEach = 64  // for one of those whom they are for
)

// Options of a [Budget]. The zero value of a field stands for its default.
type Options struct {
	Bytes    int64         // of all reservations; 96 MiB
	Patience time.Duration // how long a reservation waits to grow; 10 s
	Fill     time.Duration // in which a large reservation is to be filled if others wait; 2 minutes
	Grace    time.Duration // for which none is called slow; 10 s
}

// Budget is a number of bytes that reservations share. Its methods may be called concurrently.
type Budget struct {
	Options

	mu      sync.Mutex
	all     account
	members map[string]*account
	large   map[*Reservation]struct{} // the reservations that are large and hold something
	waiting []*waiter                 // in the order in which they came
}

// account is what reservations hold: all of them, or those for somebody.
type account struct {
	used, large  int64
	reservations int
}

type waiter struct {
	reservation *Reservation
	to          int64
	granted     chan struct{}
}

// New returns a budget of which nothing is reserved.
func New(o Options) *Budget {
	if o.Bytes <= 0 {
		o.Bytes = 96 << 20
	}
	if o.Patience <= 0 {
		o.Patience = 10 * time.Second
	}
	if o.Fill <= 0 {
		o.Fill = 2 * time.Minute
	}
	if o.Grace <= 0 {
		o.Grace = 10 * time.Second
	}
	return &Budget{Options: o, members: make(map[string]*account), large: make(map[*Reservation]struct{})}
}

// For returns the bytes that a budget needs so that each of those who reserve may have one
// reservation of so many bytes.
func For(bytes int64) int64 { return 3 * bytes }

// share is how much reservations for one have together.
func (b *Budget) share() int64 { return b.Bytes / 2 }

// ofLarge is how much of a bound large reservations have together.
func ofLarge(bound int64) int64 { return bound - bound/8 }

// Used returns how many bytes are reserved, and how many reservations wait for more.
func (b *Budget) Used() (bytes int64, waiting int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.used, len(b.waiting)
}

// Reservation is a part of a budget. One goroutine uses it, but for what it says itself. nil is a
// reservation of nothing.
type Reservation struct {
	budget  *Budget
	members []string
	evict   func() // interrupts whoever fills it; nil: it is never taken away
	began   time.Time
	filled  atomic.Int64
	slow    atomic.Bool

	held int64 // under budget.mu
}

// Reserve returns a reservation of nothing yet, for those who are named: their shares count. The
// empty name is nobody's. evict, if not nil, is called, once and from another goroutine, when the
// reservation is taken away: whoever fills it must stop and ask [Reservation.Slow]. It holds what
// it has until Release, after which evict is not called. It must not block.
func (b *Budget) Reserve(evict func(), members ...string) *Reservation {
	return &Reservation{
		budget: b, evict: evict, began: time.Now(),
		members: slices.DeleteFunc(members, func(m string) bool { return m == "" }),
	}
}

// Fill says how many bytes of the reservation are filled.
func (c *Reservation) Fill(bytes int64) {
	if c != nil {
		c.filled.Store(bytes)
	}
}

// Slow reports whether the reservation was taken away.
func (c *Reservation) Slow() bool { return c != nil && c.slow.Load() }

// Grow reserves so many bytes in all, and waits for them if it must. More than anybody may have at
// a time counts as what one may have. The errors are those of this package; nothing has changed
// then.
func (c *Reservation) Grow(to int64) error {
	b := c.budget
	to = min(to, ofLarge(b.share()))
	b.mu.Lock()
	if c.slow.Load() {
		b.mu.Unlock()
		return ErrSlow
	}
	if to <= c.held {
		b.mu.Unlock()
		return nil
	}
	w := &waiter{reservation: c, to: to, granted: make(chan struct{})}
	if blocked := b.blocked(w); blocked == nil && (to <= Small || !b.crowded()) {
		b.give(c, to)
		b.mu.Unlock()
		return nil
	}
	if err := b.queued(c); err != nil {
		b.mu.Unlock()
		return err
	}
	b.waiting = append(b.waiting, w)
	b.mu.Unlock()
	return b.wait(w)
}

// queued returns an error if as many wait already as may, so that to wait costs little.
func (b *Budget) queued(c *Reservation) error {
	same := 0
	for _, w := range b.waiting {
		if c.meets(w.reservation) {
			same++
		}
	}
	switch {
	case same >= maxWaitingEach:
		return ErrShare
	case len(b.waiting) >= maxWaiting:
		return ErrFull
	}
	return nil
}

// wait waits until a waiter was granted what it waits for.
func (b *Budget) wait(w *waiter) error {
	patience := time.NewTimer(b.Patience)
	defer patience.Stop()
	press := time.NewTicker(min(pressAfter, b.Patience/4))
	defer press.Stop()
	for {
		select {
		case <-w.granted:
			return nil
		case <-press.C:
			b.press(w)
		case <-patience.C:
			b.mu.Lock()
			defer b.mu.Unlock()
			i := slices.Index(b.waiting, w)
			if i < 0 { // in this moment
				return nil
			}
			b.waiting = slices.Delete(b.waiting, i, i+1)
			err := b.blocked(w)
			b.grant() // who stood behind it
			if err == nil {
				err = ErrFull // it waited behind others
			}
			return err
		}
	}
}

// blocked returns why a waiter cannot have what it wants now; nil if it can.
func (b *Budget) blocked(w *waiter) error {
	more, large := w.to-w.reservation.held, w.to-w.reservation.heldLarge()
	fits := func(a *account, bound int64) bool {
		return a.used+more <= bound && (w.to <= Small || a.large+large <= ofLarge(bound))
	}
	for _, name := range w.reservation.members {
		a := b.members[name]
		if a == nil {
			a = new(account)
		}
		if !fits(a, b.share()) {
			return ErrShare
		}
	}
	if !fits(&b.all, b.Bytes) {
		return ErrFull
	}
	return nil
}

func (c *Reservation) heldLarge() int64 {
	if c.held > Small {
		return c.held
	}
	return 0
}

// crowded reports whether somebody waits for room that no share keeps it from: what is large does
// not overtake it.
func (b *Budget) crowded() bool {
	return slices.ContainsFunc(b.waiting, func(w *waiter) bool {
		return errors.Is(b.blocked(w), ErrFull)
	})
}

// give lets a reservation hold so many bytes.
func (b *Budget) give(c *Reservation, to int64) {
	if c.held == 0 {
		for _, name := range c.members {
			if b.members[name] == nil {
				b.members[name] = new(account)
			}
		}
	}
	was, wasLarge := c.held, c.heldLarge()
	c.held = to
	for _, a := range b.accounts(c) {
		a.used += to - was
		a.large += c.heldLarge() - wasLarge
		if was == 0 {
			a.reservations++
		}
	}
	if c.heldLarge() > 0 {
		b.large[c] = struct{}{}
	}
}

func (b *Budget) accounts(c *Reservation) []*account {
	all := make([]*account, 0, 1+len(c.members))
	all = append(all, &b.all)
	for _, name := range c.members {
		all = append(all, b.members[name])
	}
	return all
}

// Release gives back all that the reservation holds. It may be called again.
func (c *Reservation) Release() {
	if c == nil {
		return
	}
	b := c.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.held == 0 {
		return
	}
	held, large := c.held, c.heldLarge()
	c.held = 0
	delete(b.large, c)
	for _, a := range b.accounts(c) {
		a.used -= held
		a.large -= large
		a.reservations--
	}
	for _, name := range c.members {
		if b.members[name].reservations == 0 {
			delete(b.members, name)
		}
	}
	b.grant()
}

// grant gives those who wait what there is, in the order in which they came. Who waits for its
// share only keeps nobody else waiting.
func (b *Budget) grant() {
	full := false
	b.waiting = slices.DeleteFunc(b.waiting, func(w *waiter) bool {
		if full && w.to > Small {
			return false
		}
		switch err := b.blocked(w); {
		case err == nil:
			b.give(w.reservation, w.to)
			close(w.granted)
			return true
		case errors.Is(err, ErrFull):
			full = full || w.to > Small
		}
		return false
	})
}

// press takes a reservation away that is filled so slowly that it would keep a waiter from its room
// for long: the one that has the most.
func (b *Budget) press(w *waiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	err := b.blocked(w)
	var slowest *Reservation
	for c := range b.large {
		switch {
		case c.evict == nil || c.slow.Load() || !c.isSlow(b.Grace, b.Fill) || b.waits(c):
		case errors.Is(err, ErrShare) && !c.meets(w.reservation): // it would not help
		case slowest == nil || c.held > slowest.held:
			slowest = c
		}
	}
	if slowest != nil {
		slowest.slow.Store(true)
		slowest.evict() // before somebody can release it
	}
}

// meets reports whether two reservations are for the same one.
func (c *Reservation) meets(other *Reservation) bool {
	return slices.ContainsFunc(c.members, func(m string) bool { return slices.Contains(other.members, m) })
}

// waits reports whether a reservation waits itself, so that nothing can be filled.
func (b *Budget) waits(c *Reservation) bool {
	return slices.ContainsFunc(b.waiting, func(w *waiter) bool { return w.reservation == c })
}

// isSlow reports whether a reservation is filled at a pace at which it would not be full in time.
func (c *Reservation) isSlow(grace, fill time.Duration) bool {
	age := time.Since(c.began)
	return age > grace && float64(c.filled.Load()) < float64(c.held)*min(1, float64(age)/float64(fill))
}
