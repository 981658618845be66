package blackbox_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	network "encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/servertest"
)

// diagnosis is one of `hark doctor --json`.
type diagnosis struct{ About, Wrong, Cause, Remedy string }

// examine runs `hark doctor` and returns how it ends and what it finds. shell, if there is one, is
// what a shell does before it.
func examine(t *testing.T, shell string, args ...string) (code int, found []diagnosis, said string) {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", append([]string{"-c", shell + ` exec "$0" doctor --json --listen=127.0.0.1:1 "$@"`, path}, args...)...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	_ = cmd.Run() // the code says how it ends
	for line := range strings.Lines(out.String()) {
		var d diagnosis
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		found = append(found, d)
	}
	return cmd.ProcessState.ExitCode(), found, out.String() + errOut.String()
}

// TestDoctor: of each thing that is wrong around a gateway the doctor says what it is, why, and
// what to do, and of nothing else; where nothing is wrong it says nothing.
func TestDoctor(t *testing.T) {
	if onServers() {
		t.Skip("it has servers of its own")
	}
	t.Parallel()
	const stray = "HARK" + "_LISSTEN" // in two parts: it is told as a mistake wherever it stands
	server, rabbit := servertest.Redis(t), shared.RabbitMQ(t)
	options, err := goredis.ParseURL(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	admin := goredis.NewClient(options)
	t.Cleanup(func() { _ = admin.Close() })
	// set sets something of Redis until the test ends.
	set := func(t *testing.T, name, value string) {
		t.Helper()
		was, err := admin.ConfigGet(t.Context(), name).Result()
		if err != nil {
			t.Fatal(err)
		}
		if err := admin.ConfigSet(t.Context(), name, value).Err(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = admin.ConfigSet(context.Background(), name, was[name]).Err() })
	}
	prefix := "t" + strings.ToLower(rand.Text()[:10])
	servers := []string{"--redis=" + server.URL, "--amqp=" + rabbit.URL, "--prefix=" + prefix}
	with := func(redis, amqp string) []string {
		return []string{"--redis=" + redis, "--amqp=" + amqp, "--prefix=" + prefix}
	}

	// Samples work on each of its routes, and it believes proxies on this machine.
	served := start(t, "--routes=sleep", "--trusted-proxies=127.0.0.0/8")
	unserved := start(t, "--routes=sleep,lonely", "--samples=false")
	served.eventually(func() bool {
		return !strings.Contains(string(served.call("GET", "/health/ready", nil).body), "routesWithoutProcessor")
	})
	unserved.eventually(func() bool {
		return strings.Contains(string(unserved.call("GET", "/health/ready", nil).body), "lonely")
	})
	proxied := []string{"--url=" + served.url, "--routes=sleep", "--wait=2s"}

	for _, c := range []struct {
		name  string
		args  func(*testing.T) []string
		shell string
		about string
		says  []string // of the one finding, in its parts together
	}{
		{name: "nothing, embedded", args: func(t *testing.T) []string { return []string{"--data=" + t.TempDir()} }},
		{name: "nothing, on a first start", args: func(*testing.T) []string { return servers }},
		{name: "nothing, behind a proxy", args: func(t *testing.T) []string {
			return append(proxied, "--data="+t.TempDir(), "--trusted-proxies=127.0.0.0/8", "--submit", "--through="+newProxy(t, served.url, proxy{forwarded: true}))
		}},
		{"wrong password", func(t *testing.T) []string {
			set(t, "requirepass", "right")
			if err := admin.Do(t.Context(), "AUTH", "right").Err(); err != nil {
				t.Fatal(err)
			}
			return with(strings.Replace(server.URL, "redis://", "redis://:wrong@", 1), rabbit.URL)
		}, "", "redis", []string{"refuses the password", "WRONGPASS", "--redis (HARK_REDIS)"}},
		{"no AOF", func(t *testing.T) []string {
			set(t, "appendonly", "no")
			return servers
		}, "", "redis", []string{"lost when Redis dies", "appendonly is no", "CONFIG SET appendonly yes"}},
		{"evicting Redis", func(t *testing.T) []string {
			set(t, "maxmemory-policy", "allkeys-lru")
			return servers
		}, "", "redis", []string{"drops requests", "allkeys-lru", "noeviction"}},
		{"clock off", func(t *testing.T) []string {
			return with("redis://"+servertest.Serve(t, func(c net.Conn) { late(c, server.Addr) })+"/0", rabbit.URL)
		}, "", "redis", []string{"clocks", "1h0m0s apart", "NTP"}},
		{"Redis is away", func(*testing.T) []string { return with("redis://127.0.0.1:1/0", rabbit.URL) }, "", "redis", []string{"cannot be reached", "refused", "--redis (HARK_REDIS)"}},
		{"foreign queue", func(t *testing.T) []string {
			name := prefix + "f.work.sleep"
			conn, err := amqp.Dial(rabbit.URL)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			ch, err := conn.Channel()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := ch.QueueDeclare(name, true, false, false, false, amqp.Table{"x-queue-type": "classic"}); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _, _ = ch.QueueDelete(name, false, false, false) })
			return []string{"--redis=" + server.URL, "--amqp=" + rabbit.URL, "--prefix=" + prefix + "f"}
		}, "", "rabbitmq", []string{prefix + "f.work.sleep", "is not Hark's", "delete_queue"}},
		{"RabbitMQ refuses the user", func(*testing.T) []string {
			u, _ := url.Parse(rabbit.URL)
			u.User = url.UserPassword("nobody", "geheim")
			return with(server.URL, u.String())
		}, "", "rabbitmq", []string{`refuses the user "nobody"`, "set_permissions"}},
		{"old RabbitMQ", func(t *testing.T) []string {
			return with(server.URL, "amqp://guest:guest@"+servertest.Serve(t, func(c net.Conn) { oldRabbitMQ(c, "3.8.9") })+"/")
		}, "", "rabbitmq", []string{"version 3.8.9", "3.10", "update"}},
		{
			"few descriptors", func(t *testing.T) []string { return []string{"--data=" + t.TempDir()} }, "ulimit -n 200;", "machine",
			[]string{"does not start", "200", "LimitNOFILE"},
		},
		{"full disk", func(t *testing.T) []string {
			dir := smallDisk(t, 8<<20)
			fill(t, filepath.Join(dir, "ballast"))
			return []string{"--data=" + filepath.Join(dir, "data")}
		}, "", "machine", []string{"nothing can be stored", "no space left", "make room"}},
		{"a folder that is none", func(t *testing.T) []string {
			file := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return []string{"--data=" + filepath.Join(file, "data")}
		}, "", "machine", []string{"cannot be in", "--data"}},
		{
			"no keys beyond loopback", func(t *testing.T) []string { return []string{"--data=" + t.TempDir(), "--listen=0.0.0.0:1"} }, "", "configuration",
			[]string{"0.0.0.0:1", "without keys", "hark keys new"},
		},
		{
			"insecure", func(t *testing.T) []string {
				return []string{"--data=" + t.TempDir(), "--listen=0.0.0.0:1", "--insecure"}
			}, "", "configuration",
			[]string{"may do everything", "--insecure", "hark keys new"},
		},
		{
			"a variable that there is not", func(t *testing.T) []string { return []string{"--data=" + t.TempDir()} }, stray + "=x; export " + stray + ";", "configuration",
			[]string{stray, "no effect", "HARK_LISTEN"},
		},
		{
			"no processors", func(t *testing.T) []string { return []string{"--data=" + t.TempDir(), "--url=" + unserved.url} }, "", "gateway",
			[]string{"lonely", "nobody works", "hark worker"},
		},
		{
			"no gateway", func(t *testing.T) []string { return []string{"--data=" + t.TempDir(), "--url=http://127.0.0.1:1"} }, "", "gateway",
			[]string{"no gateway answers", "--url"},
		},
		{"a proxy that buffers", func(t *testing.T) []string {
			return append(proxied, "--data="+t.TempDir(), "--through="+newProxy(t, served.url, proxy{buffers: true}))
		}, "", "proxy", []string{"holds event streams back", "buffering", "proxy_buffering off"}},
		{"a proxy that cuts", func(t *testing.T) []string {
			return append(proxied, "--data="+t.TempDir(), "--through="+newProxy(t, served.url, proxy{cuts: 200 * time.Millisecond}))
		}, "", "proxy", []string{"cuts event streams", "heartbeat", "proxy_read_timeout"}},
		{"a proxy without WebSocket", func(t *testing.T) []string {
			return append(proxied, "--data="+t.TempDir(), "--through="+newProxy(t, served.url, proxy{noUpgrade: true}))
		}, "", "proxy", []string{"WebSockets do not come through", "101", "Upgrade"}},
		{"a proxy that makes 502 of 413", func(t *testing.T) []string {
			return append(proxied, "--data="+t.TempDir(), "--through="+newProxy(t, served.url, proxy{badGateway: true}))
		}, "", "proxy", []string{"413 becomes 502", "client_max_body_size"}},
		{"a proxy that does not say where it is", func(t *testing.T) []string {
			return append(proxied, "--data="+t.TempDir(), "--trusted-proxies=127.0.0.0/8", "--submit", "--through="+newProxy(t, served.url, proxy{}))
		}, "", "proxy", []string{"does not know how clients reach it", "X-Forwarded-Proto", "--trusted-proxies"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, found, said := examine(t, c.shell, c.args(t)...)
			if strings.Contains(said, "geheim") {
				t.Error("a password is shown:", said)
			}
			if c.about == "" {
				if code != 0 || said != "" {
					t.Errorf("%d %s", code, said)
				}
				return
			}
			if code != 1 || len(found) != 1 {
				t.Fatalf("%d, %d findings: %s", code, len(found), said)
			}
			d := found[0]
			if d.About != c.about || d.Wrong == "" || d.Cause == "" || d.Remedy == "" {
				t.Errorf("%+v", d)
			}
			says(t, d.Wrong+"\n"+d.Cause+"\n"+d.Remedy, c.says...)
		})
	}
	// What --submit has submitted is gone.
	if list := served.call("GET", "/v1/requests", nil).want(200).json()["requests"].([]any); len(list) != 0 {
		t.Errorf("%v", list)
	}
	if code, _, said := examine(t, "", "--thruogh=http://127.0.0.1:1"); code != 2 || !strings.Contains(said, "--through") {
		t.Errorf("%d %s", code, said)
	}
}

// proxy is what is wrong with a proxy in front of a gateway.
type proxy struct {
	forwarded, buffers, noUpgrade, badGateway bool

	cuts time.Duration // after how long it cuts answers
}

// newProxy starts one and returns its URL.
func newProxy(t *testing.T, target string, p proxy) string {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	reverse := &httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host
			if p.forwarded {
				r.SetXForwarded()
			}
			if p.noUpgrade {
				r.Out.Header.Del("Upgrade")
				r.Out.Header.Del("Connection")
			}
		},
		ModifyResponse: func(res *http.Response) error {
			if p.buffers && strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
				res.Body = collecting{res.Body}
			}
			if p.badGateway && res.StatusCode == http.StatusRequestEntityTooLarge {
				res.StatusCode = http.StatusBadGateway
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.cuts > 0 && r.URL.Path == "/v1/events" {
			ctx, cancel := context.WithTimeout(r.Context(), p.cuts)
			defer cancel()
			r = r.WithContext(ctx)
		}
		reverse.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close(); transport.CloseIdleConnections() })
	return s.URL
}

// collecting gives an answer away when it is whole.
type collecting struct{ io.ReadCloser }

func (c collecting) Read(p []byte) (int, error) {
	all, err := io.ReadAll(c.ReadCloser)
	return copy(p, all), err
}

// late passes a connection on to Redis, whose clock it has an hour late.
func late(client net.Conn, addr string) {
	defer func() { _ = client.Close() }()
	redis, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer func() { _ = redis.Close() }()
	go func() {
		_, _ = io.Copy(redis, client)
		_ = redis.Close()
	}()
	answer := regexp.MustCompile(`^\*2\r\n\$10\r\n(\d{10})\r\n`)
	part := make([]byte, 64<<10)
	for {
		n, err := redis.Read(part)
		if m := answer.FindSubmatchIndex(part[:n]); m != nil {
			var at int64
			_, _ = fmt.Sscan(string(part[m[2]:m[3]]), &at)
			copy(part[m[2]:m[3]], fmt.Sprint(at-3600))
		}
		if _, failed := client.Write(part[:n]); err != nil || failed != nil {
			return
		}
	}
}

// oldRabbitMQ answers as a server of some version does (AMQP 0-9-1), until it is asked for more
// than a connection.
func oldRabbitMQ(conn net.Conn, version string) {
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	if _, err := io.ReadFull(in, make([]byte, 8)); err != nil {
		return
	}
	short := func(s string) []byte { return append([]byte{byte(len(s))}, s...) }
	long := func(s string) []byte { return append(network.BigEndian.AppendUint32(nil, uint32(len(s))), s...) }
	table := func(fields ...string) (b []byte) {
		for i := 0; i < len(fields); i += 2 {
			b = append(append(append(b, short(fields[i])...), 'S'), long(fields[i+1])...)
		}
		return long(string(b))
	}
	send := func(class, method uint16, arguments ...[]byte) {
		payload := network.BigEndian.AppendUint16(network.BigEndian.AppendUint16(nil, class), method)
		payload = append(payload, bytes.Join(arguments, nil)...)
		frame := network.BigEndian.AppendUint32([]byte{1, 0, 0}, uint32(len(payload)))
		_, _ = conn.Write(append(append(frame, payload...), 0xCE))
	}
	send(10, 10, []byte{0, 9}, table("product", "RabbitMQ", "version", version), long("PLAIN"), long("en_US"))
	for {
		head := make([]byte, 7)
		if _, err := io.ReadFull(in, head); err != nil {
			return
		}
		payload := make([]byte, network.BigEndian.Uint32(head[3:])+1)
		if _, err := io.ReadFull(in, payload); err != nil || head[0] != 1 {
			continue // a heartbeat, or the end, which the next read finds
		}
		switch network.BigEndian.Uint16(payload[2:]) {
		case 11: // start-ok
			// tune: any channels, frames of 128 KB, no heartbeat
			send(10, 30, []byte{0, 0, 0, 2, 0, 0, 0, 0})
		case 40: // open
			send(10, 41, short(""))
		case 50: // close
			send(10, 51)
			return
		}
	}
}
