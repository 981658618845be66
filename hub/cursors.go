package hub

import (
	"strconv"
	"sync/atomic"
	"time"
)

// cursors are what a client of a durable stream gives back when it calls again, so that no cache
// answers with what it has answered before (PROTOCOL.md of Durable Streams, section 10.1): never
// one that a client has got already. All who follow a stream share the bytes of its pieces, and
// with them the cursor. So it is the time in milliseconds, instead of an interval of 20 s and
// something random for who has that already, and never stands still.
type cursors struct{ last atomic.Uint64 }

// cursorsBegin is what the protocol counts from.
var cursorsBegin = time.Date(2024, time.October, 9, 0, 0, 0, 0, time.UTC)

// next returns one that is higher than all before.
func (c *cursors) next() uint64 {
	now := uint64(max(time.Since(cursorsBegin).Milliseconds(), 0))
	for {
		last := c.last.Load()
		next := max(now, last+1)
		if c.last.CompareAndSwap(last, next) {
			return next
		}
	}
}

// pass has all that follow be higher than one that a client has got elsewhere, by another clock.
func (c *cursors) pass(got uint64) {
	for last := c.last.Load(); got > last && !c.last.CompareAndSwap(last, got); last = c.last.Load() {
	}
}

// ParseStreamCursor reads a cursor that a client of a durable stream has got, 0 for one that nobody
// can have been given.
func ParseStreamCursor(text string) uint64 {
	const most = 1 << 52 // far beyond the time, and JSON's numbers are exact
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n >= most {
		return 0
	}
	return n
}
