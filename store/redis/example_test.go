package redis_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/redis"
)

// A request passes through a store that other nodes share, and a listener on one
// of them hears of every step.
func Example() {
	ctx := context.Background()
	store, err := redis.Open(ctx, "redis://localhost:6379/0", redis.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = store.Close() }()

	received := make(chan uint64)
	store.Listen(func(_ string, m lifecycle.Message) { received <- m.Offset })
	if err := store.Watch(ctx, "request:r1"); err != nil {
		log.Fatal(err)
	}
	if _, err := store.Create(ctx, lifecycle.Submission{
		ID: "r1", Owner: "alice", Route: "images", MaxAttempts: 3, Timeout: time.Hour, Retention: time.Hour,
	}); err != nil {
		log.Fatal(err)
	}
	fmt.Println("request:r1", <-received)
	for _, change := range []lifecycle.Change{lifecycle.Start{}, lifecycle.Succeed{Attempt: 1}} {
		r, err := store.Apply(ctx, lifecycle.Named("r1"), change)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("request:r1", <-received)
		fmt.Println(r.Status)
	}
}
