package servertest

import (
	"bufio"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Redis starts a redis-server that keeps every write in its append-only file
// (appendfsync everysec) and evicts nothing, as Hark wants it. More settings may be
// given as on the command line: Redis(t, "--maxmemory", "20mb").
func Redis(t testing.TB, settings ...string) *Server {
	t.Helper()
	require(t, "redis-server", "redis-server")
	return open(t, func(dir string) *Server {
		addr := freeAddr()
		return &Server{
			Addr: addr,
			URL:  "redis://" + addr + "/0",
			log:  filepath.Join(dir, "redis.log"),
			command: func() *exec.Cmd {
				return exec.Command("redis-server", append([]string{
					"--port", port(addr), "--bind", "127.0.0.1", "--dir", dir, "--daemonize", "no",
					"--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction",
				}, settings...)...)
			},
			usable: func() error { return ping(addr) },
		}
	})
}

// ping asks a Redis server whether it has loaded its data.
func ping(addr string) error {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	// A server with a password answers too.
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || line != "+PONG\r\n" && line[:min(7, len(line))] != "-NOAUTH" {
		return fmt.Errorf("ping: %q, %w", line, err)
	}
	return nil
}
