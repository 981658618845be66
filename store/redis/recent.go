package redis

import (
	"sync"

	"github.com/hark-push/hark/lifecycle"
)

// recent are the records of requests that this process reported something of lately. Whoever
// reports again needs not read the record first: a script that finds another one in the store
// refuses, and answers with it. So one that is stale costs a round trip, and nothing else.
//
// The zero value is ready. Methods may be called concurrently.
type recent struct {
	mu         sync.Mutex
	young, old map[string]*record
}

// recentMost bounds either generation; a record takes about a kilobyte.
const recentMost = 8192

// get returns the record of a request, nil if it is not known. Nobody changes it.
func (c *recent) get(id string) *record {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.young[id]; r != nil {
		return r
	}
	return c.old[id]
}

// put remembers what is in the store now. A request that has ended is forgotten, because no
// processor reports anything of it any more.
func (c *recent) put(r *record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.Status != lifecycle.Processing {
		delete(c.young, r.ID)
		delete(c.old, r.ID)
		return
	}
	c.keep(r)
}

// note remembers a record of whatever status.
func (c *recent) note(r *record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep(r)
}

// keep is note, under the lock.
func (c *recent) keep(r *record) {
	if len(c.young) >= recentMost {
		c.old, c.young = c.young, nil
	}
	if c.young == nil {
		c.young = make(map[string]*record)
	}
	c.young[r.ID] = r
}

// take returns what get does, and forgets it.
func (c *recent) take(id string) *record {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.young[id]
	if r == nil {
		r = c.old[id]
	}
	delete(c.young, id)
	delete(c.old, id)
	return r
}

// age forgets what was not put since the call before.
func (c *recent) age() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.old, c.young = c.young, nil
}
