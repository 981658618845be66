package bolt_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hark-push/hark/store/bolt"
	"github.com/hark-push/hark/store/storetest"
	"github.com/hark-push/hark/store/webhooktest"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		childMain(path)
		return
	}
	goleak.VerifyTestMain(m)
}

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock {
	return &clock{now: time.Date(2026, 1, 1, 0, 0, 0, 123456789, time.UTC)}
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T, c storetest.Config) storetest.Instance {
		path := filepath.Join(t.TempDir(), "data", "hark.db")
		clock := newClock()
		o := bolt.Options{
			Now: clock.Now, NoSync: true,
			History: c.History, FeedHistory: c.FeedHistory, FeedRetention: c.FeedRetention, Meter: c.Meter, Calls: c.Calls,
		}
		s := open(t, path, o)
		return storetest.Instance{
			Store: s, Anew: true,
			Advance: clock.Advance,
			Reopen: func() storetest.Store {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = open(t, path, o)
				return s
			},
		}
	})
}

func TestWebhookConformance(t *testing.T) {
	webhooktest.Run(t, func(t *testing.T, c webhooktest.Config) webhooktest.Instance {
		path := filepath.Join(t.TempDir(), "hark.db")
		clock := newClock()
		o := bolt.Options{Now: clock.Now, NoSync: true, WebhookRetention: c.WebhookRetention, Stall: c.Stall}
		s := open(t, path, o)
		return webhooktest.Instance{
			Store:   s,
			Advance: clock.Advance,
			Reopen: func() webhooktest.Store {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = open(t, path, o)
				return s
			},
		}
	})
}

func open(t testing.TB, path string, o bolt.Options) *bolt.Store {
	t.Helper()
	s, err := bolt.Open(path, o)
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
