package backends

import (
	"cmp"
	"io"
	"log/slog"
	"strconv"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/logs"
	"github.com/hark-push/hark/settings"
)

// Options name the servers behind gateways and workers, and say how long what is stored there is
// kept. All processes that share a store need the same. They are flags and variables of both
// programs, by their tags, which are those of github.com/alecthomas/kong.
type Options struct {
	Redis      string `env:"HARK_REDIS" placeholder:"URL" help:"Redis that holds the state of many nodes, like redis://host:6379/0."`
	AMQP       string `env:"HARK_AMQP" name:"amqp" placeholder:"URL" help:"RabbitMQ that carries the work of many nodes, like amqp://host:5672/. Goes with --redis; without it Redis carries the work, too. Gateways and workers need the same."`
	Prefix     string `env:"HARK_PREFIX" default:"hark" help:"Begins the name of every key in Redis and every queue in RabbitMQ. Gateways and workers need the same."`
	Partitions int    `env:"HARK_PARTITIONS" default:"1" help:"Partitions of the keys in Redis: 1 on a single server, more on a Cluster. It cannot be changed later. Gateways and workers need the same."`

	Targets `embed:""`

	History     int `env:"HARK_HISTORY" default:"256" placeholder:"EVENTS" help:"Events that are kept of each request, for those who come back. Up to an eighth more may be there. Gateways and workers need the same."`
	FeedHistory int `env:"HARK_FEED_HISTORY" default:"10000" placeholder:"EVENTS" help:"Events that are kept of each topic, and of all of one caller's requests. Gateways and workers need the same."`
	// FeedRetention bounds what feeds keep, too; what is younger goes with its request.
	FeedRetention    time.Duration `env:"HARK_FEED_RETENTION" default:"24h" help:"How long a topic, and what is kept of all of one caller's requests, has an event, unless its request goes before. Gateways and workers need the same."`
	WebhookRetention time.Duration `env:"HARK_WEBHOOK_RETENTION" default:"168h" help:"How long webhook deliveries are kept after their end. Gateways and workers need the same."`

	MaxTimeout time.Duration `env:"HARK_MAX_TIMEOUT" default:"24h" help:"Longest timeout that a request may ask for. Gateways and workers need the same."`
	RetryDelay time.Duration `env:"HARK_RETRY_DELAY" default:"1s" help:"Delay before the second attempt; doubled for each further one. Gateways and workers need the same."`

	LogLevel string `env:"HARK_LOG_LEVEL" default:"info" placeholder:"LEVELS" help:"debug, info, warn or error, and behind it others for some packages, like info,hub=debug,store=warn."`
}

// Check returns a [*settings.Error] if a value is not allowed.
func (o *Options) Check() error {
	if o.AMQP != "" && o.Redis == "" {
		return settings.NotAllowed("redis", "", "a URL like redis://host:6379/0, because --amqp is given: RabbitMQ carries the work of requests that Redis keeps; with neither this process keeps them itself")
	}
	if !lifecycle.ValidRoute(o.Prefix) {
		return settings.NotAllowed("prefix", o.Prefix, "1 to 64 of the characters A-Z a-z 0-9 . _ -")
	}
	if o.Redis == "" && o.Partitions != 1 {
		return settings.NotAllowed("partitions", strconv.Itoa(o.Partitions), "1, or --redis beside it: the embedded store has none")
	}
	if err := o.checkTargets(o.AMQP, o.Prefix); err != nil {
		return err
	}
	if _, err := logs.Parse(o.LogLevel); err != nil {
		return settings.NotAllowed("log-level", o.LogLevel, logs.Allowed+". "+err.Error())
	}
	const year = 365 * 24 * time.Hour
	return cmp.Or(
		settings.Between("partitions", o.Partitions, 1, 1024),
		settings.Between("history", o.History, 1, 1_000_000),
		settings.Between("feed-history", o.FeedHistory, 1, 100_000_000),
		settings.Between("feed-retention", o.FeedRetention, time.Second, year),
		settings.Between("webhook-retention", o.WebhookRetention, time.Second, year),
		settings.Between("max-timeout", o.MaxTimeout, time.Second, year),
		settings.Between("retry-delay", o.RetryDelay, time.Millisecond, time.Hour),
	)
}

// Levels are those of LogLevel, which was checked.
func (o *Options) Levels() logs.Levels {
	l, _ := logs.Parse(o.LogLevel)
	return l
}

// NewLogger returns the log of the program, and by what its levels change.
func (o *Options) NewLogger(w io.Writer) (*slog.Logger, *logs.Handler) {
	return logs.New(w, o.Levels())
}
