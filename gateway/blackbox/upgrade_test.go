package blackbox_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hark-push/hark/servertest"
)

// upgrade is a cluster that begins with the programs of an older version, with work under way.
type upgrade struct {
	*cluster
	newGateway, newWorker string

	ended   atomic.Int64
	loaded  chan struct{}
	feeds   sync.WaitGroup
	waiting []string // requests that stand in the middle of something when the new version comes
	to      *receiver
}

// upgradeOf starts the older version, whose programs scripts/upgrade.sh has built.
func upgradeOf(t *testing.T, workers bool) *upgrade {
	t.Helper()
	folder := os.Getenv("HARK_TEST_UPGRADE")
	if folder == "" {
		t.Skip("make upgrade FROM=… runs it, from the version that it names")
	}
	u := &upgrade{cluster: emptyCluster(t), loaded: make(chan struct{})}
	u.newGateway, u.newWorker = u.gateway, u.worker
	u.gateway, u.worker = filepath.Join(folder, "gateway"), filepath.Join(folder, "worker")
	u.options = []string{"--webhook-allow-http", "--webhook-allow-cidrs=127.0.0.0/8"}
	if !workers {
		u.options = append(u.options, "--samples=true")
		u.servers = []string{"--data=" + t.TempDir()}
		u.addOld()
		return u
	}
	u.redis, u.rabbit = servertest.Redis(t, "--appendfsync", "always"), servertest.RabbitMQ(t)
	u.servers = []string{"--redis=" + u.redis.URL, "--amqp=" + u.rabbit.URL}
	u.addOld()
	u.addOld()
	u.grow(0, 2)
	return u
}

// addOld adds a gateway of the older version, which knows nothing of what documents say now.
func (u *upgrade) addOld() {
	u.addGateway()
	u.nodes[len(u.nodes)-1].http.Transport = &http.Transport{DisableCompression: true}
}

// begin has work under way: many requests, with a follower each, feeds, and what waits. later is
// how many follow by more.
func (u *upgrade) begin(requests, later int) {
	u.t.Helper()
	old := u.node(0)
	u.to = newReceiver(u.t, nil)
	old.call("POST", "/v1/webhooks", map[string]any{"url": u.to.url, "events": []string{"request.succeeded"}}).want(201)
	for _, w := range []struct{ id, body string }{
		{"delayed", `{"id":"delayed","route":"sleep","delay":"20s","content":{"steps":1,"duration":"1ms"}}`},
		{"keyed", `{"id":"keyed","route":"sleep","content":{"steps":1,"duration":"1ms"}}`},
		{"leased", `{"id":"leased","route":"default","content":1}`},
		{"waits", `{"id":"waits","route":"default","content":2}`},
	} {
		old.call("POST", "/v1/requests", w.body, async, "Idempotency-Key: "+w.id).want(202)
		u.waiting = append(u.waiting, w.id)
	}
	old.call("POST", "/v1/work/leased/start", nil).want(200)
	total := requests + len(u.waiting) + later
	for n := range 2 {
		u.feeds.Go(func() { u.followFeed(u.t.Context(), n, "/v1/events", total) })
	}
	go func() {
		defer close(u.loaded)
		u.load(requests, 3, "200ms", &u.ended, atOnce)
	}()
}

// more submits a request to each gateway that there is.
func (u *upgrade) more() {
	u.t.Helper()
	for n := range u.nodes {
		id := fmt.Sprint("more-", len(u.waiting))
		u.submit(n, id, fmt.Sprintf(`{"id":%q,"route":"sleep","content":{"steps":1,"duration":"1ms"}}`, id))
		u.waiting = append(u.waiting, id)
	}
}

// at waits until so many have ended, with more to come.
func (u *upgrade) at(due int) {
	u.t.Helper()
	for u.ended.Load() < int64(due) {
		select {
		case <-u.loaded:
			u.t.Fatalf("the load ended before %d had", due)
		case <-time.After(time.Millisecond):
		}
	}
}

// stop ends a process as a deployment does.
func (u *upgrade) stop(what string, cmd *exec.Cmd) {
	u.t.Helper()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		u.t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		u.t.Errorf("%s of the older version did not end well: %v", what, err)
	}
	u.t.Logf("%s of the older version ended after %d requests", what, u.ended.Load())
}

// replace puts a gateway of the new version in the place of an older one.
func (u *upgrade) replace(n int) {
	next := u.startGateway()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.nodes[n] = next
}

// finish ends what waits, at the new version, and holds all to have ended once.
func (u *upgrade) finish(requests int, began time.Time) {
	u.t.Helper()
	s := u.node(0)
	for _, id := range []string{"waits", "leased"} {
		if id == "waits" {
			s.call("POST", "/v1/work/waits/start", nil).want(200)
		}
		s.call("PUT", "/v1/work/"+id+"/result?attempt=1", `true`, "Content-Type: application/json").want(200)
	}
	// The same submission as before is the same request.
	again := s.call("POST", "/v1/requests", `{"id":"keyed","route":"sleep","content":{"steps":1,"duration":"1ms"}}`, async, "Idempotency-Key: keyed")
	if again.status != 202 || again.json()["id"] != "keyed" {
		u.t.Errorf("the same submission again: %d %s", again.status, again.body)
	}
	<-u.loaded
	u.feeds.Wait()
	u.report(requests, &u.ended, began)
	ids := slices.Clone(u.waiting)
	for n := range requests {
		ids = append(ids, fmt.Sprint("load-", n))
	}
	told := make(map[string]int)
	for _, id := range ids {
		ends := 0
		for _, text := range s.events(id) {
			var e struct{ Type string }
			if err := json.Unmarshal(text, &e); err != nil {
				u.t.Fatal(err)
			}
			if strings.HasSuffix(e.Type, ".succeeded") {
				ends++
			}
		}
		if ends != 1 {
			u.t.Errorf("%s has ended %d times", id, ends)
		}
	}
	u.await("each success has come to the webhook", func() bool {
		clear(told)
		for _, d := range u.to.all() {
			told[d.id]++
		}
		return len(told) >= len(ids)
	})
	if len(told) != len(ids) {
		u.t.Errorf("%d events came to the webhook, of %d requests", len(told), len(ids))
	}
	if u.resumed.Load() == 0 || u.resets.Load() != 0 {
		u.t.Errorf("%d streams resumed, %d reset", u.resumed.Load(), u.resets.Load())
	}
	u.t.Logf("%d requests have ended once, %d streams went on with their cursor, %d webhook deliveries arrived", len(ids), u.resumed.Load(), len(told))
}

// TestUpgrade replaces an older version by this one with work under way on Redis and RabbitMQ: one
// process after the other, so that both work beside each other, or where the layout of the store
// changes, all at once, as docs/migrate.md has it.
func TestUpgrade(t *testing.T) {
	u := upgradeOf(t, true)
	requests, began := chaosSize(t, 600), time.Now()
	same, later := os.Getenv("HARK_TEST_UPGRADE_REDIS") == "same", 2
	if same {
		later = 8
	}
	u.begin(requests, later)
	if same {
		u.gateway, u.worker = u.newGateway, u.newWorker
		for n := range 2 {
			u.at((n + 1) * requests / 6)
			u.stop("a worker", u.workers[n])
			u.workers[n] = u.startWorker()
			u.more()
		}
		for n := range 2 {
			u.at((n + 3) * requests / 6)
			old := u.node(n)
			u.replace(n)
			u.more()
			u.stop("a gateway", old.cmd)
		}
	} else {
		u.at(requests / 3)
		for n := range 2 {
			u.stop("a worker", u.workers[n])
		}
		for n := range 2 {
			u.stop("a gateway", u.node(n).cmd)
		}
		u.gateway, u.worker = u.newGateway, u.newWorker
		for n := range 2 {
			u.replace(n)
			u.workers[n] = u.startWorker()
		}
		u.more()
	}
	u.finish(requests, began)
}

// TestUpgradeEmbedded does the same with one gateway and its folder.
func TestUpgradeEmbedded(t *testing.T) {
	u := upgradeOf(t, false)
	requests, began := chaosSize(t, 600), time.Now()
	u.begin(requests, 1)
	u.at(requests / 3)
	u.stop("the gateway", u.node(0).cmd)
	u.gateway = u.newGateway
	u.replace(0)
	u.more()
	u.finish(requests, began)
}
