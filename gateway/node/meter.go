package node

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hark-push/hark/backends"
	"github.com/hark-push/hark/gateway/api"
	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/metrics"
)

// meter counts, as they happen, what only a gateway does: calls, pushes, deliveries of webhooks. It
// implements [api.Meter]; what there is a series for already is found without a lock.
type meter struct {
	calls     atomic.Pointer[map[resource]*resourceSeries]
	mu        sync.Mutex // held while a resource is added to calls
	requests  *prometheus.CounterVec
	durations metrics.Histograms

	roles    map[string]prometheus.Counter
	problems map[string]prometheus.Counter
	limits   map[string]*atomic.Uint64 // how often which was met; those of connections the hub has

	lag     *metrics.Histogram // nil: nobody measures it
	attempt *metrics.Histogram

	collectors []prometheus.Collector
}

// resource is one of the table of resources, of which there are few.
type resource struct{ method, route string }

type resourceSeries struct {
	took    *metrics.Histogram
	classes [6]prometheus.Counter // by the first digit of the status
}

var statusClasses = [6]string{"other", "1xx", "2xx", "3xx", "4xx", "5xx"}

// callLimits are those that calls may meet, by the names of their policies.
var callLimits = []string{
	"calls", "calls-per-caller", "calls-per-address", "body-bytes", "waiting-requests-per-route", "webhooks-per-caller", "one-off-webhooks-per-caller",
	lifecycle.PolicyOpen, lifecycle.PolicyStored, lifecycle.PolicyWaiting,
}

func newMeter() *meter {
	roles := metrics.NewCounters("hark_http_requests_by_role_total", "HTTP calls that were answered, by the strongest role of who made them.", "role")
	problems := metrics.NewCounters("hark_http_problems_total", "HTTP calls that were answered with a problem, by its type.", "problem")
	lag := metrics.NewHistograms("hark_event_lag_seconds",
		"Time from when an event was made until it was written to all who follow it at this gateway; what came together counts once.", metrics.Quick)
	attempts := metrics.NewHistograms("hark_webhook_attempt_seconds",
		"Webhook attempts made, and the time until they were answered or failed.", metrics.Slow)
	m := &meter{
		requests:  metrics.NewCounters("hark_http_requests_total", "HTTP calls that were answered, by resource and class of status.", "method", "route", "class"),
		durations: metrics.NewHistograms("hark_http_request_duration_seconds", "Time until the answer to an HTTP call began; of calls that wait for an end or for work that is included.", metrics.Calls, "method", "route"),
		roles:     make(map[string]prometheus.Counter), problems: make(map[string]prometheus.Counter), limits: make(map[string]*atomic.Uint64),
		lag: lag.Of(), attempt: attempts.Of(),
	}
	m.calls.Store(new(make(map[resource]*resourceSeries)))
	m.collectors = []prometheus.Collector{m.requests, m.durations, roles, problems, lag, attempts}
	for _, role := range api.Roles {
		m.roles[role] = roles.WithLabelValues(role)
	}
	for _, kind := range problem.All {
		m.problems[kind.Name] = problems.WithLabelValues(kind.Name)
	}
	for _, limit := range callLimits {
		m.limits[limit] = new(atomic.Uint64)
	}
	return m
}

// Called implements api.Meter.
func (m *meter) Called(method, route, role string, status int, took time.Duration) {
	at := resource{method, route}
	of := (*m.calls.Load())[at]
	if of == nil {
		of = m.add(at)
	}
	class := status / 100
	if class < 1 || class > 5 {
		class = 0
	}
	of.classes[class].Inc()
	of.took.Observe(took)
	if counter := m.roles[role]; counter != nil {
		counter.Inc()
	}
}

// add returns the series of a resource that is called for the first time.
func (m *meter) add(at resource) *resourceSeries {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := *m.calls.Load()
	if of := all[at]; of != nil {
		return of
	}
	of := &resourceSeries{took: m.durations.Of(at.method, at.route)}
	for i, class := range statusClasses {
		of.classes[i] = m.requests.WithLabelValues(at.method, at.route, class)
	}
	all = maps.Clone(all)
	all[at] = of
	m.calls.Store(&all)
	return of
}

// Failed implements api.Meter.
func (m *meter) Failed(kind string) {
	if counter := m.problems[kind]; counter != nil {
		counter.Inc()
	}
}

// Limited implements api.Meter.
func (m *meter) Limited(policy string) {
	if n := m.limits[policy]; n != nil {
		n.Add(1)
	}
}

// measure has what is opened from now on counted, unless that is not wanted.
func (g *Node) measure() {
	if g.config.Metrics {
		g.meter, g.steps = newMeter(), backends.NewMeter(g.config.Routes)
	}
}

// callMeter is told of calls; nil: nobody is.
func (g *Node) callMeter() api.Meter {
	if g.meter == nil {
		return nil
	}
	return g.meter
}

// delivered returns what the hub is to tell of events that it has delivered.
func (g *Node) delivered() func(made time.Time) {
	if g.meter == nil {
		return nil
	}
	lag := g.meter.lag
	return func(made time.Time) { lag.Observe(max(g.Now().Sub(made), 0)) }
}

// attempted returns what is told of attempts to deliver webhooks.
func (g *Node) attempted() func(took time.Duration) {
	if g.meter == nil {
		return nil
	}
	return g.meter.attempt.Observe
}
