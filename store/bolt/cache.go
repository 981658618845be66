package bolt

import "sync"

// cache holds the records of requests that have not ended, as they were last
// committed, so that the next change need not read and decode them. While a
// commit that changes a request runs, the request is not in it: a reader goes to
// the file then, and never sees an older state than another reader did.
type cache struct {
	mu      sync.RWMutex
	records map[string]*record
}

// cacheSize bounds the cache; a record takes about a kilobyte.
const cacheSize = 16 << 10

func (c *cache) get(id string) *record {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.records[id]
}

// drop takes out what is about to change.
func (c *cache) drop(changed map[string]*record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range changed {
		delete(c.records, id)
	}
}

// keep takes in what has been committed. Only the writer calls it.
func (c *cache) keep(changed map[string]*record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.records == nil {
		c.records = make(map[string]*record)
	}
	for id, r := range changed {
		if r == nil || r.Status.Terminal() {
			continue
		}
		if len(c.records) >= cacheSize {
			for other := range c.records { // whichever comes first
				delete(c.records, other)
				break
			}
		}
		c.records[id] = r
	}
}
