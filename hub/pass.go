package hub

import (
	"sync/atomic"
	"time"
)

// Pass is until when a connection may stay: as long as the proof of whose it is holds. The
// connections that came with one proof may share one. A nil Pass never ends. All methods
// may be called concurrently.
type Pass struct {
	end       atomic.Int64 // Unix time in milliseconds; 0: not known
	probation bool         // the client has yet to say who it is
	wheel     atomic.Pointer[wheel]
}

// NewPass returns a Pass that ends at a time, or with the zero time only when it is revoked.
func NewPass(until time.Time) *Pass {
	p := new(Pass)
	if !until.IsZero() {
		p.end.Store(max(until.UnixMilli(), revokedAt))
	}
	return p
}

// revokedAt is the end of a Pass that was revoked.
const revokedAt = 1

// Revoke ends the Pass. The connections that have it are closed at once.
func (p *Pass) Revoke() {
	p.end.Store(revokedAt)
	if w := p.wheel.Load(); w != nil {
		w.ring()
	}
}

func (p *Pass) revoked() bool { return p != nil && p.end.Load() == revokedAt }

// Ends returns when the Pass ends, the zero time if that is not known.
func (p *Pass) Ends() time.Time {
	if p == nil {
		return time.Time{}
	}
	if end := p.end.Load(); end != 0 {
		return time.UnixMilli(end)
	}
	return time.Time{}
}

// left returns how long the Pass holds from now on, not above zero if it is over; false if that is not known.
func (p *Pass) left() (time.Duration, bool) {
	end := p.Ends()
	return time.Until(end), !end.IsZero()
}
