package scene

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hark-push/hark/loadtest/peer"
)

// bareQueue returns how many messages per second go through a quorum queue: published,
// confirmed, consumed and acknowledged, each producer with one under way.
func bareQueue(url string, producers int, duration time.Duration) (float64, error) {
	publishing, err := amqp.Dial(url)
	if err != nil {
		return 0, err
	}
	defer func() { _ = publishing.Close() }()
	consuming, err := amqp.Dial(url)
	if err != nil {
		return 0, err
	}
	defer func() { _ = consuming.Close() }()
	out, err1 := publishing.Channel()
	in, err2 := consuming.Channel()
	if err := errors.Join(err1, err2); err != nil {
		return 0, err
	}
	const queue = "loadtest"
	if _, err := in.QueueDeclare(queue, true, false, false, false, amqp.Table{"x-queue-type": "quorum"}); err != nil {
		return 0, err
	}
	defer func() { _, _ = in.QueueDelete(queue, false, false, false) }()
	if err := errors.Join(out.Confirm(false), in.Qos(producers*2, 0, false)); err != nil {
		return 0, err
	}
	deliveries, err := in.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		return 0, err
	}
	var completed atomic.Int64
	var consumer sync.WaitGroup
	consumer.Go(func() {
		for d := range deliveries {
			if d.Ack(false) == nil {
				completed.Add(1)
			}
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), duration+time.Minute)
	defer cancel()
	began := time.Now()
	err = together(producers, func(int) error {
		for time.Since(began) < duration {
			confirmed, err := out.PublishWithDeferredConfirmWithContext(ctx, "", queue, true, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: peer.Payload(1, 200)})
			if err != nil {
				return err
			}
			if ok, err := confirmed.WaitContext(ctx); err != nil || !ok {
				return fmt.Errorf("confirmed %v: %w", ok, err)
			}
		}
		return nil
	})
	n := float64(completed.Load()) / time.Since(began).Seconds()
	_ = in.Cancel("", false)
	_ = consuming.Close()
	consumer.Wait()
	return n, err
}
