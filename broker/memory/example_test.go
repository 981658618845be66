package memory_test

import (
	"context"
	"fmt"
	"log"

	"github.com/hark-push/hark/broker"
	"github.com/hark-push/hark/broker/memory"
)

// Jobs of one route are handed out by priority and then by age.
func Example() {
	queue := memory.New([]string{"images"}, memory.Options{})
	defer queue.Close()
	ctx, cancel := context.WithCancel(context.Background())
	for _, j := range []broker.Job{
		{ID: "r1", Route: "images"},
		{ID: "r2", Route: "images"},
		{ID: "r3", Route: "images", Priority: 9},
	} {
		if err := queue.Publish(ctx, j); err != nil {
			log.Fatal(err)
		}
	}
	left := 3
	if err := queue.Consume(ctx, []string{"images"}, 1, func(d broker.Delivery) {
		fmt.Println(d.Job().ID)
		if err := d.Ack(); err != nil {
			log.Fatal(err)
		}
		if left--; left == 0 {
			cancel()
		}
	}); err != nil {
		log.Fatal(err)
	}
	// Output:
	// r3
	// r1
	// r2
}
