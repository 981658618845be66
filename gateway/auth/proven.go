package auth

import (
	"crypto/sha256"
	"sync"
	"time"
)

// proven remembers for a short time which tokens were found to be good, because to check a
// signature takes longer than all else of most calls. It forgets them all at once, which is simple,
// and often enough that a key that was withdrawn is not trusted for long.
type proven struct {
	mu      sync.RWMutex
	callers map[[sha256.Size]byte]Caller // by digest: tokens are not kept
	since   time.Time
}

const (
	provenMost = 10_000 // tokens
	provenTime = 30 * time.Second
)

// caller returns who is behind a token that was found to be good.
func (p *proven) caller(digest [sha256.Size]byte, now time.Time) (Caller, bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if now.Sub(p.since) >= provenTime {
		return Caller{}, false
	}
	c, ok := p.callers[digest]
	return c, ok
}

func (p *proven) add(digest [sha256.Size]byte, c Caller, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.callers == nil || len(p.callers) >= provenMost || now.Sub(p.since) >= provenTime {
		p.callers, p.since = make(map[[sha256.Size]byte]Caller), now
	}
	p.callers[digest] = c
}
