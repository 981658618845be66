// Command words is a processor of one's own, as a process beside gateways that share Redis and
// RabbitMQ. It counts the words of texts, on a route that Hark knows nothing of, so the gateways
// are told of it:
//
//	gateway --redis redis://host:6379/0 --amqp amqp://host:5672/ --routes default,words
//	go run ./examples/words --redis redis://host:6379/0 --amqp amqp://host:5672/
//
//	curl http://127.0.0.1:8080/v1/requests -H 'Content-Type: application/json' \
//	     -d '{"route":"words","content":{"text":"to be or not to be"}}'
//
// Copy it into a module of your own: what it imports may be imported by everybody. Start as many as
// there is work for.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
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
	"github.com/hark-push/hark/processor"
)

// Text is what is submitted, and Count what comes out.
type (
	Text struct {
		Text string `json:"text"`
	}
	Count struct {
		Words    int `json:"words"`
		Distinct int `json:"distinct"`
	}
)

// count is the work.
func count(ctx context.Context, job *processor.Job, in Text) (Count, error) {
	words := strings.Fields(in.Text)
	if len(words) == 0 {
		return Count{}, processor.Fail("no-words", "There are no words in this text.", nil)
	}
	if err := job.Step(ctx, "counting"); err != nil {
		return Count{}, err // nobody wants it any more
	}
	distinct := make(map[string]bool)
	for _, word := range words {
		distinct[word] = true
	}
	return Count{len(words), len(distinct)}, nil
}

// logged is a middleware that logs how each attempt ended.
func logged(log *slog.Logger) processor.Middleware {
	return func(next processor.Handler) processor.Handler {
		return processor.HandlerFunc(func(ctx context.Context, job *processor.Job) (processor.Result, error) {
			began := time.Now()
			result, err := next.Process(ctx, job)
			log.LogAttrs(ctx, slog.LevelInfo, "attempt", slog.String("request", job.ID), slog.Int("attempt", job.Attempt),
				slog.Duration("took", time.Since(began)), slog.Any("error", err))
			return result, err
		})
	}
}

// routes are those that this processor works on.
func routes(log *slog.Logger) processor.Routes {
	return processor.Routes{"words": processor.Handle(count)}.With(logged(log))
}

// retries say how long each route waits after an attempt that failed.
var retries = map[string]processor.RetryPolicy{"words": {Base: time.Second, Factor: 3, Max: time.Minute}}

func main() {
	var o backends.Options // flags and variables, which gateways have alike
	kong.Parse(&o, kong.Name("words"), kong.Description("Counts the words of texts, beside gateways that share Redis and RabbitMQ."))
	log, _ := o.NewLogger(os.Stderr)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o, log)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "words:", err)
		os.Exit(1)
	}
}

// run works until ctx ends and what was running is settled.
func run(ctx context.Context, o backends.Options, log *slog.Logger) (err error) {
	if o.Redis == "" {
		return errors.New("it needs --redis, and --amqp if the gateways have it; beside a gateway with the embedded store see examples/lease")
	}
	if err := o.Check(); err != nil {
		return err
	}
	mine := routes(log)
	b, err := backends.OpenShared(ctx, o, backends.Shared{Routes: slices.Sorted(maps.Keys(mine)), Logger: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	service := lifecycle.New(b.Store, processor.Queue(b.Broker), lifecycle.Options{
		Logger: log, Limits: lifecycle.Limits{RetryBase: o.RetryDelay, MaxTimeout: o.MaxTimeout},
	})
	defer service.Close()
	working := processor.New(service, b.Store, b.Broker, mine, processor.Options{Retry: retries, Logger: log})
	processors := make(map[string]*processor.Processor)
	for route := range mine {
		processors[route] = working // one for all of them
	}
	// Others see that it is there: an overview shows it, and gateways are not started meanwhile
	// with work that is queued elsewhere.
	self := backends.NewProcess("words", b.Now())
	var attending sync.WaitGroup
	present, leave := context.WithCancel(context.Background())
	attending.Go(func() { b.Attend(present, func() lifecycle.Process { return b.Working(self, processors) }, log) })
	defer func() {
		leave()
		attending.Wait()
	}()
	return working.Run(ctx)
}
