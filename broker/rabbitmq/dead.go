package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hark-push/hark/broker"
)

// What a dead queue holds is looked at by taking it and giving it back: a queue shows nothing. Each
// time costs one of the deliveries that a queue allows (20 from RabbitMQ 4.0 on, beyond which it
// would drop the message), so what was taken too often is published anew first, behind the others.
const (
	// deadLooks is how often a message of a dead queue is taken before that.
	deadLooks = 8
	// deadMost is how many messages of a dead queue one call looks at.
	deadMost = 10000
)

// DeadLetter is a message in a dead queue.
type DeadLetter struct {
	Message     string            // its id, "" if it has none
	Reason      string            // the server's: "rejected", "delivery_limit", "expired", …
	At          time.Time         // when it was put aside; zero: the server did not say
	ContentType string            // "" if it has none
	Headers     map[string]string // without those of the server, each cut at 200 bytes, 20 at most
	Size        int               // bytes of the body
	Body        []byte            // the first 512 of them
	Job         broker.Job        // that it is, if Err is nil
	Err         error             // why it is no job of its queue
}

// DeadCounts returns how many messages wait in the dead queue of each route, without those that
// somebody looks at now. Errors wrap broker.ErrUnavailable.
func (b *Broker) DeadCounts(routes []string) (map[string]int, error) {
	counts := make(map[string]int, len(routes))
	for _, route := range routes {
		err := b.onDead(route, func(_ *generation, _ *amqp.Channel, q amqp.Queue) error {
			counts[route] = q.Messages
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return counts, nil
}

// onDead is onQueue for the dead queue of a route. Of one that somebody has deleted f is not
// called: there is nothing in it, and whoever connects next makes it.
func (b *Broker) onDead(route string, f func(*generation, *amqp.Channel, amqp.Queue) error) error {
	if !b.topology.knows(route) {
		return fmt.Errorf("%w: %q", broker.ErrUnknownRoute, route)
	}
	err := b.onNamed(b.topology.deadQueue(route), f)
	if notFound(err) {
		return nil
	}
	return err
}

// eachDead takes messages of a dead queue, the oldest first, at most most of them. Those for which
// settle does not report that it has seen to it are given back, in their order, when all are taken.
func (b *Broker) eachDead(ctx context.Context, route string, most int, settle func(*amqp.Delivery) (bool, error)) error {
	return b.onDead(route, func(g *generation, ch *amqp.Channel, q amqp.Queue) error {
		for range min(q.Messages, most) {
			if err := ctx.Err(); err != nil {
				return err
			}
			var m amqp.Delivery
			there := false
			if err := g.call(func() (err error) {
				m, there, err = ch.Get(b.topology.deadQueue(route), false)
				return err
			}); err != nil || !there {
				return err
			}
			done, err := settle(&m)
			if err != nil {
				return err
			}
			if !done && deliveries(&m) >= deadLooks {
				if err := b.publish(ctx, b.topology.deadExchange(), route, copyOf(&m)); err != nil {
					return err
				}
				done = true
			}
			if done { // if that is lost, there are two of it, which does no harm
				if err := g.call(func() error { return m.Ack(false) }); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// copyOf is a message as it was published, without what the server counts. Its time to live begins
// anew.
func copyOf(m *amqp.Delivery) amqp.Publishing {
	headers := maps.Clone(m.Headers)
	delete(headers, countHeader)
	delete(headers, "x-acquired-count")
	return amqp.Publishing{
		Headers: headers, ContentType: m.ContentType, ContentEncoding: m.ContentEncoding, DeliveryMode: amqp.Persistent,
		Priority: m.Priority, CorrelationId: m.CorrelationId, ReplyTo: m.ReplyTo, MessageId: m.MessageId,
		Timestamp: m.Timestamp, Type: m.Type, AppId: m.AppId, Body: m.Body,
	}
}

// DeadLetters returns the messages in the dead queue of a route, the oldest first, at most limit of
// them, and leaves them there. Meanwhile nobody else sees them. Errors wrap broker.ErrUnavailable.
func (b *Broker) DeadLetters(ctx context.Context, route string, limit int) ([]DeadLetter, error) {
	var all []DeadLetter
	err := b.eachDead(ctx, route, limit, func(m *amqp.Delivery) (bool, error) {
		all = append(all, deadLetter(route, m))
		return false, nil
	})
	return all, err
}

// deadJob reads the job that a message in a dead queue is.
func deadJob(route string, m *amqp.Delivery) (broker.Job, error) {
	job, _, err := decode(m)
	if err == nil && job.Route != route {
		err = fmt.Errorf("a job of route %q", job.Route)
	}
	return job, err
}

func deadLetter(route string, m *amqp.Delivery) DeadLetter {
	d := DeadLetter{Message: m.MessageId, ContentType: m.ContentType, Size: len(m.Body), Body: slices.Clone(m.Body[:min(len(m.Body), 512)])}
	if deaths, _ := m.Headers["x-death"].([]any); len(deaths) > 0 {
		if last, ok := deaths[0].(amqp.Table); ok {
			d.Reason, _ = last["reason"].(string)
			d.At, _ = last["time"].(time.Time)
		}
	}
	d.Headers = make(map[string]string)
	for _, name := range slices.Sorted(maps.Keys(m.Headers)) {
		if len(d.Headers) < 20 && !strings.HasPrefix(name, "x-") {
			text := fmt.Sprint(m.Headers[name])
			d.Headers[name] = text[:min(len(text), 200)]
		}
	}
	d.Job, d.Err = deadJob(route, m)
	return d
}

// RedriveDead hands the messages in the dead queue of a route which are jobs that somebody needs to
// the route's queue, and returns how many. The others stay. needed returns for each job whether it
// is needed. If the process ends between the two steps of one, it is in both queues, which does no
// harm: of two jobs for the same work one is refused. Errors wrap broker.ErrUnavailable, but for
// those of needed.
func (b *Broker) RedriveDead(ctx context.Context, route string, needed func(context.Context, []broker.Job) ([]bool, error)) (redriven int, err error) {
	err = b.eachDead(ctx, route, deadMost, func(m *amqp.Delivery) (bool, error) {
		job, wrong := deadJob(route, m)
		wanted := []bool{false} // what is not for work
		if wrong == nil {
			var err error
			if wanted, err = needed(ctx, []broker.Job{job}); err != nil {
				return false, err
			}
		}
		if !wanted[0] {
			return false, nil
		}
		if err := b.send(ctx, job, true); err != nil {
			return false, err
		}
		redriven++
		return true, nil
	})
	return redriven, err
}

// PurgeDead forgets all messages in the dead queue of a route but those that somebody looks at now,
// and returns how many that were. Errors wrap broker.ErrUnavailable.
func (b *Broker) PurgeDead(route string) (purged int, err error) {
	err = b.onDead(route, func(g *generation, ch *amqp.Channel, _ amqp.Queue) error {
		return g.call(func() (err error) {
			purged, err = ch.QueuePurge(b.topology.deadQueue(route), false)
			return err
		})
	})
	if err == nil && purged > 0 {
		b.log.Info("a dead queue was purged", slog.String("queue", b.topology.deadQueue(route)), slog.Int("messages", purged))
	}
	return purged, err
}

// onNamed calls f with a channel of its own and what the server says of a queue. Errors wrap
// broker.ErrUnavailable.
func (b *Broker) onNamed(queue string, f func(*generation, *amqp.Channel, amqp.Queue) error) error {
	g := b.consuming.current()
	if g == nil {
		return fmt.Errorf("%w: %w", broker.ErrUnavailable, b.consuming.ready())
	}
	err := g.onChannel(func(ch *amqp.Channel) error {
		var q amqp.Queue
		if err := g.call(func() (err error) {
			q, err = ch.QueueDeclarePassive(queue, true, false, false, false, nil)
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
