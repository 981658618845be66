package lifecycle

import (
	"context"
	"time"
)

// Depth is how much there is of a route that has not ended, of all processes. Batches have no
// route.
type Depth struct {
	Pending    int64 // wait for a processor; those that are parked or delayed are among them
	Processing int64 // are worked on
	// Oldest is since when that one of Pending waits which has waited for longest; zero if none
	// does. A retry waits anew.
	Oldest time.Time
}

// Depths is a store that counts what has not ended, in the steps that change it.
type Depths interface {
	// Depths returns them by route, of each of those that are named, at a cost that does not grow
	// with the requests. Errors wrap ErrUnavailable.
	Depths(ctx context.Context, routes []string) (map[string]Depth, error)
}
