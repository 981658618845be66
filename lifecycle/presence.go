package lifecycle

import (
	"context"
	"time"
)

// Process is a gateway or a worker, as it says of itself now and then.
type Process struct {
	Name    string    `json:"name"` // no other one's, and another one after each start
	Kind    string    `json:"kind"` // gateway, or worker
	Host    string    `json:"host"`
	Version string    `json:"version"`
	Since   time.Time `json:"since"` // when it was started, by the store's clock
	Seen    time.Time `json:"seen"`  // when it said this
	// Connections that are open to a gateway.
	Streams int64 `json:"streams"` // Server-Sent Events
	Sockets int64 `json:"sockets"` // WebSockets
	HTTP    int64 `json:"http"`    // all others
	Leases  int64 `json:"leases"`  // attempts over HTTP that it holds
	Running int64 `json:"running"` // attempts of the processors inside
	// Processors are those of each route: 1 for those inside, and over HTTP one for each call that
	// looks for its work and each attempt that is leased.
	Processors map[string]int64 `json:"processors,omitempty"`
	Minute     map[string]Steps `json:"minute,omitempty"` // see [Traffic]
}

// Presence is a store of many processes, at which each says that it is there.
type Presence interface {
	// Attend notes a process, which is there for a time from now: it says so again before that
	// has passed. Errors wrap ErrUnavailable.
	Attend(ctx context.Context, p Process, d time.Duration) error
	// Leave forgets one.
	Leave(ctx context.Context, name string) error
	// Present returns those that are there, in any order, [PresentMost] at most. Errors wrap
	// ErrUnavailable.
	Present(ctx context.Context) ([]Process, error)
}

// PresentMost is how many processes a [Presence] tells of.
const PresentMost = 1000
