package main

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/hark-push/hark/webhook/dispatch"
)

// metrics returns the handler of /metrics: what the hub, the leases, the backends and the dispatcher
// of webhooks count, and the process.
func (g *gateway) metrics() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		hubCollector{g},
		leaseCollector{g},
		bodyCollector{g},
		keysCollector{g},
		intakeCollector{g},
	)
	registry.MustRegister(g.Collectors()...)
	if g.dispatcher != nil {
		registry.MustRegister(webhookCollector{g.dispatcher})
	}
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

type hubCollector struct{ g *gateway }

var (
	descOpen      = prometheus.NewDesc("hark_connections", "Push connections open now.", []string{"wire"}, nil)
	descDelivered = prometheus.NewDesc("hark_messages_delivered_total", "Messages handed to followers.", nil, nil)
	descResets    = prometheus.NewDesc("hark_resets_total", "Losses told to followers in-band.", nil, nil)
	descResyncs   = prometheus.NewDesc("hark_resyncs_total", "Followers that missed a bell and read the store.", nil, nil)
	descReads     = prometheus.NewDesc("hark_history_reads_total", "Histories read from the store for followers.", nil, nil)
	descFull      = prometheus.NewDesc("hark_sockets_full_total", "Times that a client's socket was full, so that messages had to wait; not counted with TLS.", nil, nil)
	descCoalesced = prometheus.NewDesc("hark_messages_coalesced_total", "Superseded progress dropped for clients that had used up their queue.", nil, nil)
	descClosed    = prometheus.NewDesc("hark_connections_closed_total", "Push connections closed, by reason.", []string{"reason"}, nil)
)

// Describe implements [prometheus.Collector].
func (c hubCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descOpen, descDelivered, descResets, descResyncs, descReads, descFull, descCoalesced, descClosed} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (c hubCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.g.hub.Stats()
	ch <- prometheus.MustNewConstMetric(descOpen, prometheus.GaugeValue, float64(s.Streams), "sse")
	ch <- prometheus.MustNewConstMetric(descOpen, prometheus.GaugeValue, float64(s.Sockets), "websocket")
	ch <- prometheus.MustNewConstMetric(descDelivered, prometheus.CounterValue, float64(s.Delivered))
	ch <- prometheus.MustNewConstMetric(descResets, prometheus.CounterValue, float64(s.Resets))
	ch <- prometheus.MustNewConstMetric(descResyncs, prometheus.CounterValue, float64(s.Resyncs))
	ch <- prometheus.MustNewConstMetric(descReads, prometheus.CounterValue, float64(s.Reads))
	ch <- prometheus.MustNewConstMetric(descFull, prometheus.CounterValue, float64(s.Full))
	ch <- prometheus.MustNewConstMetric(descCoalesced, prometheus.CounterValue, float64(s.Coalesced))
	for reason, n := range s.Closed {
		ch <- prometheus.MustNewConstMetric(descClosed, prometheus.CounterValue, float64(n), reason)
	}
}

type keysCollector struct{ g *gateway }

var (
	descKeys        = prometheus.NewDesc("hark_keys", "API keys in force.", nil, nil)
	descKeysTrouble = prometheus.NewDesc("hark_keys_file_trouble", "1 while the file of keys cannot be taken (gone, empty, wrong) and those that were read before hold on.", nil, nil)
)

// Describe implements [prometheus.Collector].
func (c keysCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- descKeys
	ch <- descKeysTrouble
}

// Collect implements [prometheus.Collector].
func (c keysCollector) Collect(ch chan<- prometheus.Metric) {
	trouble := 0.0
	if c.g.guard.Trouble() != nil {
		trouble = 1
	}
	ch <- prometheus.MustNewConstMetric(descKeys, prometheus.GaugeValue, float64(c.g.guard.Keys()))
	ch <- prometheus.MustNewConstMetric(descKeysTrouble, prometheus.GaugeValue, trouble)
}

type leaseCollector struct{ g *gateway }

var (
	descLeaseWaiting = prometheus.NewDesc("hark_lease_calls", "Calls that look for work over HTTP now.", nil, nil)
	descLeaseOut     = prometheus.NewDesc("hark_leases", "Attempts that this gateway holds the lease of now.", nil, nil)
	descLeaseHanded  = prometheus.NewDesc("hark_leases_total", "Attempts that were leased.", nil, nil)
	descLeaseExpired = prometheus.NewDesc("hark_leases_expired_total", "Leases that ran out, so that the work was handed out again.", nil, nil)
)

// Describe implements [prometheus.Collector].
func (c leaseCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descLeaseWaiting, descLeaseOut, descLeaseHanded, descLeaseExpired} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (c leaseCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.g.leases.Stats()
	ch <- prometheus.MustNewConstMetric(descLeaseWaiting, prometheus.GaugeValue, float64(s.Waiting))
	ch <- prometheus.MustNewConstMetric(descLeaseOut, prometheus.GaugeValue, float64(s.Out))
	ch <- prometheus.MustNewConstMetric(descLeaseHanded, prometheus.CounterValue, float64(s.Handed))
	ch <- prometheus.MustNewConstMetric(descLeaseExpired, prometheus.CounterValue, float64(s.Expired))
}

type bodyCollector struct{ g *gateway }

var (
	descBodyBytes   = prometheus.NewDesc("hark_body_bytes", "Memory claimed for bodies of calls and of answers now, see --body-budget.", nil, nil)
	descBodyWaiting = prometheus.NewDesc("hark_bodies_waiting", "Bodies that wait for room in it now.", nil, nil)
)

// Describe implements [prometheus.Collector].
func (c bodyCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- descBodyBytes
	ch <- descBodyWaiting
}

// Collect implements [prometheus.Collector].
func (c bodyCollector) Collect(ch chan<- prometheus.Metric) {
	bytes, waiting := c.g.api.BodyBytes()
	ch <- prometheus.MustNewConstMetric(descBodyBytes, prometheus.GaugeValue, float64(bytes))
	ch <- prometheus.MustNewConstMetric(descBodyWaiting, prometheus.GaugeValue, float64(waiting))
}

type webhookCollector struct{ dispatcher *dispatch.Dispatcher }

var (
	descWebhookSending   = prometheus.NewDesc("hark_webhook_sending", "Webhook deliveries that this gateway sends now.", nil, nil)
	descWebhookDelivered = prometheus.NewDesc("hark_webhook_delivered_total", "Webhook deliveries that were answered with 2xx.", nil, nil)
	descWebhookDead      = prometheus.NewDesc("hark_webhook_dead_total", "Webhook deliveries that were given up.", nil, nil)
	descWebhookFailed    = prometheus.NewDesc("hark_webhook_failed_attempts_total", "Webhook attempts that failed, by class of error.", []string{"class"}, nil)
	descWebhookSeconds   = prometheus.NewDesc("hark_webhook_attempt_seconds", "Webhook attempts made, and the time until they were answered or failed.", nil, nil)
)

// Describe implements [prometheus.Collector].
func (c webhookCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descWebhookSending, descWebhookDelivered, descWebhookDead, descWebhookFailed, descWebhookSeconds} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (c webhookCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.dispatcher.Stats()
	ch <- prometheus.MustNewConstMetric(descWebhookSending, prometheus.GaugeValue, float64(s.Sending))
	ch <- prometheus.MustNewConstMetric(descWebhookDelivered, prometheus.CounterValue, float64(s.Delivered))
	ch <- prometheus.MustNewConstMetric(descWebhookDead, prometheus.CounterValue, float64(s.Dead))
	for class, n := range s.Failed {
		ch <- prometheus.MustNewConstMetric(descWebhookFailed, prometheus.CounterValue, float64(n), class)
	}
	ch <- prometheus.MustNewConstSummary(descWebhookSeconds, s.Attempts, s.Seconds, nil)
}
