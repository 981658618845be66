package redis_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/servertest"
	"github.com/hark-push/hark/store/redis"
)

// TestQuotaOverNodes: of what comes to several nodes at once, exactly what is allowed is stored,
// and what ends on one node leaves room on the others.
func TestQuotaOverNodes(t *testing.T) {
	server := servertest.Redis(t)
	nodes := []*redis.Store{open(t, server.URL, redis.Options{}), open(t, server.URL, redis.Options{}), open(t, server.URL, redis.Options{})}
	const most, calls = 20, 90
	create := func(node int, id string) error {
		_, err := nodes[node%len(nodes)].Create(t.Context(), lifecycle.Submission{
			ID: id, Owner: "alice", Route: "default", MaxAttempts: 1, Timeout: time.Hour, Retention: time.Hour, Fingerprint: id,
			Content: lifecycle.Content{Type: "text/plain", Data: []byte("x")}, Quota: lifecycle.Quota{Open: most},
		})
		return err
	}
	var mu sync.Mutex
	var stored []string
	var refused atomic.Int32
	var all sync.WaitGroup
	for i := range calls {
		all.Go(func() {
			id := fmt.Sprint("r", i)
			err := create(i, id)
			if _, over := errors.AsType[*lifecycle.QuotaError](err); over {
				refused.Add(1)
				return
			}
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			stored = append(stored, id)
		})
	}
	all.Wait()
	if len(stored) != most || refused.Load() != calls-most {
		t.Fatalf("%d are stored and %d were refused", len(stored), refused.Load())
	}
	for i, id := range stored {
		if _, err := nodes[i%3].Apply(t.Context(), lifecycle.Named(id), lifecycle.Cancel{}); err != nil {
			t.Fatal(err)
		}
		if err := nodes[(i+1)%3].Delete(t.Context(), lifecycle.Named(id)); err != nil {
			t.Fatal(err)
		}
		if err := create(i+2, "again-"+id); err != nil {
			t.Fatal(err)
		}
	}
	if err := create(0, "one-more"); err == nil {
		t.Error("one more than may be")
	}
}
