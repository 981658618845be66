package rabbitmq

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hark-push/hark/broker"
)

// Consume implements broker.Broker. At most prefetch handles run at a time; since
// quorum queues bound what is out only for each queue, up to prefetch jobs of each
// further route may wait in this process for a place. Routes whose jobs take long do
// better with a Consume of their own.
//
// Handles go on when their connection is lost, but the server hands their jobs out
// again, as redelivered, and their Ack or Return has no effect. After Close it returns
// broker.ErrClosed once every handle has returned.
func (b *Broker) Consume(ctx context.Context, routes []string, prefetch int, handle func(broker.Delivery)) error {
	for _, route := range routes {
		if err := b.topology.consumable(route); err != nil {
			return err
		}
	}
	return b.consume(ctx, routes, prefetch, false, func(d *delivery) { handle(d) })
}

// consumable returns an error if consumers of a route have nothing to consume.
func (t topology) consumable(route string) error {
	switch {
	case !t.knows(route):
		return fmt.Errorf("%w: %q", broker.ErrUnknownRoute, route)
	case t.queueOf(route) == "":
		return fmt.Errorf("%w: the work of %q goes to the exchange %q, and no queue is named to consume it from (--route-queue)",
			broker.ErrUnknownRoute, route, t.targets[route].Exchange)
	}
	return nil
}

// consume is Consume; own has it consume Hark's own queues, also of routes that have a target.
func (b *Broker) consume(ctx context.Context, routes []string, prefetch int, own bool, handle func(*delivery)) error {
	if b.ctx.Err() != nil {
		return broker.ErrClosed
	}
	prefetch = min(max(prefetch, 1), math.MaxUint16)
	c := &consumer{
		Broker: b, routes: slices.Compact(slices.Sorted(slices.Values(routes))), prefetch: prefetch, own: own,
		handle: handle, places: make(chan struct{}, prefetch),
	}
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(b.ctx, cancel)()
	for try := 0; work.Err() == nil; {
		g := b.consuming.get(work, 0)
		if g == nil {
			break
		}
		start := time.Now()
		err := c.session(work, g, try > 0)
		if work.Err() != nil {
			break
		}
		b.counts.consumerLost.Add(1)
		b.log.Warn("consuming was interrupted", slog.Any("routes", c.routes), slog.Any("error", err))
		if try++; time.Since(start) > 10*time.Second {
			try = 1
		}
		pause(work, try)
	}
	c.running.Wait()
	if ctx.Err() == nil {
		return broker.ErrClosed
	}
	return nil
}

// consumer is one running Consume. It outlives its sessions.
type consumer struct {
	*Broker
	routes   []string
	prefetch int
	own      bool // what is consumed are Hark's own queues
	handle   func(*delivery)
	places   chan struct{}  // holds one for each handle that runs
	running  sync.WaitGroup // its handles
}

// foreign reports whether what is consumed of a route is somebody else's queue.
func (c *consumer) foreign(route string) bool { return !c.own && c.topology.foreign(route) }

// queue is what is consumed of a route.
func (c *consumer) queue(route string) string {
	if c.own {
		return c.topology.workQueue(route)
	}
	return c.topology.queueOf(route)
}

// session is one channel of a consumer. Its deliveries can be settled on it alone.
type session struct {
	*consumer
	ctx        context.Context // of the Consume
	generation *generation
	channel    *amqp.Channel
	ended      chan struct{}  // closed when the channel takes nothing any more
	intake     sync.WaitGroup // what reads deliveries and what holds back those that are not due
}

// session consumes until ctx ends, waits for the handles, and returns nil; or until the channel is
// lost, and returns why. again says that it was: somebody may have deleted a queue. At first they
// are there, because whatever connects to publish declares them, so that a short Consume costs few
// round trips.
func (c *consumer) session(ctx context.Context, g *generation, again bool) error {
	if again {
		if err := c.topology.declareRoutes(g, c.routes); err != nil {
			return err
		}
	}
	s := &session{consumer: c, ctx: ctx, generation: g, ended: make(chan struct{})}
	streams := make(map[string]<-chan amqp.Delivery)
	closed := make(chan *amqp.Error, 1)
	canceled := make(chan string, len(c.routes)) // by the server; has room for all
	err := g.call(func() (err error) {
		if s.channel, err = g.conn.Channel(); err != nil {
			return err
		}
		s.channel.NotifyClose(closed)
		s.channel.NotifyCancel(canceled)
		if err = s.channel.Qos(c.prefetch, 0, false); err != nil {
			return err
		}
		for _, route := range c.routes {
			// The route serves as the tag, which need be unique on the channel only.
			stream, err := s.channel.Consume(c.queue(route), route, false, false, false, false, c.arguments())
			if err != nil {
				return err
			}
			streams[route] = stream
		}
		return nil
	})

	for route, stream := range streams {
		s.intake.Go(func() {
			for d := range stream {
				s.take(route, &d)
			}
		})
	}
	if err == nil {
		select {
		case <-ctx.Done():
			_ = g.call(s.cancel)
			s.intake.Wait()
			c.running.Wait() // they settle on this channel
		case reason, ok := <-closed:
			if err = errLost; ok {
				err = reason
			}
		case route, ok := <-canceled:
			if err = errLost; ok {
				err = fmt.Errorf("the server has ended the consumer of route %q: its queue was deleted, "+
					"or a delivery was worked on for longer than consumer_timeout (rabbitmq.conf; from RabbitMQ 4.3 %v for this consumer)", route, c.options.ConsumerTimeout)
			}
		}
	}
	close(s.ended)
	if s.channel != nil {
		_ = g.call(s.channel.Close)
	}
	s.intake.Wait()
	return err
}

// arguments are those of every consumer. Servers that do not know the timeout ignore it.
func (b *Broker) arguments() amqp.Table {
	return amqp.Table{"x-consumer-timeout": b.options.ConsumerTimeout.Milliseconds()}
}

// cancel tells the server to deliver nothing more.
func (s *session) cancel() error {
	for _, route := range s.routes {
		if err := s.channel.Cancel(route, false); err != nil {
			return err
		}
	}
	return nil
}

// take deals with one message: it is handed to a handle as soon as there is a place.
func (s *session) take(route string, m *amqp.Delivery) {
	job, redelivered, err := decode(m)
	if err == nil && job.Route != route {
		err = fmt.Errorf("a job of route %q", job.Route)
	}
	if err != nil {
		s.counts.badMessages.Add(1)
		s.log.Error("message is no job of Hark, moved to the dead queue", slog.String("queue", s.queue(route)),
			slog.String("message", m.MessageId), slog.Any("error", err))
		s.setAside(route, m)
		return
	}
	d := &delivery{session: s, tag: m.DeliveryTag, earlier: deliveries(m), job: job, redelivered: redelivered}
	if s.topology.left(job.NotBefore) > 0 {
		s.intake.Go(func() { s.holdBack(d) })
		return
	}
	s.hand(d)
}

// hand starts the handle once there is a place.
func (s *session) hand(d *delivery) {
	select {
	case <-s.ctx.Done():
		_ = d.Return()
		return
	default:
	}
	select {
	case s.places <- struct{}{}:
	case <-s.ctx.Done():
		_ = d.Return()
		return
	case <-s.ended:
		return
	}
	s.counts.delivered.Add(1)
	if d.redelivered {
		s.counts.redelivered.Add(1)
	}
	s.running.Go(func() {
		defer func() { <-s.places }()
		s.handle(d)
	})
}

// holdBack sends a job that is not due on to its next delay step. What remains after
// the shortest step it waits here, and so it does while nothing can be published.
//
// What is sent on is a message of its own, for nothing has begun by it: should both stay, because
// the server's word for one of them was lost, an attempt that one began is not the other's to
// supersede.
func (s *session) holdBack(d *delivery) {
	shortest := s.topology.options.Delays[0]
	for {
		left := s.topology.left(d.job.NotBefore)
		if left <= 0 {
			s.hand(d)
			return
		}
		if left >= shortest {
			next := d.job
			next.Message = broker.NewMessage()
			// Not the context of the Consume: whether it was sent on has to be known, or there are
			// two of it.
			err := s.send(context.WithoutCancel(s.ctx), next, false)
			if err == nil {
				s.counts.deferred.Add(1)
				_ = d.Ack()
				return
			}
			left = min(left, time.Second)
		}
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case <-s.ctx.Done():
			timer.Stop()
			_ = d.Return()
			return
		case <-s.ended:
			timer.Stop()
			return
		}
	}
}
