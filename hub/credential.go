package hub

import (
	"sync/atomic"
	"time"
)

// Credential is until when a connection may stay: as long as the proof of whose it is holds. The
// connections that came with one proof may share one. A nil Credential never ends. All methods
// may be called concurrently.
type Credential struct {
	end       atomic.Int64 // Unix time in milliseconds; 0: not known
	probation bool         // the client has yet to say who it is
	wheel     atomic.Pointer[wheel]
}

// NewCredential returns a Credential that ends at a time, or with the zero time only when it is
// revoked.
func NewCredential(until time.Time) *Credential {
	c := new(Credential)
	if !until.IsZero() {
		c.end.Store(max(until.UnixMilli(), revokedAt))
	}
	return c
}

// revokedAt is the end of a Credential that was revoked.
const revokedAt = 1

// Revoke ends the Credential. The connections that have it are closed at once.
func (c *Credential) Revoke() {
	c.end.Store(revokedAt)
	if w := c.wheel.Load(); w != nil {
		w.notifyRevoked()
	}
}

func (c *Credential) revoked() bool { return c != nil && c.end.Load() == revokedAt }

// Ends returns when the Credential ends, the zero time if that is not known.
func (c *Credential) Ends() time.Time {
	if c == nil {
		return time.Time{}
	}
	if end := c.end.Load(); end != 0 {
		return time.UnixMilli(end)
	}
	return time.Time{}
}

// left returns how long the Credential holds from now on, not above zero if it is over; false if
// that is not known.
func (c *Credential) left() (time.Duration, bool) {
	end := c.Ends()
	return time.Until(end), !end.IsZero()
}
