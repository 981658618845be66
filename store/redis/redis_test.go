package redis_test

import (
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/servertest"
	"github.com/hark-push/hark/store/redis"
	"github.com/hark-push/hark/store/storetest"
	"github.com/hark-push/hark/store/webhooktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, url string, o redis.Options) *redis.Store {
	t.Helper()
	s, err := redis.Open(t.Context(), url, o)
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

func TestConformance(t *testing.T) {
	server := servertest.Redis(t)
	for _, how := range []redis.Options{{Partitions: 1}, {Partitions: 7}, {Partitions: 1, Queue: true}} {
		partitions := how.Partitions
		t.Run(fmt.Sprintf("partitions=%d,queue=%t", partitions, how.Queue), func(t *testing.T) {
			var n atomic.Int32
			storetest.Run(t, func(t *testing.T, c storetest.Config) storetest.Instance {
				o := redis.Options{
					Prefix: fmt.Sprintf("test%d-%t-%d", partitions, how.Queue, n.Add(1)), Partitions: partitions, Queue: how.Queue,
					History: c.History, FeedHistory: c.FeedHistory, FeedRetention: c.FeedRetention, Meter: c.Meter, Calls: c.Calls,
				}
				s := open(t, server.URL, o)
				return storetest.Instance{
					Store: s, Approximate: partitions > 1,
					Advance: func(d time.Duration) { s.Advance(d) },
					Reopen: func() storetest.Store {
						ahead := s.Ahead()
						if err := s.Close(); err != nil {
							t.Fatal(err)
						}
						s = open(t, server.URL, o)
						s.Advance(ahead)
						return s
					},
				}
			})
		})
	}
}

func TestWebhookConformance(t *testing.T) {
	server := servertest.Redis(t)
	for _, partitions := range []int{1, 7} {
		t.Run(fmt.Sprintf("partitions=%d", partitions), func(t *testing.T) {
			testWebhooks(t, server.URL, redis.Options{Prefix: fmt.Sprint("hooks", partitions), Partitions: partitions})
		})
	}
}

// testWebhooks runs the suite of webhooks, each test with stores of its own.
func testWebhooks(t *testing.T, url string, o redis.Options) {
	var n atomic.Int32
	webhooktest.Run(t, func(t *testing.T, c webhooktest.Config) webhooktest.Instance {
		o := o
		o.Stall = c.Stall
		o.Prefix, o.WebhookRetention = fmt.Sprintf("%s-%d", o.Prefix, n.Add(1)), c.WebhookRetention
		stores := []*redis.Store{open(t, url, o)}
		return webhooktest.Instance{
			Store: stores[0],
			Advance: func(d time.Duration) {
				for _, s := range stores {
					s.Advance(d)
				}
			},
			Reopen: func() webhooktest.Store {
				ahead := stores[0].Ahead()
				for _, s := range stores {
					if err := s.Close(); err != nil {
						t.Fatal(err)
					}
				}
				stores = []*redis.Store{open(t, url, o)}
				stores[0].Advance(ahead)
				return stores[0]
			},
			Another: func() webhooktest.Store {
				s := open(t, url, o)
				s.Advance(stores[0].Ahead())
				stores = append(stores, s)
				return s
			},
		}
	})
}

func submission(id string) lifecycle.Submission {
	return lifecycle.Submission{
		ID: id, Owner: "alice", Route: "images", MaxAttempts: 3,
		Timeout: time.Hour, Retention: time.Hour, Fingerprint: "f-" + id,
		Content: lifecycle.Content{Type: "application/json", Data: []byte(`{"image":"cat.png","width":640}`)},
	}
}

var discard = slog.New(slog.DiscardHandler)

func asDamage(err error) (*lifecycle.DamageError, bool) {
	return errors.AsType[*lifecycle.DamageError](err)
}
