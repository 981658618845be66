//go:build !linux

package hub

import (
	"context"
	"errors"
)

// poller is not there: each connection that must be read has a goroutine, and a
// stream's client is found gone by the heartbeat.
type poller struct{}

func newPoller() (*poller, error)       { return new(poller), nil }
func (*poller) add(*outbox) error       { return errors.ErrUnsupported }
func (*poller) arm(*outbox)             {}
func (*poller) forget(*outbox)          {}
func (*poller) run(ctx context.Context) { <-ctx.Done() }
