package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
