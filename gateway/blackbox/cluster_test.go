package blackbox_test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hark-push/hark/servertest"
)

// cluster is several gateways and workers on one Redis and one RabbitMQ, as processes of their own.
type cluster struct {
	t               testing.TB
	redis           *servertest.Server
	rabbit          *servertest.RabbitMQServer
	proxy           *servertest.ProxyServer // between the first gateway and Redis
	gateway, worker string                  // programs
	servers         []string                // arguments that name the servers
	options         []string                // further arguments of the gateways
	environment     []string                // of what is started next, beside the test's own
	// Requests are spread over so many, every fourth without one.
	topics   int
	failover bool // a replica that takes over may lack the newest writes

	mu      sync.Mutex
	nodes   []*process
	workers []*exec.Cmd

	// What clients met.
	refused, resumed, resets atomic.Int64
	again                    atomic.Int64 // requests that took more than one attempt
	// Requests that were accepted and are not there, by a failover.
	lost    atomic.Int64
	longest atomic.Int64 // ns without an answer
}

// newCluster starts a cluster on servers of its own. The gateways are given further arguments.
// Redis syncs before it answers, because it may be killed: with everysec it answers before it has
// written while an earlier sync is under way.
func newCluster(t testing.TB, nodes, workers int, options ...string) *cluster {
	t.Helper()
	c := emptyCluster(t)
	c.options = options
	c.redis = servertest.Redis(t, "--appendfsync", "always")
	c.servers = []string{"--redis=" + c.redis.URL}
	if !onRedis() {
		c.rabbit = servertest.RabbitMQ(t)
		c.servers = append(c.servers, "--amqp="+c.rabbit.URL)
	}
	c.proxy = servertest.Proxy(t, c.redis.Addr)
	c.addGateway("--redis=" + strings.Replace(c.redis.URL, c.redis.Addr, c.proxy.Addr, 1))
	c.grow(nodes-1, workers)
	return c
}

// queueFaults are what may happen to what carries the work.
func (c *cluster) queueFaults() []func() {
	if c.rabbit == nil {
		return []func(){c.redis.Restart}
	}
	c.rabbit.Sync()
	return []func(){c.rabbit.Restart}
}

// onlyRabbitMQ keeps a test of what RabbitMQ does out of the run on Redis alone.
func onlyRabbitMQ(t testing.TB) {
	t.Helper()
	if onRedis() {
		t.Skip("about RabbitMQ")
	}
}

// emptyCluster is a cluster that has neither servers nor nodes yet.
func emptyCluster(t testing.TB) *cluster {
	t.Helper()
	if onRabbitMQ() {
		t.Skip("runs on real servers in the other run of these tests")
	}
	c := &cluster{t: t}
	c.gateway, c.worker = programs(t)
	return c
}

// programs returns the paths of the gateway and the worker.
func programs(t testing.TB) (gateway, worker string) {
	t.Helper()
	var err error
	if gateway, err = binary(); err != nil {
		t.Fatal(err)
	}
	if worker, err = workerBinary(); err != nil {
		t.Fatal(err)
	}
	return gateway, worker
}

// grow adds gateways and workers.
func (c *cluster) grow(nodes, workers int) {
	c.t.Helper()
	for range nodes {
		c.addGateway()
	}
	for range workers {
		c.addWorker()
	}
}

func (c *cluster) addGateway(more ...string) { c.nodes = append(c.nodes, c.startGateway(more...)) }

func (c *cluster) addWorker() { c.workers = append(c.workers, c.startWorker()) }

func (c *cluster) startGateway(more ...string) *process {
	c.t.Helper()
	cmd := exec.Command(c.gateway, slices.Concat([]string{
		"--listen=127.0.0.1:0", "--samples=false", "--drain=200ms", "--log-level=warn", "--requeue=2s", "--timeout=10m", "--retry=300ms",
	}, c.servers, c.options, more)...)
	cmd.Env = append(os.Environ(), c.environment...)
	return listening(c.t, cmd)
}

func (c *cluster) startWorker() *exec.Cmd {
	c.t.Helper()
	cmd := exec.Command(c.worker, append([]string{"--routes=sleep,fetch", "--fetch-private", "--concurrency=40", "--drain=1s"}, c.servers...)...)
	cmd.Env = append(os.Environ(), c.environment...)
	cmd.Stderr = &processLog{t: c.t}
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
	next := c.startGateway()
	c.mu.Lock()
	c.nodes[n%len(c.nodes)] = next
	c.mu.Unlock()
}

func (c *cluster) replaceWorker(n int) {
	_ = c.workers[n].Process.Signal(syscall.SIGKILL)
	_ = c.workers[n].Wait()
	c.workers[n] = c.startWorker()
}
