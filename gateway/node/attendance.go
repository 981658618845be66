package node

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/hark-push/hark/gateway/lease"
)

// attendance tells on which routes somebody works: sample processors of this process, processors
// over HTTP, or, with RabbitMQ, whoever consumes the queue of the route, in any process.
type attendance struct {
	inside map[string]bool // routes of the samples
	leases *lease.Leases
	// consumers asks how many consume the queue of a route; nil if only this process can.
	consumers func(route string) (int, error)
	log       *slog.Logger

	mu       sync.Mutex
	seen     map[string]sighting
	querying chan struct{} // closed when the query that is under way is over; nil if none is
	closed   bool
	queries  sync.WaitGroup
}

// sighting is what the server said of a route.
type sighting struct {
	at   time.Time // when it was asked last
	last time.Time // when it had consumers last
	told bool      // it has answered, the last time that it was asked
	now  int       // consumers that it has told of last
}

const (
	// fresh is how old what the server said may be, at least; with many routes it is longer, so
	// that it is asked no more than fifty times a second.
	fresh     = 5 * time.Second
	freshEach = 20 * time.Millisecond
	// queryTime is what a call waits for the server.
	queryTime = 500 * time.Millisecond
	// lingering is for how long somebody counts as there who has consumed: processors over HTTP at
	// other gateways consume only while they wait.
	lingering = 2 * time.Minute
)

func newAttendance(samples []string, leases *lease.Leases, consumers func(string) (int, error), log *slog.Logger) *attendance {
	a := &attendance{inside: make(map[string]bool), leases: leases, consumers: consumers, log: log, seen: make(map[string]sighting)}
	for _, route := range samples {
		a.inside[route] = true
	}
	return a
}

// unserved returns those of the routes of which it is known that nobody works on them. It waits for
// the server, but not for long: what that has not said is not known.
func (a *attendance) unserved(routes ...string) []string {
	var open []string
	for _, route := range routes {
		if !a.inside[route] && !a.leases.Attended(route) {
			open = append(open, route)
		}
	}
	if a.consumers == nil || len(open) == 0 {
		return open
	}
	a.refresh(open, queryTime)
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.DeleteFunc(open, func(route string) bool {
		s := a.seen[route]
		return !s.told || !s.last.IsZero() && time.Since(s.last) < lingering
	})
}

// consuming returns how many consume the queues of the routes, as far as the server says. It waits
// for that as unserved does.
func (a *attendance) consuming(routes ...string) map[string]int {
	if a.consumers == nil {
		return nil
	}
	a.refresh(routes, queryTime)
	all := make(map[string]int, len(routes))
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, route := range routes {
		if s := a.seen[route]; s.told {
			all[route] = s.now
		}
	}
	return all
}

// refresh queries what is not fresh, and waits for that as long as a call may.
func (a *attendance) refresh(routes []string, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		a.mu.Lock()
		var stale []string
		for _, route := range routes {
			if s := a.seen[route]; s.at.IsZero() || time.Since(s.at) >= max(fresh, freshEach*time.Duration(len(a.seen))) {
				stale = append(stale, route)
			}
		}
		if len(stale) == 0 || a.closed {
			a.mu.Unlock()
			return
		}
		if a.querying == nil {
			a.querying = make(chan struct{})
			a.queries.Go(func() { a.query(stale) })
		}
		querying := a.querying
		a.mu.Unlock()
		select {
		case <-querying: // which may have been for other routes
		case <-timer.C:
			return
		}
	}
}

// query asks the server for routes, one after the other.
func (a *attendance) query(routes []string) {
	for _, route := range routes {
		n, err := a.consumers(route)
		a.mu.Lock()
		s := a.seen[route]
		s.at, s.told, s.now = time.Now(), err == nil, n
		if n > 0 && err == nil {
			s.last = s.at
		}
		a.seen[route] = s
		closed := a.closed
		a.mu.Unlock()
		if closed {
			break
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.querying)
	a.querying = nil
}

// close returns when the server is not asked any more.
func (a *attendance) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.queries.Wait()
}

// tell says at start which routes nobody works on yet.
func (a *attendance) tell(ctx context.Context, routes []string) {
	for a.consumers != nil && !a.known(routes) {
		a.refresh(routes, time.Minute)
		select {
		case <-ctx.Done():
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
	if open := a.unserved(routes...); len(open) > 0 {
		a.log.Info("no processor works on these routes yet; what is submitted there waits for one (POST /v1/work/lease, the worker, or the Go SDK)",
			slog.Any("routes", open))
	}
}

// known reports whether the server has said something of all routes.
func (a *attendance) known(routes []string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !slices.ContainsFunc(routes, func(route string) bool { return !a.seen[route].told })
}
