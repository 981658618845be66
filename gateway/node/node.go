// Package node wires together everything that runs in the process of a gateway, and runs it.
package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/hark-push/hark/backends"
	"github.com/hark-push/hark/gateway/api"
	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/gateway/config"
	"github.com/hark-push/hark/gateway/intake"
	"github.com/hark-push/hark/gateway/lease"
	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/lifecycle/stall"
	"github.com/hark-push/hark/metrics"
	"github.com/hark-push/hark/metrics/otlp"
	"github.com/hark-push/hark/processor"
	"github.com/hark-push/hark/processor/samples"
	"github.com/hark-push/hark/processor/traced"
	"github.com/hark-push/hark/tracing"
	webdemo "github.com/hark-push/hark/web-demo"
	"github.com/hark-push/hark/webhook/dispatch"
)

// Node is everything that runs in this process, wired together. Open makes it, and Serve ends it.
type Node struct {
	config   config.Config
	log      *slog.Logger
	listener net.Listener
	places   places
	intake   *intake.Listener        // beneath listener, maybe the same
	streams  atomic.Pointer[hub.Hub] // hub, for who asks before it is there
	lobby    *lobby
	*backends.Backends
	hub        *hub.Hub
	service    *lifecycle.Service
	stall      *stall.Watch
	guard      *auth.Guard
	meter      *meter          // nil: nothing is counted that is not anyway
	steps      *backends.Meter // as is this
	tracer     trace.Tracer    // nil: nothing is traced
	stopTraces func(context.Context)
	// stopMetrics is of those that are sent to a collector; nil if none are.
	stopMetrics func(context.Context)
	api         *api.API
	webhooks    *dispatch.Service
	dispatcher  *dispatch.Dispatcher
	leases      *lease.Leases
	attendance  *attendance
	samples     map[string]processor.Handler
	workers     map[string]*processor.Processor // of the samples, by route
	dead        atomic.Pointer[deadCounts]      // as they were counted last
	self        lifecycle.Process               // what this one says of itself that does not change
	overview    *overview
	debug       *http.Server // nil unless asked for
}

// serviceName is what collectors of OpenTelemetry are told.
const serviceName = "hark-gateway"

// Open opens what the configuration names, in the order of the flow. It waits for servers that are
// away until ctx ends, and says so meanwhile to whoever calls. On an error nothing stays open.
func Open(ctx context.Context, c config.Config, log *slog.Logger) (_ *Node, err error) {
	g := &Node{config: c, log: log}
	defer func() {
		if err != nil {
			g.close()
		}
	}()
	if g.places, err = placesOf(c, log); err != nil {
		return nil, err
	}
	// The address first: a second gateway on the same port should say so.
	if g.listener, err = listen(c.Listen); err != nil {
		return nil, listenError("listen", c.Listen, err)
	}
	tcp, ok := g.listener.(*net.TCPListener)
	if !ok { // it was asked for tcp
		return nil, fmt.Errorf("listen: %T is no TCP listener", g.listener)
	}
	g.intake = g.newIntake(tcp)
	g.listener = g.intake
	if c.TLSCert != "" {
		secured, err := secure(g.listener, c)
		if err != nil {
			return nil, err
		}
		g.listener = secured
	}
	if c.Debug != "" {
		var addr net.Addr
		if g.debug, addr, err = debugServer(c.Debug); err != nil {
			return nil, listenError("debug", c.Debug, err)
		}
		log.Info("profiles", slog.String("url", "http://"+addr.String()+"/debug/pprof/"))
	}
	if g.tracer, g.stopTraces, err = tracing.Start(context.Background(), tracing.Options{Endpoint: c.Traces, Service: serviceName, Logger: log}); err != nil {
		return nil, err
	}
	g.lobby = &lobby{listener: g.listener, tcp: tcp, shared: c.Redis != "", log: log}
	defer g.lobby.leave()
	g.stall = stall.New()
	g.measure()
	if g.Backends, err = openBackends(ctx, c, g.stall, g.steps, g.lobby, log); err != nil {
		return nil, err
	}
	source := wire.Source(tracing.Source(g.tracer, g.Store))
	g.hub = hub.New(source, g.admission(hub.Options{
		Heartbeat: c.Heartbeat, Retry: c.Retry, Subscriptions: c.Subscriptions, MessageBytes: int64(c.MaxMessage),
		Logger: log, Patience: g.stall.Left, Delivered: g.delivered(),
	}))
	g.streams.Store(g.hub)
	g.service = lifecycle.New(g.Store, tracing.Queue(g.tracer, processor.Queue(g.Broker)), lifecycle.Options{
		Logger: log, Now: g.Now, Limits: limitsOf(c), Meter: g.steps.Queue(),
	})
	// What was there a moment ago may be away again, or a part of it still.
	if err = g.lobby.until(ctx, func() (err error) { g.guard, err = guard(ctx, g.Store, c, log); return err }); err != nil {
		return nil, err
	}
	if err = g.lobby.until(ctx, func() (err error) {
		g.webhooks, err = webhooks(ctx, g.Store, c, g.places.webhooks, g.stall, g.tracer, g.attempted(), log)
		return err
	}); err != nil {
		return nil, err
	}
	g.dispatcher = dispatch.NewDispatcher(g.webhooks)
	if c.Samples {
		options, err := c.Parse()
		if err != nil {
			return nil, err
		}
		options.Logger = log
		if g.samples, err = samples.Handlers(options); err != nil {
			return nil, err
		}
		g.workers = g.sampleProcessors()
	}
	g.leases = g.newLeases()
	g.attendance = g.newAttendance()
	g.self = backends.NewProcess("gateway", g.Now())
	g.overview = newOverview(g)
	registry := g.register()
	options := api.Options{
		Service: g.service, Hub: g.hub, Source: source, Routes: c.Routes, Webhooks: g.webhooks, Leases: g.leases, Streams: g.Store,
		Guard: g.guard, Origins: c.Origins, PublicURL: c.PublicURL, TrustedProxies: c.Proxies(), Now: g.Now,
		MaxCalls: c.MaxCalls, Shares: g.calls(), MaxBody: c.MaxBody, BodyBudget: int64(c.BodyBudget), BodyStall: c.BodyStall, MaxBatch: c.MaxBatch, ForwardHeaders: c.ForwardHeaders, MaxWait: c.MaxWait, MaxChunk: c.MaxChunk, MaxOutput: c.MaxOutput, LongPoll: c.LongPoll, AsyncDefault: c.Async, IDHeader: c.IDHeader,
		Elsewhere: func(route string) bool { return g.Rabbit != nil && g.Rabbit.Elsewhere(route) },
		Stall:     g.stall, Ready: g.Ready, Unserved: g.attendance.unserved, Pool: g.pool, DeadMessages: g.deadMessages(), Overview: g.overview, Metrics: metrics.Handler(registry), Meter: g.callMeter(), Tracer: g.tracer, Demo: webdemo.FS, Logger: log,
	}
	if !c.Insecure && g.guard.Open() {
		host, _, _ := net.SplitHostPort(c.Listen)
		options.Hosts = []string{"localhost", "127.0.0.1", "::1", strings.ToLower(host)}
	}
	g.api = api.New(options)
	// Last, because what it sends is asked of all of them.
	if g.stopMetrics, err = otlp.Start(context.Background(), otlp.Options{Endpoint: c.Traces, Service: serviceName, Gatherer: registry, Logger: log}); err != nil {
		return nil, err
	}
	return g, nil
}

func limitsOf(c config.Config) lifecycle.Limits {
	return lifecycle.Limits{
		Timeout: c.Timeout, MaxTimeout: c.MaxTimeout, Retention: c.Retention, MaxRetention: c.MaxRetention,
		Attempts: c.Attempts, RetryBase: c.RetryDelay,
		Waiting: int64(c.MaxWaitingPerRoute), Routes: c.AtOnce(c.RouteConcurrency), PerKey: c.AtOnce(c.KeyConcurrency),
		Quota: lifecycle.Quota{Open: int64(c.MaxOpenPerCaller), Bytes: c.MaxStoredPerCaller, Waiting: int64(c.MaxWaitingPerCaller)},
	}
}

// SetLimits has what is submitted from now on judged by the limits of a configuration that else is
// the one by which the node runs. It may be called at any time.
func (g *Node) SetLimits(c config.Config) { g.service.SetLimits(limitsOf(c)) }

// openBackends opens Redis, and RabbitMQ, if they are named, else the embedded store and its queue.
// While it waits for Redis, whoever calls is told by the lobby; the log says which server, and why.
func openBackends(ctx context.Context, c config.Config, stalls *stall.Watch, meter *backends.Meter, lobby *lobby, log *slog.Logger) (*backends.Backends, error) {
	if c.Redis == "" {
		return backends.OpenEmbedded(c.Data, c.Routes, c.Options, stalls, meter, log)
	}
	return backends.OpenShared(ctx, c.Options, backends.Shared{
		Routes: c.Routes, Stall: stalls, Meter: meter, Logger: log, Waiting: func() { lobby.wait(waitsForRedis) },
		CallbackExchange: c.CallbackExchange, CallbackBacklog: c.CallbackBacklog, CallbackKey: backends.CallbackKey(c.CallbackRouting), Text: wire.JSON,
	})
}

// listen opens the port.
func listen(address string) (net.Listener, error) {
	config := net.ListenConfig{
		Control: func(_, _ string, raw syscall.RawConn) error {
			var err error
			controlErr := raw.Control(func(fd uintptr) { err = noticeVanished(fd) })
			return errors.Join(controlErr, err)
		},
	}
	return config.Listen(context.Background(), "tcp", address)
}

// listenError says of an address that cannot be listened on what to do.
func listenError(key, address string, err error) error {
	// For errors of Windows syscall has other names.
	env, windows := "HARK_"+strings.ToUpper(key), runtime.GOOS == "windows"
	switch {
	case errors.Is(err, syscall.EADDRINUSE), windows && errors.Is(err, syscall.Errno(10048)):
		// 10048 is WSAEADDRINUSE.
		return fmt.Errorf("%s: another process listens on %s already, maybe a gateway: end it, or choose another address with --%s (%s), like --%s 127.0.0.1:8081: %w",
			key, address, key, env, key, err)
	case errors.Is(err, syscall.EACCES), windows && errors.Is(err, syscall.Errno(10013)):
		// 10013 is WSAEACCES.
		return fmt.Errorf("%s: this user may not listen on %s: choose a port from 1024 on with --%s (%s): %w", key, address, key, env, err)
	default:
		return fmt.Errorf("%s: cannot listen on %s; choose an address of this machine with --%s (%s): %w", key, address, key, env, err)
	}
}

// sampleProcessors makes a processor for each sample whose route exists, so that
// slow work of one kind does not hold up another.
func (g *Node) sampleProcessors() map[string]*processor.Processor {
	workers := make(map[string]*processor.Processor)
	for route, handler := range g.samples {
		if !slices.Contains(g.config.Routes, route) {
			continue
		}
		if g.Rabbit != nil && g.Rabbit.Elsewhere(route) {
			g.log.Info("the sample of a route does not run: its work goes to an exchange, and no queue is named (--route-queue)", slog.String("route", route))
			continue
		}
		workers[route] = processor.New(g.service, g.Store, g.Broker, processor.Routes{route: traced.Handler(g.tracer, handler)}, processor.Options{
			Concurrency: g.config.Concurrency, Drain: g.config.Drain, Logger: g.log,
		})
	}
	return workers
}

// pool is what processors do with the help of this process: the samples inside, and those over
// HTTP.
func (g *Node) pool() any {
	s := g.leases.Stats()
	return struct {
		backends.Pool
		Leases any `json:"leases"`
	}{g.Pool(g.workers), struct {
		Calls   int64  `json:"calls"` // that look for work
		Running int64  `json:"running"`
		Started uint64 `json:"started"`
		Expired uint64 `json:"expired"`
	}{s.Waiting, s.Out, s.Handed, s.Expired}}
}

// newLeases returns what hands work out over HTTP.
func (g *Node) newLeases() *lease.Leases {
	o := lease.Options{Bytes: int64(g.config.MaxBody), Now: g.Now, Stall: g.stall, Logger: g.log}
	switch {
	case g.Rabbit != nil:
		o.Calls = 1000
	case !g.Shared:
		o.Least = 20 * time.Millisecond // the queue is in this process
	}
	o.Sessions, _ = g.Store.(lease.Sessions) // of a store of one process there are none but here
	return lease.New(g.service, g.Store, g.Broker, g.subscribe, o)
}

// newAttendance returns what tells on which routes somebody works.
func (g *Node) newAttendance() *attendance {
	inside := slices.Collect(maps.Keys(g.samples))
	switch {
	case g.Work != nil:
		return newAttendance(inside, g.leases, func(route string) (int, error) {
			ctx, cancel := context.WithTimeout(context.Background(), queryTime)
			defer cancel()
			consumers, err := g.Work.Consumers(ctx)
			return consumers[route], err
		}, g.log)
	case g.Rabbit == nil:
		return newAttendance(inside, g.leases, nil, g.log)
	}
	return newAttendance(inside, g.leases, func(route string) (int, error) {
		if g.Rabbit.Elsewhere(route) { // who consumes there is not known
			return 1, nil
		}
		_, consumers, err := g.Rabbit.Waiting(route)
		return consumers, err
	}, g.log)
}

// subscribe notifies of a request, as a lease needs it.
func (g *Node) subscribe(ctx context.Context, of lifecycle.Ref) (<-chan struct{}, func(), error) {
	c := lifecycle.Channel{Kind: lifecycle.RequestChannel, Name: of.ID, Life: of.Life}
	w, err := g.hub.Wait(ctx, api.ChannelOf(c))
	if err != nil {
		return nil, nil, err
	}
	return w.C, w.Close, nil
}

// Addr is where it listens.
func (g *Node) Addr() net.Addr { return g.listener.Addr() }

// Welcome says where Hark is and how to try it.
func (g *Node) Welcome(out io.Writer) {
	url := "http://" + g.Addr().String()
	if g.config.TLSCert != "" {
		url = "https" + url[len("http"):]
	}
	callers, key := "anybody", ""
	if !g.guard.Open() {
		callers, key = "with a key or a token", ` -H "Authorization: Bearer $HARK_KEY"`
	}
	_, _ = fmt.Fprintf(out, `Hark listens on %s
  store   %s
  broker  %s
  routes  %s
  callers %s
Try it:
  curl -sN%s "%s$(curl -s%s -X POST %s/v1/requests -H 'Prefer: respond-async' -H 'Content-Type: application/json' -d '{"route":"%s","content":{"steps":5,"duration":"1s"}}' | grep -o '/v1/requests/[^/"]*/events')"
`, url, g.StoreName, g.BrokerName, strings.Join(g.config.Routes, ", "), callers, key, url, key, url, g.tryRoute())
}

func (g *Node) tryRoute() string {
	if slices.Contains(g.config.Routes, "sleep") {
		return "sleep"
	}
	return g.config.Routes[0]
}

// Serve runs until ctx ends, then drains.
func (g *Node) Serve(ctx context.Context) error {
	defer g.close()
	var running sync.WaitGroup
	work, stopWork := context.WithCancel(ctx)
	defer stopWork()
	for _, worker := range g.workers {
		running.Go(func() {
			if err := worker.Run(work); err != nil {
				g.log.Error("sample processor stopped", slog.Any("error", err))
			}
		})
	}
	sweeping, stopSweeping := context.WithCancel(context.Background())
	running.Go(func() { g.stall.Run(sweeping) })
	running.Go(func() { g.sweep(sweeping) })
	running.Go(func() { g.guard.Run(sweeping) })
	running.Go(func() { backends.PaceMemory(sweeping, func() int64 { bytes, _ := g.api.BodyBytes(); return bytes }) })
	running.Go(func() { g.dispatcher.Run(work, g.config.Drain) })
	running.Go(func() { g.reconcile(sweeping, g.config.Requeue) })
	running.Go(func() { g.countDead(sweeping) })
	var attending sync.WaitGroup
	present, leave := context.WithCancel(context.Background())
	defer leave()
	attending.Go(func() { g.Attend(present, g.process, g.log) })
	if g.Shared {
		running.Go(func() { g.requeue(sweeping, g.config.Requeue) })
	}
	if g.Rabbit != nil {
		running.Go(func() { g.Rabbit.Relay(sweeping) })
	}
	running.Go(func() { g.attendance.tell(sweeping, g.config.Routes) })
	if g.Callback != nil {
		running.Go(func() { g.Callback.Run(sweeping) })
	}

	served := make(chan error, 1)
	go func() { served <- g.api.Serve(g.listener) }()
	var err error
	select {
	case err = <-served:
	case <-ctx.Done():
		g.log.Info("draining", slog.Duration("window", g.config.Drain))
	}
	draining, cancel := context.WithTimeout(context.Background(), g.config.Drain+10*time.Second)
	defer cancel()
	var closing sync.WaitGroup
	closing.Go(func() { g.hub.Drain(draining, g.config.Drain) })
	leased, giveBack := context.WithTimeout(draining, g.config.Drain)
	defer giveBack()
	closing.Go(func() { g.leases.Drain(leased) })
	closing.Go(func() {
		if e := g.api.Shutdown(draining); e != nil {
			g.log.Warn("calls were cut off", slog.Any("error", e))
		}
		if !g.Shared { // nobody can report any more
			giveBack()
		}
	})
	closing.Wait()
	stopWork()
	stopSweeping()
	running.Wait()
	leave() // samples may have worked until now
	attending.Wait()
	g.log.Info("stopped")
	return err
}

// close closes what is open, against the order of the flow.
func (g *Node) close() {
	if g.stopMetrics != nil { // while all can be asked
		ctx, cancel := context.WithTimeout(context.Background(), tracing.StopTime)
		defer cancel()
		g.stopMetrics(ctx)
	}
	if g.hub != nil {
		g.hub.Close()
	}
	if g.webhooks != nil {
		g.webhooks.Close()
	}
	if g.service != nil {
		g.service.Close()
	}
	if g.attendance != nil {
		g.attendance.close()
	}
	if err := samples.Close(g.samples); err != nil {
		g.log.Error("a sample did not close", slog.Any("error", err))
	}
	if g.Backends != nil {
		if err := g.Close(); err != nil {
			g.log.Error("store or broker did not close", slog.Any("error", err))
		}
	}
	if g.lobby != nil {
		g.lobby.end()
	}
	if g.listener != nil {
		_ = g.listener.Close()
	}
	if g.stopTraces != nil {
		ctx, cancel := context.WithTimeout(context.Background(), tracing.StopTime)
		defer cancel()
		g.stopTraces(ctx)
	}
	if g.debug != nil {
		_ = g.debug.Close()
	}
}
