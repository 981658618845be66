// Command worker runs the sample processors beside gateways that share Redis and
// RabbitMQ:
//
//	worker --redis redis://host:6379/0 --amqp amqp://host:5672/ --routes images,fetch
//
// Start as many as there is work for. SIGTERM lets running work finish for --drain
// and hands the rest back.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/hark-push/hark/broker/rabbitmq"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/lifecycle/environment"
	"github.com/hark-push/hark/processor"
	"github.com/hark-push/hark/processor/samples"
	"github.com/hark-push/hark/processor/traced"
	"github.com/hark-push/hark/store/redis"
	"github.com/hark-push/hark/tracing"
)

type options struct {
	Redis        string        `env:"HARK_REDIS" required:"" placeholder:"URL" help:"Redis that holds the state."`
	AMQP         string        `env:"HARK_AMQP" required:"" name:"amqp" placeholder:"URL" help:"RabbitMQ that carries the work."`
	Prefix       string        `env:"HARK_PREFIX" default:"hark" help:"That of the gateways."`
	Partitions   int           `env:"HARK_PARTITIONS" default:"1" help:"That of the gateways."`
	History      int           `env:"HARK_HISTORY" default:"256" placeholder:"EVENTS" help:"That of the gateways."`
	FeedHistory  int           `env:"HARK_FEED_HISTORY" default:"10000" placeholder:"EVENTS" help:"That of the gateways."`
	Routes       []string      `env:"HARK_ROUTES" default:"images,fetch,sleep" placeholder:"NAME,…" help:"Routes to work on."`
	Concurrency  int           `env:"HARK_CONCURRENCY" default:"8" help:"Requests of each route that are worked on at the same time."`
	RetryDelay   time.Duration `env:"HARK_RETRY_DELAY" default:"1s" help:"That of the gateways."`
	MaxTimeout   time.Duration `env:"HARK_MAX_TIMEOUT" default:"24h" help:"That of the gateways."`
	Drain        time.Duration `env:"HARK_DRAIN" default:"20s" help:"How long running work may go on after SIGTERM."`
	Traces       string        `env:"HARK_TRACES" placeholder:"URL" help:"Send OpenTelemetry traces to this OTLP/HTTP collector, like http://127.0.0.1:4318."`
	FetchPrivate bool          `env:"HARK_FETCH_PRIVATE" help:"Let fetch read pages from private addresses."`
}

func main() {
	var o options
	if err := environment.Check[options](os.Environ()); err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(2)
	}
	kong.Parse(&o, kong.Name("worker"), kong.Description("Runs the sample processors beside gateways that share Redis and RabbitMQ."))
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o, log)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
}

// run works until ctx ends.
func run(ctx context.Context, o options, log *slog.Logger) (err error) {
	handlers := samples.Handlers(samples.Options{Fetch: samples.FetchOptions{AllowPrivate: o.FetchPrivate}})
	for _, route := range o.Routes {
		if handlers[route] == nil {
			return fmt.Errorf("routes: %q is not allowed: want some of images, fetch, sleep, echo", route)
		}
	}
	tracer, stop, err := tracing.Start(ctx, tracing.Options{Endpoint: o.Traces, Service: "hark-worker", Logger: log})
	if err != nil {
		return err
	}
	if stop != nil {
		defer func() {
			last, cancel := context.WithTimeout(context.Background(), tracing.StopTime)
			defer cancel()
			stop(last)
		}()
	}
	store, err := redis.OpenPatiently(ctx, o.Redis, redis.Options{
		Prefix: o.Prefix, Partitions: o.Partitions, History: o.History, FeedHistory: o.FeedHistory, Logger: log,
	}, nil)
	if errors.Is(err, context.Canceled) { // it was told to end before Redis came
		return nil
	}
	if err != nil {
		return fmt.Errorf("redis (--redis, HARK_REDIS): %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	queue, err := rabbitmq.New(strings.Split(o.AMQP, ","), o.Routes, rabbitmq.Options{
		Prefix: o.Prefix, Now: store.Now, ConsumerTimeout: o.MaxTimeout + rabbitmq.ConsumerMargin, Logger: log,
	})
	if err != nil {
		return fmt.Errorf("amqp (--amqp, HARK_AMQP): %w", err)
	}
	defer func() { err = errors.Join(err, queue.Close()) }()
	service := lifecycle.New(store, tracing.Queue(tracer, processor.Queue(queue)), lifecycle.Options{
		Logger: log, Limits: lifecycle.Limits{RetryBase: o.RetryDelay, MaxTimeout: o.MaxTimeout},
	})
	defer service.Close()

	fmt.Println("worker: working on", strings.Join(o.Routes, ", "))
	var running sync.WaitGroup
	failed := make([]error, len(o.Routes))
	for i, route := range slices.Compact(slices.Sorted(slices.Values(o.Routes))) {
		worker := processor.New(service, store, queue, processor.Routes{route: traced.Handler(tracer, handlers[route])}, processor.Options{
			Concurrency: o.Concurrency, Drain: o.Drain, Logger: log,
		})
		running.Go(func() { failed[i] = worker.Run(ctx) })
	}
	running.Wait()
	return errors.Join(failed...)
}
