package dispatch

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// summary is how often the log tells of an endpoint that fails, at most.
const summary = time.Minute

// failing counts the attempts that fail, by endpoint, so that the log has a line for each endpoint
// in a time and not for each attempt: one that is dead fails as often as others succeed. It holds
// an endpoint no longer than until it is told of.
type failing struct {
	mu        sync.Mutex
	endpoints map[string]*failures
}

// failures are those of an endpoint since the log told of it.
type failures struct {
	owner, class string // class and status of the last one
	status       int
	err          error
	attempts     int
	dead         int // deliveries given up
}

// add counts an attempt that failed.
func (f *failing) add(c *Claim, o Outcome, a answer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.endpoints == nil {
		f.endpoints = make(map[string]*failures)
	}
	e := f.endpoints[c.Endpoint.ID]
	if e == nil {
		e = &failures{owner: c.Endpoint.Owner}
		f.endpoints[c.Endpoint.ID] = e
	}
	e.attempts++
	e.class, e.status, e.err = o.Attempt.Class, a.status, a.err
	if o.State == Dead {
		e.dead++
	}
}

// tell writes a line for each endpoint of which attempts failed since the last time.
func (f *failing) tell(log *slog.Logger) {
	f.mu.Lock()
	all := f.endpoints
	f.endpoints = nil
	f.mu.Unlock()
	for id, e := range all {
		log.LogAttrs(context.Background(), slog.LevelWarn, "webhook attempts failed", slog.String("endpoint", id), slog.String("owner", e.owner),
			slog.Int("attempts", e.attempts), slog.Int("dead", e.dead), slog.String("class", e.class), slog.Int("status", e.status), slog.Any("error", e.err))
	}
}

// run tells until ctx ends, and then what is left.
func (f *failing) run(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(summary)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			f.tell(log)
		case <-ctx.Done():
			return
		}
	}
}
