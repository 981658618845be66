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
	ahead  int64     // of the server's, see Store.ahead
	came   time.Time // by the monotonic clock
}

// readingAge is for how long a reading will do for what is stored: the clocks of two machines
// drift apart by far less than a millisecond meanwhile.
const readingAge = 5 * time.Second

func (s *Store) set(server time.Time, ahead int64) {
	s.clock.last.Store(&reading{server, ahead, time.Now()})
}

// Now returns the time on the server's clock, by which the times of a request are meant.
// It is as much too early as the server's last answer was on its way, and never too late.
func (s *Store) Now() time.Time {
	r := s.clock.last.Load()
	return r.server.Add(time.Since(r.came))
}

// now is Now for what is stored, in microseconds as the server counts; false if the server has not been
// asked for long.
func (s *Store) now() (time.Time, bool) {
	r := s.clock.last.Load()
	since := time.Since(r.came)
	return r.server.Add(since).Truncate(time.Microsecond), since < readingAge && r.ahead == s.ahead.Load()
}
