// Package backends opens what is behind a gateway or a worker: Redis, with or without RabbitMQ, or
// what stands in for them in one process, a file and a queue in memory.
package backends

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/hark-push/hark/broker"
	"github.com/hark-push/hark/broker/memory"
	"github.com/hark-push/hark/broker/rabbitmq"
	redisqueue "github.com/hark-push/hark/broker/redis"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/lifecycle/stall"
	"github.com/hark-push/hark/processor"
	"github.com/hark-push/hark/store/bolt"
	"github.com/hark-push/hark/store/codec"
	"github.com/hark-push/hark/store/redis"
	"github.com/hark-push/hark/store/redis/link"
	"github.com/hark-push/hark/stream"
	"github.com/hark-push/hark/webhook/dispatch"
)

// Store is what a gateway needs of a store.
type Store interface {
	lifecycle.Store
	lifecycle.Housekeeping
	lifecycle.Cancellations
	dispatch.Store
	lifecycle.Source
	stream.Store
	Close() error
}

// Backends are those of one process. Close closes them.
type Backends struct {
	Store  Store
	Broker broker.Broker
	// Now is the time on the store's clock.
	Now func() time.Time
	// Shared says that others may use the same store and broker, so what is left undone has to be
	// looked for all the time. Alone, that is done once, at start.
	Shared bool
	// Rabbit is the broker if it is RabbitMQ, else nil.
	Rabbit *rabbitmq.Broker
	// Work is the broker if the work is queued in Redis, else nil.
	Work *redisqueue.Broker
	// Callback publishes events to an exchange of RabbitMQ if one was named, else nil.
	Callback *Callback
	// StoreName and BrokerName say what they are, to people.
	StoreName, BrokerName string

	ready   func(context.Context) error
	damages *codec.Damages     // what the store has found damaged
	traffic *lifecycle.Traffic // of this process
	meter   *Meter             // nil: nobody counts
}

// NotReadyError says what a process cannot work without.
type NotReadyError struct {
	Detail string // for callers
	Err    error  // may name servers, and is for the log
}

func (e *NotReadyError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *NotReadyError) Unwrap() error { return e.Err }

// NotReady returns the detail.
func (e *NotReadyError) NotReady() string { return e.Detail }

// Ready returns nil if store and broker work, else a [*NotReadyError].
func (b *Backends) Ready(ctx context.Context) error { return b.ready(ctx) }

// Close closes broker and store.
func (b *Backends) Close() error { return errors.Join(b.Broker.Close(), b.Store.Close()) }

// OpenEmbedded opens the store in a folder and fills a queue in memory with the work that is
// unfinished there. stalls and meter may be nil, see [bolt.Options].
func OpenEmbedded(folder string, routes []string, o Options, stalls *stall.Watch, meter *Meter, log *slog.Logger) (*Backends, error) {
	path := filepath.Join(folder, "hark.db")
	damages, traffic := codec.NewDamages(log), new(lifecycle.Traffic)
	s, err := bolt.Open(path, bolt.Options{
		History: o.History, FeedHistory: o.FeedHistory, FeedRetention: o.FeedRetention,
		WebhookRetention: o.WebhookRetention, Stall: stalls, Damages: damages, Meter: steps{traffic, meter}, Calls: meter.calls(),
	})
	if err != nil {
		return nil, fmt.Errorf("data (--data, HARK_DATA): %w", err)
	}
	queue := memory.New(routes, memory.Options{Backlog: backlog(s)})
	b := &Backends{
		Store: s, damages: damages, traffic: traffic, meter: meter, Broker: queue, Now: time.Now, StoreName: "embedded, " + path, BrokerName: "in memory, refilled from the store",
		ready: func(ctx context.Context) error {
			switch err := s.Probe(ctx); {
			case errors.Is(err, lifecycle.ErrFull):
				return &NotReadyError{"The disk of the embedded store (--data) is full. What was accepted is kept, and goes on when there is room.", err}
			case err != nil:
				return &NotReadyError{"The embedded store (--data) takes no changes. See whether its disk is mounted read-only, or fails. What was accepted is kept; it goes on when changes can be made.", err}
			}
			return nil
		},
	}
	if err := recoverWork(queue, s); err != nil {
		return nil, errors.Join(fmt.Errorf("unfinished requests: %w", err), b.Close())
	}
	return b, nil
}

// Shared is what [OpenShared] needs besides [Options].
type Shared struct {
	Routes []string
	// Waiting is called while Redis cannot be reached, again and again. Nil: nobody is told.
	Waiting func()
	// Stall is that of [redis.Options]; nil: never.
	Stall *stall.Watch
	// Meter counts what this process does; nil: nobody does.
	Meter *Meter
	// CallbackExchange is where events are published to as well, CallbackBacklog how many may wait
	// in Redis for that. "": nowhere.
	CallbackExchange string
	CallbackBacklog  int
	CallbackKey      CallbackKey
	Text             func(*lifecycle.Event) []byte // returns an event as it is published there
	Logger           *slog.Logger
}

// OpenShared opens Redis, and RabbitMQ if it is named: without it Redis carries the work, too. It
// waits for Redis until ctx ends; RabbitMQ may come later.
func OpenShared(ctx context.Context, o Options, w Shared) (*Backends, error) {
	servers, damages, traffic := Redact(o.Redis), codec.NewDamages(w.Logger), new(lifecycle.Traffic)
	s, err := redis.OpenPatiently(ctx, o.Redis, redis.Options{
		Prefix: o.Prefix, Partitions: o.Partitions, History: o.History, FeedHistory: o.FeedHistory,
		FeedRetention: o.FeedRetention, WebhookRetention: o.WebhookRetention,
		Queue: o.AMQP == "", Stall: w.Stall, Logger: w.Logger.With(slog.String("redis", servers)), Damages: damages, Meter: steps{traffic, w.Meter}, Calls: w.Meter.calls(),
	}, func(error) {
		if w.Waiting != nil {
			w.Waiting()
		}
	})
	if err != nil {
		return nil, fmt.Errorf("redis (--redis, HARK_REDIS) at %s: %w", servers, err)
	}
	if err := s.AgreeOnQueue(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("redis (--redis, HARK_REDIS) at %s: %w", servers, err), s.Close())
	}
	if o.AMQP == "" {
		return openQueued(s, servers, damages, traffic, w), nil
	}
	queue, err := rabbitmq.New(strings.Split(o.AMQP, ","), w.Routes, rabbitmq.Options{
		Prefix: o.Prefix, Now: s.Now, Targets: o.ByRoute(), CallbackExchange: w.CallbackExchange,
		ConsumerTimeout: o.MaxTimeout + rabbitmq.ConsumerMargin, Logger: w.Logger,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("amqp (--amqp, HARK_AMQP): %w", err), s.Close())
	}
	s.RankBy(queue.Rank)
	b := &Backends{
		Store: s, damages: damages, traffic: traffic, meter: w.Meter, Broker: queue, Now: s.Now, Shared: true, Rabbit: queue,
		StoreName: "Redis, " + servers, BrokerName: "RabbitMQ, " + Redact(o.AMQP),
		ready: func(ctx context.Context) error {
			if err := s.Probe(ctx); err != nil {
				return &NotReadyError{whyNoRedis(err), err}
			}
			if err := queue.Ready(ctx); err != nil {
				return &NotReadyError{"RabbitMQ (--amqp) cannot be reached, or takes nothing. See whether it runs, and whether it has memory and disk left (rabbitmq-diagnostics alarms). It is used again as soon as it can be.", err}
			}
			return nil
		},
	}
	if w.CallbackExchange != "" {
		if b.Callback, err = newCallback(ctx, s.Callback(redis.CallbackOptions{Backlog: w.CallbackBacklog}), queue, w.Text, w.Logger); err != nil {
			return nil, errors.Join(fmt.Errorf("callback exchange: %w", err), b.Close())
		}
		b.Callback.key = w.CallbackKey
	}
	return b, nil
}

// openQueued is the part of OpenShared for a store in which the work is queued.
func openQueued(s *redis.Store, servers string, damages *codec.Damages, traffic *lifecycle.Traffic, w Shared) *Backends {
	queue := redisqueue.New(s, w.Routes, redisqueue.Options{Logger: w.Logger})
	return &Backends{
		Store: s, damages: damages, traffic: traffic, meter: w.Meter, Broker: queue, Now: s.Now, Shared: true, Work: queue,
		StoreName: "Redis, " + servers, BrokerName: "Redis, with the store",
		ready: func(ctx context.Context) error {
			if err := s.Probe(ctx); err != nil {
				return &NotReadyError{whyNoRedis(err), err}
			}
			return nil
		},
	}
}

// whyNoRedis says what is the matter with Redis, and what to do.
func whyNoRedis(err error) string {
	switch {
	case errors.Is(err, lifecycle.ErrFull):
		return "Redis (--redis) has no memory left (maxmemory). Give it more; what was accepted is kept, and goes on then."
	case errors.Is(err, redis.ErrReplica):
		return "Redis (--redis) takes no writes, because it is a replica. Name its master, or the Sentinels that know it."
	case link.Refused(err):
		return "Redis (--redis) answers, and takes no writes. Its log, and that of this process, say why: mostly its disk is full, or replicas are missing."
	}
	return "Redis (--redis) does not answer. See whether it runs and can be reached from here. It is used again as soon as it answers."
}

// Redact returns the servers of a URL without what proves who may use them.
func Redact(text string) string {
	servers := strings.Split(text, ",")
	for i, s := range servers {
		if u, err := url.Parse(s); err == nil && u.Host != "" {
			servers[i] = u.Host
		} else {
			servers[i] = "…"
		}
	}
	return strings.Join(servers, ", ")
}

// backlog is the pending requests of a store as a queue in memory reads them.
func backlog(store *bolt.Store) memory.Backlog {
	return func(ctx context.Context, route string, priority int) iter.Seq2[broker.Job, error] {
		return func(yield func(broker.Job, error) bool) {
			for r, err := range store.Waiting(ctx, route, priority) {
				if err != nil {
					yield(broker.Job{}, err)
					return
				}
				if r.Batch == nil && !r.Parked && !yield(processor.BrokerJob(r), nil) {
					return
				}
			}
		}
	}
}

// LogRedis has what the client of Redis itself logs, which is about its connections, in a log.
// There is one for the process.
func LogRedis(log *slog.Logger) { link.LogTo(log) }

// recoverWork hands every stored request that has not ended to the queue, but for batches: what was
// processed when the last process died, as a redelivery.
func recoverWork(queue *memory.Broker, store lifecycle.Housekeeping) error {
	var failed error
	var unfinished iter.Seq2[broker.Job, bool] = func(yield func(broker.Job, bool) bool) {
		for r, err := range store.Unfinished(context.Background()) {
			if err != nil {
				failed = err
				return
			}
			if r.Batch != nil || r.Parked {
				continue
			}
			if !yield(processor.BrokerJob(r), r.Status == lifecycle.Processing) {
				return
			}
		}
	}
	return errors.Join(queue.Recover(unfinished), failed)
}
