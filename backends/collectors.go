package backends

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hark-push/hark/broker/rabbitmq"
	redisqueue "github.com/hark-push/hark/broker/redis"
	"github.com/hark-push/hark/metrics"
	"github.com/hark-push/hark/processor"
)

// Collectors are what is to be told of the backends to Prometheus.
func (b *Backends) Collectors() []prometheus.Collector {
	all := []prometheus.Collector{prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "hark_store_damages_total", Help: "Times that something stored was found damaged, by its checksum, and was not handed out, or was there twice and was written anew.",
	}, func() float64 { return float64(b.damages.Count()) })}
	if b.Work != nil {
		all = append(all, metrics.Collector(b.Work.Stats, workSeries...))
	}
	if b.Rabbit != nil {
		all = append(all, metrics.Collector(b.Rabbit.Stats, rabbitSeries...))
	}
	if b.Callback != nil {
		all = append(all, metrics.Collector(func() *Callback { return b.Callback }, callbackSeries...))
	}
	if b.meter != nil {
		all = append(all, b.meter.collectors...)
	}
	return all
}

// Attempts is what is to be told of processors, by their routes.
func Attempts(processors map[string]*processor.Processor) prometheus.Collector {
	return metrics.Collector(func() map[string]*processor.Processor { return processors }, attemptSeries...)
}

var attemptSeries = []metrics.Series[map[string]*processor.Processor]{
	metrics.Gauges("hark_attempts_running", "Attempts that the processors of this process are at now.", []string{"route"}, func(processors map[string]*processor.Processor, tell metrics.Tell) {
		for route, p := range processors {
			tell(float64(p.Stats().Running), route)
		}
	}),
	metrics.Gauges("hark_attempts_limit", "Attempts that they may be at at the same time.", []string{"route"}, func(processors map[string]*processor.Processor, tell metrics.Tell) {
		for route, p := range processors {
			tell(float64(p.Stats().Concurrency), route)
		}
	}),
	metrics.Counters("hark_attempts_total", "Attempts that have ended here, by how.", []string{"route", "outcome"}, func(processors map[string]*processor.Processor, tell metrics.Tell) {
		for route, p := range processors {
			s := p.Stats()
			for outcome, n := range map[string]int64{"succeeded": s.Succeeded, "failed": s.Failed, "returned": s.Returned, "overtaken": s.Overtaken} {
				tell(float64(n), route, outcome)
			}
		}
	}),
}

var rabbitSeries = []metrics.Series[rabbitmq.Stats]{
	metrics.Gauge("hark_rabbitmq_connected", "1 while both connections to RabbitMQ are up.", func(s rabbitmq.Stats) float64 { return metrics.Truth(s.Connected) }),
	metrics.Gauge("hark_rabbitmq_blocked", "1 while RabbitMQ is short of memory or disk and takes nothing.", func(s rabbitmq.Stats) float64 { return metrics.Truth(s.Blocked) }),
	metrics.Gauge("hark_rabbitmq_pending", "Publications that wait for their confirmation.", func(s rabbitmq.Stats) int64 { return s.Pending }),
	metrics.Counter("hark_rabbitmq_connections_total", "Connections made.", func(s rabbitmq.Stats) int64 { return s.Connections }),
	metrics.Counter("hark_rabbitmq_published_total", "Publications confirmed, jobs and events.", func(s rabbitmq.Stats) int64 { return s.Published }),
	metrics.Counter("hark_rabbitmq_refused_total", "Publications refused, or jobs without a queue.", func(s rabbitmq.Stats) int64 { return s.Refused }),
	metrics.Counter("hark_rabbitmq_unconfirmed_total", "Publications given up or lost with their connection.", func(s rabbitmq.Stats) int64 { return s.Unconfirmed }),
	metrics.Counter("hark_rabbitmq_delivered_total", "Jobs handed to processors of this process.", func(s rabbitmq.Stats) int64 { return s.Delivered }),
	metrics.Counter("hark_rabbitmq_redelivered_total", "Of these, jobs that may have been handed out before.", func(s rabbitmq.Stats) int64 { return s.Redelivered }),
	metrics.Counter("hark_rabbitmq_deferred_total", "Jobs sent on to the next delay step.", func(s rabbitmq.Stats) int64 { return s.Deferred }),
	metrics.Counter("hark_rabbitmq_dropped_acks_total", "Jobs settled after their connection was lost.", func(s rabbitmq.Stats) int64 { return s.DroppedAcks }),
	metrics.Counter("hark_rabbitmq_bad_messages_total", "Messages that were no jobs.", func(s rabbitmq.Stats) int64 { return s.BadMessages }),
	metrics.Counter("hark_rabbitmq_republished_total", "Returned jobs published anew to spare the delivery limit.", func(s rabbitmq.Stats) int64 { return s.Republished }),
	metrics.Counter("hark_rabbitmq_consumers_lost_total", "Times that a consumer had to start again.", func(s rabbitmq.Stats) int64 { return s.ConsumerLost }),
}

var workSeries = []metrics.Series[redisqueue.Stats]{
	metrics.Gauge("hark_work_leased", "1 while the lease of this process for work in Redis holds in all partitions, as far as it knows.", func(s redisqueue.Stats) float64 { return metrics.Truth(s.Connected) }),
	metrics.Counter("hark_work_taken_total", "Scripts that took work from Redis, or told what is done.", func(s redisqueue.Stats) int64 { return s.Taken }),
	metrics.Counter("hark_work_delivered_total", "Jobs handed to processors of this process.", func(s redisqueue.Stats) int64 { return s.Delivered }),
	metrics.Counter("hark_work_redelivered_total", "Of these, jobs that were handed out before.", func(s redisqueue.Stats) int64 { return s.Redelivered }),
	metrics.Counter("hark_work_leases_lost_total", "Times that the lease of this process ran out, so that others got its work.", func(s redisqueue.Stats) int64 { return s.LeasesLost }),
	metrics.Counter("hark_work_taken_over_total", "Jobs of processes that are gone, or silent, which this one had handed out again.", func(s redisqueue.Stats) int64 { return s.TakenOver }),
	metrics.Counter("hark_work_put_aside_total", "Jobs that this process put aside because too many died with them.", func(s redisqueue.Stats) int64 { return s.PutAside }),
	metrics.Counter("hark_work_failures_total", "Times that Redis did not answer who wanted work.", func(s redisqueue.Stats) int64 { return s.Failures }),
}

var callbackSeries = []metrics.Series[*Callback]{
	metrics.Counter("hark_callback_published_total", "Events that this gateway published to the callback exchange.", func(c *Callback) int64 { return c.published.Load() }),
	metrics.Counter("hark_callback_failures_total", "Failures to publish events to the callback exchange; they are tried again.", func(c *Callback) int64 { return c.failures.Load() }),
	metrics.Gauge("hark_callback_backlog", "Events of all nodes that wait for the callback exchange.", func(c *Callback) int { return c.backlog.Load().Events }),
	metrics.Gauge("hark_callback_oldest_seconds", "Age of the oldest of them.", func(c *Callback) float64 { return c.backlog.Load().Oldest.Seconds() }),
	metrics.Counter("hark_callback_dropped_total", "Events of all nodes that were dropped because too many waited.", func(c *Callback) int64 { return c.backlog.Load().Dropped }),
}
