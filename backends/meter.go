package backends

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/metrics"
)

// Meter counts for Prometheus what this process does to requests, and how its store and its queue
// do at that. It implements [lifecycle.Meter]; each series that an event counts for is found
// without a lock. A nil one counts nothing.
type Meter struct {
	routes  map[string]*routeMeter // those that are configured, so that there are no others
	others  *routeMeter            // of requests whose route is not, any more
	batches *routeMeter

	operations [lifecycle.Operations]*metrics.Histogram
	failures   [lifecycle.Operations]prometheus.Counter
	queue      *metrics.Histogram
	unqueued   prometheus.Counter

	collectors []prometheus.Collector
}

// routeMeter counts what becomes of the requests of one route.
type routeMeter struct {
	accepted     prometheus.Counter
	ended        map[lifecycle.Status]prometheus.Counter
	withdrawn    prometheus.Counter
	took, waited *metrics.Histogram // nil of batches
}

// otherRoute is the value of the label of all routes that are not configured. None is called so.
const otherRoute = "(other)"

// NewMeter returns a meter for requests of these routes.
func NewMeter(routes []string) *Meter {
	accepted := metrics.NewCounters("hark_requests_accepted_total",
		"Requests that were stored by this process, by route; those of batches, too.", "route")
	ended := metrics.NewCounters("hark_requests_ended_total",
		"Requests that this process has brought to their end, by route and how they ended; withdrawn are those that could not be queued, whose submission was refused.", "route", "outcome")
	took := metrics.NewHistograms("hark_request_duration_seconds",
		"Time from the submission of a request to its end, for ends that this process has stored; without those that were redriven.", metrics.Slow, "route")
	waited := metrics.NewHistograms("hark_request_wait_seconds",
		"Time from when a request might start to its first start, for starts that this process has stored.", metrics.Slow, "route")
	batchesAccepted := metrics.NewCounters("hark_batches_accepted_total", "Batches that were stored by this process.")
	batchesEnded := metrics.NewCounters("hark_batches_ended_total", "Batches that this process has brought to their end, by how they ended.", "outcome")
	operations := metrics.NewHistograms("hark_store_operation_seconds",
		"Time that calls to the store took, by operation.", metrics.Quick, "operation")
	failures := metrics.NewCounters("hark_store_operation_failures_total",
		"Calls that the store did not answer as it should, because it was away, full, or something stored was damaged, by operation.", "operation")
	queue := metrics.NewHistograms("hark_queue_publish_seconds", "Time until the queue had taken a request.", metrics.Quick)
	unqueued := metrics.NewCounters("hark_queue_publish_failures_total", "Requests that the queue did not take.")

	ofRoute := func(route string) *routeMeter {
		m := &routeMeter{
			accepted: accepted.WithLabelValues(route), ended: make(map[lifecycle.Status]prometheus.Counter),
			withdrawn: ended.WithLabelValues(route, "withdrawn"), took: took.Of(route), waited: waited.Of(route),
		}
		for _, status := range ends {
			m.ended[status] = ended.WithLabelValues(route, string(status))
		}
		return m
	}
	m := &Meter{
		routes: make(map[string]*routeMeter, len(routes)), others: ofRoute(otherRoute),
		batches: &routeMeter{accepted: batchesAccepted.WithLabelValues(), ended: make(map[lifecycle.Status]prometheus.Counter), withdrawn: batchesEnded.WithLabelValues("withdrawn")},
		queue:   queue.Of(), unqueued: unqueued.WithLabelValues(),
		collectors: []prometheus.Collector{accepted, ended, took, waited, batchesAccepted, batchesEnded, operations, failures, queue, unqueued},
	}
	for _, route := range routes {
		m.routes[route] = ofRoute(route)
	}
	for _, status := range ends {
		m.batches.ended[status] = batchesEnded.WithLabelValues(string(status))
	}
	for o := range lifecycle.Operations {
		m.operations[o], m.failures[o] = operations.Of(o.String()), failures.WithLabelValues(o.String())
	}
	return m
}

// ends are how a request may end.
var ends = []lifecycle.Status{lifecycle.Succeeded, lifecycle.Failed, lifecycle.Canceled, lifecycle.Expired}

// steps are told of the steps of requests: what was done in the last minute, and a meter, if there
// is one.
type steps struct {
	traffic *lifecycle.Traffic
	meter   *Meter
}

// Stepped implements lifecycle.StepMeter.
func (s steps) Stepped(step lifecycle.Step) {
	s.traffic.Stepped(step)
	if s.meter != nil {
		s.meter.Stepped(step)
	}
}

// Stepped implements lifecycle.Meter.
func (m *Meter) Stepped(s lifecycle.Step) {
	of := m.batches
	if s.Route != "" {
		if of = m.routes[s.Route]; of == nil {
			of = m.others
		}
	}
	switch {
	case s.Created:
		of.accepted.Inc()
	case s.Withdrawn:
		of.withdrawn.Inc()
	case s.Ended:
		of.ended[s.To].Inc()
		if s.Took >= 0 {
			of.took.Observe(s.Took)
		}
	}
	if s.Waited >= 0 {
		of.waited.Observe(s.Waited)
	}
}

// Stored implements lifecycle.Meter.
func (m *Meter) Stored(o lifecycle.Operation, took time.Duration, failed bool) {
	m.operations[o].Observe(took)
	if failed {
		m.failures[o].Inc()
	}
}

// Queued implements lifecycle.Meter.
func (m *Meter) Queued(took time.Duration, failed bool) {
	m.queue.Observe(took)
	if failed {
		m.unqueued.Inc()
	}
}

// Queue returns m as services take it: nil if it is nil.
func (m *Meter) Queue() lifecycle.QueueMeter {
	if m == nil {
		return nil
	}
	return m
}

// calls returns m as stores take it, nil if it is nil.
func (m *Meter) calls() lifecycle.CallMeter {
	if m == nil {
		return nil
	}
	return m
}
