package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hark-push/hark/broker"
)

// reconnectWait is how long a Publish waits for a connection that was just lost.
const reconnectWait = time.Second

// publish sends one message to a queue and waits for its confirmation.
func (b *Broker) publish(ctx context.Context, exchange, key string, m amqp.Publishing) error {
	_, err := b.publishAll(ctx, []*publication{newPublication(exchange, key, true, m)})
	return err
}

// publishAll writes messages one after the other on one connection and waits for their
// confirmations. It returns how many were confirmed before the first that was not.
func (b *Broker) publishAll(ctx context.Context, all []*publication) (int, error) {
	bound, cancel := context.WithTimeout(ctx, b.options.PublishTimeout)
	defer cancel()
	l, err := b.connected(bound)
	written := 0
	for ; err == nil && written < len(all); written++ {
		if err = l.put(bound, all[written]); err != nil {
			break
		}
	}
	for n, p := range all[:written] {
		if err := l.await(bound, p); err != nil {
			if !errors.Is(err, errRefused) {
				b.counts.unconfirmed.Add(int64(written - n))
			}
			return n, b.explain(ctx, err)
		}
	}
	return written, b.explain(ctx, err)
}

// connected returns what to publish on; it waits a little for a connection that was just lost.
func (b *Broker) connected(ctx context.Context) (*publisher, error) {
	g := b.publishing.current()
	if g == nil {
		waiting, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(b.ctx, cancel)()
		g = b.publishing.get(waiting, reconnectWait)
	}
	if g == nil {
		return nil, b.publishing.ready()
	}
	if reason := g.blocked.Load(); reason != nil {
		return nil, fmt.Errorf("RabbitMQ takes no jobs: %s", *reason)
	}
	return g.publisher, nil
}

// explain makes a failure an error of the contract.
func (b *Broker) explain(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case b.ctx.Err() != nil:
		return broker.ErrClosed
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		return fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
	}
}
