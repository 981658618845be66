package redis_test

import (
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hark-push/hark/broker"
	"github.com/hark-push/hark/broker/brokertest"
	"github.com/hark-push/hark/broker/redis"
	"github.com/hark-push/hark/servertest"
	store "github.com/hark-push/hark/store/redis"
)

// verify runs the tests, and fails if they leave goroutines behind.
func verify(m *testing.M) int {
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	return code
}

var prefixes atomic.Int32

// openStore returns a store whose work is queued in it, with a prefix of its own unless that is
// given.
func openStore(t testing.TB, url string, o store.Options) *store.Store {
	t.Helper()
	if o.Prefix == "" {
		o.Prefix = fmt.Sprintf("test%d", prefixes.Add(1))
	}
	o.Queue = true
	s, err := store.Open(t.Context(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// open returns the broker of a store.
func open(t testing.TB, s *store.Store, o redis.Options, routes ...string) *redis.Broker {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	b := redis.New(s, routes, o)
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func TestConformance(t *testing.T) {
	server := servertest.Redis(t)
	for _, partitions := range []int{1, 7} {
		t.Run(fmt.Sprintf("partitions=%d", partitions), func(t *testing.T) {
			facts := brokertest.Facts{Priorities: 10, DelayGrain: time.Second}
			if partitions > 1 {
				facts.Priorities, facts.Spread = 1, true
			}
			brokertest.Run(t, facts, func(t *testing.T, routes ...string) broker.Broker {
				return open(t, openStore(t, server.URL, store.Options{Partitions: partitions}), redis.Options{}, routes...)
			})
		})
	}
}
