package hub

import (
	"sync"
	"time"
)

// What a client may say between two heartbeats as it likes, in reads of its socket. Who says more
// is not refused, but takes turns with all others that do, so that they have one processor at most,
// and that half of the time, however many they are.
const calmReads = 128

// A client of an event stream has nothing to say. A request that it has sent behind the one of the
// stream is dropped, but one that goes on is ended: what it says costs a poller its time.
const streamReads = 64

// crowd are the clients that say more than calmReads.
type crowd struct{ mu sync.Mutex }

// throttle runs f, and nobody else's meanwhile, nor for as long again.
func (c *crowd) throttle(f func()) {
	const longest = 10 * time.Millisecond // f may have waited for the source
	c.mu.Lock()
	defer c.mu.Unlock()
	begin := time.Now()
	f()
	time.Sleep(min(time.Since(begin), longest))
}
