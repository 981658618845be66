package bolt

import "sync"

// cache holds the records of requests that have not ended, as they are durable, so that the next
// change need not read and decode them.
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

// clear lets go of all of them. Nothing is in flight.
func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.records = nil
}

// keep takes in what has become durable, batch by batch, before anybody can read that
// elsewhere, so that no reader sees an older state than another one did.
func (c *cache) keep(changed map[string]*record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.records == nil {
		c.records = make(map[string]*record)
	}
	for id, r := range changed {
		if r == nil || r.Status.Terminal() {
			delete(c.records, id)
			continue
		}
		if c.records[id] == nil && len(c.records) >= cacheSize {
			for other := range c.records { // whichever comes first
				delete(c.records, other)
				break
			}
		}
		c.records[id] = r
	}
}
