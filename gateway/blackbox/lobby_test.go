package blackbox_test

import (
	"context"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startingAt waits until a gateway says that it waits, and returns where it listens.
func (r *record) startingAt() string {
	r.t.Helper()
	r.until(`"msg":"waiting for a server`)
	at := regexp.MustCompile(`"address":"([^"]+)"`).FindStringSubmatch(r.line("waiting for a server"))
	if at == nil {
		r.t.Fatal(r)
	}
	return at[1]
}

// TestRedisComesLater: a gateway and a worker that start before Redis wait for it, and say so; then
// all goes as if it had been there. Nobody who calls meanwhile is turned away at the door.
func TestRedisComesLater(t *testing.T) {
	s := startServers(t)
	s.redis.Stop()
	cert, key, trust := certificate(t)
	path, worker := programs(t)
	servers := []string{"--redis=" + strings.Replace(s.redis.URL, "redis://", "redis://:s3cret@", 1), "--amqp=" + s.rabbit.URL, "--prefix=" + s.prefix}
	if strings.Contains(s.redis.URL, "@") {
		servers[0] = "--redis=" + s.redis.URL
	}
	plain := recorded(t, exec.Command(path, append(servers, "--listen=127.0.0.1:0", "--samples=false")...))
	secure := recorded(t, exec.Command(path, append(servers, "--listen=127.0.0.1:0", "--samples=false", "--tls-cert="+cert, "--tls-key="+key)...))
	work := recorded(t, exec.Command(worker, append(servers, "--drain=0s")...))
	work.until("Redis cannot be reached")

	gateways := []*server{newServer(t, "http://"+plain.startingAt()), newServer(t, "https://"+secure.startingAt())}
	transport := &http.Transport{TLSClientConfig: trust}
	gateways[1].http.Transport = validating{t: t, next: transport}
	t.Cleanup(transport.CloseIdleConnections)
	for _, g := range gateways {
		if a := g.call("GET", "/health/live", nil).want(200); string(a.body) != `{"status":"ok"}` {
			t.Errorf("%s", a.body)
		}
		for _, path := range []string{"/health/ready", "/v1/requests", "/"} {
			a := g.call("GET", path, nil)
			a.problem(503, "unavailable")
			says(t, a.detail(), "waits for Redis", "--redis", "HARK_REDIS")
			if a.header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		}
		g.call("POST", "/v1/requests", `{"content":1}`).problem(503, "unavailable")
	}
	says(t, plain.line("Redis cannot be reached"), `"level":"WARN"`, s.redis.Addr, "connection refused")

	// Many call all the while.
	began := time.Now()
	ctx, stop := context.WithCancel(t.Context())
	var calling sync.WaitGroup
	for _, g := range gateways {
		for range 4 {
			calling.Go(func() {
				last := 0
				for ctx.Err() == nil {
					a, err := g.try("GET", "/health/ready", nil)
					if err != nil || a.status != 503 && a.status != 200 {
						t.Errorf("%v %v %d %s last %d", time.Since(began), err, a.status, a.body, last)
						return
					}
					last = a.status
				}
			})
		}
	}
	s.redis.Restart()
	for _, g := range gateways {
		g.eventually(func() bool { return g.call("GET", "/health/ready", nil).status == 200 })
	}
	stop()
	calling.Wait()
	plain.until("Hark listens on")
	for _, g := range gateways {
		id := g.call("POST", "/v1/requests", `{"route":"sleep","content":{"steps":1,"duration":"1ms"}}`, async).want(202).json()["id"].(string)
		g.eventually(func() bool { return g.call("GET", "/v1/requests/"+id, nil).want(200).json()["status"] == "succeeded" })
	}
	if strings.Contains(plain.String()+work.String(), "s3cret") {
		t.Errorf("a password: %s %s", plain, work)
	}
}

// TestToldToEndWhileWaiting: whoever waits for Redis ends at once when told to, as if nothing had
// been wrong.
func TestToldToEndWhileWaiting(t *testing.T) {
	path, worker := programs(t)
	servers := []string{"--redis=redis://127.0.0.1:1", "--amqp=amqp://127.0.0.1:1"}
	for _, cmd := range []*exec.Cmd{exec.Command(path, append(servers, "--listen=127.0.0.1:0")...), exec.Command(worker, servers...)} {
		r := &record{t: t, more: make(chan struct{}, 1)}
		cmd.Stdout, cmd.Stderr = r, r
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
		r.until("Redis cannot be reached")
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, r)
		}
		kill.Stop()
	}
}

// TestServersThatRefuse: what waiting does not mend ends the process, and says which option is
// meant, never the password.
func TestServersThatRefuse(t *testing.T) {
	s := startServers(t)
	// The user may do nothing in any virtual host.
	if _, err := s.rabbit.Ctl("add_user", s.prefix, "s3cret"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = s.rabbit.Ctl("delete_user", s.prefix) })
	s.set("requirepass", "another")
	amqp := func(user string) string { return "--amqp=amqp://" + user + "@" + s.rabbit.Addr + "/" }
	redis := "--redis=redis://:another@" + s.redis.Addr
	for _, wrong := range []struct {
		args []string
		says []string
	}{
		{[]string{redis, amqp("nobody:s3cret")}, []string{"--amqp", "HARK_AMQP", s.rabbit.Addr, `"nobody"`, "403"}},
		{[]string{redis, amqp(s.prefix + ":s3cret")}, []string{"--amqp", s.rabbit.Addr, s.prefix, `virtual host "/"`}},
		{[]string{"--redis=redis://:s3cret@" + s.redis.Addr, amqp("guest:guest")}, []string{"--redis", "HARK_REDIS", s.redis.Addr, "WRONGPASS"}},
		{[]string{"--redis=redis://" + s.redis.Addr, amqp("guest:guest")}, []string{"--redis", "HARK_REDIS", s.redis.Addr, "NOAUTH"}},
	} {
		out := refuses(t, 1, append(wrong.args, "--listen=127.0.0.1:0", "--prefix="+s.prefix)...)
		says(t, out, wrong.says...)
		if strings.Contains(out, "s3cret") || strings.Contains(out, "another@") {
			t.Errorf("a password: %s", out)
		}
	}
}

// TestNotReadySaysOfWhat: what a node that runs cannot work without is told where readiness is
// asked for.
func TestNotReadySaysOfWhat(t *testing.T) {
	s := startServers(t)
	g := start(t, s.args(s.proxy.Addr, "--samples=false")...)
	g.eventually(func() bool { return g.call("GET", "/health/ready", nil).status == 200 })
	s.proxy.Refuse()
	s.proxy.Cut()
	g.eventually(func() bool { return g.call("GET", "/health/ready", nil).status == 503 })
	says(t, g.call("GET", "/health/ready", nil).detail(), "RabbitMQ", "--amqp")
	s.proxy.Restore()
	g.eventually(func() bool { return g.call("GET", "/health/ready", nil).status == 200 })
	s.redis.Pause()
	says(t, g.call("GET", "/health/ready", nil).want(503).detail(), "Redis", "--redis")
	s.redis.Resume()
	g.eventually(func() bool { return g.call("GET", "/health/ready", nil).status == 200 })
}
