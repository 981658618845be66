package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hark-push/hark/backoff"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/redis/link"
)

// OpenPatiently is [Open], but waits while Redis is away, and ends without it only when ctx does.
// away is called with what is the matter after each attempt that was in vain; nil for nobody. What
// waiting does not mend it returns: a URL that is none, a password that is wrong, a store of other
// partitions.
func OpenPatiently(ctx context.Context, url string, o Options, away func(error)) (*Store, error) {
	log := o.withDefaults().Logger
	for try := 0; ; try++ {
		s, err := Open(ctx, url, o)
		switch {
		case err == nil:
			if try > 0 {
				log.Info("Redis can be reached", slog.Int("tries", try+1))
			}
			return s, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case !errors.Is(err, lifecycle.ErrUnavailable):
			return nil, err
		}
		if try < 3 || try%20 == 0 {
			log.Warn("Redis cannot be reached; it is tried again until it can", slog.Int("try", try+1), slog.Any("error", err))
		}
		if away != nil {
			away(err)
		}
		if backoff.Wait(ctx, backoff.Exponential(try+1, 100*time.Millisecond, 5*time.Second)) != nil {
			return nil, context.Cause(ctx)
		}
	}
}

// opening wraps why a store cannot be opened: as lifecycle.ErrUnavailable if that may pass.
func opening(err error) error {
	if link.MayPass(err) {
		return fmt.Errorf("%w: open store: %w", lifecycle.ErrUnavailable, err)
	}
	return fmt.Errorf("open store: %w", err)
}
