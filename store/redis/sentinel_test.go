package redis_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/servertest"
	"github.com/hark-push/hark/store/redis"
)

// TestSentinel: when the master dies and its replica takes over, the store and its
// followers go on.
func TestSentinel(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Sentinel")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	master := servertest.Redis(t)
	host, port, _ := net.SplitHostPort(master.Addr)
	replica := servertest.Redis(t, "--replicaof", host, port, "--repl-diskless-sync-delay", "0")
	backup := client(t, replica)
	within(t, "the replica is in step", func() bool {
		role, err := backup.Do(ctx, "role").Slice()
		return err == nil && len(role) > 3 && role[3] == "connected"
	})
	sentinel := startSentinel(t, host, port)

	o := redis.Options{Timeout: 2 * time.Second, Check: time.Second}
	url := "redis://" + sentinel + "?master=hark"
	a, b := open(t, url, o), open(t, url, o)
	feed := follow(t, newHub(t, b), aliceFeed, nil)
	work(ctx, t, a, "before", 5)
	feed.until(t, 1, 25)
	if n, err := client(t, master).Wait(ctx, 1, 5*time.Second).Result(); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	master.Kill()
	began := time.Now()
	for i := range 5 {
		id := fmt.Sprint("after", i)
		if err := insist(ctx, func() error { _, err := a.Create(ctx, submission(id)); return err }); err != nil {
			t.Fatal(err)
		}
		if err := insist(ctx, func() error { _, err := a.Apply(ctx, lifecycle.Named(id), lifecycle.Cancel{}); return err }); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("the replica had taken over after %v", time.Since(began).Round(time.Millisecond))
	feed.until(t, 1, 35)
	if err := insist(ctx, func() error { return b.Probe(ctx) }); err != nil {
		t.Error(err)
	}
}

// startSentinel starts a Sentinel that watches a master by itself.
func startSentinel(t *testing.T, host, port string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = l.Addr().String()
	_ = l.Close()
	_, own, _ := net.SplitHostPort(addr)
	config := filepath.Join(t.TempDir(), "sentinel.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, "port %s\nbind 127.0.0.1\ndir %s\nsentinel monitor hark %s %s 1\n"+
		"sentinel down-after-milliseconds hark 1000\nsentinel failover-timeout hark 3000\n", own, filepath.Dir(config), host, port), 0o600); err != nil {
		t.Fatal(err)
	}
	process := exec.Command("redis-server", config, "--sentinel")
	process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = process.Process.Kill()
		_ = process.Wait()
	})
	c := goredis.NewSentinelClient(&goredis.Options{Addr: addr})
	defer func() { _ = c.Close() }()
	within(t, "the Sentinel knows the replica", func() bool {
		replicas, err := c.Replicas(t.Context(), "hark").Result()
		return err == nil && len(replicas) == 1
	})
	return addr
}
