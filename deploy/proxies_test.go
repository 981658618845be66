package deploy_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// traits are what a proxy does with what it is configured to do. Where that is not what a client
// needs it is a limit, which README.md names.
type traits struct {
	upgrades  bool // it passes WebSockets on
	keepsHost bool // it passes Host on, so that a page of its own origin may write
	delays    bool // it keeps each event for a fifth of a second
	// It completes the answer of a gateway that was killed, so that its client cannot tell that
	// from the end.
	conceals bool
	// It tells the gateway at once that a client has left, not only when the next writes fail.
	notices bool
	queues  bool // it lets a GET wait for another one's long poll of the same URL
	retags  bool // it changes the tags of what it compresses
	forgets bool // it takes If-None-Match from requests: an answer that could be 304 is 200
	// It cuts an event stream, without a status, until its check has noticed that no gateway is
	// there.
	cuts bool
	// The answer to an event stream while no gateway is there, "unavailable" for the event.
	dead string
}

// TestProxies holds gateway and proxy to what both say of each other, over the wire, with each
// proxy as tutorials show it ("two lines"), and as the files of this folder have it
// ("recommended"). Behind the latter one of the two gateways is always away.
func TestProxies(t *testing.T) {
	if testing.Short() {
		t.Skip("starts two dozen programs")
	}
	for _, proxy := range proxies {
		t.Run(proxy.name, func(t *testing.T) {
			t.Parallel()
			version, _ := exec.Command(program(t, proxy.program), versions[proxy.program].flag).CombinedOutput()
			ports := freePorts(t, 2)
			p := &proxied{T: t, traits: proxy.traits, port: ports[0], data: t.TempDir()}
			p.tried = bytes.Contains(version, []byte(versions[proxy.program].says))
			// That is longer than anybody waits here: no heartbeat pushes out what is held back.
			p.start("10m")
			p.direct = newClient(t, "http://127.0.0.1:"+p.port)
			p.client = newClient(t, proxy.start(t, "127.0.0.1:"+p.port, "127.0.0.1:"+ports[1]))
			eventually(t, "the gateway answers through the proxy", func() bool { return p.ready() })

			p.leave()
			for _, check := range []struct {
				name string
				run  func(*proxied)
			}{
				{"stream", (*proxied).checkStream},
				{"delay", (*proxied).checkDelay},
				{"204 is not cached", (*proxied).checkNoContent},
				{"no Host", (*proxied).checkNoHost},
				{"tag", (*proxied).checkTag},
				{"beside a long poll", (*proxied).checkLongPoll},
				{"socket", (*proxied).checkSocket},
				{"origin", (*proxied).checkOrigin},
				{"large", (*proxied).checkLarge},
			} {
				t.Run(check.name, func(t *testing.T) { check.run(p.in(t)) })
			}
			t.Run("left", func(t *testing.T) { p.in(t).checkLeft() })
			p.checkKilled()
		})
	}
}

// proxied is a gateway behind a proxy.
type proxied struct {
	*testing.T
	traits
	tried   bool    // it has the version that the traits were found with
	*client         // through the proxy
	direct  *client // past it
	port    string
	data    string
	process *exec.Cmd
	exited  chan struct{}
}

// in is the same for a part of the test.
func (p *proxied) in(t *testing.T) *proxied {
	q := *p
	q.T, q.client, q.direct = t, &client{t, p.url, p.http}, &client{t, p.direct.url, p.direct.http}
	return &q
}

// gatewayBinary is the gateway, built once for all tests.
var gatewayBinary binary

type binary struct {
	once sync.Once
	dir  string
	err  error
}

func (b *binary) path(t *testing.T) string {
	t.Helper()
	b.once.Do(func() {
		if b.dir, b.err = os.MkdirTemp("", "hark-deploy-"); b.err != nil { //nolint:usetesting // it outlives the test that comes first
			return
		}
		build := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(b.dir, "gateway"), "../gateway")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			b.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if b.err != nil {
		t.Fatal(b.err)
	}
	return filepath.Join(b.dir, "gateway")
}

// remove is called after all tests.
func (b *binary) remove() {
	if b.dir != "" {
		_ = os.RemoveAll(b.dir)
	}
}

// start runs the gateway, with what an earlier run has stored. It ends with the test.
func (p *proxied) start(heartbeat string) {
	p.Helper()
	c := exec.Command(gatewayBinary.path(p.T), "--listen=127.0.0.1:"+p.port, "--data="+p.data, "--heartbeat="+heartbeat, "--no-samples", "--drain=0s", "--log-level=warn")
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	exited := make(chan struct{})
	launch(p.T, c, exited)
	p.process, p.exited = c, exited
	p.Cleanup(func() {
		_ = c.Process.Kill()
		<-exited
	})
	eventually(p.T, "the gateway listens", func() bool {
		select {
		case <-exited:
			p.Fatalf("the gateway has ended:\n%s", said.String())
		default:
		}
		// It takes a connection of its own.
		res, err := http.Get("http://127.0.0.1:" + p.port + "/health/ready")
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
}

// limited tells whether a limit that was seen, or not, is that of the traits. Another version may
// have got rid of it.
func (p *proxied) limited(seen, trait bool) bool { return seen == trait || !seen && !p.tried }

func (p *proxied) kill() {
	_ = syscall.Kill(p.process.Process.Pid, syscall.SIGKILL)
	<-p.exited
	p.direct.http.CloseIdleConnections()
}

// ready tells whether a gateway says through the proxy that it is ready.
func (p *proxied) ready() bool {
	res, err := p.http.Get(p.url + "/health/ready")
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// open returns how many event streams the gateway has.
func (p *proxied) open() string {
	p.Helper()
	_, text := p.direct.call("GET", "/metrics", nil)
	m := streamsOpen.FindSubmatch(text)
	if m == nil {
		p.Fatalf("no hark_connections:\n%s", text)
	}
	return string(m[1])
}

// ended makes a request, with three events, that the proxy has not heard of.
func (p *proxied) ended() (id string) {
	p.Helper()
	id = p.direct.submit()
	p.direct.report("POST", id, "start", "")
	p.direct.report("PUT", id, "result", `true`)
	return id
}

// leave follows a feed in which nothing happens, and leaves.
func (p *proxied) leave() {
	p.Helper()
	ctx, cancel := context.WithCancel(p.Context())
	defer cancel()
	res, err := p.send(ctx, "GET", "/v1/topics/silent-"+rand.Text()+"/events", nil, "Accept: text/event-stream")
	if err != nil {
		p.Fatal(err)
	}
	defer res.Body.Close()
	eventually(p.T, "the gateway has the stream", func() bool { return p.open() == "1" })
}

// checkStream: what is stored comes at once, what happens then does, too, a cursor is gone on from,
// and the end is told.
func (p *proxied) checkStream() {
	testStream(p.client)
}

// checkDelay: an event that nothing follows is there within less than a tenth of a second. A busy
// machine may need some rounds to show that.
func (p *proxied) checkDelay() {
	const events = 5
	eventually(p.T, fmt.Sprintf("events are kept for a while: %v", p.delays), func() bool {
		id := p.direct.submit()
		s := p.stream(id, "")
		s.want("accepted", "1")
		p.direct.report("POST", id, "start", "")
		s.want("started", "2")
		var delays []time.Duration
		for i := range events {
			p.direct.report("POST", id, "progress", fmt.Sprintf(`{"percent":%d}`, i))
			began := time.Now()
			s.want("progress", strconv.Itoa(3+i))
			delays = append(delays, time.Since(began))
		}
		p.direct.report("PUT", id, "result", `true`)
		s.want("succeeded", strconv.Itoa(3+events))
		s.wantEnd()
		slices.Sort(delays)
		return p.limited(delays[events/2] > 100*time.Millisecond, p.delays)
	})
}

// checkNoContent: what tells one client that nothing will follow is not told to those who have seen
// nothing yet.
func (p *proxied) checkNoContent() {
	id := p.ended()
	if status, _ := p.call("GET", "/v1/requests/"+id+"/events", nil, "Accept: text/event-stream", "Last-Event-ID: 3"); status != http.StatusNoContent {
		p.Fatalf("after the end: %d", status)
	}
	s := p.stream(id, "")
	s.want("accepted", "1")
	s.want("started", "2")
	s.want("succeeded", "3")
	s.wantEnd()
}

// checkNoHost: a probe that names no host, as HTTP/1.0 allows, is answered.
func (p *proxied) checkNoHost() {
	res := p.raw("GET /health/ready HTTP/1.0\r\n\r\n")
	if res.StatusCode != http.StatusOK {
		p.Errorf("%s", res.Status)
	}
}

// raw sends a request as it is written.
func (p *proxied) raw(request string) *http.Response {
	p.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, request); err != nil {
		p.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		p.Fatal(err)
	}
	return res
}

// get asks for a document as browsers do, and returns its tag.
func (p *proxied) get(path string, headers ...string) (status int, tag string) {
	p.Helper()
	res, err := p.send(p.Context(), "GET", path, nil, append(headers, "Accept-Encoding: gzip")...)
	if err != nil {
		p.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		p.Fatal(err)
	}
	return res.StatusCode, res.Header.Get("ETag")
}

// checkTag: a tag is known for that of the state, also if the proxy has changed it because it
// compressed the answer.
func (p *proxied) checkTag() {
	id := p.direct.submit()
	status, tag := p.get("/v1/requests/" + id)
	if status != http.StatusOK || tag == "" {
		p.Fatalf("%d, tag %s", status, tag)
	}
	if !p.limited(strings.HasSuffix(tag, `-gzip"`), p.retags) {
		p.Errorf("tag %s", tag)
	}
	known := func(status int) bool {
		return status == http.StatusNotModified && p.limited(false, p.forgets) || status == http.StatusOK && p.limited(true, p.forgets)
	}
	if status, _ := p.get("/v1/requests/"+id, "If-None-Match: "+tag); !known(status) {
		p.Errorf("%s: %d", tag, status)
	}
	began := time.Now()
	status, _ = p.get("/v1/requests/"+id, "If-None-Match: "+tag, "Prefer: wait=1")
	if waited := time.Since(began); !known(status) || waited < time.Second {
		p.Errorf("%s: the poll came back with %d after %v", tag, status, waited)
	}
}

// checkLongPoll: nobody else waits because somebody waits. A cache lets them, if it waits for an
// answer that it may keep.
func (p *proxied) checkLongPoll() {
	eventually(p.T, fmt.Sprintf("others wait for a long poll: %v", p.queues), func() bool {
		id := p.direct.submit()
		ctx, cancel := context.WithCancel(p.Context())
		polled := make(chan struct{})
		defer func() {
			cancel()
			<-polled
		}()
		go func() {
			defer close(polled)
			if res, err := p.send(ctx, "GET", "/v1/requests/"+id, nil, "Prefer: wait=2"); err == nil {
				_ = res.Body.Close()
			}
		}()
		// The poll is on its way meanwhile; if it is overtaken all the same, the next round may
		// show it.
		for range 3 {
			p.ready()
		}
		if status, _ := p.get("/v1/requests/" + id); status != http.StatusOK {
			p.Errorf("%d", status)
		}
		select {
		case <-polled:
			return p.limited(true, p.queues)
		default:
			return p.limited(false, p.queues)
		}
	})
}

// checkSocket: a WebSocket is passed on, or refused with a status that says why.
func (p *proxied) checkSocket() {
	if p.upgrades {
		testSocket(p.client)
		if p.dead == "unavailable" { // such a configuration keeps metrics inside
			p.checkRefusedSocket()
		}
		return
	}
	_, res, err := websocket.DefaultDialer.DialContext(p.Context(), "ws"+strings.TrimPrefix(p.url, "http")+"/v1/ws", nil)
	if err == nil || res == nil || res.StatusCode != http.StatusUpgradeRequired {
		p.Errorf("%v %v", err, res)
	}
}

// checkRefusedSocket: what follows on the connection of a handshake that was refused does not pass
// by the proxy, which keeps metrics inside.
func (p *proxied) checkRefusedSocket() {
	host := strings.TrimPrefix(p.url, "http://")
	for _, more := range []string{"Origin: http://evil.example\r\n", "Sec-WebSocket-Version: 12\r\n", ""} {
		conn, err := net.Dial("tcp", host)
		if err != nil {
			p.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, _ = fmt.Fprintf(conn, "GET /v1/ws HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n%s\r\n", host, more)
		r := bufio.NewReader(conn)
		res, err := http.ReadResponse(r, nil)
		if err != nil || res.StatusCode < 400 {
			p.Fatal(res, err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_, _ = fmt.Fprintf(conn, "GET /metrics HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host)
		if text, _ := io.ReadAll(r); bytes.Contains(text, []byte("hark_connections")) {
			p.Errorf("%q: metrics of the gateway", more)
		}
		_ = conn.Close()
	}
}

// checkOrigin: a page of one's own origin may write, others may not. Where the proxy says another
// host, the refusal names both.
func (p *proxied) checkOrigin() {
	post := func(origin string) (int, string) {
		status, text := p.call("POST", "/v1/requests", []byte(`{"content":1}`), "Origin: "+origin, "Prefer: respond-async", "Content-Type: application/json")
		return status, string(text)
	}
	if status, text := post(p.url); p.keepsHost && status != http.StatusAccepted {
		p.Errorf("%d %s", status, text)
	} else if !p.keepsHost {
		var problem struct{ Detail string }
		_ = json.Unmarshal([]byte(text), &problem)
		for _, host := range []string{`"127.0.0.1:` + p.port + `"`, `"` + p.url + `"`} {
			if status != http.StatusForbidden || !strings.Contains(problem.Detail, host) {
				p.Errorf("%d %s, without %s", status, text, host)
			}
		}
	}
	if status, text := post("http://evil.example"); status != http.StatusForbidden {
		p.Errorf("another page: %d %s", status, text)
	}
}

// checkLarge: who sends too much is told so, also while it still sends, and the gateway is not
// given up for that.
func (p *proxied) checkLarge() {
	size := defaults(p.T).MaxBody + 1<<20
	for _, chunked := range []bool{false, true} {
		if status := p.upload(size, chunked); status != http.StatusRequestEntityTooLarge {
			p.Errorf("chunked %v: %d", chunked, status)
		}
	}
	p.submit()
}

// upload posts a body and returns the status, 0 if the connection breaks without one.
func (p *proxied) upload(size int, chunked bool) int {
	p.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		p.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		head := "POST /v1/requests HTTP/1.1\r\nHost: " + strings.TrimPrefix(p.url, "http://") + "\r\nContent-Type: application/octet-stream\r\n"
		if chunked {
			_, _ = io.WriteString(conn, head+"Transfer-Encoding: chunked\r\n\r\n")
			part := fmt.Appendf(nil, "%x\r\n%s\r\n", 1<<18, make([]byte, 1<<18))
			for left := size; left > 0; left -= 1 << 18 {
				if _, err := conn.Write(part); err != nil {
					return
				}
			}
			_, _ = io.WriteString(conn, "0\r\n\r\n")
			return
		}
		_, _ = fmt.Fprintf(conn, "%sContent-Length: %d\r\n\r\n", head, size)
		_, _ = conn.Write(make([]byte, size))
	}()
	defer func() {
		_ = conn.Close()
		<-sent
	}()
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	_ = res.Body.Close()
	return res.StatusCode
}

// checkLeft: the gateway knows of the client that has left before, if the proxy has said so. It
// does not yet otherwise, because nothing was written.
func (p *proxied) checkLeft() {
	eventually(p.T, fmt.Sprintf("it notices who leaves: %v", p.notices), func() bool { return p.limited(p.open() != "0", !p.notices) })
}

// checkKilled: the gateway is killed, stays away, and comes back.
func (p *proxied) checkKilled() {
	id := p.direct.submit()
	s := p.stream(id, "")
	s.want("accepted", "1")
	if status, _ := p.call("GET", "/health/live", nil); status != http.StatusOK {
		p.Errorf("live: %d", status)
	}
	p.kill()
	if kind, err := s.next(); err == nil || !p.limited(err == io.EOF, p.conceals) {
		p.Errorf("after the cut: %s, %v", kind, err)
	}

	status, text := p.call("GET", "/health/live", nil)
	if status != http.StatusServiceUnavailable && status != http.StatusBadGateway {
		p.Errorf("live, while it is dead: %d %s", status, text)
	}
	said := p.ask("/v1/topics/dead/events")
	if p.cuts {
		eventually(p.T, "a stream is answered while the gateway is dead", func() bool { said = p.ask("/v1/topics/dead/events"); return said != "cut" })
	}
	if said != p.dead {
		p.Errorf("a stream, while it is dead: %s", said)
	}
	if p.dead == "unavailable" { // such a configuration answers the others as Hark does
		status, text = p.call("POST", "/v1/requests", []byte(`1`), "Content-Type: application/json")
		var problem struct{ Status int }
		if err := json.Unmarshal(text, &problem); err != nil || status != http.StatusServiceUnavailable || problem.Status != status {
			p.Errorf("a call, while it is dead: %d %s", status, text)
		}
	}

	p.start("1s")
	eventually(p.T, "the gateway answers again", p.ready)
	p.direct.report("POST", id, "start", "")
	s = p.stream(id, s.last)
	s.want("started", "2")
	_ = s.res.Body.Close()
	p.leave()
	eventually(p.T, "the gateway notices that everybody has left", func() bool { return p.open() == "0" })
}

// ask asks for an event stream, and returns what that is answered with: "unavailable", "cut" or the
// status.
func (p *proxied) ask(path string) string {
	p.Helper()
	res, err := p.send(p.Context(), "GET", path, nil, "Accept: text/event-stream")
	if err != nil {
		return "cut"
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return "cut"
	case res.StatusCode == http.StatusOK && unavailableEvent.Match(text):
		return "unavailable"
	default:
		return strconv.Itoa(res.StatusCode)
	}
}

var unavailableEvent = regexp.MustCompile(`^event: unavailable\ndata: {"retry":\d{4}}\nretry: \d{4}\n\n$`)
