package main

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/hark-push/hark/broker/rabbitmq"
	"github.com/hark-push/hark/webhook/dispatch"
)

// metrics returns the handler of /metrics: what the hub, the leases, the broker, the callback
// exchange and the dispatcher of webhooks count, and the process.
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
	if g.damages != nil {
		registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "hark_store_damages_total", Help: "Times that something stored was found damaged, by its checksum, and was not handed out.",
		}, func() float64 { return float64(g.damages.Count()) }))
	}
	if g.rabbit != nil {
		registry.MustRegister(rabbitCollector{g.rabbit})
	}
	if g.callback != nil {
		registry.MustRegister(callbackCollector{g.callback})
	}
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

type rabbitCollector struct{ broker *rabbitmq.Broker }

// rabbitFigure is one of the broker's figures.
type rabbitFigure struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(rabbitmq.Stats) float64
}

var rabbitFigures = []rabbitFigure{
	rabbitGauge("connected", "1 while both connections to RabbitMQ are up.", func(s rabbitmq.Stats) float64 { return truth(s.Connected) }),
	rabbitGauge("blocked", "1 while RabbitMQ is short of memory or disk and takes nothing.", func(s rabbitmq.Stats) float64 { return truth(s.Blocked) }),
	rabbitGauge("pending", "Publications that wait for their confirmation.", func(s rabbitmq.Stats) float64 { return float64(s.Pending) }),
	rabbitCounter("connections", "Connections made.", func(s rabbitmq.Stats) int64 { return s.Connections }),
	rabbitCounter("published", "Publications confirmed, jobs and events.", func(s rabbitmq.Stats) int64 { return s.Published }),
	rabbitCounter("refused", "Publications refused, or jobs without a queue.", func(s rabbitmq.Stats) int64 { return s.Refused }),
	rabbitCounter("unconfirmed", "Publications given up or lost with their connection.", func(s rabbitmq.Stats) int64 { return s.Unconfirmed }),
	rabbitCounter("delivered", "Jobs handed to processors of this process.", func(s rabbitmq.Stats) int64 { return s.Delivered }),
	rabbitCounter("redelivered", "Of these, jobs that may have been handed out before.", func(s rabbitmq.Stats) int64 { return s.Redelivered }),
	rabbitCounter("deferred", "Jobs sent on to the next delay step.", func(s rabbitmq.Stats) int64 { return s.Deferred }),
	rabbitCounter("dropped_acks", "Jobs settled after their connection was lost.", func(s rabbitmq.Stats) int64 { return s.DroppedAcks }),
	rabbitCounter("bad_messages", "Messages that were no jobs.", func(s rabbitmq.Stats) int64 { return s.BadMessages }),
	rabbitCounter("republished", "Returned jobs published anew to spare the delivery limit.", func(s rabbitmq.Stats) int64 { return s.Republished }),
	rabbitCounter("consumers_lost", "Times that a consumer had to start again.", func(s rabbitmq.Stats) int64 { return s.ConsumerLost }),
}

func rabbitGauge(name, help string, of func(rabbitmq.Stats) float64) rabbitFigure {
	return rabbitFigure{prometheus.NewDesc("hark_rabbitmq_"+name, help, nil, nil), prometheus.GaugeValue, of}
}

func rabbitCounter(name, help string, of func(rabbitmq.Stats) int64) rabbitFigure {
	return rabbitFigure{
		prometheus.NewDesc("hark_rabbitmq_"+name+"_total", help, nil, nil), prometheus.CounterValue,
		func(s rabbitmq.Stats) float64 { return float64(of(s)) },
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Describe implements [prometheus.Collector].
func (c rabbitCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range rabbitFigures {
		ch <- f.desc
	}
}

// Collect implements [prometheus.Collector].
func (c rabbitCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.broker.Stats()
	for _, f := range rabbitFigures {
		ch <- prometheus.MustNewConstMetric(f.desc, f.kind, f.of(s))
	}
}

type callbackCollector struct{ callback *callback }

var (
	descCallbackPublished = prometheus.NewDesc("hark_callback_published_total", "Events that this gateway published to the callback exchange.", nil, nil)
	descCallbackFailures  = prometheus.NewDesc("hark_callback_failures_total", "Failures to publish events to the callback exchange; they are tried again.", nil, nil)
	descCallbackBacklog   = prometheus.NewDesc("hark_callback_backlog", "Events of all nodes that wait for the callback exchange.", nil, nil)
	descCallbackOldest    = prometheus.NewDesc("hark_callback_oldest_seconds", "Age of the oldest of them.", nil, nil)
	descCallbackDropped   = prometheus.NewDesc("hark_callback_dropped_total", "Events of all nodes that were dropped because too many waited.", nil, nil)
)

// Describe implements [prometheus.Collector].
func (c callbackCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descCallbackPublished, descCallbackFailures, descCallbackBacklog, descCallbackOldest, descCallbackDropped} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (c callbackCollector) Collect(ch chan<- prometheus.Metric) {
	b := c.callback.backlog.Load()
	ch <- prometheus.MustNewConstMetric(descCallbackPublished, prometheus.CounterValue, float64(c.callback.published.Load()))
	ch <- prometheus.MustNewConstMetric(descCallbackFailures, prometheus.CounterValue, float64(c.callback.failures.Load()))
	ch <- prometheus.MustNewConstMetric(descCallbackBacklog, prometheus.GaugeValue, float64(b.Events))
	ch <- prometheus.MustNewConstMetric(descCallbackOldest, prometheus.GaugeValue, b.Oldest.Seconds())
	ch <- prometheus.MustNewConstMetric(descCallbackDropped, prometheus.CounterValue, float64(b.Dropped))
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
