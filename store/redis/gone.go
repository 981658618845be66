package redis

import (
	"context"

	"github.com/hark-push/hark/store/redis/link"
	"github.com/hark-push/hark/webhook/dispatch"
)

// forgetBatch is how many messages, or collected events, are looked at in one step.
const forgetBatch = 500

// forgetDeliveries forgets what waits elsewhere of a request that its owner deletes: webhook
// deliveries, whether they were made or not, and events that are collected for the callback
// exchange. What is on its way arrives.
func (s *Store) forgetDeliveries(ctx context.Context, r *record) error {
	if _, _, outboxes := s.feeds(&r.Request, s.partition(r.ID)); len(outboxes) > 0 {
		// What has not got to its feeds yet would make deliveries later. A server without memory
		// takes nothing into feeds, and what makes room goes on.
		for _, to := range outboxes {
			if err := s.relayAll(ctx, route{s.partition(r.ID), to}); err != nil && !link.Full(err) {
				return err
			}
		}
	}
	once := ""
	if r.Webhook != nil {
		once = r.Webhook.Endpoint
	}
	hooked := once != ""
	if !hooked {
		n, err := s.client.Exists(ctx, s.tags[s.ownerHome(r.Owner)]+"w:own:"+r.Owner).Result()
		if err != nil {
			return err
		}
		hooked = n > 0
	}
	for last := r.Sequence; hooked && last > 0; {
		n := min(last, forgetBatch)
		args := append(make([]any, 0, 4+n), s.ahead.Load(), s.publish, r.Owner, once)
		for sequence := last; sequence > last-n; sequence-- {
			args = append(args, dispatch.MessageID(r.Ref(), sequence))
		}
		if _, err := s.run(ctx, hooks.forget, s.ownerHome(r.Owner), args...); err != nil {
			return err
		}
		last -= n
	}
	partition := s.partition(r.ID)
	if channels := r.Channels(); len(channels) > 2 {
		partition = s.partition(channels[2].Key())
	}
	for from := "0"; ; {
		answer, err := s.run(ctx, exchange.forget, partition, r.Ref().String(), from, forgetBatch)
		if err != nil {
			return err
		}
		if from = answer.Text(0); from == "" {
			return nil
		}
	}
}
