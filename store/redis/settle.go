package redis

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/hark-push/hark/store/redis/link"
	"github.com/hark-push/hark/webhook/dispatch"
)

// attemptsKept is how many attempts the log of a delivery holds.
const attemptsKept = 50

// Settle implements dispatch.Queue.
func (s *Store) Settle(ctx context.Context, c dispatch.Claim, o dispatch.Outcome) (dispatch.Health, error) {
	o.Attempt.At = time.Time{} // the store says when
	attempt, err := json.Marshal(o.Attempt)
	if err != nil {
		return dispatch.Health{}, fmt.Errorf("attempt of a webhook: %w", err)
	}
	switch o.State {
	case dispatch.Waiting, dispatch.Delivered, dispatch.Dead:
	default:
		return dispatch.Health{}, fmt.Errorf("a claim cannot end as %q", o.State)
	}
	answer, err := s.hook(ctx, hooks.settle, c.Endpoint.Owner, s.ahead.Load(), s.publish, c.Token, newToken(), c.Endpoint.Owner, c.Endpoint.ID,
		c.ID, stateLetters[o.State], max(o.After, 0).Microseconds(), attempt, attemptsKept)
	if err != nil {
		return dispatch.Health{}, err
	}
	h, err := decodeHealth(answer.List(1))
	return h, failed(ctx, err)
}

// Hold implements dispatch.Queue.
func (s *Store) Hold(ctx context.Context, owner, endpoint string, d time.Duration) error {
	_, err := s.hook(ctx, hooks.hold, owner, s.ahead.Load(), s.publish, owner, endpoint, d.Microseconds())
	return err
}

// OnDue implements dispatch.Queue. It waits for the subscriptions as OnCancel does; f runs on a
// goroutine that reads from Redis.
func (s *Store) OnDue(f func()) (stop func()) {
	stop = s.due.Add(func(string) { f() })
	subscribed := make([]<-chan struct{}, len(s.tags))
	for partition, tag := range s.tags {
		subscribed[partition] = s.subscriber(partition).Subscribe(tag+"b:due", link.HandlerFunc(s.due.Tell))
	}
	s.await("webhook deliveries that become due", subscribed...)
	return stop
}
