package bolt_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/bolt"
)

// A request passes through a store of its own, and a listener hears of every step.
func Example() {
	dir, err := os.MkdirTemp("", "hark")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	store, err := bolt.Open(filepath.Join(dir, "hark.db"), bolt.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	store.Listen(func(channel string, m lifecycle.Message) {
		if channel == "request:r1" {
			fmt.Println(channel, m.Offset, "last:", m.Last)
		}
	})
	ctx := context.Background()
	if _, err := store.Create(ctx, lifecycle.Submission{
		ID: "r1", Owner: "alice", Route: "images", MaxAttempts: 3, Timeout: time.Hour, Retention: time.Hour,
	}); err != nil {
		log.Fatal(err)
	}
	for _, change := range []lifecycle.Change{lifecycle.Start{}, lifecycle.Succeed{Attempt: 1}} {
		r, err := store.Apply(ctx, lifecycle.Named("r1"), change)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(r.Status)
	}
	// Output:
	// request:r1 1 last: false
	// request:r1 2 last: false
	// processing
	// request:r1 3 last: true
	// succeeded
}
