package config

import (
	"cmp"

	"github.com/hark-push/hark/settings"
)

// Shares are what one caller, and one address, may take of what there is for all, so that nobody
// takes everybody's place. An address is that of the client where a trusted proxy tells it, and of
// IPv6 a /64. Where 0 stands for a part of something that is 0 itself, there is no limit.
type Shares struct {
	MaxHTTP           int `env:"HARK_MAX_HTTP" name:"max-http" default:"0" help:"Connections of this node at most that are no streams; where there is no room, the one that has been idle for longest is closed. 0: half of what the limit of open files allows."`
	MaxHTTPPerAddress int `env:"HARK_MAX_HTTP_PER_ADDRESS" name:"max-http-per-address" default:"0" help:"Of these from one address at most. Trusted proxies have no such limit. 0: half of them."`

	MaxPerCaller          int     `env:"HARK_MAX_PER_CALLER" default:"0" help:"Push connections of one caller to this node at most. 0: half of all, and without keys any number."`
	MaxPerAddress         int     `env:"HARK_MAX_PER_ADDRESS" default:"0" help:"Push connections from one address to this node at most. 0: three quarters of all."`
	MaxUnproven           int     `env:"HARK_MAX_UNPROVEN" default:"0" help:"WebSockets at most that have not yet said who they are. 0: an eighth of all push connections."`
	MaxUnprovenPerAddress int     `env:"HARK_MAX_UNPROVEN_PER_ADDRESS" default:"0" help:"Of these from one address at most. 0: a quarter of them."`
	ConnectRatePerCaller  float64 `env:"HARK_CONNECT_RATE_PER_CALLER" default:"0" help:"New push connections per second of one caller at most. 0: half of --connect-rate, and without keys any number."`
	ConnectRatePerAddress float64 `env:"HARK_CONNECT_RATE_PER_ADDRESS" default:"0" help:"New push connections per second from one address at most. 0: three quarters of --connect-rate."`

	MaxCallsPerCaller  int `env:"HARK_MAX_CALLS_PER_CALLER" default:"0" help:"Calls of one caller under way at this node at most, those that wait included. 0: half of --max-calls, and without keys any number."`
	MaxCallsPerAddress int `env:"HARK_MAX_CALLS_PER_ADDRESS" default:"0" help:"Calls from one address under way at this node at most. 0: three quarters of --max-calls."`

	MaxOpenPerCaller      int   `env:"HARK_MAX_OPEN_PER_CALLER" default:"1000000" placeholder:"REQUESTS" help:"Requests of one caller at most that have not ended, those of batches included, at all nodes together. 0: any number."`
	MaxWaitingPerRoute    int   `env:"HARK_MAX_WAITING_PER_ROUTE" default:"2000000" placeholder:"REQUESTS" help:"Requests at most that wait on a route for a processor, those of all callers at all nodes together; others are answered with 503. 0: any number."`
	MaxWaitingPerCaller   int   `env:"HARK_MAX_WAITING_PER_CALLER" default:"0" placeholder:"REQUESTS" help:"Requests of one caller at most that wait for a processor, those of batches included, at all nodes together; others are answered with 429. Of what was submitted without such a limit none are counted. 0: any number."`
	MaxStoredPerCaller    int64 `env:"HARK_MAX_STORED_PER_CALLER" default:"17179869184" placeholder:"BYTES" help:"Bytes of contents and results that are kept for one caller at most, at all nodes together; beyond them nothing new is taken. 0: any number."`
	MaxEndpointsPerCaller int   `env:"HARK_MAX_ENDPOINTS_PER_CALLER" default:"2000" placeholder:"ENDPOINTS" help:"Webhook endpoints of one caller at most, those for one request alone not counted. 0: any number."`
	MaxOneOffsPerCaller   int   `env:"HARK_MAX_ONE_OFFS_PER_CALLER" default:"1000000" placeholder:"ENDPOINTS" help:"Webhook endpoints for one request alone of one caller at most; they are kept for --webhook-retention after they were named last. 0: any number."`
	MaxBatch              int   `env:"HARK_MAX_BATCH" default:"1000" placeholder:"REQUESTS" help:"Requests of one batch at most."`

	RateLimitFields bool `env:"HARK_RATELIMIT_FIELDS" name:"ratelimit-fields" help:"Say in the fields RateLimit and RateLimit-Policy of answers how much of its share a caller has left."`
}

func (s *Shares) check() error {
	const most = 10_000_000
	return cmp.Or(
		settings.Between("max-http", s.MaxHTTP, 0, most),
		settings.Between("max-http-per-address", s.MaxHTTPPerAddress, 0, most),
		settings.Between("max-per-caller", s.MaxPerCaller, 0, most),
		settings.Between("max-per-address", s.MaxPerAddress, 0, most),
		settings.Between("max-unproven", s.MaxUnproven, 0, most),
		settings.Between("max-unproven-per-address", s.MaxUnprovenPerAddress, 0, most),
		settings.Between("max-calls-per-caller", s.MaxCallsPerCaller, 0, most),
		settings.Between("max-calls-per-address", s.MaxCallsPerAddress, 0, most),
		settings.Between("max-open-per-caller", s.MaxOpenPerCaller, 0, 1_000_000_000),
		settings.Between("max-waiting-per-caller", s.MaxWaitingPerCaller, 0, 1_000_000_000),
		settings.Between("max-waiting-per-route", s.MaxWaitingPerRoute, 0, 1_000_000_000),
		settings.Between("max-endpoints-per-caller", s.MaxEndpointsPerCaller, 0, most),
		settings.Between("max-one-offs-per-caller", s.MaxOneOffsPerCaller, 0, most),
		settings.Between("max-batch", s.MaxBatch, 1, 1000),
		settings.Between("max-stored-per-caller", s.MaxStoredPerCaller, 0, 1<<50),
		settings.Between("connect-rate-per-caller", s.ConnectRatePerCaller, 0, 1e6),
		settings.Between("connect-rate-per-address", s.ConnectRatePerAddress, 0, 1e6),
	)
}
