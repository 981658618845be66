//go:build !linux

package hub

import (
	"context"
	"errors"
)

// poller is not there: each connection that must be read has a goroutine, and a
// stream's client is found gone by the heartbeat.
type poller struct{}

const pollInput, pollOutput = 0, 0

func newPoller(uint32, func(*outbox)) (*poller, error) { return new(poller), nil }

func (*poller) arm(*outbox) error       { return errors.ErrUnsupported }
func (*poller) forget(*outbox)          {}
func (*poller) run(ctx context.Context) { <-ctx.Done() }
