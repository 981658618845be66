package link

import (
	"sync/atomic"
	"time"
)

// Clock is the server's, as far as it is known without asking: what it said last, and
// how long ago that was. This node's own clock may be wrong, or be set while it runs.
// Methods may be called concurrently, Set before the others.
type Clock struct{ last atomic.Pointer[reading] }

type reading struct {
	server time.Time
	ahead  int64
	came   time.Time // by the monotonic clock
}

// readingAge is for how long a reading will do for what is stored: the clocks of two machines
// drift apart by far less than a millisecond meanwhile.
const readingAge = 5 * time.Second

// Set notes what the server has just said. ahead, in µs, is how much later than its clock that is,
// which is 0 but in tests.
func (c *Clock) Set(server time.Time, ahead int64) {
	c.last.Store(&reading{server, ahead, time.Now()})
}

// Now returns the time on the server's clock. It is as much too early as the server's last answer
// was on its way, and never too late.
func (c *Clock) Now() time.Time {
	r := c.last.Load()
	return r.server.Add(time.Since(r.came))
}

// Recent is Now for what is stored, in microseconds as the server counts; false if the server has
// not been asked for long, or was with another ahead.
func (c *Clock) Recent(ahead int64) (time.Time, bool) {
	r := c.last.Load()
	since := time.Since(r.came)
	return r.server.Add(since).Truncate(time.Microsecond), since < readingAge && r.ahead == ahead
}
