// Package config reads how the gateway is to run: flags, their HARK_* twins in the environment, and
// a file, a folder or a URL, in this order of precedence; and it follows the last, see [Follow].
package config

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"gopkg.in/yaml.v3"

	"github.com/hark-push/hark/backends"
	"github.com/hark-push/hark/broker/rabbitmq"
	"github.com/hark-push/hark/gateway/budget"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/lifecycle/suggest"
	"github.com/hark-push/hark/processor/samples"
	"github.com/hark-push/hark/settings"
)

// Config is the gateway's configuration. Durations are written like "30s" or "1h30m".
type Config struct {
	Listen  string   `env:"HARK_LISTEN" default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Address to listen on. Without keys only loopback is allowed, unless --insecure."`
	TLSCert string   `env:"HARK_TLS_CERT" name:"tls-cert" placeholder:"FILE" help:"Serve TLS with the certificate in this PEM file. It is read again when it has changed."`
	TLSKey  string   `env:"HARK_TLS_KEY" name:"tls-key" placeholder:"FILE" help:"PEM file of its key."`
	Data    string   `env:"HARK_DATA" default:"./data" placeholder:"DIR" help:"Folder of the embedded store."`
	Routes  []string `env:"HARK_ROUTES" default:"default,images,fetch,sleep" placeholder:"NAME,…" help:"Routes that requests may take; each has a work queue of its own."`
	Samples bool     `env:"HARK_SAMPLES" default:"true" negatable:"" help:"Run the sample processors inside, for those of the routes images, fetch, sleep and echo that exist."`

	backends.Options `embed:""`
	Requeue          time.Duration `env:"HARK_REQUEUE" default:"1m" help:"Age at which a request that still waits is handed to RabbitMQ again, in case it was lost on the way there, or to the queue in Redis, in case it was put aside."`

	CallbackExchange string `env:"HARK_CALLBACK_EXCHANGE" placeholder:"NAME" help:"Topic exchange of RabbitMQ to which every event is published as well. Goes with --amqp."`
	CallbackRouting  string `env:"HARK_CALLBACK_ROUTING" default:"{topic}" placeholder:"KEY" help:"Routing key of the events there, in which {topic}, {route}, {type} and {id} are those of the event."`
	CallbackBacklog  int    `env:"HARK_CALLBACK_BACKLOG" default:"100000" placeholder:"EVENTS" help:"Events that wait in Redis for that exchange at most; beyond it the oldest are dropped."`

	Keys          string        `env:"HARK_KEYS" placeholder:"FILE" help:"YAML file of API keys, see --new-key. It is read again when it has changed; keys that are gone are revoked."`
	NewKey        string        `placeholder:"SUBJECT[:ROLE,…]" help:"Print a new API key and its entry for the file of --keys, and end. Roles are client (default), processor and admin."`
	JWTSecret     string        `env:"HARK_JWT_SECRET" name:"jwt-secret" placeholder:"SECRET" help:"Take JSON Web Tokens that are signed with this secret (HS256, HS384, HS512). Better in the environment or the file than here."`
	JWTKeys       string        `env:"HARK_JWT_KEYS" name:"jwt-keys" placeholder:"FILE" help:"Take those that are signed with one of the public keys or certificates in this PEM file (RS, PS, ES, EdDSA)."`
	JWKSURL       string        `env:"HARK_JWKS_URL" name:"jwks-url" placeholder:"URL" help:"Take those that are signed with one of the public keys at this URL, a JSON Web Key Set."`
	JWTIssuer     string        `env:"HARK_JWT_ISSUER" name:"jwt-issuer" placeholder:"NAME" help:"Issuer that tokens must name."`
	JWTAudience   string        `env:"HARK_JWT_AUDIENCE" name:"jwt-audience" placeholder:"NAME" help:"Audience that tokens must name."`
	JWTRoles      string        `env:"HARK_JWT_ROLES" name:"jwt-roles" default:"roles" placeholder:"CLAIM" help:"Claim of tokens that holds the roles: its name, like roles or https://example.com/roles, or the way to it, like realm_access.roles. Without the claim a token is a client's."`
	JWTRequireExp bool          `env:"HARK_JWT_REQUIRE_EXP" name:"jwt-require-exp" help:"Refuse tokens that do not say when they expire (claim exp)."`
	TicketLife    time.Duration `env:"HARK_TICKET_LIFE" default:"5m" help:"How long a ticket for one request lets its holder begin to follow it. Who has begun may come back with it."`

	Insecure bool     `env:"HARK_INSECURE" help:"Listen beyond loopback although everybody may do everything, because there are no keys."`
	Origins  []string `env:"HARK_ORIGINS" placeholder:"ORIGIN,…" help:"Other origins whose pages may call, like https://app.example."`

	ForwardHeaders []string `env:"HARK_FORWARD_HEADERS" placeholder:"NAME,…" help:"Header fields of a submission that processors see beside those that are always passed on, like X-Tenant. None that proves who the caller is."`

	PublicURL      string   `env:"HARK_PUBLIC_URL" name:"public-url" placeholder:"URL" help:"How clients reach the gateways, like https://push.example.org; Location fields are absolute then."`
	TrustedProxies []string `env:"HARK_TRUSTED_PROXIES" placeholder:"CIDR,…" help:"Networks of proxies that are believed when they say how clients reach the gateways (X-Forwarded-Proto, X-Forwarded-Host, Forwarded)."`

	WebhookAllowCIDRs   []string      `env:"HARK_WEBHOOK_ALLOW_CIDRS" name:"webhook-allow-cidrs" placeholder:"CIDR,…" help:"Networks that webhooks may reach although they are not public, like 10.0.0.0/8."`
	WebhookAllowHTTP    bool          `env:"HARK_WEBHOOK_ALLOW_HTTP" name:"webhook-allow-http" help:"Let webhook URLs begin with http://."`
	WebhookKey          string        `env:"HARK_WEBHOOK_KEY" placeholder:"BASE64" help:"32 bytes in base64 that seal webhook secrets in the store. All nodes need the same."`
	WebhookChallenge    string        `env:"HARK_WEBHOOK_CHALLENGE" default:"none" placeholder:"NAME" help:"How every webhook endpoint has to prove that it may be used: none, handshake or echo."`
	WebhookOrigin       string        `env:"HARK_WEBHOOK_ORIGIN" default:"hark" placeholder:"NAME" help:"Name that the handshake says deliveries come from, like hooks.example.org."`
	WebhookDisableAfter time.Duration `env:"HARK_WEBHOOK_DISABLE_AFTER" default:"120h" help:"How long every attempt to reach a webhook endpoint may fail before it is disabled."`
	WebhookSlots        int           `env:"HARK_WEBHOOK_SLOTS" default:"1024" help:"Webhook deliveries that this node sends at the same time."`
	WebhookCA           string        `env:"HARK_WEBHOOK_CA" name:"webhook-ca" placeholder:"FILE" help:"PEM file of certificate authorities of webhook endpoints, beside the system's."`
	WebhookCert         string        `env:"HARK_WEBHOOK_CERT" placeholder:"FILE" help:"PEM file of the client certificate for webhook endpoints that ask for one."`
	WebhookCertKey      string        `env:"HARK_WEBHOOK_CERT_KEY" placeholder:"FILE" help:"PEM file of its key."`

	MaxBody      int           `env:"HARK_MAX_BODY" default:"33554432" placeholder:"BYTES" help:"Largest body of a request or a result."`
	BodyBudget   int           `env:"HARK_BODY_BUDGET" default:"0" placeholder:"BYTES" help:"Memory for the bodies of all calls together that are not whole and stored yet; half of it at most for one caller, and for one address. 0: three times --max-body, 32 MiB at least."`
	BodyStall    time.Duration `env:"HARK_BODY_STALL" default:"1m" help:"How long a body may stand still, and the stretch in which it has to come with a KiB a second; else the call is answered with 408."`
	MaxWait      time.Duration `env:"HARK_MAX_WAIT" default:"30s" help:"Longest that a call waits for the end of its request, or for work."`
	MaxChunk     int           `env:"HARK_MAX_CHUNK" default:"1048576" placeholder:"BYTES" help:"Largest body that is appended to a stream at once."`
	MaxOutput    int64         `env:"HARK_MAX_OUTPUT" default:"67108864" placeholder:"BYTES" help:"Bytes that a stream may have."`
	LongPoll     time.Duration `env:"HARK_LONG_POLL" default:"25s" help:"How long a long poll of a stream waits for something."`
	Async        bool          `env:"HARK_ASYNC" help:"Answer 202 at once also without Prefer: respond-async."`
	IDHeader     string        `env:"HARK_ID_HEADER" name:"id-header" placeholder:"NAME" help:"Header field whose value is the id of a request or a batch that is submitted without one, like X-Request-Id."`
	Timeout      time.Duration `env:"HARK_TIMEOUT" default:"1h" help:"Time after which a request expires, if it does not say."`
	Retention    time.Duration `env:"HARK_RETENTION" default:"24h" help:"How long a request is kept after its end, if it does not say."`
	MaxRetention time.Duration `env:"HARK_MAX_RETENTION" default:"168h" help:"Longest retention that a request may ask for."`
	Attempts     int           `env:"HARK_ATTEMPTS" default:"3" help:"Number of attempts, if a request does not say."`
	Concurrency  int           `env:"HARK_CONCURRENCY" default:"8" help:"Requests that each sample processor works on at the same time."`

	// Of many nodes all need the same: a request is limited as the gateway says that takes it.
	RouteConcurrency []string `env:"HARK_ROUTE_CONCURRENCY" placeholder:"ROUTE=N,…" help:"How many requests of a route are worked on at the same time, at all nodes together, like images=4. Default: any number."`
	KeyConcurrency   []string `env:"HARK_KEY_CONCURRENCY" placeholder:"ROUTE=N,…" help:"How many requests of a route with the same concurrencyKey are worked on at the same time at most, and if they do not say. Default: 1 if they do not say."`

	samples.Flags `embed:""`

	MaxConnections int     `env:"HARK_MAX_CONNECTIONS" default:"0" help:"Push connections of this node at most; those beyond are told to come back later. 0: as many as the limit of open files allows."`
	ConnectRate    float64 `env:"HARK_CONNECT_RATE" default:"0" help:"New push connections per second at most; 0: any number."`
	Subscriptions  int     `env:"HARK_SUBSCRIPTIONS" default:"1000" help:"Subscriptions of one WebSocket connection at most."`
	MaxMessage     int     `env:"HARK_MAX_MESSAGE" default:"32768" placeholder:"BYTES" help:"Longest message that a WebSocket client may send."`
	MaxCalls       int     `env:"HARK_MAX_CALLS" default:"10000" help:"Calls under way at most, those that wait included; others are answered with 503."`

	Shares `embed:""`

	Heartbeat time.Duration `env:"HARK_HEARTBEAT" default:"25s" help:"Between two signs of life on an idle stream."`
	Retry     time.Duration `env:"HARK_RETRY" default:"2s" help:"How long a client is told to wait before it reconnects, give or take a third."`
	Drain     time.Duration `env:"HARK_DRAIN" default:"10s" help:"Window over which the streams are closed at shutdown."`
	Traces    string        `env:"HARK_TRACES" placeholder:"URL" help:"Send OpenTelemetry traces to this OTLP collector, like http://127.0.0.1:4318. OTEL_EXPORTER_OTLP_ENDPOINT does too; other variables of OpenTelemetry hold, like OTEL_EXPORTER_OTLP_PROTOCOL (http/protobuf, http/json, grpc) and OTEL_TRACES_SAMPLER."`
	Metrics   bool          `env:"HARK_METRICS" hidden:"" default:"true" negatable:"" help:"Count for /metrics what is not counted anyway; to see what that costs."`
	Debug     string        `env:"HARK_DEBUG" placeholder:"HOST:PORT" help:"Serve profiles (net/http/pprof) on this address, which must be loopback."`

	File           string        `env:"HARK_CONFIG" name:"config" short:"c" placeholder:"FILE" help:"YAML file with the same keys as the flags, without the dashes in front; or a folder of such files, or a URL of one. It is read again when it has changed, and what can be taken without a restart is."`
	ConfigInterval time.Duration `env:"HARK_CONFIG_INTERVAL" default:"30s" help:"How often a URL of --config is read again, give or take a fifth."`
	ConfigCopy     string        `env:"HARK_CONFIG_COPY" placeholder:"FILE" help:"Keep a copy there of what was read from the URL of --config, and start from it if that does not answer."`

	// FromCopy is why the settings were taken from ConfigCopy; nil if they were not.
	FromCopy error `kong:"-"`
}

// ErrHelp: help was asked for and printed; there is nothing to run.
var ErrHelp = errors.New("help was printed")

// Error is a value that is not allowed.
type Error = settings.Error

// Verbs are what the program does besides being a gateway.
var Verbs = []string{
	"worker", "store", "submit", "follow", "requests", "dead", "webhooks", "keys", "config", "doctor", "version", "completion",
}

// Parse reads the configuration from arguments, the environment, and the file, the folder or the
// URL that they name. Help goes to out.
func Parse(args []string, out io.Writer) (Config, error) {
	if err := errors.Join(settings.Check[Config](os.Environ()), checkArguments(args)); err != nil {
		return Config{}, err
	}
	s, err := openSource(args)
	if err != nil {
		return Config{}, err
	}
	var why error // the copy stands in
	if s != nil {
		if why, err = s.open(context.Background()); err != nil {
			return Config{}, err
		}
	}
	c, err := parseFrom(args, out, s)
	if err == nil && s != nil && why == nil {
		if err := s.keep(); err != nil {
			return c, settings.NotAllowed("config-copy", s.copy, "a file that can be written: "+err.Error())
		}
	}
	c.FromCopy = why
	return c, err
}

// parseFrom is Parse with a source that was read, or nil.
func parseFrom(args []string, out io.Writer, s *source) (Config, error) {
	c, _, _, err := read(args, out, s)
	if err != nil {
		return c, err
	}
	return c, c.check()
}

// read is parseFrom that takes values which are not allowed. Options go behind its own.
func read(args []string, out io.Writer, s *source, more ...kong.Option) (c Config, parsed *kong.Context, files *fileResolver, err error) {
	helped := false
	options := []kong.Option{
		kong.Name("hark"),
		kong.Description("Hark, a real-time push gateway for asynchronous requests. Without a verb it is the gateway. " +
			"Verbs: " + strings.Join(Verbs, ", ") + "; each has --help."),
		kong.Writers(out, out),
		kong.Exit(func(int) { helped = true }),
	}
	if s != nil {
		if files, err = s.resolver(); err != nil {
			return c, nil, nil, err
		}
		options = append(options, kong.Resolvers(files))
	}
	parser, err := kong.New(&c, append(options, more...)...)
	if err != nil {
		return c, nil, nil, err
	}
	parsed, err = parser.Parse(args)
	if helped {
		return c, nil, nil, ErrHelp
	}
	return c, parsed, files, err
}

// checkArguments refuses a flag whose value is empty, as a variable of a shell that is not set
// leaves it.
func checkArguments(args []string) error {
	for i, arg := range args {
		name, value, given := strings.Cut(arg, "=")
		if arg == "--" {
			break
		}
		if strings.HasPrefix(arg, "-") && (given && strings.TrimSpace(value) == "" || !given && i+1 < len(args) && strings.TrimSpace(args[i+1]) == "") {
			return fmt.Errorf("%s is given but empty: leave it out if nothing is meant by it, or give it a value", name)
		}
	}
	return nil
}

// readSettings reads a file of settings.
func readSettings(path string, text []byte) (map[string]yaml.Node, error) {
	values := make(map[string]yaml.Node)
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(&values); err != nil && !errors.Is(err, io.EOF) {
		// The words of YAML's error are of Go.
		if wrong, ok := errors.AsType[*yaml.TypeError](err); ok && strings.Contains(wrong.Errors[0], "cannot unmarshal") {
			return nil, settings.NotAllowed("config", path, "keys with values, like `listen: 127.0.0.1:8080`")
		}
		return nil, settings.NotAllowed("config", path, "valid YAML: "+err.Error())
	}
	// A further document would be passed over.
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, settings.NotAllowed("config", path, "one YAML document with all keys in it, and nothing behind it")
	}
	return values, nil
}

// fileResolver gives kong the values of the files.
type fileResolver struct {
	from   map[string]string // the file of each key
	values map[string]yaml.Node
}

// Validate refuses keys that no flag has, so that a typing error does not pass as
// a default.
func (r *fileResolver) Validate(app *kong.Application) error {
	var known []string
	for _, flag := range app.Flags {
		if !slices.Contains([]string{"help", "config", "config-copy", "new-key"}, flag.Name) {
			// Those are asked for before the file is, or once.
			known = append(known, flag.Name)
		}
	}
	slices.Sort(known)
	for _, key := range slices.Sorted(maps.Keys(r.values)) {
		if !slices.Contains(known, key) {
			return settings.NotAllowed("config", key, "one of the keys that flags have, without the dashes"+suggest.Mean(key, known)+"; they are "+strings.Join(known, ", "))
		}
	}
	return nil
}

// Resolve implements [kong.Resolver].
func (r *fileResolver) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, name := range flag.Envs { // kong asks resolvers last; the environment ranks higher
		if _, ok := os.LookupEnv(name); ok {
			return nil, nil //nolint:nilnil // kong's way to say: not here
		}
	}
	node, given := r.values[flag.Name]
	if !given {
		return nil, nil //nolint:nilnil // kong's way to say: not here
	}
	items := []*yaml.Node{plain(&node)}
	if items[0].Kind == yaml.SequenceNode {
		items = items[0].Content
	}
	texts := make([]string, len(items))
	for i, item := range items {
		item = plain(item)
		switch {
		case item.Kind != yaml.ScalarNode:
			return nil, settings.NotAllowed(flag.Name, fmt.Sprintf("(line %d)", item.Line), "a plain value or a list")
		case item.ShortTag() == "!!null" || strings.TrimSpace(item.Value) == "":
			return nil, fmt.Errorf("%s: %s in line %d is there but empty: take the line out if nothing is meant by it, or give it a value", r.from[flag.Name], flag.Name, item.Line)
		}
		// As it stands there: what YAML makes a number of may be a secret or a name.
		texts[i] = item.Value
	}
	if len(texts) == 0 {
		return nil, fmt.Errorf("%s: %s in line %d is an empty list: take the line out if nothing is meant by it, or give it a value", r.from[flag.Name], flag.Name, node.Line)
	}
	return strings.Join(texts, ","), nil
}

// plain returns what an alias stands for.
func plain(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func (c *Config) check() error {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil || port == "" {
		return settings.NotAllowed("listen", c.Listen, "HOST:PORT")
	}
	if !c.Insecure && !c.Keyed() && !Loopback(host) {
		return settings.NotAllowed("listen", c.Listen, "a loopback address, because without --keys or tokens everybody may do everything (or --insecure)")
	}
	if err := c.checkAuth(); err != nil {
		return err
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return settings.NotAllowed("tls-cert", c.TLSCert, "both --tls-cert and --tls-key, or neither")
	}
	if c.Debug != "" {
		if host, _, err := net.SplitHostPort(c.Debug); err != nil || !Loopback(host) {
			return settings.NotAllowed("debug", c.Debug, "HOST:PORT of a loopback address")
		}
	}
	if c.Traces != "" {
		if u, err := url.Parse(c.Traces); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return settings.NotAllowed("traces", c.Traces, "a URL like http://127.0.0.1:4318")
		}
	}
	if err := c.Check(); err != nil {
		return err
	}
	if c.CallbackExchange != "" && c.AMQP == "" {
		return settings.NotAllowed("callback-exchange", c.CallbackExchange, "--redis and --amqp beside it, or nothing: events are published through RabbitMQ")
	}
	if c.CallbackExchange != "" && !rabbitmq.ValidExchange(c.CallbackExchange) {
		return settings.NotAllowed("callback-exchange", c.CallbackExchange, rabbitmq.ExchangeNames)
	}
	if err := backends.CallbackKey(c.CallbackRouting).Check(); err != nil {
		return settings.NotAllowed("callback-routing", c.CallbackRouting, "a routing key like {topic} or hark.{route}.{type}: "+err.Error())
	}
	if c.CallbackRouting != "{topic}" && c.CallbackExchange == "" {
		return settings.NotAllowed("callback-routing", c.CallbackRouting, "--callback-exchange beside it: it is the key of events there")
	}
	if len(c.Routes) == 0 {
		return settings.NotAllowed("routes", "", "at least one name")
	}
	for _, route := range c.Routes {
		if !lifecycle.ValidRoute(route) {
			return settings.NotAllowed("routes", cmp.Or(route, strings.Join(c.Routes, ",")), "names of 1 to 64 of the characters A-Z a-z 0-9 . _ -")
		}
	}
	if err := c.checkConcurrency(); err != nil {
		return err
	}
	if err := c.CheckRoutes(c.Routes); err != nil {
		return err
	}
	for _, origin := range c.Origins {
		scheme, rest, ok := strings.Cut(origin, "://")
		if !ok || (scheme != "http" && scheme != "https") || rest == "" || strings.ContainsAny(rest, "/*") {
			return settings.NotAllowed("origins", origin, "scheme://host or scheme://host:port")
		}
	}
	if err := c.checkForwardHeaders(); err != nil {
		return err
	}
	if _, err := c.Parse(); err != nil {
		return err
	}
	if c.IDHeader != "" && (!idHeader.MatchString(c.IDHeader) || strings.HasPrefix(strings.ToLower(c.IDHeader), "x-forwarded-")) {
		return settings.NotAllowed("id-header", c.IDHeader, "X-Request-Id, X-Correlation-Id, or a field of your own that begins with X-")
	}
	if err := c.checkAddress(); err != nil {
		return err
	}
	if err := c.checkWebhooks(); err != nil {
		return err
	}
	least := int(budget.For(int64(c.MaxBody))) // so that everybody has room for the largest one
	if err := cmp.Or(
		settings.Between("max-body", c.MaxBody, 1024, 1<<30),
		settings.Between("body-budget", cmp.Or(c.BodyBudget, least), least, 1<<40),
		settings.Between("attempts", c.Attempts, 1, 20),
		settings.Between("concurrency", c.Concurrency, 1, 10000),
		settings.Between("webhook-slots", c.WebhookSlots, 1, 10000),
		settings.Between("max-connections", c.MaxConnections, 0, 10_000_000),
		settings.Between("subscriptions", c.Subscriptions, 1, 1_000_000),
		settings.Between("max-message", c.MaxMessage, 256, 16<<20),
		settings.Between("max-calls", c.MaxCalls, 1, 10_000_000),
		settings.Between("callback-backlog", c.CallbackBacklog, 1000, 1_000_000_000),
		settings.Between("body-stall", c.BodyStall, time.Second, time.Hour),
		settings.Between("max-wait", c.MaxWait, 0, 10*time.Minute),
		settings.Between("max-chunk", c.MaxChunk, 1, 1<<30),
		settings.Between("max-output", c.MaxOutput, 1, 1<<40),
		settings.Between("long-poll", c.LongPoll, 100*time.Millisecond, 10*time.Minute),
		settings.Between("timeout", c.Timeout, time.Millisecond, c.MaxTimeout),
		settings.Between("max-retention", c.MaxRetention, time.Second, 365*24*time.Hour),
		settings.Between("retention", c.Retention, time.Millisecond, c.MaxRetention),
		settings.Between("requeue", c.Requeue, 100*time.Millisecond, 24*time.Hour),
		settings.Between("webhook-disable-after", c.WebhookDisableAfter, time.Second, 365*24*time.Hour),
		settings.Between("ticket-life", c.TicketLife, time.Second, 24*time.Hour),
		settings.Between("heartbeat", c.Heartbeat, time.Second, 10*time.Minute),
		settings.Between("retry", c.Retry, 10*time.Millisecond, 10*time.Minute),
		settings.Between("drain", c.Drain, 0, time.Hour),
		settings.Between("connect-rate", c.ConnectRate, 0, 1e6),
		settings.Between("config-interval", c.ConfigInterval, time.Second, 24*time.Hour),
		c.Shares.check(),
	); err != nil {
		return err
	}
	return nil
}

// idHeader are names of fields that mean nothing else here, but for X-Forwarded-….
var idHeader = regexp.MustCompile(`^(?i)X-[A-Z0-9-]{1,60}$`)

// Loopback reports whether only this machine reaches a host.
func Loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
