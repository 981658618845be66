// Package cli is the command line of whoever uses a gateway: it submits, follows, lists, and looks
// after what has failed, webhooks and keys. It talks HTTP as any client does, and knows no store.
//
// What it prints on the standard output is stable: tables for people, and with --json one JSON
// value a line, as the gateway sent it. Words about it go to the standard error.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"golang.org/x/term"

	"github.com/hark-push/hark/lifecycle/suggest"
	"github.com/hark-push/hark/settings"
)

// How a verb ends.
const (
	ExitDone        = 0
	ExitFailed      = 1 // the gateway refused it, or something is wrong
	ExitUsage       = 2
	ExitUnreachable = 3 // no gateway answered for as long as --patience
	ExitEnded       = 4 // the request has ended, and not with success
	ExitInterrupted = 130
)

// Streams are where a verb reads and writes.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	// Terminal reports whether somebody looks at Err as it is written, who gets progress then, and
	// Asks whether somebody can answer at In.
	Terminal, Asks bool
}

// Standard are those of the process.
func Standard() Streams {
	isTerminal := func(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
	return Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Terminal: isTerminal(os.Stderr), Asks: isTerminal(os.Stdin) && isTerminal(os.Stderr)}
}

// grammar are the verbs of this package.
type grammar struct {
	Submit     submitVerb     `cmd:"" help:"Submit a request, and print its id."`
	Follow     followVerb     `cmd:"" help:"Print each step of a request, or of many, when it happens."`
	Requests   requestsVerb   `cmd:"" help:"List, show, cancel and redrive requests."`
	Dead       deadVerb       `cmd:"" help:"What has failed, and what the queue has put aside: list, redrive, purge. For the role admin."`
	Webhooks   webhooksVerb   `cmd:"" help:"List, add, delete, test webhook endpoints, and look after their deliveries."`
	Keys       keysVerb       `cmd:"" help:"Make API keys, and list and revoke those of a file."`
	Version    versionVerb    `cmd:"" help:"Print which version this is, and of what it was built."`
	Completion completionVerb `cmd:"" help:"Print what completes commands in a shell: bash, zsh or fish."`
}

// Has reports whether a verb is one of this package.
func Has(verb string) bool {
	return slices.Contains([]string{"submit", "follow", "requests", "dead", "webhooks", "keys", "version", "completion"}, verb)
}

// Unknown is the error of a word in the place of a verb that is none.
func Unknown(word string, verbs []string) error {
	return fmt.Errorf("there is no verb %q%s; they are %s, and without one it is the gateway", word, suggest.Mean(word, verbs), strings.Join(verbs, ", "))
}

// Run runs a verb of this package, which args begin with, and returns the exit code.
func Run(ctx context.Context, args []string, s Streams) int {
	var g grammar
	helped := false
	parser, err := newParser(&g, s, func(int) { helped = true })
	if err != nil {
		return s.fail(err)
	}
	parsed, err := parser.Parse(args)
	switch {
	case helped:
		return ExitDone
	case err != nil:
		return s.fail(usage(parser, err))
	}
	words := append(strings.Fields(parsed.Command()), "")
	switch verb := words[1]; words[0] {
	case "submit":
		err = g.Submit.run(ctx, &s)
	case "follow":
		err = g.Follow.run(ctx, &s)
	case "requests":
		err = g.Requests.run(ctx, &s, verb)
	case "dead":
		err = g.Dead.run(ctx, &s, verb)
	case "webhooks":
		err = g.Webhooks.run(ctx, &s, verb)
	case "keys":
		err = g.Keys.run(&s, verb)
	case "version":
		err = g.Version.run(&s)
	default:
		err = g.Completion.run(&s)
	}
	return s.fail(err)
}

func newParser(g *grammar, s Streams, exit func(int)) (*kong.Kong, error) {
	return kong.New(g, kong.Name("hark"), kong.Writers(s.Out, s.Out), kong.Exit(exit),
		kong.Description("Hark, a real-time push gateway for asynchronous requests."))
}

// usageError is what is wrong with the arguments.
type usageError struct{ error }

// Usage marks an error as one of the arguments, which ends with [ExitUsage].
func Usage(err error) error { return usageError{err} }

// usage is an error of kong's, with the flag or the verb that was meant.
func usage(parser *kong.Kong, err error) error {
	word := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "unknown flag "), "unexpected argument ")
	if word == err.Error() || strings.Contains(word, "did you mean") {
		return usageError{err}
	}
	var known []string
	_ = kong.Visit(parser.Model, func(node kong.Visitable, next kong.Next) error {
		switch n := node.(type) {
		case *kong.Flag:
			known = append(known, "--"+n.Name)
		case *kong.Command:
			known = append(known, n.Name)
		}
		return next(nil)
	})
	word, _, _ = strings.Cut(word, ",")
	return usageError{fmt.Errorf("%w%s", err, suggest.Mean(word, known))}
}

// endedError is the end of a request that is no success.
type endedError struct{ status, why string }

func (e *endedError) Error() string {
	if e.why == "" {
		return "the request is " + e.status
	}
	return "the request is " + e.status + ": " + e.why
}

// fail says what went wrong, and returns how that ends.
func (s Streams) fail(err error) int {
	if err == nil {
		return ExitDone
	}
	if err != context.Canceled { //nolint:errorlint // there is nothing to say beside it
		_, _ = fmt.Fprintln(s.Err, "hark:", plain(err.Error()))
	}
	return CodeOf(err)
}

// CodeOf returns how a verb ends that met an error.
func CodeOf(err error) int {
	if err == nil {
		return ExitDone
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return ExitUsage
	}
	if _, ok := errors.AsType[*settings.Error](err); ok {
		return ExitUsage
	}
	if _, ok := errors.AsType[*endedError](err); ok {
		return ExitEnded
	}
	if _, ok := errors.AsType[*unreachableError](err); ok {
		return ExitUnreachable
	}
	if _, ok := errors.AsType[*endlessError](err); ok {
		return ExitUnreachable
	}
	if errors.Is(err, context.Canceled) {
		return ExitInterrupted
	}
	return ExitFailed
}
