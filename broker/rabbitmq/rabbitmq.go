// Package rabbitmq is the broker of many processes: quorum queues on RabbitMQ 3.10
// or later carry the jobs, one work queue a route.
//
//	jobs, err := rabbitmq.New([]string{"amqp://user:password@host:5672/"}, routes, rabbitmq.Options{})
//
// A job that was published is on disk on most nodes of the cluster before Publish
// returns, and stays there until a consumer acknowledges it. Lost connections are
// opened again for ever, the queues are declared again on each, and an
// acknowledgement that belongs to a lost connection is dropped, because the server
// hands that job out anew.
//
// # Names on the server
//
//	hark.work           direct exchange, routing key = route
//	hark.work.<route>   the queue of a route
//	hark.delay.<step>   fanout exchange and queue of a delay step; see [Options.Delays]. What has a priority waits in
//	                    hark.delay.<step>.urgent: RabbitMQ 4.0 looks for what has waited long enough at the head alone, and that is urgent
//	hark.dead           direct exchange, routing key = route
//	hark.dead.<route>   jobs whose consumers went away too often, and messages that are no jobs
//	hark.out.<name>     fanout exchange, bound to the exchange of that name of a [Target]
//
// and the topic exchange of [Options.CallbackExchange], for [Broker.PublishEvents].
//
// Gateways and processors must agree on the options that shape the queues: Prefix,
// Delays, DeliveryLimit, MaxWaiting and DeadRetention. [New] tells where they do not.
//
// # Work of more than 30 minutes
//
// RabbitMQ ends the channel, or from 4.3 the consumer, of a delivery that is not settled within its
// consumer_timeout, 30 minutes by default, and hands out what it held again. From 4.3
// [Options.ConsumerTimeout] takes its place. Before, raise it in rabbitmq.conf above the longest
// processing time. So it is with work that a gateway has leased, however often it was reported on.
package rabbitmq

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hark-push/hark/broker"
)

// Options of a [Broker]. The zero value works.
type Options struct {
	// Prefix starts the name of everything on the server. Default "hark".
	Prefix string
	// Delays are the steps on which a job with NotBefore waits: on the longest that
	// does not exceed what remains, then on the next. What remains after the
	// shortest, it waits with its consumer. Each is one queue, for all routes.
	// Default: 100 ms, 500 ms, 2 s, 10 s, 30 s, 2 m, 10 m, 1 h, 6 h and 24 h.
	Delays []time.Duration
	// DeliveryLimit is how many deliveries of a job may end without Ack or Return,
	// because the consumer went away, before the job goes to the dead queue.
	// Default 20.
	DeliveryLimit int
	// MaxWaiting bounds how many jobs of one route may wait or be under way; beyond
	// it Publish fails with broker.ErrUnavailable. 0: no bound.
	MaxWaiting int
	// DeadRetention is after how long a dead queue forgets a job. Default 7 days.
	DeadRetention time.Duration

	// ConsumerTimeout is for how long a delivery may be worked on, where the server lets a consumer
	// say so (RabbitMQ 4.3). It has to exceed the longest timeout of a request. Default 25 h.
	ConsumerTimeout time.Duration

	// Targets are the routes, of those of the broker, whose work somebody else's queue or exchange
	// carries. Gateways and processors need the same. Default: none.
	Targets map[string]Target

	// CallbackExchange is the topic exchange that events are published to; see
	// [ValidExchange]. It is declared as durable. Default: none.
	CallbackExchange string

	// Now is the clock by which NotBefore is meant. Default: time.Now. Nodes whose
	// clocks differ must agree on one, such as that of the store.
	Now func() time.Time
	// PublishTimeout bounds a Publish whose context does not end earlier. Default 5 s.
	PublishTimeout time.Duration
	// Heartbeat is how often both ends show that they are there; a connection
	// without a sign of life for one and a half times as long is given up. Whole
	// seconds; default 10 s.
	Heartbeat time.Duration
	// TLS is used for amqps URLs. Default: the system's roots.
	TLS *tls.Config
	// Name is what the server's management shows for the connections. Default "hark".
	Name string
	// Logger gets connections that are lost or made, and messages that are no jobs.
	// Default: slog.Default().
	Logger *slog.Logger
}

// ConsumerMargin is by how much [Options.ConsumerTimeout] should exceed the longest timeout of a
// request: what is expired is settled soon after.
const ConsumerMargin = time.Hour

// Broker implements broker.Broker. Priorities are passed on; what they mean is up to the server,
// see [Ranks].
type Broker struct {
	options  Options
	topology topology
	log      *slog.Logger
	counts   counters
	ranks    atomic.Int32 // those of the server that was connected last, see Ranks
	begun    atomic.Bool  // New has returned
	troubles troubles

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	once   sync.Once

	// The server stops reading from connections that publish when it is short of
	// memory, so consumers have one of their own.
	publishing *link
	consuming  *link
}

var _ broker.Broker = (*Broker)(nil)

// unconnected returns a broker that has no connection yet, and the servers that it would connect
// to.
func unconnected(urls, routes []string, o Options) (*Broker, []server, error) {
	o = o.withDefaults()
	servers, err := parseURLs(urls)
	if err != nil {
		return nil, nil, err
	}
	t, err := newTopology(routes, o)
	if err != nil {
		return nil, nil, err
	}
	return &Broker{options: o, topology: t, log: o.Logger}, servers, nil
}

// New returns a broker that carries jobs of the given routes through the servers of
// one cluster. Each connection takes one of the URLs (amqp or amqps), another after
// a failure.
//
// It declares what it needs. If no server can be reached it returns all the same and
// goes on trying; [Broker.Ready] tells. An error is one that trying again does not
// mend: a URL or a route that cannot be, refused credentials, or queues that exist
// with other settings, or a target that is not there.
func New(urls, routes []string, o Options) (*Broker, error) {
	b, servers, err := unconnected(urls, routes, o)
	if err != nil {
		return nil, err
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.publishing = newLink("publish", b, servers, func(g *generation) error {
		if err := b.lookForTargets(g); err != nil {
			return err
		}
		if err := b.topology.declare(g); err != nil {
			return err
		}
		b.reachTargets(g)
		return g.openPublisher()
	})
	b.consuming = newLink("consume", b, servers, nil)
	go b.publishing.run(b.ctx)
	go b.consuming.run(b.ctx)
	for _, l := range []*link{b.publishing, b.consuming} {
		if err := <-l.first; lasting(err) {
			_ = b.Close()
			return nil, err
		}
	}
	b.begun.Store(true)
	return b, nil
}

func (o Options) withDefaults() Options {
	orDefault(&o.Prefix, "hark")
	orDefault(&o.DeliveryLimit, 20)
	orDefault(&o.DeadRetention, 7*24*time.Hour)
	orDefault(&o.PublishTimeout, 5*time.Second)
	orDefault(&o.ConsumerTimeout, 25*time.Hour)
	orDefault(&o.Heartbeat, 10*time.Second)
	orDefault(&o.Name, "hark")
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if len(o.Delays) == 0 {
		o.Delays = []time.Duration{
			100 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second, 10 * time.Second, 30 * time.Second,
			2 * time.Minute, 10 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour,
		}
	}
	o.Delays = slices.Sorted(slices.Values(o.Delays))
	return o
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Publish implements broker.Broker. Besides the contract's errors: a server that is
// unreachable (after a second of waiting, in case it comes back), that is short of
// memory or disk, that refuses the job, or that does not confirm it in time, is
// broker.ErrUnavailable. In the last case the job may have been taken all the same.
func (b *Broker) Publish(ctx context.Context, j broker.Job) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if b.ctx.Err() != nil {
		return broker.ErrClosed
	}
	if !b.topology.knows(j.Route) {
		return fmt.Errorf("%w: %q", broker.ErrUnknownRoute, j.Route)
	}
	return b.send(ctx, j, false)
}

// send publishes a job to where it has to wait.
func (b *Broker) send(ctx context.Context, j broker.Job, redelivered bool) error {
	message, err := encode(j, redelivered)
	if err != nil {
		return err
	}
	exchange, key, foreign := b.topology.aim(j)
	err = b.publish(ctx, exchange, key, message)
	switch {
	case !foreign:
	case err == nil:
		b.troubles.over(j.Route, b.log)
	case errors.Is(err, errRefused):
		b.troubles.note(j.Route, err, b.log)
	}
	return err
}

// Discard implements broker.Broker. A queue gives nothing up from its midst, so the
// job is delivered all the same.
func (b *Broker) Discard(broker.Job) {}

// Close implements broker.Broker. It does not wait for the handles that run; their
// Consume does.
func (b *Broker) Close() error {
	b.once.Do(func() {
		b.cancel()
		<-b.consuming.done
		<-b.publishing.done
	})
	return nil
}

// Ready returns nil while jobs can be published and consumed, as far as is known: a
// server that has become silent is noticed after one and a half times the heartbeat,
// and that it is short of memory or disk with the first Publish.
func (b *Broker) Ready(context.Context) error {
	if b.ctx.Err() != nil {
		return broker.ErrClosed
	}
	err := errors.Join(b.publishing.ready(), b.consuming.ready())
	if err != nil {
		return fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
	}
	return nil
}
