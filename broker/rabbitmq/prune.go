package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hark-push/hark/broker"
)

// Waiting returns how many jobs wait in the queue of a route, without those that are delayed or
// handed out, and how many channels consume it, in all processes.
func (b *Broker) Waiting(route string) (jobs, consumers int, err error) {
	err = b.onQueue(route, func(_ *generation, _ *amqp.Channel, q amqp.Queue) error {
		jobs, consumers = q.Messages, q.Consumers
		return nil
	})
	return jobs, consumers, err
}

// onQueue calls f with a channel of its own and what the server says of a route's queue. Errors
// wrap broker.ErrUnavailable.
func (b *Broker) onQueue(route string, f func(*generation, *amqp.Channel, amqp.Queue) error) error {
	if err := b.topology.consumable(route); err != nil {
		return err
	}
	g := b.consuming.current()
	if g == nil {
		return fmt.Errorf("%w: %w", broker.ErrUnavailable, b.consuming.ready())
	}
	err := g.onChannel(func(ch *amqp.Channel) error {
		var q amqp.Queue
		if err := g.call(func() (err error) {
			q, err = ch.QueueDeclarePassive(b.topology.queueOf(route), true, false, false, false, nil)
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
	// Jobs that one Prune looks at, as many as a channel may hold; a longer queue is not in its
	// order afterwards.
	pruneMost = math.MaxUint16
	pruneStep = 256 // jobs of which needed is asked at a time
	pruneIdle = 500 * time.Millisecond
)

// Prune takes jobs that nobody needs out of the queue of a route, and returns how many. A queue
// gives nothing up from its midst, so each job is taken and, if it is needed, put back, all of them
// in their order; those are marked as redelivered then. It is for queues that nobody consumes,
// whose jobs would stay for ever; it leaves alone what is somebody else's. needed returns for each
// job whether it is still needed.
//
// RabbitMQ may forget an acknowledgement that was made just before its channel was closed; that job
// is found the next time.
func (b *Broker) Prune(ctx context.Context, route string, needed func(context.Context, []broker.Job) ([]bool, error)) (pruned int, err error) {
	if b.topology.foreign(route) {
		return 0, nil
	}
	err = b.onQueue(route, func(g *generation, ch *amqp.Channel, q amqp.Queue) error {
		s := &session{generation: g, consumer: &consumer{Broker: b}, ctx: ctx, channel: ch, ended: make(chan struct{})}
		most := min(q.Messages, pruneMost)
		var stream <-chan amqp.Delivery
		if err := g.call(func() (err error) {
			if err = ch.Qos(max(most, 1), 0, false); err == nil {
				stream, err = ch.Consume(b.topology.queueOf(route), "prune", false, false, false, false, b.arguments())
			}
			return err
		}); err != nil {
			return err
		}
		for scanned := 0; scanned < most; {
			taken := s.gather(ctx, stream, min(pruneStep, most-scanned))
			if len(taken) == 0 {
				break
			}
			scanned += len(taken)
			jobs := make([]broker.Job, len(taken))
			for i, d := range taken {
				jobs[i] = d.job
			}
			wanted, err := needed(ctx, jobs)
			if err != nil {
				return err
			}
			for i, d := range taken {
				switch {
				case !wanted[i]:
					_ = d.Ack()
					pruned++
				case d.worn():
					_ = d.Return()
				} // what is left comes back, in its order, when the channel is closed
			}
		}
		return g.call(func() error { return ch.Cancel("prune", false) })
	})
	return pruned, err
}

// gather takes up to n jobs that come, fewer if none comes for a moment.
func (s *session) gather(ctx context.Context, stream <-chan amqp.Delivery, n int) []*delivery {
	var taken []*delivery
	idle := time.NewTimer(pruneIdle)
	defer idle.Stop()
	for len(taken) < n {
		select {
		case m, ok := <-stream:
			if !ok {
				return taken
			}
			job, redelivered, err := decode(&m)
			if err != nil { // whoever consumes says so
				continue
			}
			taken = append(taken, &delivery{session: s, tag: m.DeliveryTag, earlier: deliveries(&m), job: job, redelivered: redelivered})
			idle.Reset(pruneIdle)
		case <-idle.C:
			return taken
		case <-ctx.Done():
			return taken
		}
	}
	return taken
}
