// Command gateway is Hark, the program that is called hark where it is installed: it takes requests
// over HTTP, has processors work on them, and pushes every step of their lives.
//
//	go run ./gateway
//
// runs all of it in one process with nothing beside it: the state rests in one file
// under ./data, and the sample processors run inside. Kill it at any moment; what
// was answered with 202 goes on when it is started again. See --help for all options.
//
//	go run ./gateway store check
//
// looks at what is stored; export, import, compact and discard-log are the other things that may be
// done with it while no gateway runs on it, see store --help.
//
//	hark doctor
//
// looks for what is wrong. The other verbs are those of a worker (worker) and of whoever uses a
// gateway, over HTTP: submit, follow, requests, dead, webhooks; docs/cli.md has them all.
//
// SIGTERM or SIGINT drains: no new connections, calls that wait answer with what they have, streams
// are closed spread over --drain, processors finish or hand their work back. A second signal ends
// the process at once. What `go run` has started drains when that command is killed, too.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/hark-push/hark/backends"
	"github.com/hark-push/hark/cli"
	"github.com/hark-push/hark/cli/doctor"
	"github.com/hark-push/hark/gateway/config"
	"github.com/hark-push/hark/gateway/node"
	"github.com/hark-push/hark/processor/worker"
)

func main() { os.Exit(start(os.Args[1:])) }

// start does what the first of the arguments says: without a verb it is the gateway.
func start(args []string) int {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return run(args, os.Stdout, os.Stderr)
	}
	verb, rest := args[0], args[1:]
	switch verb {
	case "store":
		return runStore(rest, os.Stdin, os.Stdout, os.Stderr)
	case "config":
		return runConfig(rest, os.Stdout, os.Stderr)
	case "worker":
		return worker.Run("hark worker", rest, os.Stdout, os.Stderr)
	case "__complete":
		cli.Complete(rest, map[string]any{
			"": config.Grammar(), "config": config.Grammar(), "store": config.StoreGrammar(), "worker": worker.Grammar(), "doctor": doctor.Grammar(),
		}, os.Stdout)
		return cli.ExitDone
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal kills
	switch {
	case verb == "doctor":
		return doctor.Run(ctx, rest, cli.Standard())
	case cli.Has(verb):
		return cli.Run(ctx, args, cli.Standard())
	}
	_, _ = fmt.Fprintln(os.Stderr, "hark:", cli.Unknown(verb, config.Verbs))
	return cli.ExitUsage
}

func run(args []string, out, errOut io.Writer) int {
	c, err := config.Parse(args, out)
	switch {
	case errors.Is(err, config.ErrHelp):
		return 0
	case err != nil:
		_, _ = fmt.Fprintln(errOut, "hark:", err)
		return 2
	}
	if c.NewKey != "" {
		key, entry, err := c.NewKeyEntry()
		if err != nil {
			_, _ = fmt.Fprintln(errOut, "hark:", err)
			return 2
		}
		_, _ = fmt.Fprintf(out, "The key, which is shown this once:\n\n%s\n\nIts entry in the file of --keys:\n\n%s", key, entry)
		return 0
	}
	logger, levels := c.NewLogger(errOut)
	if c.FromCopy != nil {
		logger.Error("the settings are those of the copy, because their URL does not answer (--config, --config-copy)",
			slog.String("copy", c.ConfigCopy), slog.Any("error", c.FromCopy))
	}

	backends.LogRedis(logger)
	for _, v := range config.Strays(os.Environ()) {
		attrs := []any{slog.String("variable", v.Name)}
		if v.Meant != "" {
			attrs = append(attrs, slog.String("didYouMean", v.Meant))
		}
		logger.Warn("a variable of the environment has no effect: the gateway has none of that name, see --help", attrs...)
	}

	var watching sync.WaitGroup
	defer watching.Wait()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal kills
	watching.Go(func() { endWithGoRun(ctx, logger) })

	g, err := node.Open(ctx, c, logger)
	if errors.Is(err, context.Canceled) { // a server that it waited for did not come
		logger.Info("stopped")
		return 0
	}
	if err != nil {
		_, _ = fmt.Fprintln(errOut, "hark:", err)
		return 1
	}
	follower, err := config.Follow(args, c, func(c config.Config) {
		levels.Set(c.Levels())
		g.SetLimits(c)
	}, logger)
	if err != nil { // which it was not when it was parsed
		logger.Error("the settings cannot be followed", slog.Any("error", err))
	} else if follower != nil {
		watching.Go(func() { follower.Run(ctx) })
	}
	g.Welcome(out)
	if err := g.Serve(ctx); err != nil {
		logger.Error("stopped by an error", slog.Any("error", err))
		return 1
	}
	return 0
}
