package rabbitmq_test

import (
	"context"
	"log"
	"os/signal"
	"syscall"
	"time"

	"github.com/hark-push/hark/broker"
	"github.com/hark-push/hark/broker/rabbitmq"
)

// The gateway publishes, processors on other machines consume.
func Example() {
	jobs, err := rabbitmq.New([]string{"amqp://guest:guest@localhost:5672/"}, []string{"images"}, rabbitmq.Options{})
	if err != nil {
		log.Fatal(err) // a wrong password, or queues with other settings
	}
	defer jobs.Close()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()

	retry := broker.Job{ID: "r1", Route: "images", NotBefore: time.Now().Add(time.Minute)}
	if err := jobs.Publish(ctx, retry); err != nil {
		log.Print(err)
	}
	err = jobs.Consume(ctx, []string{"images"}, 10, func(d broker.Delivery) {
		log.Print(d.Job().ID)
		if err := d.Ack(); err != nil {
			log.Print(err)
		}
	})
	if err != nil {
		log.Print(err)
	}
}
