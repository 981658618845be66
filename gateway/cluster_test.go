package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/servertest"
)

// cluster is several gateways and workers on one Redis and one RabbitMQ, as processes of their own.
type cluster struct {
	t       testing.TB
	redis   *servertest.Server
	rabbit  *servertest.RabbitMQServer
	proxy   *servertest.ProxyServer // between the first gateway and Redis
	args    []string                // that name the backends
	mu      sync.Mutex
	nodes   []*process
	workers []*exec.Cmd
	topics  int // that requests are spread over, every fourth without one

	// What clients met.
	refused, resumed, resets atomic.Int64
	longest                  atomic.Int64 // ns without an answer
}

var workerBinary = sync.OnceValues(func() (string, error) {
	path, err := binary()
	if err != nil {
		return "", err
	}
	path = filepath.Join(filepath.Dir(path), "worker")
	args := []string{"build", "-o", path}
	if raceEnabled {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "../processor/cmd/worker")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// newCluster starts gateways, with further arguments, and workers.
func newCluster(t testing.TB, nodes, workers int, more ...string) *cluster {
	t.Helper()
	if os.Getenv("HARK_TEST_BACKENDS") == "shared" {
		t.Skip("runs on real servers in the other run of these tests")
	}
	c := &cluster{t: t, redis: servertest.Redis(t), rabbit: servertest.RabbitMQ(t)}
	c.args = []string{"--redis=" + c.redis.URL, "--amqp=" + c.rabbit.URL, "--requeue=2s", "--timeout=10m", "--retry=300ms"}
	c.args = append(c.args, more...)
	c.proxy = servertest.Proxy(t, c.redis.Addr)
	behind := "--redis=" + strings.Replace(c.redis.URL, c.redis.Addr, c.proxy.Addr, 1)
	c.nodes = append(c.nodes, c.gateway(behind))
	for len(c.nodes) < nodes {
		c.nodes = append(c.nodes, c.gateway())
	}
	for range workers {
		c.workers = append(c.workers, c.worker())
	}
	return c
}

func (c *cluster) gateway(more ...string) *process {
	return spawn(c.t, c.t.TempDir(), slices.Concat([]string{"--samples=false"}, c.args, more)...)
}

func (c *cluster) worker() *exec.Cmd {
	c.t.Helper()
	path, err := workerBinary()
	if err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.Command(path, c.args[0], c.args[1], "--routes=sleep", "--concurrency=40", "--drain=1s")
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

// node returns one of the gateways.
func (c *cluster) node(n int) *process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[n%len(c.nodes)]
}

func (c *cluster) replaceGateway(n int) {
	c.node(n).kill()
	next := c.gateway()
	c.mu.Lock()
	c.nodes[n%len(c.nodes)] = next
	c.mu.Unlock()
}

func (c *cluster) replaceWorker(n int) {
	_ = c.workers[n].Process.Signal(syscall.SIGKILL)
	_ = c.workers[n].Wait()
	c.workers[n] = c.worker()
}

// submit submits a request at one node until it is accepted, as a client does: with
// its own id a repetition is safe.
func (c *cluster) submit(n int, id, body string) bool {
	began := time.Now()
	for try := n; ; try++ {
		a, err := c.node(try).try("POST", "/v1/requests", body, async)
		switch {
		case err == nil && a.status == 202:
			c.outage(time.Since(began))
			return true
		case err == nil && a.status == 503:
			c.refused.Add(1)
		case err == nil:
			c.t.Errorf("%s: %d %s", id, a.status, a.body)
			return false
		}
		if time.Since(began) > 3*time.Minute {
			c.t.Errorf("%s was never accepted: %v %d %s", id, err, a.status, a.body)
			return false
		}
		time.Sleep(time.Duration(20+rand.IntN(80)) * time.Millisecond) // as a client would
	}
}

func (c *cluster) outage(d time.Duration) {
	for {
		longest := c.longest.Load()
		if int64(d) <= longest || c.longest.CompareAndSwap(longest, int64(d)) {
			return
		}
	}
}

// follow reads a request's events to the end, from any node but the one that took it,
// over as many connections as it takes: every offset once and in order, or a loss told
// in-band, and one end.
func (c *cluster) follow(n int, id string) {
	at, ends := 0, map[string]bool{}
	began := time.Now()
	for try := n + 1; time.Since(began) < 5*time.Minute; try++ {
		if try%len(c.nodes) == n%len(c.nodes) && len(c.nodes) > 1 {
			continue
		}
		r, _ := http.NewRequest("GET", c.node(try).url+"/v1/requests/"+id+"/events", nil)
		r.Header.Set("Accept", "text/event-stream")
		if at > 0 {
			r.Header.Set("Last-Event-ID", strconv.Itoa(at))
		}
		res, err := followClient.Do(r)
		if err != nil {
			time.Sleep(time.Duration(20+rand.IntN(80)) * time.Millisecond) // as a client would
			continue
		}
		if res.StatusCode == http.StatusNoContent {
			_ = res.Body.Close()
			break
		}
		if res.StatusCode != http.StatusOK {
			_ = res.Body.Close()
			if res.StatusCode != http.StatusServiceUnavailable {
				c.t.Errorf("%s: %d", id, res.StatusCode)
				return
			}
			c.refused.Add(1)
			time.Sleep(time.Duration(50+rand.IntN(100)) * time.Millisecond) // as a client would
			continue
		}
		if at > 0 {
			c.resumed.Add(1)
		}
		done, err := readEvents(res, func(e sseEvent) error {
			var event struct {
				Type string
				Data struct{ Status lifecycle.Status }
			}
			if err := json.Unmarshal([]byte(e.data), &event); err != nil {
				return err
			}
			n, err := strconv.Atoi(e.id)
			switch {
			case err != nil:
				return err
			case event.Type == "request.reset":
				c.resets.Add(1)
			case n != at+1:
				return fmt.Errorf("offset %d after %d", n, at)
			}
			at = n
			if event.Data.Status.Terminal() {
				ends[string(event.Data.Status)] = true
			}
			return nil
		})
		if err != nil {
			c.t.Errorf("%s: %v", id, err)
			return
		}
		if done {
			break
		}
	}
	if len(ends) != 1 || !ends["succeeded"] {
		c.t.Errorf("%s ended as %v at %d", id, ends, at)
	}
}

var followClient = &http.Client{Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: -1}}

// load submits requests over all nodes, each with a follower, and returns when all have ended.
func (c *cluster) load(requests, steps int, each string, progress *atomic.Int64) {
	var working, following sync.WaitGroup
	const submitters = 16
	slots := make(chan struct{}, 2000) // followers at a time
	for w := range submitters {
		working.Go(func() {
			for n := w; n < requests; n += submitters {
				id := fmt.Sprintf("load-%d", n)
				topic := ""
				if c.topics > 0 && n%4 != 3 {
					topic = fmt.Sprintf(`"topic":"load.%d",`, n%c.topics)
				}
				body := fmt.Sprintf(`{"id":%q,"route":"sleep",%s"maxAttempts":20,"content":{"steps":%d,"duration":%q,"result":%d}}`, id, topic, steps, each, n)
				if !c.submit(n, id, body) {
					return
				}
				slots <- struct{}{}
				following.Go(func() {
					defer func() { <-slots }()
					c.follow(n, id)
					progress.Add(1)
				})
			}
		})
	}
	working.Wait()
	following.Wait()
}

func chaosSize(t testing.TB, least int) int {
	t.Helper()
	if n, err := strconv.Atoi(os.Getenv("HARK_CHAOS")); err == nil && n > 0 {
		return n
	}
	return least
}

// TestManyNodes spreads requests and their followers over three gateways and three
// workers: every follower sees every event once and in order, every request ends once.
func TestManyNodes(t *testing.T) {
	c := newCluster(t, 3, 3)
	requests := chaosSize(t, 1500)
	var ended atomic.Int64
	began := time.Now()
	c.load(requests, 2, "5ms", &ended)
	c.report(requests, &ended, began)
	if c.resets.Load() != 0 {
		t.Errorf("%d resets without a reason", c.resets.Load())
	}
}

func (c *cluster) report(requests int, ended *atomic.Int64, began time.Time) {
	again := 0
	for n := range requests {
		var doc struct{ Attempt int }
		a := c.node(n).call("GET", fmt.Sprintf("/v1/requests/load-%d", n), nil).want(200)
		if err := json.Unmarshal(a.body, &doc); err != nil {
			c.t.Fatal(err)
		}
		if doc.Attempt > 1 {
			again++
		}
	}
	c.t.Logf("accepted %d, ended %d, re-delivered %d, resumed streams %d, resets %d, refused with 503 %d, longest outage seen by a client %v, took %v",
		requests, ended.Load(), again, c.resumed.Load(), c.resets.Load(), c.refused.Load(), time.Duration(c.longest.Load()).Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
}

// TestChaos breaks one thing after the other under load. Nothing that was answered with
// 202 is lost, no request ends in two ways, no follower has a gap that it is not told of.
func TestChaos(t *testing.T) {
	c := newCluster(t, 3, 3)
	requests, long := chaosSize(t, 1500), 7*time.Second
	if requests >= 10_000 {
		long = 30 * time.Second
	}
	faults := []struct {
		name string
		do   func()
	}{
		{"a worker is killed", func() { c.replaceWorker(0) }},
		{"a gateway is killed", func() { c.replaceGateway(1) }},
		{"RabbitMQ is killed and started again", func() { c.rabbit.Kill(); c.rabbit.Restart() }},
		{"one gateway's connections to Redis are silent", func() {
			c.proxy.Drop(servertest.ToServer | servertest.ToClient)
			time.Sleep(long) // the fault itself
			c.proxy.Restore()
		}},
		{"Redis is paused", func() {
			c.redis.Pause()
			time.Sleep(long) // the fault itself: longer than the store's timeout
			c.redis.Resume()
		}},
		{"Redis is killed and started again", func() { c.redis.Kill(); c.redis.Restart() }},
	}
	var ended atomic.Int64
	began := time.Now()
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		c.load(requests, 3, "300ms", &ended)
	}()
	for n, fault := range faults {
		due := int64((n + 1) * requests / (len(faults) + 2))
		for ended.Load() < due {
			select {
			case <-loaded:
				t.Fatal("the load ended before the faults")
			case <-time.After(time.Millisecond):
			}
			if time.Since(began) > 8*time.Minute {
				t.Fatalf("stuck before %q: %d ended", fault.name, ended.Load())
			}
		}
		t.Logf("%v: %s after %d", time.Since(began).Round(time.Millisecond), fault.name, ended.Load())
		fault.do()
	}
	<-loaded
	c.report(requests, &ended, began)
}

// TestRollingRestart restarts one gateway after the other under load, as a deployment
// does: each drains and ends well, its streams go on elsewhere, nothing is lost or reset.
func TestRollingRestart(t *testing.T) {
	c := newCluster(t, 3, 2)
	requests := chaosSize(t, 900)
	var ended atomic.Int64
	began := time.Now()
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		c.load(requests, 3, "200ms", &ended)
	}()
	for n := range 3 {
		for due := int64((n + 1) * requests / 5); ended.Load() < due; {
			select {
			case <-loaded:
				t.Fatal("the load ended before the restarts")
			case <-time.After(time.Millisecond):
			}
		}
		old, next := c.node(n), c.gateway()
		c.mu.Lock()
		c.nodes[n] = next
		c.mu.Unlock()
		if err := old.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := old.cmd.Wait(); err != nil {
			t.Errorf("gateway %d did not end well: %v", n, err)
		}
		t.Logf("%v: gateway %d restarted after %d", time.Since(began).Round(time.Millisecond), n, ended.Load())
	}
	<-loaded
	c.report(requests, &ended, began)
	if c.resumed.Load() == 0 || c.resets.Load() != 0 {
		t.Errorf("%d streams resumed, %d reset", c.resumed.Load(), c.resets.Load())
	}
}
