// Package worker is a process that runs the sample processors beside gateways that share Redis and
// RabbitMQ: what the programs processor/cmd/worker and `hark worker` do.
package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/hark-push/hark/backends"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/metrics/otlp"
	"github.com/hark-push/hark/processor"
	"github.com/hark-push/hark/processor/samples"
	"github.com/hark-push/hark/processor/traced"
	"github.com/hark-push/hark/settings"
	"github.com/hark-push/hark/tracing"
)

type options struct {
	backends.Options `embed:""`

	Routes      []string      `env:"HARK_ROUTES" default:"images,fetch,sleep" placeholder:"NAME,…" help:"Routes to work on."`
	Concurrency int           `env:"HARK_CONCURRENCY" default:"8" help:"Requests of each route that are worked on at the same time."`
	Drain       time.Duration `env:"HARK_DRAIN" default:"20s" help:"How long running work may go on after SIGTERM."`
	Listen      string        `env:"HARK_WORKER_LISTEN" placeholder:"HOST:PORT" help:"Answer /health/live, /health/ready and /metrics on this address. Nobody is asked for a key there, so it should not be reachable from outside."`
	Traces      string        `env:"HARK_TRACES" placeholder:"URL" help:"Send OpenTelemetry traces to this OTLP collector, like http://127.0.0.1:4318, by the protocol of OTEL_EXPORTER_OTLP_PROTOCOL."`

	samples.Flags `embed:""`
}

// serviceName is what collectors of OpenTelemetry are told.
const serviceName = "hark-worker"

// errHelp: help was asked for and printed; there is nothing to run.
var errHelp = errors.New("help was printed")

// Grammar returns the flags, as a pointer to a struct with the tags of
// github.com/alecthomas/kong, for whoever completes them.
func Grammar() any { return new(options) }

// parse reads the options from arguments and the environment. Help goes to out.
func parse(name string, args []string, out io.Writer) (o options, err error) {
	if err := settings.Check[options](os.Environ()); err != nil {
		return o, err
	}
	helped := false
	parser, err := kong.New(&o, kong.Name(name), kong.Writers(out, out), kong.Exit(func(int) { helped = true }),
		kong.Description("Runs the sample processors beside gateways that share Redis, with or without RabbitMQ."))
	if err != nil {
		return o, err
	}
	if _, err = parser.Parse(args); helped {
		return o, errHelp
	}
	if err != nil {
		return o, err
	}
	return o, o.check()
}

func (o *options) check() error {
	if o.Redis == "" && o.AMQP == "" {
		return settings.NotAllowed("redis", "", "a URL like redis://host:6379/0, that of the gateways; and --amqp beside it if they have it")
	}
	sampled, err := o.Parse()
	if err != nil {
		return err
	}
	handlers, err := samples.Handlers(sampled)
	if err != nil {
		return err
	}
	defer func() { _ = samples.Close(handlers) }() // of which only the names are wanted
	for _, route := range o.Routes {
		if handlers[route] == nil {
			return settings.NotAllowed("routes", route, "some of "+strings.Join(slices.Sorted(maps.Keys(handlers)), ", ")+", or the flags of that sample beside it")
		}
	}
	queues := make(map[string]bool)
	for _, entry := range o.RouteQueue {
		route, _, _ := strings.Cut(entry, "=")
		queues[route] = true
	}
	for _, entry := range o.RouteExchange {
		if route, _, _ := strings.Cut(entry, "="); slices.Contains(o.Routes, route) && !queues[route] {
			return settings.NotAllowed("route-exchange", entry, "--route-queue "+route+"=QUEUE beside it, for there is nothing else to consume; or leave the route to those who consume that exchange")
		}
	}
	if o.Listen != "" {
		if _, port, err := net.SplitHostPort(o.Listen); err != nil || port == "" {
			return settings.NotAllowed("listen", o.Listen, "HOST:PORT")
		}
	}
	return cmp.Or(
		o.Check(),
		settings.Between("concurrency", o.Concurrency, 1, 10_000),
		settings.Between("drain", o.Drain, 0, time.Hour),
	)
}

// Run runs a worker until SIGTERM or SIGINT, and returns the exit code of the process: 0 when it
// was told to end, or help was asked for, 1 when it failed, 2 for wrong arguments. name is that of
// the program in its help. What it says to people goes to out, its log to errOut.
func Run(name string, args []string, out, errOut io.Writer) int {
	o, err := parse(name, args, out)
	switch {
	case errors.Is(err, errHelp):
		return 0
	case err != nil:
		_, _ = fmt.Fprintln(errOut, "worker:", err)
		return 2
	}
	log, _ := o.NewLogger(errOut)
	backends.LogRedis(log)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, out, log); err != nil {
		_, _ = fmt.Fprintln(errOut, "worker:", err)
		return 1
	}
	return 0
}

// run works until ctx ends.
func run(ctx context.Context, o options, out io.Writer, log *slog.Logger) (err error) {
	sampled, err := o.Parse()
	if err != nil {
		return err
	}
	sampled.Logger = log
	handlers, err := samples.Handlers(sampled)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, samples.Close(handlers)) }()
	var health *health
	if o.Listen != "" {
		if health, err = serveHealth(o.Listen, log); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, health.server.Close()) }()
		context.AfterFunc(ctx, func() { health.draining.Store(true) })
	}
	tracer, stop, err := tracing.Start(ctx, tracing.Options{Endpoint: o.Traces, Service: serviceName, Logger: log})
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
	meter := backends.NewMeter(o.Routes)
	b, err := backends.OpenShared(ctx, o.Options, backends.Shared{Routes: o.Routes, Meter: meter, Logger: log})
	if errors.Is(err, context.Canceled) { // it was told to end before Redis came
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	service := lifecycle.New(b.Store, tracing.Queue(tracer, processor.Queue(b.Broker)), lifecycle.Options{
		Logger: log, Limits: lifecycle.Limits{RetryBase: o.RetryDelay, MaxTimeout: o.MaxTimeout}, Meter: meter.Queue(),
	})
	defer service.Close()

	workers := make(map[string]*processor.Processor)
	for _, route := range o.Routes {
		workers[route] = processor.New(service, b.Store, b.Broker, processor.Routes{route: traced.Handler(tracer, handlers[route])}, processor.Options{
			Concurrency: o.Concurrency, Drain: o.Drain, Logger: log,
		})
	}
	registry := registryOf(b, workers)
	stopMetrics, err := otlp.Start(ctx, otlp.Options{Endpoint: o.Traces, Service: serviceName, Gatherer: registry, Logger: log})
	if err != nil {
		return err
	}
	if stopMetrics != nil {
		defer func() {
			last, cancel := context.WithTimeout(context.Background(), tracing.StopTime)
			defer cancel()
			stopMetrics(last)
		}()
	}
	if health != nil {
		health.show(b, workers, registry)
	}
	_, _ = fmt.Fprintln(out, "worker: working on", strings.Join(o.Routes, ", "))
	self := backends.NewProcess("worker", b.Now())
	var attending sync.WaitGroup
	present, leave := context.WithCancel(context.Background())
	attending.Go(func() { b.Attend(present, func() lifecycle.Process { return b.Working(self, workers) }, log) })
	attending.Go(func() { backends.PaceMemory(present, func() int64 { return 0 }) })
	defer func() {
		leave()
		attending.Wait()
	}()
	var running sync.WaitGroup
	failed := make([]error, len(workers))
	for i, route := range slices.Sorted(maps.Keys(workers)) {
		running.Go(func() { failed[i] = workers[route].Run(ctx) })
	}
	running.Wait()
	return errors.Join(failed...)
}
