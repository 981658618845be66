package backends

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hark-push/hark/broker/rabbitmq"
)

// Collectors are what is to be told of the backends to Prometheus.
func (b *Backends) Collectors() []prometheus.Collector {
	all := []prometheus.Collector{prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "hark_store_damages_total", Help: "Times that something stored was found damaged, by its checksum, and was not handed out, or was there twice and was written anew.",
	}, func() float64 { return float64(b.damages.Count()) })}
	if b.Rabbit != nil {
		all = append(all, rabbitCollector{b.Rabbit})
	}
	if b.Callback != nil {
		all = append(all, callbackCollector{b.Callback})
	}
	return all
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

type callbackCollector struct{ callback *Callback }

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
