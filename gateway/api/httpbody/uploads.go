package httpbody

import (
	"errors"
	"math/rand/v2"
	"os"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/gateway/budget"
)

// Bounds are those on bodies of all calls together.
type Bounds struct {
	Budget *budget.Budget // of their memory
	Stall  time.Duration  // how long one may stand still

	storing chan struct{} // holds one while a large body is stored
}

// NewBounds returns bounds of so many bytes for all together.
func NewBounds(bytes int64, stall time.Duration) *Bounds {
	return &Bounds{Budget: budget.New(budget.Options{Bytes: bytes}), Stall: stall, storing: make(chan struct{}, 1)}
}

// Storing waits until a large body may be stored, and returns what to do when it is. Stores copy
// what they are given, some more than once, and write one after the other anyway; so of large ones
// they get one at a time.
func Storing(c *fiber.Ctx) (stored func()) {
	const large = 1 << 20
	conn := ConnOf(c.Context())
	if conn.body.got <= large {
		return func() {}
	}
	conn.bounds.storing <- struct{}{}
	return func() { <-conn.bounds.storing }
}

// HeadTime is how long the head of a call may take to arrive.
const HeadTime = time.Minute

// What is taken for a body, in bytes.
const (
	unreserved = 4 << 10 // at first, by any call: less than the server has for its head
	growth     = 4       // how many times of what has arrived is taken next
	// The part of a body that, once it has arrived, gets the room for all of it.
	ample = 16
)

// nextRoom is how much memory a body gets when what it had is full: no more than some times what
// has arrived, and all that it may still need when the rest is not worth moving it again.
func nextRoom(have, room int) int {
	if next := growth * have; next < room && (next <= budget.Small || have < room/ample) {
		return next
	}
	return room
}

// reserveRoom reserves memory for the body of the call before it is taken. A large body reserves
// what it has announced, or what it may have if it comes in chunks: what has begun can be ended,
// and nobody who holds much waits for somebody who does.
func (c *Conn) reserveRoom(next, room int) error {
	b := &c.body
	if next > budget.Small {
		next = room
	}
	if b.reservation == nil {
		b.reservation = c.bounds.Budget.Reserve(c.interrupt, c.Caller, c.address())
	}
	err := b.reservation.Grow(int64(next))
	if errors.Is(err, budget.ErrSlow) {
		return brokenBody(c, err)
	}
	if err != nil {
		return noRoom(err)
	}
	return nil
}

// RoomFor returns what reserves memory for something else that a call holds until it is answered.
func RoomFor(c *fiber.Ctx) func(size int64) error {
	conn := ConnOf(c.Context())
	return func(size int64) error {
		if size <= unreserved {
			return nil
		}
		if conn.body.reservation == nil {
			conn.body.reservation = conn.bounds.Budget.Reserve(nil, conn.Caller, conn.address())
		}
		if err := conn.body.reservation.Grow(size); err != nil {
			return noRoom(err)
		}
		return nil
	}
}

// noRoom is the problem of a call that has found no room in the budget.
func noRoom(err error) *problem.Details {
	if errors.Is(err, budget.ErrShare) {
		return &problem.Details{
			Kind: problem.Bytes, RetryAfter: comeBack(),
			Detail: "Other calls of yours, or from your address, have as many bytes under way as may be. " +
				"Make the call again when some of them are done, or fewer at the same time.",
		}
	}
	return &problem.Details{
		Kind: problem.Unavailable, RetryAfter: comeBack(),
		Detail: "The gateway has as many bytes of bodies under way as it can hold. " +
			"Nothing was changed; make the call again.",
	}
}

// comeBack is how many seconds somebody is told to wait who was refused with others: not all the
// same.
func comeBack() int { return 1 + rand.IntN(5) }

// interrupt ends a read of the body of the call under way.
func (c *Conn) interrupt() { _ = c.SetReadDeadline(time.Unix(1, 0)) }

// address is whose share of the bytes the call takes by where it comes from; "" if only proxies are
// known.
func (c *Conn) address() string {
	if !c.From.IsValid() {
		return ""
	}
	return "address " + c.From.String()
}

// release gives back what was reserved for a body. What was read must not be held any longer.
func (b *body) release() {
	b.reservation.Release()
	b.reservation = nil
}

// Released gives the room of the body of a call to others before the call ends.
func Released(c *fiber.Ctx) { ConnOf(c.Context()).body.release() }

// pace is how fast a body comes.
type pace struct {
	limit time.Duration // how long it may stand still, and in which so much has to come
	began time.Time     // of the time under way; zero before the first read
	had   int           // bytes, when it began
}

// leastRate is how many bytes of a body have to come in a second, in each stretch of
// [Bounds.Stall].
const leastRate = 1 << 10

// before sets the deadline of the next read, of a body of which so much is here. The error says
// that it came too slowly.
func (p *pace) before(c *Conn, have int) error {
	now := time.Now()
	least := int(leastRate * p.limit / time.Second)
	switch {
	case p.began.IsZero():
		p.began, p.had = now, have
		if p.limit >= HeadTime { // what the server has set when the head began is no later
			return nil
		}
	case now.Sub(p.began) < p.limit:
	case have-p.had < least:
		return os.ErrDeadlineExceeded
	default:
		p.began, p.had = now, have
	}
	deadline := now.Add(p.limit)
	if have-p.had < least {
		deadline = p.began.Add(p.limit)
	}
	if err := c.SetReadDeadline(deadline); err != nil {
		return err
	}
	if c.body.reservation.Slow() { // it was interrupted before
		return os.ErrDeadlineExceeded
	}
	return nil
}
