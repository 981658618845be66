package rabbitmq

import (
	"log/slog"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hark-push/hark/broker"
)

const producers = 64

// BenchmarkPublish publishes with 64 producers at once, each waiting for its
// confirmation: through the broker, and as the bare client library does it on the
// same kind of queue.
func BenchmarkPublish(b *testing.B) {
	b.Run("hark", func(b *testing.B) {
		h := openShared(b, Options{Logger: slog.New(slog.DiscardHandler)}, "a")
		inParallel(b, func(id string) error {
			return h.Publish(b.Context(), broker.Job{ID: id, Route: "a"})
		})
	})
	b.Run("bare", func(b *testing.B) {
		ch := channel(b, shared.RabbitMQ(b).URL)
		q, err := ch.QueueDeclare("bench-bare", true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { ch.QueueDelete(q.Name, false, false, false) })
		if err := ch.Confirm(false); err != nil {
			b.Fatal(err)
		}
		inParallel(b, func(id string) error {
			m, err := encode(broker.Job{ID: id, Route: "a"}, false)
			if err != nil {
				return err
			}
			sent, err := ch.PublishWithDeferredConfirm("", q.Name, true, false, m)
			if err == nil && !sent.Wait() {
				err = errRefused
			}
			return err
		})
	})
}

func inParallel(b *testing.B, publish func(id string) error) {
	var n atomic.Int64
	b.SetParallelism((producers + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := publish("bench-" + strconv.FormatInt(n.Add(1), 10)); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "confirmed/s")
}
