package deploy_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/hark-push/hark/docs"
)

// patience bounds each wait for something that should come soon.
const patience = time.Minute

// cluster is a run of cluster.sh.
type cluster struct {
	url      string
	gateways [2]string // URLs behind the proxy
	data     string
	admin    string // port of RabbitMQ's management plugin
	script   *exec.Cmd
	errors   *bytes.Buffer
	exited   chan struct{}
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("starts seven programs")
	}
	for _, name := range []string{"bash", "redis-server", "rabbitmq-server", "epmd", "nginx"} {
		program(t, name)
	}
	dir := t.TempDir()
	ports := freePorts(t, 8)
	c := &cluster{
		url:      "http://127.0.0.1:" + ports[0],
		gateways: [2]string{"http://127.0.0.1:" + ports[1], "http://127.0.0.1:" + ports[2]},
		admin:    ports[7],
		errors:   new(bytes.Buffer), exited: make(chan struct{}),
	}
	c.script = exec.Command("./cluster.sh")
	c.script.Env = append(os.Environ(), "TMPDIR="+dir, "PROXY=nginx", "DRAIN=200ms",
		"PROXY_PORT="+ports[0], "GATEWAY_1_PORT="+ports[1], "GATEWAY_2_PORT="+ports[2],
		"REDIS_PORT="+ports[3], "AMQP_PORT="+ports[4], "EPMD_PORT="+ports[5], "DIST_PORT="+ports[6],
		"MANAGEMENT_PORT="+c.admin, "HARK_CALLBACK_EXCHANGE=events")
	c.script.Stderr = c.errors
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c.script.Stdout = in
	launch(t, c.script, c.exited)
	_ = in.Close()
	t.Cleanup(func() {
		c.stop(t)
		_ = out.Close()
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if name, value, ok := strings.Cut(strings.TrimSpace(lines.Text()), " "); ok && name == "data" {
			c.data = strings.TrimSpace(value)
			return c
		}
	}
	<-c.exited
	t.Fatalf("the cluster did not start:\n%s", c.errors)
	return nil
}

// launch starts a program that is told to end when this process dies.
func launch(t *testing.T, c *exec.Cmd, exited chan<- struct{}) {
	t.Helper()
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	started := make(chan error)
	go func() {
		defer close(exited)
		runtime.LockOSThread() // the signal comes when the thread that forked ends
		defer runtime.UnlockOSThread()
		err := c.Start()
		started <- err
		if err == nil {
			_ = c.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
}

// stop ends the cluster as Ctrl-C does, and looks for what it left.
func (c *cluster) stop(t *testing.T) {
	var groups []string
	files, _ := filepath.Glob(filepath.Join(c.data, "pid", "*"))
	for _, file := range files {
		id, _ := os.ReadFile(file)
		groups = append(groups, strings.TrimSpace(string(id)))
	}
	_ = c.script.Process.Signal(syscall.SIGINT)
	select {
	case <-c.exited:
	case <-time.After(90 * time.Second):
		_ = c.script.Process.Kill() // what it started is told
		t.Error("the cluster does not end")
	}
	if c.data == "" {
		return
	}
	if code := c.script.ProcessState.ExitCode(); code != 0 {
		t.Errorf("ended with %d:\n%s", code, c.errors)
	}
	if len(groups) != 8 {
		t.Errorf("%d programs ran: %v", len(groups), files)
	}
	for _, id := range groups {
		if n, err := strconv.Atoi(id); err != nil || syscall.Kill(-n, 0) == nil {
			t.Errorf("process group %q is left, %v", id, err)
		}
	}
	if _, err := os.Stat(c.data); !os.IsNotExist(err) {
		t.Errorf("the temporary folder is left: %v", err)
	}
}

var portsGiven sync.Map // by freePorts, so that no two tests are given the same

// freePorts returns ports that nobody listens on, below those that the kernel gives to
// outgoing connections, which could take one before the program that it is for.
func freePorts(t *testing.T, n int) []string {
	t.Helper()
	var ports []string
	for range 1000 {
		if len(ports) == n {
			return ports
		}
		port := strconv.Itoa(20000 + mathrand.IntN(12000))
		if _, given := portsGiven.LoadOrStore(port, true); given {
			continue
		}
		l, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			continue
		}
		_ = l.Close()
		ports = append(ports, port)
	}
	t.Fatal("no free ports")
	return nil
}

// client calls one address.
type client struct {
	*testing.T
	url  string
	http *http.Client
}

func newClient(t *testing.T, url string) *client {
	transport := &http.Transport{ResponseHeaderTimeout: 60 * time.Second}
	t.Cleanup(transport.CloseIdleConnections)
	return &client{t, url, &http.Client{Transport: transport}}
}

// send sends a request, with headers like "Accept: text/plain".
func (c *client) send(ctx context.Context, method, path string, body []byte, headers ...string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	return c.http.Do(r)
}

// call sends a request and returns the status and the body of the answer.
func (c *client) call(method, path string, body []byte, headers ...string) (int, []byte) {
	c.Helper()
	res, err := c.send(c.Context(), method, path, body, headers...)
	if err != nil {
		c.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		c.Fatal(err)
	}
	return res.StatusCode, text
}

// submit makes a request on the route default, on which no worker works.
func (c *client) submit() (id string) {
	c.Helper()
	id = "deploy-" + rand.Text()
	status, text := c.call("POST", "/v1/requests", []byte(`{"id":"`+id+`","content":1}`), "Prefer: respond-async", "Content-Type: application/json")
	if status != http.StatusAccepted {
		c.Fatalf("%d %s", status, text)
	}
	return id
}

// report works on a request over HTTP.
func (c *client) report(method, id, call, body string) {
	c.Helper()
	if status, text := c.call(method, "/v1/work/"+id+"/"+call, []byte(body), "Content-Type: application/json"); status != http.StatusOK {
		c.Fatalf("%s: %d %s", call, status, text)
	}
}

// stream is an open event stream.
type stream struct {
	*testing.T
	res  *http.Response
	r    *bufio.Reader
	last string // id of the last event
}

func (c *client) stream(id, last string) *stream {
	c.Helper()
	ctx, cancel := context.WithCancel(c.Context())
	c.Cleanup(cancel)
	// Browsers ask so; nothing may be compressed.
	headers := []string{"Accept: text/event-stream", "Accept-Encoding: gzip, br"}
	if last != "" {
		headers = append(headers, "Last-Event-ID: "+last)
	}
	res, err := c.send(ctx, "GET", "/v1/requests/"+id+"/events", nil, headers...)
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" || res.Header.Get("Content-Encoding") != "" {
		c.Fatalf("%s %v", res.Status, res.Header)
	}
	return &stream{T: c.T, res: res, r: bufio.NewReader(res.Body), last: last}
}

// next returns the type of the next event and keeps its id, or why there is none.
func (s *stream) next() (string, error) {
	timer := time.AfterFunc(patience, func() { _ = s.res.Body.Close() })
	defer timer.Stop()
	kind, id := "", ""
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return "", err
		}
		name, value, _ := strings.Cut(strings.TrimRight(line, "\n"), ": ")
		switch {
		case name == "id":
			id = value
		case name == "event":
			kind = value
		case name == "data" && kind == "":
			var event struct{ Type string }
			if err := json.Unmarshal([]byte(value), &event); err != nil {
				return "", err
			}
			kind = strings.TrimPrefix(event.Type, "request.")
		case line == "\n" && kind == "start": // where the stream goes on, which is no event
			kind, id = "", ""
		case line == "\n" && kind != "":
			if id != "" {
				s.last = id
			}
			return kind, nil
		}
	}
}

// want reads one event, which has to be on its way. Behind its offset the id may hold the life of
// the request.
func (s *stream) want(kind, id string) {
	s.Helper()
	if got, err := s.next(); got != kind || !strings.HasPrefix(s.last+"-", id+"-") || err != nil {
		s.Fatalf("event %s %s, %v; want %s %s", got, s.last, err, kind, id)
	}
}

func (s *stream) wantEnd() {
	s.Helper()
	s.want("end", s.last)
	if got, err := s.next(); err != io.EOF {
		s.Fatalf("after the end: %s, %v", got, err)
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

func TestCluster(t *testing.T) {
	cluster := startCluster(t)
	for _, proxy := range []struct {
		name string
		url  func(*testing.T) string
	}{
		{"nginx", func(*testing.T) string { return cluster.url }},
		{"caddy", func(t *testing.T) string { return startCaddy(t, cluster.gateways[0], cluster.gateways[1]) }},
	} {
		t.Run(proxy.name, func(t *testing.T) {
			url := proxy.url(t)
			t.Run("worker", func(t *testing.T) { testWorker(newClient(t, url)) })
			t.Run("stream", func(t *testing.T) { testStream(newClient(t, url)) })
			t.Run("socket", func(t *testing.T) { testSocket(newClient(t, url)) })
			t.Run("upload", func(t *testing.T) { testUpload(newClient(t, url)) })
			t.Run("other page", func(t *testing.T) { testOtherPage(newClient(t, url)) })
		})
	}
	t.Run("events to RabbitMQ", func(t *testing.T) { testCallbackExchange(t, cluster) })
	t.Run("resume elsewhere", func(t *testing.T) { testResumeElsewhere(t, cluster) })
	t.Run("gateway killed", func(t *testing.T) { testGatewayKilled(t, cluster) })
}

// testWorker: requests are worked on by the workers, and the call waits for the result.
func testWorker(c *client) {
	status, text := c.call("POST", "/v1/requests", []byte(`{"route":"sleep","content":{"steps":1,"duration":"10ms","result":"slept"}}`), "Content-Type: application/json")
	if status != http.StatusOK || string(text) != `"slept"` {
		c.Errorf("%d %s", status, text)
	}
}

// testStream: each event arrives before the next one is made, so nothing holds them
// back.
func testStream(c *client) {
	id := c.submit()
	s := c.stream(id, "")
	s.want("accepted", "1")
	c.report("POST", id, "start", "")
	s.want("started", "2")
	c.report("POST", id, "progress", `{"percent":50}`)
	s.want("progress", "3")
	c.report("PUT", id, "result", `true`)
	s.want("succeeded", "4")
	s.wantEnd()
	s = c.stream(id, "2")
	s.want("progress", "3")
	s.want("succeeded", "4")
	s.wantEnd()
	if status, _ := c.call("GET", "/v1/requests/"+id+"/events", nil, "Accept: text/event-stream", "Last-Event-ID: 4"); status != http.StatusNoContent {
		c.Errorf("after the end: %d", status)
	}
}

func testSocket(c *client) {
	id := c.submit()
	dialer := websocket.Dialer{Subprotocols: []string{"hark.v1"}, HandshakeTimeout: patience}
	// The origin of a page that came from the proxy: the gateway must see the same host.
	conn, res, err := dialer.DialContext(c.Context(), "ws"+strings.TrimPrefix(c.url, "http")+"/v1/ws?channel=request:"+id+"&after=1", http.Header{"Origin": {c.url}})
	if err != nil {
		c.Fatal(err, res)
	}
	defer conn.Close()
	want := func(op, kind string) {
		c.Helper()
		var frame struct {
			Op    string
			Event struct{ Type string }
		}
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		if err := conn.ReadJSON(&frame); err != nil || frame.Op != op || kind != "" && frame.Event.Type != "request."+kind {
			c.Fatalf("%+v, %v; want %s %s", frame, err, op, kind)
		}
	}
	want("subscribed", "")
	c.report("POST", id, "start", "")
	want("event", "started")
	other := c.submit()
	if err := conn.WriteJSON(map[string]any{"op": "subscribe", "channel": "request:" + other, "after": 0}); err != nil {
		c.Fatal(err)
	}
	want("subscribed", "")
	want("event", "accepted")
	c.report("PUT", id, "result", `true`)
	want("event", "succeeded")
	want("end", "")
}

// testUpload: 10 MB go there and back, and what is too large is refused in the words of
// the interface.
func testUpload(c *client) {
	body := make([]byte, 10_000_000)
	_, _ = rand.Read(body)
	status, text := c.call("POST", "/v1/requests?route=default", body, "Prefer: respond-async", "Content-Type: application/octet-stream")
	if status != http.StatusAccepted {
		c.Fatalf("%d %s", status, text)
	}
	id := c.submit()
	c.report("POST", id, "start", "")
	if status, text := c.call("PUT", "/v1/work/"+id+"/result", body, "Content-Type: application/octet-stream"); status != http.StatusOK {
		c.Fatalf("%d %s", status, text)
	}
	if status, got := c.call("GET", "/v1/requests/"+id+"/result", nil); status != http.StatusOK || !bytes.Equal(got, body) {
		c.Errorf("%d, %d bytes came back", status, len(got))
	}

	for _, size := range []int64{35_000_000, 50_000_000} {
		c.refuseUpload(size)
	}
	if status, text := c.call("GET", "/v1/requests", nil, "X-Large: "+strings.Repeat("x", 20_000)); status != http.StatusRequestHeaderFieldsTooLarge || !json.Valid(text) {
		c.Errorf("large header: %d %s", status, text)
	}
	// None of it makes a gateway look broken.
	for range 4 {
		c.submit()
	}
}

// refuseUpload sends too large a body by hand, because the answer comes while it is sent.
func (c *client) refuseUpload(size int64) {
	c.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.url, "http://"))
	if err != nil {
		c.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = fmt.Fprintf(conn, "POST /v1/requests HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n", size)
		_, _ = conn.Write(make([]byte, size))
	}()
	defer func() {
		_ = conn.Close()
		<-sent
	}()
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		c.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusRequestEntityTooLarge || res.Header.Get("Content-Type") != "application/problem+json" {
		c.Errorf("%d bytes: %s %v", size, res.Status, res.Header)
	}
}

// testOtherPage: what the gateways keep from foreign pages they also keep from them
// behind a proxy, and metrics stay inside.
func testOtherPage(c *client) {
	for origin, want := range map[string]int{c.url: http.StatusAccepted, "http://evil.example": http.StatusForbidden} {
		if status, text := c.call("POST", "/v1/requests", []byte(`{"content":1}`), "Origin: "+origin, "Prefer: respond-async", "Content-Type: application/json"); status != want {
			c.Errorf("%s: %d %s", origin, status, text)
		}
	}
	if status, _ := c.call("GET", "/metrics", nil); status != http.StatusNotFound {
		c.Errorf("metrics: %d", status)
	}
}

// testCallbackExchange runs what docs/many-nodes.md says about the events in RabbitMQ, as it stands
// there but for the ports and the folder. The events may take a moment to the queue, so the last
// line is run until all of them were got.
func testCallbackExchange(t *testing.T, cluster *cluster) {
	program(t, "rabbitmqadmin")
	const guide = "docs/many-nodes.md"
	block := docs.Find(t, guide, "Events to RabbitMQ", "sh", ". cluster/secrets\n")
	lines := strings.Split(strings.TrimSpace(block), "\n")[1:]
	if len(lines) < 2 {
		t.Fatal(guide, "does not show how the callback exchange is tried")
	}
	told := strings.NewReplacer("http://127.0.0.1:8080", cluster.url, "--port=15672", "--port="+cluster.admin)
	last := len(lines) - 1
	script := "set -eu\n. " + cluster.data + "/secrets\n" + told.Replace(strings.Join(lines[:last], "\n")) + `
		for try in $(seq 100); do
			got=$(` + lines[last] + "\n" + `)
			! echo "$got" | grep -q request.succeeded || break
			sleep 0.1
		done
		echo "$got"`
	out, err := exec.CommandContext(t.Context(), "bash", "-c", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	shown := regexp.MustCompile("`(request\\.\\w+)`").FindAllStringSubmatch(between(docs.Read(t, guide), "The last one shows ", "\n\n"), -1)
	if len(shown) == 0 {
		t.Error(guide, "does not say what is shown")
	}
	for _, kind := range shown {
		if !bytes.Contains(out, []byte(`"type":"`+kind[1]+`"`)) {
			t.Errorf("no %s among\n%s", kind[1], out)
		}
	}
}

// testResumeElsewhere: the cursor of one gateway is good at the other.
func testResumeElsewhere(t *testing.T, cluster *cluster) {
	one, other := newClient(t, cluster.gateways[0]), newClient(t, cluster.gateways[1])
	id := one.submit()
	s := one.stream(id, "")
	s.want("accepted", "1")
	other.report("POST", id, "start", "")
	s.want("started", "2")
	_ = s.res.Body.Close()
	other.report("POST", id, "progress", `{"percent":50}`)
	s = other.stream(id, s.last)
	s.want("progress", "3")
	one.report("PUT", id, "result", `true`)
	s.want("succeeded", "4")
	s.wantEnd()
}

var streamsOpen = regexp.MustCompile(`(?m)^hark_connections\{wire="sse"\} (\d+)$`)

// testGatewayKilled: the gateway that serves a stream is killed; the client comes back
// to the other one through the proxy and misses nothing.
func testGatewayKilled(t *testing.T, cluster *cluster) {
	c := newClient(t, cluster.url)
	direct := []*client{newClient(t, cluster.gateways[0]), newClient(t, cluster.gateways[1])}
	serving := func() (at []int) {
		for i, g := range direct {
			if _, text := g.call("GET", "/metrics", nil); !bytes.Contains(text, []byte(`hark_connections{wire="sse"} 0`)) && streamsOpen.Match(text) {
				at = append(at, i)
			}
		}
		return at
	}
	eventually(t, "earlier streams are gone", func() bool { return len(serving()) == 0 })
	id := c.submit()
	s := c.stream(id, "")
	s.want("accepted", "1")
	c.report("POST", id, "start", "")
	s.want("started", "2")
	var at []int
	eventually(t, "one gateway serves the stream", func() bool { at = serving(); return len(at) == 1 })

	name := fmt.Sprintf("gateway-%d", at[0]+1)
	file := filepath.Join(cluster.data, "pid", name)
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(before)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(n, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if kind, err := s.next(); err == nil {
		t.Fatalf("the stream goes on with %s", kind)
	}
	c.report("POST", id, "progress", `{"percent":50}`)
	s = c.stream(id, s.last)
	s.want("progress", "3")
	c.report("PUT", id, "result", `true`)
	s.want("succeeded", "4")
	s.wantEnd()

	eventually(t, name+" is back", func() bool {
		after, _ := os.ReadFile(file)
		if len(after) == 0 || bytes.Equal(after, before) {
			return false
		}
		res, err := direct[at[0]].http.Get(direct[at[0]].url + "/health/ready")
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
}

// TestNoGateway: what the proxies say while no gateway answers.
func TestNoGateway(t *testing.T) {
	for name, start := range map[string]func(*testing.T, string, string) string{"nginx": startNginx, "caddy": startCaddy} {
		t.Run(name, func(t *testing.T) {
			ports := freePorts(t, 2)
			c := newClient(t, start(t, "http://127.0.0.1:"+ports[0], "http://127.0.0.1:"+ports[1]))
			status, text := c.call("POST", "/v1/requests", nil)
			var problem struct{ Status int }
			if err := json.Unmarshal(text, &problem); err != nil || status != http.StatusServiceUnavailable || problem.Status != status {
				t.Errorf("%d %s %v", status, text, err)
			}
			// An EventSource would not come back after any other status.
			s := c.stream("a", "")
			body, err := io.ReadAll(s.r)
			if !regexp.MustCompile(`^event: unavailable\ndata: {"retry":\d{4}}\nretry: \d{4}\n\n$`).Match(body) || err != nil {
				t.Errorf("%q %v", body, err)
			}
		})
	}
}

// startNginx starts nginx in front of two gateways.
func startNginx(t *testing.T, first, second string) string {
	t.Helper()
	nginx := program(t, "nginx")
	port, dir := freePorts(t, 1)[0], t.TempDir()
	text := strings.NewReplacer(
		"listen 8080;", "listen 127.0.0.1:"+port+";",
		"gateway-1:8080 resolve", strings.TrimPrefix(first, "http://"),
		"gateway-2:8080 resolve", strings.TrimPrefix(second, "http://"),
	).Replace(read(t, "deploy/nginx.conf"))
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	directives := "daemon off;"
	if os.Getuid() == 0 {
		directives += " user root;"
	}
	return startProxy(t, port, exec.Command(nginx, "-p", dir+"/", "-c", file, "-e", "stderr", "-g", directives))
}

// startCaddy starts Caddy in front of two gateways.
func startCaddy(t *testing.T, first, second string) string {
	t.Helper()
	c := exec.Command(program(t, "caddy"), "run", "--config", "Caddyfile", "--adapter", "caddyfile")
	port, dir := freePorts(t, 1)[0], t.TempDir()
	c.Env = append(os.Environ(), "BIND=127.0.0.1", "SITE=http://:"+port, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir,
		"GATEWAYS="+strings.ReplaceAll(first+" "+second, "http://", ""))
	return startProxy(t, port, c)
}

func startProxy(t *testing.T, port string, c *exec.Cmd) string {
	t.Helper()
	output, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	c.Stdout, c.Stderr = output, output
	exited := make(chan struct{})
	launch(t, c, exited)
	t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		select {
		case <-exited:
		case <-time.After(patience):
			_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
			<-exited
			t.Error("the proxy does not end")
		}
		if t.Failed() {
			log, _ := os.ReadFile(output.Name())
			t.Logf("%s", log)
		}
	})
	eventually(t, "the proxy listens", func() bool {
		select {
		case <-exited:
			t.Fatal("the proxy has ended")
		default:
		}
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return "http://127.0.0.1:" + port
}

// TestClusterRefuses: what cannot work is said before anything is started.
func TestClusterRefuses(t *testing.T) {
	for _, name := range []string{"bash", "redis-server", "rabbitmq-server", "epmd", "nginx"} {
		program(t, name)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	for setting, want := range map[string]string{"PROXY=apache": "apache is not allowed", "REDIS_PORT=" + port: "port " + port + " is taken"} {
		dir := t.TempDir()
		ports := freePorts(t, 7)
		c := exec.Command("./cluster.sh")
		c.Env = append(os.Environ(), "TMPDIR="+dir,
			"PROXY_PORT="+ports[0], "GATEWAY_1_PORT="+ports[1], "GATEWAY_2_PORT="+ports[2],
			"REDIS_PORT="+ports[3], "AMQP_PORT="+ports[4], "EPMD_PORT="+ports[5], "DIST_PORT="+ports[6], setting)
		out, err := c.CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v\n%s", setting, err, out)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("%s leaves %v", setting, left)
		}
	}
}
