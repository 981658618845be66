package rabbitmq

import (
	"context"
	"errors"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hark-push/hark/broker"
)

// Waiting returns how many jobs wait in the queue of a route, without those that are delayed or handed out, and how many
// channels consume it, in all processes.
func (b *Broker) Waiting(route string) (jobs, consumers int, err error) {
	err = b.onQueue(route, func(_ *generation, _ *amqp.Channel, q amqp.Queue) error {
		jobs, consumers = q.Messages, q.Consumers
		return nil
	})
	return jobs, consumers, err
}

// onQueue calls f with a channel of its own and what the server says of a route's queue. Errors wrap broker.ErrUnavailable.
func (b *Broker) onQueue(route string, f func(*generation, *amqp.Channel, amqp.Queue) error) error {
	if !b.topology.knows(route) {
		return fmt.Errorf("%w: %q", broker.ErrUnknownRoute, route)
	}
	g := b.consuming.current()
	if g == nil {
		return fmt.Errorf("%w: %w", broker.ErrUnavailable, b.consuming.ready())
	}
	err := g.onChannel(func(ch *amqp.Channel) error {
		var q amqp.Queue
		if err := g.call(func() (err error) {
			q, err = ch.QueueDeclarePassive(b.topology.workQueue(route), true, false, false, false, nil)
			return err
		}); err != nil {
			return err
		}
		return f(g, ch, q)
	})
	if err != nil && !errors.Is(err, broker.ErrUnavailable) {
		err = fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
	}
	return err
}

const (
	pruneMost = 10_000 // jobs that one Prune looks at
	pruneStep = 256    // jobs of which needed is asked at a time
)

// Prune takes jobs that nobody needs out of the queue of a route, and returns how many. A queue gives nothing up from its midst, so each
// job is taken and, if it is needed, put back, all of them in their order; those are marked as redelivered then. It is for
// queues that nobody consumes, whose jobs would stay for ever. needed returns for each job whether it is still needed.
func (b *Broker) Prune(ctx context.Context, route string, needed func(context.Context, []broker.Job) ([]bool, error)) (pruned int, err error) {
	err = b.onQueue(route, func(g *generation, ch *amqp.Channel, q amqp.Queue) error {
		s := &session{generation: g, consumer: &consumer{Broker: b}, ctx: ctx, channel: ch, ended: make(chan struct{})}
		var kept []*delivery
		defer func() {
			for _, d := range kept {
				_ = d.Return()
			}
		}()
		for looked := 0; looked < min(q.Messages, pruneMost) && ctx.Err() == nil; {
			taken, err := s.get(b.topology.workQueue(route), min(pruneStep, min(q.Messages, pruneMost)-looked))
			looked += len(taken)
			kept = append(kept, taken...)
			if err != nil || len(taken) == 0 {
				return err
			}
			jobs := make([]broker.Job, len(taken))
			for i, d := range taken {
				jobs[i] = d.job
			}
			wanted, err := needed(ctx, jobs)
			if err != nil {
				return err
			}
			kept = kept[:len(kept)-len(taken)]
			for i, d := range taken {
				if wanted[i] {
					kept = append(kept, d)
				} else if err := d.Ack(); err == nil {
					pruned++
				}
			}
		}
		return nil
	})
	return pruned, err
}

// get takes up to n jobs out of a queue, without waiting for any.
func (s *session) get(queue string, n int) ([]*delivery, error) {
	var taken []*delivery
	for range n {
		var m amqp.Delivery
		var ok bool
		if err := s.generation.call(func() (err error) {
			m, ok, err = s.channel.Get(queue, false)
			return err
		}); err != nil || !ok {
			return taken, err
		}
		job, redelivered, err := decode(&m)
		if err != nil { // whoever consumes says so
			_ = s.channel.Nack(m.DeliveryTag, false, true)
			continue
		}
		taken = append(taken, &delivery{session: s, tag: m.DeliveryTag, earlier: deliveries(&m), job: job, redelivered: redelivered})
	}
	return taken, nil
}
