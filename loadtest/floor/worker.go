package main

import (
	"errors"

	amqp "github.com/rabbitmq/amqp091-go"
)

// worker takes ids and says that the work on them has started, and has succeeded.
type worker struct {
	redis *pipe
}

// prefetch is that of Hark's worker in the scene.
const prefetch = 128

func (w *worker) start(broker *amqp.Channel) error {
	if err := broker.Qos(prefetch, 0, false); err != nil {
		return err
	}
	deliveries, err := broker.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	go func() {
		for d := range deliveries {
			go func() { check(w.work(&d)) }()
		}
		check(errors.New("RabbitMQ delivers nothing any more"))
	}()
	return nil
}

// work deals with one delivery.
func (w *worker) work(d *amqp.Delivery) error {
	id := string(d.Body)
	if err := w.redis.step(id, started); err != nil {
		return err
	}
	if err := w.redis.step(id, succeeded); err != nil {
		return err
	}
	return d.Ack(false)
}
