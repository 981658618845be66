package api

import (
	"context"
	"time"
)

// Shutdown stops listening, lets every call that waits answer with what it has, and
// returns when no call is under way or ctx has ended. The server's own shutdown would
// also wait for connections on which a client has not said anything yet.
func (a *API) Shutdown(ctx context.Context) error {
	a.drain()
	stopping, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- a.app.ShutdownWithContext(stopping) }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	// A call that has just arrived is counted only a moment later, and an answer
	// leaves a moment after its call.
	const quietTicks = 10
	for quiet := 0; quiet < quietTicks; quiet++ {
		select {
		case err := <-done:
			return err
		case <-tick.C:
		}
		if a.calls.Load() > 0 {
			quiet = 0
		}
	}
	stop()
	if err := <-done; ctx.Err() != nil {
		return err
	}
	return nil // or it was our stop that ended it
}
