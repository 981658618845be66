package node

import (
	"context"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hark-push/hark/backends"
	"github.com/hark-push/hark/gateway/intake"
	"github.com/hark-push/hark/gateway/lease"
	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/metrics"
	"github.com/hark-push/hark/webhook/dispatch"
)

// register returns all series: what the hub, the leases, the backends and the dispatcher of
// webhooks count, and the process.
func (g *Node) register() *prometheus.Registry {
	all := []prometheus.Collector{
		metrics.Collector(g.hub.Stats, hubSeries...),
		metrics.Collector(g.leases.Stats, leaseSeries...),
		metrics.Collector(func() *Node { return g }, nodeSeries...),
		metrics.Collector(g.intake.Stats, intakeSeries...),
		metrics.Collector(g.dispatcher.Stats, webhookSeries...),
		metrics.Collector(g.standing, standingSeries...),
		metrics.Collector(g.depths, g.depthSeries()...),
		backends.Attempts(g.workers),
	}
	if g.meter != nil {
		all = append(all, g.meter.collectors...)
	}
	return metrics.NewRegistry(append(all, g.Collectors()...)...)
}

var hubSeries = []metrics.Series[hub.Stats]{
	metrics.Gauges("hark_connections", "Push connections open now.", []string{"wire"}, func(s hub.Stats, tell metrics.Tell) {
		tell(float64(s.Streams), "sse")
		tell(float64(s.Sockets), "websocket")
	}),
	metrics.Counter("hark_messages_delivered_total", "Messages handed to followers.", func(s hub.Stats) uint64 { return s.Delivered }),
	metrics.Counter("hark_resets_total", "Losses told to followers in-band.", func(s hub.Stats) uint64 { return s.Resets }),
	metrics.Counter("hark_resyncs_total", "Followers that missed a bell and read the store.", func(s hub.Stats) uint64 { return s.Resyncs }),
	metrics.Counter("hark_history_reads_total", "Histories read from the store for followers.", func(s hub.Stats) uint64 { return s.Reads }),
	metrics.Counter("hark_sockets_full_total", "Times that a client's socket was full, so that messages had to wait; not counted with TLS.", func(s hub.Stats) uint64 { return s.Full }),
	metrics.Counter("hark_messages_coalesced_total", "Superseded progress dropped for clients that had used up their queue.", func(s hub.Stats) uint64 { return s.Coalesced }),
	metrics.Counters("hark_connections_closed_total", "Push connections closed, by reason.", []string{"reason"}, func(s hub.Stats, tell metrics.Tell) {
		for reason, n := range s.Closed {
			tell(float64(n), reason)
		}
	}),
}

var leaseSeries = []metrics.Series[lease.Stats]{
	metrics.Gauge("hark_lease_calls", "Calls that look for work over HTTP now.", func(s lease.Stats) int64 { return s.Waiting }),
	metrics.Gauge("hark_leases", "Attempts that this gateway holds the lease of now.", func(s lease.Stats) int64 { return s.Out }),
	metrics.Counter("hark_leases_total", "Attempts that were leased.", func(s lease.Stats) uint64 { return s.Handed }),
	metrics.Counter("hark_leases_expired_total", "Leases that ran out, so that the work was handed out again.", func(s lease.Stats) uint64 { return s.Expired }),
	metrics.Counter("hark_leases_undelivered_total", "Leases whose work did not reach its caller, so that it was handed back.", func(s lease.Stats) uint64 { return s.Undelivered }),
	metrics.Counter("hark_leases_taken_over_total", "Leases whose worker was started again, so that their work was handed back.", func(s lease.Stats) uint64 { return s.TakenOver }),
}

var nodeSeries = []metrics.Series[*Node]{
	metrics.Gauge("hark_keys", "API keys in force.", func(g *Node) int { return g.guard.Keys() }),
	metrics.Gauge("hark_keys_file_trouble", "1 while the file of keys cannot be taken (gone, empty, wrong) and those that were read before hold on.", func(g *Node) float64 { return metrics.Truth(g.guard.Trouble() != nil) }),
	metrics.Gauge("hark_body_bytes", "Memory claimed for bodies of calls and of answers now, see --body-budget.", func(g *Node) int64 { bytes, _ := g.api.BodyBytes(); return bytes }),
	metrics.Gauge("hark_bodies_waiting", "Bodies that wait for room in it now.", func(g *Node) int { _, waiting := g.api.BodyBytes(); return waiting }),
	metrics.Gauges("hark_dead_requests", "Requests of a route of this gateway that have failed and are kept, over all gateways, counted every 15 seconds.", []string{"route"}, func(g *Node, tell metrics.Tell) {
		if counts := g.dead.Load(); counts != nil {
			for route, n := range counts.requests {
				tell(float64(n), route)
			}
		}
	}),
	metrics.Gauges("hark_dead_messages", "Messages in the dead queue of a route of this gateway in RabbitMQ, counted every 15 seconds.", []string{"route"}, func(g *Node, tell metrics.Tell) {
		if counts := g.dead.Load(); counts != nil {
			for route, n := range counts.messages {
				tell(float64(n), route)
			}
		}
	}),
	metrics.Gauges("hark_route_unserved", "1 while it is known that no processor works on a route.", []string{"route"}, func(g *Node, tell metrics.Tell) {
		unserved := g.attendance.unserved(g.config.Routes...)
		for _, route := range g.config.Routes {
			tell(metrics.Truth(slices.Contains(unserved, route)), route)
		}
	}),
	metrics.Counters("hark_limit_hits_total", "Calls and push connections that were refused because of a limit, by which.", []string{"limit"}, func(g *Node, tell metrics.Tell) {
		for limit, n := range g.hub.Stats().Met {
			tell(float64(n), limit)
		}
		if g.meter != nil {
			for limit, n := range g.meter.limits {
				tell(float64(n.Load()), limit)
			}
		}
	}),
	metrics.Gauges("hark_connections_limit", "Connections that this node takes on at most, by kind.", []string{"kind"}, func(g *Node, tell metrics.Tell) {
		tell(float64(g.places.push), "push")
		tell(float64(g.places.plain), "http")
		tell(float64(g.places.all), "all")
	}),
}

// standingTime bounds how long the store is asked for what stands still.
const standingTime = 2 * time.Second

// standing returns how many requests of each route of this node stand still; nothing while the
// store does not say.
func (g *Node) standing() map[string]lifecycle.Standing {
	store, ok := g.Store.(lifecycle.Standings)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), standingTime)
	defer cancel()
	stored, err := store.Standing(ctx)
	if err != nil {
		return nil
	}
	all := make(map[string]lifecycle.Standing, len(g.config.Routes))
	for _, route := range g.config.Routes { // labels are of a fixed set
		all[route] = stored[route]
	}
	return all
}

var standingSeries = []metrics.Series[map[string]lifecycle.Standing]{
	metrics.Gauges("hark_requests_parked", "Requests of all nodes that wait until they may be worked on, by the limits of their key or route.", []string{"route"}, func(all map[string]lifecycle.Standing, tell metrics.Tell) {
		for route, s := range all {
			tell(float64(s.Parked), route)
		}
	}),
	metrics.Gauges("hark_requests_asking", "Requests of all nodes that wait for an answer.", []string{"route"}, func(all map[string]lifecycle.Standing, tell metrics.Tell) {
		for route, s := range all {
			tell(float64(s.Waiting), route)
		}
	}),
}

// depths returns how much there is of each route of this node; nothing while the store does not
// say.
func (g *Node) depths() map[string]lifecycle.Depth {
	store, ok := g.Store.(lifecycle.Depths)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), standingTime)
	defer cancel()
	all, err := store.Depths(ctx, g.config.Routes)
	if err != nil {
		return nil
	}
	return all
}

func (g *Node) depthSeries() []metrics.Series[map[string]lifecycle.Depth] {
	gauge := func(name, help string, value func(lifecycle.Depth) float64) metrics.Series[map[string]lifecycle.Depth] {
		return metrics.Gauges(name, help, []string{"route"}, func(all map[string]lifecycle.Depth, tell metrics.Tell) {
			for route, d := range all {
				tell(value(d), route)
			}
		})
	}
	return []metrics.Series[map[string]lifecycle.Depth]{
		gauge("hark_requests_pending", "Requests of all nodes that wait for a processor, those that are parked or delayed included.", func(d lifecycle.Depth) float64 { return float64(d.Pending) }),
		gauge("hark_requests_processing", "Requests of all nodes that are worked on.", func(d lifecycle.Depth) float64 { return float64(d.Processing) }),
		gauge("hark_requests_oldest_pending_seconds", "For how long that one waits which has waited for longest; 0 if none does.", func(d lifecycle.Depth) float64 {
			if d.Oldest.IsZero() {
				return 0
			}
			return max(g.Now().Sub(d.Oldest).Seconds(), 0)
		}),
	}
}

var intakeSeries = []metrics.Series[intake.Stats]{
	metrics.Gauges("hark_http_connections", "Connections that are no streams, open now, by whether a call is under way.", []string{"state"}, func(s intake.Stats, tell metrics.Tell) {
		tell(float64(s.Idle), "idle")
		tell(float64(s.Open-s.Idle), "active")
	}),
	metrics.Counter("hark_http_evicted_total", "Connections without a call that were closed because there was no room.", func(s intake.Stats) int64 { return s.Evicted }),
	metrics.Counter("hark_http_refused_total", "Connections that were refused because there was no room, or their address had its share.", func(s intake.Stats) int64 { return s.Refused }),
	metrics.Counter("hark_accept_failures_total", "Times that no connection could be accepted, for want of descriptors mostly; it was tried again.", func(s intake.Stats) int64 { return s.Failed }),
}

var webhookSeries = []metrics.Series[dispatch.Stats]{
	metrics.Gauge("hark_webhook_sending", "Webhook deliveries that this gateway sends now.", func(s dispatch.Stats) int64 { return s.Sending }),
	metrics.Counter("hark_webhook_delivered_total", "Webhook deliveries that were answered with 2xx.", func(s dispatch.Stats) uint64 { return s.Delivered }),
	metrics.Counter("hark_webhook_dead_total", "Webhook deliveries that were given up.", func(s dispatch.Stats) uint64 { return s.Dead }),
	metrics.Counters("hark_webhook_failed_attempts_total", "Webhook attempts that failed, by class of error.", []string{"class"}, func(s dispatch.Stats, tell metrics.Tell) {
		for class, n := range s.Failed {
			tell(float64(n), class)
		}
	}),
}
