package blackbox_test

import (
	"fmt"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// backlog is deliveries that wait, of several endpoints, and what has arrived of them.
type backlog struct {
	t         testing.TB
	endpoints []*hook
	requests  int
	total     int // deliveries
	arrived   atomic.Int64

	messages []string // the webhook-id of each request's event
	mu       sync.Mutex
	times    map[string]int // how often each arrived, by endpoint and webhook-id
}

// The endpoints of a backlog, and how many deliveries each takes at a time.
const (
	backlogEndpoints   = 20
	backlogConcurrency = 4
)

// messageID is the webhook-id of an event of a request, of which a status document is given.
func messageID(doc map[string]any, sequence int) string {
	if doc["life"] == nil { // the id is one that the gateway made
		return fmt.Sprintf("%s_%d", doc["id"], sequence)
	}
	return fmt.Sprintf("%s_%s_%d", doc["id"], doc["life"], sequence)
}

// message is the webhook-id of an event of a request that is there.
func (s *server) message(id string, sequence int) string {
	s.t.Helper()
	return messageID(s.call("GET", "/v1/requests/"+id, nil).want(200).json(), sequence)
}

// newBacklog makes deliveries that wait for their endpoints to be resumed.
func newBacklog(t testing.TB, s *server) *backlog {
	t.Helper()
	b := &backlog{t: t, requests: 50, times: make(map[string]int)}
	if os.Getenv("HARK_CHAOS") != "" {
		b.requests = 500
	}
	b.total = b.requests * backlogEndpoints
	r := newReceiver(t, func(_ http.ResponseWriter, q *http.Request) {
		b.mu.Lock()
		defer b.mu.Unlock()
		key := q.URL.Path + " " + q.Header.Get("Webhook-Id")
		if b.times[key]++; b.times[key] == 1 {
			b.arrived.Add(1)
		}
	})
	for n := range backlogEndpoints {
		h := s.hook(fmt.Sprintf("%s/%d", r.url, n), map[string]any{
			"events": []string{"request.accepted"}, "concurrency": backlogConcurrency, "timeout": "1s", "schedule": []string{"100ms", "1s", "1s", "1s", "1s"},
		})
		s.call("POST", h.path+"/pause", nil).want(200)
		b.endpoints = append(b.endpoints, h)
	}
	for n := range b.requests {
		doc := s.call("POST", "/v1/requests", fmt.Sprintf(`{"id":"b-%d","content":1}`, n), async).want(202).json()
		b.messages = append(b.messages, messageID(doc, 1))
	}
	return b
}

func (b *backlog) resume(s *server) {
	b.t.Helper()
	for _, h := range b.endpoints {
		s.call("POST", h.path+"/resume", nil).want(200)
	}
}

// reached waits until a share of it has arrived.
func (b *backlog) reached(part, of int) {
	b.t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); b.arrived.Load() < int64(b.total*part/of); {
		if time.Now().After(deadline) {
			b.t.Fatalf("only %d of %d arrived", b.arrived.Load(), b.total)
		}
		time.Sleep(time.Millisecond) // a poll
	}
}

// check holds that each delivery arrived under its id, and few of them more than once.
func (b *backlog) check(s *server, most int) {
	b.t.Helper()
	for _, h := range b.endpoints {
		s.eventually(func() bool {
			health := s.call("GET", h.path, nil).want(200).json()["health"].(map[string]any)
			return health["waiting"] == 0.0 && health["sending"] == 0.0
		})
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	again := 0
	for n := range backlogEndpoints {
		for i, message := range b.messages {
			times := b.times[fmt.Sprintf("/hook/%d %s", n, message)]
			if times == 0 {
				b.t.Errorf("endpoint %d never got the event of request %d", n, i)
			}
			again += max(0, times-1)
		}
	}
	b.t.Logf("%d deliveries arrived, %d of them again", len(b.times), again)
	if len(b.times) != b.total || again > most {
		b.t.Errorf("%d ids arrived, want %d; %d again, want at most %d", len(b.times), b.total, again, most)
	}
}

// TestWebhooksWhenKilled: the gateway is killed while it delivers and started again, twice. Every
// delivery arrives, and none again but what was under way.
func TestWebhooksWhenKilled(t *testing.T) {
	t.Parallel()
	if onServers() {
		t.Skip("TestWebhooksTakenOver is about servers that are shared")
	}
	data := t.TempDir()
	p := spawn(t, data, allowed...)
	b := newBacklog(t, p.server)
	b.resume(p.server)
	const kills = 2
	for n := range kills {
		b.reached(n+1, kills+1)
		t.Logf("kill %d after %d of %d", n+1, b.arrived.Load(), b.total)
		p.kill()
		p = spawn(t, data, allowed...)
	}
	b.reached(1, 1)
	b.check(p.server, kills*backlogEndpoints*backlogConcurrency)
}

// TestWebhooksTakenOver: of two gateways one is killed while both deliver, and then Redis. The
// other one delivers what is left, and what the dead one had under way when its leases end.
func TestWebhooksTakenOver(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, 0, allowed...)
	b := newBacklog(t, c.node(1).server)
	b.resume(c.node(1).server)
	b.reached(1, 4)
	t.Logf("a gateway is killed after %d of %d", b.arrived.Load(), b.total)
	c.node(0).kill()
	b.reached(2, 4)
	t.Logf("Redis stands still after %d", b.arrived.Load())
	c.redis.Pause()
	time.Sleep(500 * time.Millisecond) // that is the fault
	c.redis.Resume()
	b.reached(3, 4)
	t.Logf("Redis is killed after %d", b.arrived.Load())
	c.redis.Restart()
	began := time.Now()
	b.reached(1, 1)
	t.Logf("the rest took %v", time.Since(began).Round(time.Millisecond))
	b.check(c.node(1).server, 3*backlogEndpoints*backlogConcurrency)
}
