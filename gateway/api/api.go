// Package api is what clients and processors see of Hark: the HTTP resources, and
// the doors to the push streams. It translates between the wire and the
// lifecycle; what a request may do is decided there.
package api

import (
	"context"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/cors"
	"github.com/valyala/fasthttp"
	"go.opentelemetry.io/otel/trace"

	"github.com/hark-push/hark/gateway/api/httpbody"
	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/gateway/budget"
	"github.com/hark-push/hark/gateway/lease"
	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/lifecycle/deadline"
	"github.com/hark-push/hark/lifecycle/stall"
	"github.com/hark-push/hark/stream"
	"github.com/hark-push/hark/webhook/dispatch"
)

// Options of the [API].
type Options struct {
	Service  *lifecycle.Service
	Hub      *hub.Hub
	Source   hub.Source // what the hub reads, for answers in one piece
	Routes   []string   // those that exist
	Webhooks *dispatch.Service
	Guard    *auth.Guard // tells who calls
	Leases   *lease.Leases
	Streams  stream.Store
	// Hosts, if not empty, are the host names under which browsers may reach
	// the gateway. An open gateway on loopback needs it: otherwise any web
	// page could reach it by letting its own name point there.
	Hosts []string
	// Origins are other origins whose pages may call, like "https://app.example".
	Origins []string
	// PublicURL, like "https://push.example.org", is how clients reach the gateway; "" if that is
	// not known.
	PublicURL string
	// TrustedProxies are the networks of proxies that are believed when they say how.
	TrustedProxies []netip.Prefix

	MaxBody  int    // bytes; 32 MiB
	MaxCalls int    // under way at a time, others are refused; 0: any number
	Shares   Shares // of these, what one caller and one address may have
	// Bytes of all unfinished bodies together; three times MaxBody, 32 MiB at least.
	BodyBudget   int64
	BodyStall    time.Duration // how long a body may stand still; 1 minute
	MaxBatch     int           // requests of a batch; 1000
	MaxWait      time.Duration // longest that a call waits for the end; 30 s
	MaxChunk     int           // bytes of one append to a stream; 1 MiB
	MaxOutput    int64         // bytes of a whole stream; 64 MiB
	LongPoll     time.Duration // how long a long poll of a stream waits; 25 s
	AsyncDefault bool          // answer 202 at once also without respond-async
	// Field whose value is the id of what is submitted without one; "": none is.
	IDHeader string

	// ForwardHeaders are fields of a submission that processors get beside the safe ones. None of
	// them may prove who the caller is.
	ForwardHeaders []string

	// Stall says for how long what has come to a connection is read although its time was over.
	// Nil: never.
	Stall *stall.Watch

	// By the clock that times of requests are of; default time.Now.
	Now   func() time.Time
	Ready func(context.Context) error // nil means always ready
	// Unserved returns those of the routes of which it is known that no processor works on them
	// now. nil: none is.
	Unserved func(routes ...string) []string
	// Elsewhere reports whether only others consume the work of a route, so that it cannot be
	// leased here. nil: none is.
	Elsewhere func(route string) bool
	// DeadMessages are what the queue has put aside; nil: it puts nothing aside.
	DeadMessages DeadMessages
	// Overview tells how the routes fare, and who is there; nil: nothing.
	Overview Overview
	// Pool returns what the processors of this process do, as it is answered in JSON. nil: nothing.
	Pool    func() any
	Metrics http.Handler // nil for none
	Meter   Meter        // is told of calls; nil: nobody is
	Tracer  trace.Tracer // nil: calls are not traced
	Demo    fs.FS        // the page at /, nil for none
	Logger  *slog.Logger
}

// API serves Hark's HTTP interface.
type API struct {
	Options
	log    *slog.Logger
	app    *fiber.App
	ctx    context.Context // ends when the server begins to drain: nobody waits any longer
	drain  context.CancelFunc
	routes map[string]bool
	fields map[string]bool     // of headers that are read, see exact.go
	takes  map[string][]string // by method and path: the options of the query
	calls  atomic.Int64        // under way
	bodies *httpbody.Bounds
	away   atomic.Bool // the store was when a stream was changed last

	callers   inFlight[string]
	addresses inFlight[netip.Addr]

	stored *deadline.Limit // of calls to the store and the queue
}

// New returns the API.
func New(o Options) *API {
	if o.MaxBody <= 0 {
		o.MaxBody = 32 << 20
	}
	if o.MaxBatch <= 0 {
		o.MaxBatch = maxBatch
	}
	if o.MaxWait <= 0 {
		o.MaxWait = 30 * time.Second
	}
	if o.MaxChunk <= 0 {
		o.MaxChunk = 1 << 20
	}
	o.MaxChunk = min(o.MaxChunk, o.MaxBody)
	if o.MaxOutput <= 0 {
		o.MaxOutput = 64 << 20
	}
	if o.LongPoll <= 0 {
		o.LongPoll = 25 * time.Second
	}
	if o.BodyBudget <= 0 {
		o.BodyBudget = max(32<<20, budget.For(int64(o.MaxBody)))
	}
	if o.BodyStall <= 0 {
		o.BodyStall = time.Minute
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	a := &API{Options: o, log: o.Logger, routes: make(map[string]bool, len(o.Routes)), takes: make(map[string][]string), stored: deadline.New(storeTime)}
	a.bodies = httpbody.NewBounds(o.BodyBudget, o.BodyStall)
	a.fields = fieldsReadWith(o.ForwardHeaders)
	a.callers.most, a.addresses.most = o.Shares.PerCaller, o.Shares.PerAddress
	for _, route := range o.Routes {
		a.routes[route] = true
	}
	a.ctx, a.drain = context.WithCancel(context.Background())
	a.app = fiber.New(fiber.Config{
		AppName: "hark",
		// /metrics/ is not /metrics, nor is /METRICS: a rule of a proxy would be walked around.
		StrictRouting:         true,
		CaseSensitive:         true,
		StreamRequestBody:     true,     // see package httpbody, which bounds it, too
		ReadBufferSize:        16 << 10, // bounds the header of a request
		DisableStartupMessage: true,
		DisableDefaultDate:    false,
		ErrorHandler:          a.fail,
		IdleTimeout:           2 * time.Minute,
		// Of the head of a request; see package httpbody for its body.
		ReadTimeout: httpbody.HeadTime,
		// A form is work like any other bytes: parsed, it would come out in another order, or be
		// refused.
		DisablePreParseMultipartForm: true,
	})
	server := a.app.Server()
	// The hub keeps the connections that it is handed.
	server.KeepHijackedConns = true
	a.route()
	handle := server.Handler
	server.Handler = func(ctx *fasthttp.RequestCtx) {
		// Fiber answers a method that it has no name for in plain text. No resource knows
		// that method, just as none knows TRACE, which gets the answer that this deserves.
		if !slices.Contains(fiber.DefaultMethods, string(ctx.Method())) {
			ctx.Request.Header.SetMethod(fiber.MethodTrace)
		}
		if a.Meter == nil {
			handle(ctx)
		} else {
			a.measured(ctx, handle)
		}
		// Many statuses may be cached by default (RFC 9110, section 15.1), also by a cache that
		// knows nothing of the fields that an answer goes by. So what says nothing of caches is for
		// none.
		if h := &ctx.Response.Header; len(h.Peek(fiber.HeaderCacheControl)) == 0 {
			h.Set(fiber.HeaderCacheControl, "no-store")
		}
		// A proxy that only copies bytes behind a handshake does not see that it was refused, nor
		// what its client sends then, which it may have to refuse.
		if string(ctx.Path()) == "/v1/ws" && !ctx.Hijacked() {
			ctx.SetConnectionClose()
		}
	}
	httpbody.SetUp(server)
	return a
}

// BodyBytes returns how much memory is reserved for bodies of calls and of answers, and how many
// wait for some.
func (a *API) BodyBytes() (bytes int64, waiting int) { return a.bodies.Budget.Used() }

// Serve answers the calls that come to a listener, until Shutdown.
func (a *API) Serve(l net.Listener) error {
	return a.app.Listener(httpbody.Listen(l, a.bodies, a.Stall))
}

// route is the table of all resources.
func (a *API) route() {
	app := a.app
	if a.Tracer != nil {
		app.Use(a.trace)
	}
	if len(a.Origins) > 0 {
		// First, so that a page can read why it was refused. An origin that the operator names may
		// send any header: what clients add (X-Requested-With, traceparent, a vendor's own) has no
		// end. Credentials are for what stands in front: Hark itself reads no cookie.
		app.Use(cors.New(cors.Config{
			AllowOrigins:     strings.Join(a.Origins, ","),
			AllowHeaders:     "", // those that the preflight asks for
			ExposeHeaders:    exposed,
			AllowMethods:     "GET,HEAD,POST,PUT,PATCH,DELETE",
			MaxAge:           600,
			AllowCredentials: true,
		}))
	}
	app.Use(a.limitCalls, a.recoverPanic, a.byAddress, a.exact, a.guardHost)

	client, processor := a.as(lifecycle.RoleClient, a.caller), a.as(lifecycle.RoleProcessor, a.caller)
	follower := a.as(lifecycle.RoleClient, a.follower)
	a.handle("POST", "/v1/requests", client, a.submit, slices.Concat(submissionOptions, []string{"webhook"}, pollOptions)...)
	a.handle("GET", "/v1/requests", client, a.list, "owner", "status", "route", "topic", "since", "until", "cursor", "limit")
	a.handle("GET", "/v1/requests/:id", client, a.get, pollOptions...)
	a.handle("DELETE", "/v1/requests/:id", client, a.forget)
	a.handle("GET", "/v1/requests/:id/result", client, a.result)
	a.handle("GET", "/v1/requests/:id/submission", client, a.submitted)
	a.handle("GET", "/v1/requests/:id/events", follower, of(a.requestChannel, a.events), append(eventOptions, "ticket")...)
	a.handle("GET", "/v1/requests/:id/history", follower, of(a.requestChannel, a.history), append(historyOptions, "ticket")...)
	a.handle("POST", "/v1/requests/:id/cancel", client, a.cancel)
	a.handle("POST", "/v1/requests/:id/input", client, a.input)
	a.handle("POST", "/v1/requests/:id/redrive", a.admins, a.redrive)
	a.handle("GET", "/v1/dead", a.admins, a.listDeadRoutes, "cursor", "limit")
	a.handle("GET", "/v1/dead/:route", a.admins, a.listDead, "before", "cursor", "limit")
	a.handle("DELETE", "/v1/dead/:route", a.admins, a.purgeDead, "before", "limit")
	a.handle("POST", "/v1/dead/:route/redrive", a.admins, a.redriveDead, "before", "limit")
	a.handle("GET", "/v1/dead/:route/messages", a.admins, a.listMessages, "limit")
	a.handle("DELETE", "/v1/dead/:route/messages", a.admins, a.purgeMessages)
	a.handle("POST", "/v1/dead/:route/messages/redrive", a.admins, a.redriveMessages)
	a.handle("GET", "/v1/routes", a.admins, a.listRoutes)
	a.handle("GET", "/v1/routes/:route", a.admins, a.getRoute)
	a.handle("GET", "/v1/nodes", a.admins, a.listNodes)
	a.handle("POST", "/v1/batches", client, a.submitBatch, pollOptions...)
	a.handle("GET", "/v1/batches/:id", client, a.getBatch, pollOptions...)
	a.handle("GET", "/v1/batches/:id/requests", client, a.batchRequests, "cursor", "limit")
	a.handle("GET", "/v1/topics/:topic/events", client, of(topicChannel, a.events), eventOptions...)
	a.handle("GET", "/v1/topics/:topic/history", client, of(topicChannel, a.history), historyOptions...)
	a.handle("GET", "/v1/events", client, of(a.ownerChannel, a.events), append(eventOptions, "owner")...)
	a.handle("GET", "/v1/history", client, of(a.ownerChannel, a.history), append(historyOptions, "owner")...)
	a.handle("GET", "/v1/ws", a.ownPages(unasked), a.socket, "channel", "after", "ticket", "form")
	for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
		// Each makes a request, whatever its method is called.
		a.handle(method, "/v1/call/:route", a.ownPages(client), a.call, anyOption)
		a.handle(method, "/v1/call/:route/*", a.ownPages(client), a.call, anyOption)
	}

	a.handle("POST", "/v1/webhooks", client, a.createEndpoint)
	a.handle("GET", "/v1/webhooks", client, a.listEndpoints, "owner", "cursor", "limit")
	a.handle("GET", "/v1/webhooks/public-key", client, a.publicKey)
	a.nothingElse("/v1/webhooks/public-key")
	a.handle("GET", "/v1/webhooks/:webhook", client, a.getEndpoint)
	a.handle("PATCH", "/v1/webhooks/:webhook", client, a.patchEndpoint)
	a.handle("DELETE", "/v1/webhooks/:webhook", client, a.deleteEndpoint)
	a.handle("POST", "/v1/webhooks/:webhook/pause", client, a.pauseEndpoint)
	a.handle("POST", "/v1/webhooks/:webhook/resume", client, a.resumeEndpoint)
	a.handle("POST", "/v1/webhooks/:webhook/rotate", client, a.rotateEndpoint)
	a.handle("POST", "/v1/webhooks/:webhook/test", client, a.testEndpoint)
	a.handle("POST", "/v1/webhooks/:webhook/verify", client, a.verifyEndpoint)
	a.handle("POST", "/v1/webhooks/:webhook/recover", client, a.recoverDeliveries, "since")
	a.handle("GET", "/v1/webhooks/:webhook/deliveries", client, a.listDeliveries, "state", "type", "cursor", "limit")
	a.handle("GET", "/v1/webhooks/:webhook/deliveries/:message", client, a.getDelivery)
	a.handle("POST", "/v1/webhooks/:webhook/deliveries/:message/resend", client, a.resendDelivery)

	a.handle("POST", "/v1/work/lease", processor, a.lease)
	a.handle("POST", "/v1/work/:id/start", processor, a.start, "redelivered", "supersede", "attempt", "life", "message", "sequence")
	a.handle("POST", "/v1/work/:id/progress", processor, a.progress, reportOptions...)
	a.handle("PUT", "/v1/work/:id/result", processor, a.succeed, reportOptions...)
	a.handle("POST", "/v1/work/:id/complete", processor, a.complete, reportOptions...)
	a.handle("PUT", "/v1/work/:id/error", processor, a.failWork, reportOptions...)
	a.handle("PUT", "/v1/work/:id/question", processor, a.askWork, reportOptions...)
	a.handle("POST", "/v1/work/:id/release", processor, a.release, reportOptions...)
	a.handle("GET", "/v1/health", processor, a.pool)
	a.routeStreams(client)

	// What is not of the API takes any query: whoever probes adds something so that no cache
	// answers, and pages keep their state there.
	app.Get("/health", a.healthy)
	app.Get("/health/live", a.live)
	app.Get("/health/ready", a.ready)
	app.Get("/openapi.yaml", a.openAPI)
	app.Get("/asyncapi.yaml", a.asyncAPI)
	app.Get("/problems/:name", a.problemPage)
	if a.Metrics != nil {
		app.Get("/metrics", a.metrics)
	}
	if a.Demo != nil {
		a.serveDemo()
	}
}

// exposed are the fields of answers that pages of other origins may read. A reader of a stream that
// does not see those of Durable Streams begins again, or asks without end.
const exposed = "Accept-Ranges,Allow,Content-Location,Content-Range,ETag,Idempotency-Replayed,Location,Operation-Location,Preference-Applied,RateLimit,RateLimit-Policy,Retry-After,WWW-Authenticate," +
	"Stream-Next-Offset,Stream-Up-To-Date,Stream-Closed,Stream-Cursor,Stream-TTL,Stream-Expires-At,Stream-SSE-Data-Encoding," +
	"Producer-Epoch,Producer-Seq,Producer-Expected-Seq,Producer-Received-Seq"

// limitCalls counts a call while it is under way, and refuses it if there are too many.
func (a *API) limitCalls(c *fiber.Ctx) error {
	under := a.calls.Add(1)
	defer func() {
		a.calls.Add(-1)
		if a.Meter != nil {
			noteRoute(c)
		}
	}()
	if a.MaxCalls > 0 && under > int64(a.MaxCalls) && !always(c.Path()) {
		a.limited(policyAll)
		return &problem.Details{Kind: problem.Unavailable, Detail: "The gateway has too many calls under way.", RetryAfter: 1 + rand.IntN(5)}
	}
	return c.Next()
}

// recoverPanic turns a panic into an internal error.
func (a *API) recoverPanic(c *fiber.Ctx) (err error) {
	defer func() {
		if v := recover(); v != nil {
			a.log.Error("panic in a handler", slog.Any("panic", v), slog.String("path", c.Path()))
			err = &problem.Details{Kind: problem.Internal, Detail: "Something went wrong inside the gateway."}
		}
	}()
	return c.Next()
}

// quoted returns what a client sent as it may stand in an answer: in quotes, escaped, and not long.
func quoted(text string) string { return strconv.QuoteToASCII(text[:min(len(text), 260)]) }

// param returns a path parameter that may be kept, decoded. It is one segment of the path as it was
// sent, so %2F in it is no end of it.
func param(c *fiber.Ctx, name string) string {
	raw := c.Params(name)
	if text, err := url.PathUnescape(raw); err == nil && strings.Contains(raw, "%") {
		return text // which is no part of the server's memory
	}
	return strings.Clone(raw)
}

// query returns a query parameter that may be kept.
func query(c *fiber.Ctx, name string) string { return strings.Clone(c.Query(name)) }
