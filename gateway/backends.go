package main

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
	"github.com/hark-push/hark/gateway/api"
	"github.com/hark-push/hark/gateway/config"
	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/lifecycle/stall"
	"github.com/hark-push/hark/processor"
	"github.com/hark-push/hark/store/bolt"
	"github.com/hark-push/hark/store/parts"
	"github.com/hark-push/hark/store/redis"
	"github.com/hark-push/hark/webhook/dispatch"
)

// store is what the gateway needs of a store.
type store interface {
	lifecycle.Store
	lifecycle.Keeper
	lifecycle.Cancellations
	dispatch.Store
	hub.Source
	Close() error
}

// backends are the servers behind the gateway, or what stands in for them in one process.
type backends struct {
	store   store
	damages *parts.Damages // what the store has found damaged
	broker  broker.Broker
	// ready says that both work.
	ready func(context.Context) error
	// now is the time on the store's clock.
	now func() time.Time
	// shared: others use the same store and broker, so work that is stored but not
	// queued has to be looked for. Alone, that is done once, at start.
	shared bool
	// rabbit is the broker if it is RabbitMQ, callback publishes to an exchange of it if
	// one is configured; else nil.
	rabbit   *rabbitmq.Broker
	callback *callback
	// storeName and brokerName say what they are.
	storeName, brokerName string
}

// openBackends opens what the configuration names: Redis and RabbitMQ, or one file and
// a queue in memory. It waits for Redis until ctx ends, and calls waiting with what it waits for; RabbitMQ may come later.
func openBackends(ctx context.Context, c config.Config, stalls *stall.Watch, waiting func(string), log *slog.Logger) (*backends, error) {
	if c.Redis != "" {
		return openShared(ctx, c, stalls, waiting, log)
	}
	path := filepath.Join(c.Data, "hark.db")
	damages := parts.NewDamages(log)
	s, err := bolt.Open(path, bolt.Options{
		History: c.History, FeedHistory: c.FeedHistory, FeedRetention: c.FeedRetention,
		WebhookRetention: c.WebhookRetention, Stall: stalls, Damages: damages,
	})
	if err != nil {
		return nil, fmt.Errorf("data (--data, HARK_DATA): %w", err)
	}
	queue := memory.New(c.Routes, memory.Options{})
	b := &backends{
		store: s, damages: damages, broker: queue, now: time.Now, storeName: "embedded, " + path, brokerName: "in memory, refilled from the store",
		ready: func(ctx context.Context) error {
			switch err := s.Probe(ctx); {
			case errors.Is(err, lifecycle.ErrFull):
				return &api.NotReadyError{Detail: "The disk of the embedded store (--data) is full. What was accepted is kept, and goes on when there is room.", Err: err}
			case err != nil:
				return &api.NotReadyError{Detail: "The embedded store (--data) takes no changes.", Err: err}
			}
			return nil
		},
	}
	if err := recoverWork(queue, s); err != nil {
		return nil, errors.Join(fmt.Errorf("unfinished requests: %w", err), b.close())
	}
	return b, nil
}

// waitsForRedis is what callers are told meanwhile; the log says which server, and why.
const waitsForRedis = "The gateway is starting, and waits for Redis (--redis, HARK_REDIS), which cannot be reached. It serves nothing until then; its log says more."

func openShared(ctx context.Context, c config.Config, stalls *stall.Watch, waiting func(string), log *slog.Logger) (*backends, error) {
	servers, damages := redact(c.Redis), parts.NewDamages(log)
	s, err := redis.OpenPatiently(ctx, c.Redis, redis.Options{
		Prefix: c.Prefix, Partitions: c.Partitions, History: c.History, FeedHistory: c.FeedHistory, FeedRetention: c.FeedRetention, WebhookRetention: c.WebhookRetention,
		Stall: stalls, Logger: log.With(slog.String("redis", servers)), Damages: damages,
	}, func(error) { waiting(waitsForRedis) })
	if err != nil {
		return nil, fmt.Errorf("redis (--redis, HARK_REDIS) at %s: %w", servers, err)
	}
	queue, err := rabbitmq.New(strings.Split(c.AMQP, ","), c.Routes, rabbitmq.Options{
		Prefix: c.Prefix, Now: s.Now, CallbackExchange: c.CallbackExchange, ConsumerTimeout: c.MaxTimeout + rabbitmq.ConsumerMargin, Logger: log,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("amqp (--amqp, HARK_AMQP): %w", err), s.Close())
	}
	s.RankBy(queue.Rank)
	b := &backends{
		store: s, damages: damages, broker: queue, now: s.Now, rabbit: queue, shared: true, storeName: "Redis, " + redact(c.Redis), brokerName: "RabbitMQ, " + redact(c.AMQP),
		ready: func(ctx context.Context) error {
			if err := s.Probe(ctx); err != nil {
				return &api.NotReadyError{Detail: "Redis (--redis) does not answer.", Err: err}
			}
			if err := queue.Ready(ctx); err != nil {
				return &api.NotReadyError{Detail: "RabbitMQ (--amqp) cannot be reached, or takes nothing.", Err: err}
			}
			return nil
		},
	}
	if c.CallbackExchange != "" {
		if b.callback, err = newCallback(ctx, s.Callback(redis.CallbackOptions{Backlog: c.CallbackBacklog}), queue, log); err != nil {
			return nil, errors.Join(fmt.Errorf("callback exchange: %w", err), b.close())
		}
	}
	return b, nil
}

// redact returns the servers of a URL without what proves who may use them.
func redact(text string) string {
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

func (b *backends) close() error {
	return errors.Join(b.broker.Close(), b.store.Close())
}

// recoverWork hands every stored request that has not ended to the queue, but for batches: what was
// processed when the last process died, as a redelivery.
func recoverWork(queue *memory.Broker, store lifecycle.Keeper) error {
	var failed error
	var unfinished iter.Seq2[broker.Job, bool] = func(yield func(broker.Job, bool) bool) {
		for r, err := range store.Unfinished(context.Background()) {
			if err != nil {
				failed = err
				return
			}
			if r.Batch != nil {
				continue
			}
			if !yield(processor.BrokerJob(r), r.Status == lifecycle.Processing) {
				return
			}
		}
	}
	return errors.Join(queue.Recover(unfinished), failed)
}

// redisLog passes on what go-redis itself logs, which is about its connections.
type redisLog struct{ log *slog.Logger }

func (l redisLog) Printf(ctx context.Context, format string, args ...any) {
	l.log.LogAttrs(ctx, slog.LevelWarn, "redis: "+fmt.Sprintf(format, args...))
}
