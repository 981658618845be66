package redis

import (
	"context"
	"log/slog"
)

// await waits up to the store's timeout for subscriptions, as link.Subscriber.Subscribe returned
// them. If Redis is not there, they follow when it is.
func (s *Store) await(what string, subscribed ...<-chan struct{}) {
	ctx, cancel := s.bounded(context.Background())
	defer cancel()
	for _, done := range subscribed {
		if done == nil {
			continue
		}
		select {
		case <-done:
		case <-ctx.Done():
			s.log.LogAttrs(ctx, slog.LevelWarn, "notifications are not heard yet", slog.String("of", what), slog.Any("error", ctx.Err()))
			return
		}
	}
}
