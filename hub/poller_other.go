//go:build !linux || portable

package hub

import (
	"context"
	"errors"
)

// poller is not there: each connection has a goroutine, which waits for what the client says, or
// for its going.
type poller struct{}

const hasPoller = false

const pollInput, pollOutput = 0, 0

func newPoller(uint32, func(*outbox)) (*poller, error) { return new(poller), nil }

func (*poller) arm(*outbox) error       { return errors.ErrUnsupported }
func (*poller) forget(*outbox)          {}
func (*poller) run(ctx context.Context) { <-ctx.Done() }
