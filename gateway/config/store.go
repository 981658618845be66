package config

import (
	"context"
	"io"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/hark-push/hark/settings"
)

// Store is what `hark store` is to do with what a gateway has stored, which has to be stopped
// for it.
type Store struct {
	Data       string `env:"HARK_DATA" default:"./data" placeholder:"DIR" help:"Folder of the embedded store."`
	Redis      string `env:"HARK_REDIS" placeholder:"URL" help:"The store in this Redis instead, like redis://host:6379/0."`
	Prefix     string `env:"HARK_PREFIX" default:"hark" help:"Begins the name of every key in Redis."`
	Partitions int    `env:"HARK_PARTITIONS" default:"1" help:"Partitions of the keys in Redis, see the flag of the gateway."`
	Config     string `short:"c" env:"HARK_CONFIG" placeholder:"FILE" help:"YAML file, folder or URL, as the gateway has it."`

	Check struct{} `cmd:"" help:"Look at everything that is stored, and change nothing. Ends with 1 if something is damaged."`

	Export struct {
		File    string `arg:"" optional:"" default:"-" help:"File to write, with mode 0600, which must not be there yet; - for the standard output. Secrets of webhooks, and the key of tickets, are in it."`
		Salvage bool   `help:"Leave out what is damaged, and say what that is, instead of ending at it. The store is not changed."`
	} `cmd:"" help:"Write down all that is stored as JSON lines, for import into this kind of store or the other."`

	Import struct {
		File string `arg:"" optional:"" default:"-" help:"File to read; - for the standard input."`
	} `cmd:"" help:"Make a new store of an export. There must be none yet."`

	Compact struct{} `cmd:"" help:"Write the file of the embedded store anew, as small as it can be."`

	DiscardLog struct{} `cmd:"" help:"Go on with the file of the embedded store alone: what only its log has is lost. A log that is there is renamed."`

	// Command is the one that was given: check, export, import, compact or discard-log.
	Command string `kong:"-"`
}

// ParseStore reads the arguments behind `hark store`. Flags, variables and the file are those of
// [Parse], as far as they matter. ErrHelp means that help was written to out.
func ParseStore(args []string, out io.Writer) (Store, error) {
	var c Store
	helped := false
	options := []kong.Option{
		kong.Name("hark store"),
		kong.Description("Looks after what a gateway has stored. Stop the gateway first. Ends with 0 when it is done, with 1 if something is damaged or it " +
			"failed, with 2 for wrong arguments, with 3 if the store is in use."),
		kong.Writers(out, out),
		kong.Exit(func(int) { helped = true }),
	}
	source, err := openSource(args)
	if err != nil {
		return c, err
	}
	if source != nil {
		if _, err := source.open(context.Background()); err != nil {
			return c, err
		}
		file, err := source.resolver()
		if err != nil {
			return c, err
		}
		// It has keys that do not matter here.
		options = append(options, kong.Resolvers(kong.ResolverFunc(file.Resolve)))
	}
	parser, err := kong.New(&c, options...)
	if err != nil {
		return c, err
	}
	parsed, err := parser.Parse(args)
	if helped {
		return c, ErrHelp
	}
	if err != nil {
		return c, err
	}
	c.Command, _, _ = strings.Cut(parsed.Command(), " ")
	if c.Redis != "" && (c.Command == "compact" || c.Command == "discard-log") {
		return c, settings.NotAllowed("redis", "", "left out: this is about the file of the embedded store")
	}
	return c, nil
}
