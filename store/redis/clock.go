package redis

import (
	"sync/atomic"
	"time"
)

// clock is the server's, as far as it is known without asking: what it said last, and
// how long ago that was. This node's own clock may be wrong, or be set while it runs.
type clock struct{ last atomic.Pointer[reading] }

type reading struct {
	server time.Time
	came   time.Time // by the monotonic clock
}

func (c *clock) set(server time.Time) { c.last.Store(&reading{server, time.Now()}) }

// Now returns the time on the server's clock, by which the times of a request are meant.
// It is as much too early as the server's last answer was on its way, and never too late.
func (s *Store) Now() time.Time {
	r := s.clock.last.Load()
	return r.server.Add(time.Since(r.came))
}
