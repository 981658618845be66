package blackbox_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hark-push/hark/docs"
	"github.com/hark-push/hark/servertest"
)

// workerClient is a client for processors in another language, and a program that uses it.
type workerClient struct {
	name    string
	command []string // of testdata/workers
	env     []string
}

// workerClients are those of processor/clients whose language is there.
func workerClients(t *testing.T) (clients []workerClient) {
	t.Helper()
	folder, err := filepath.Abs("../../processor/clients")
	if err != nil {
		t.Fatal(err)
	}
	if python := pythonForWorkers(t); python != "" {
		clients = append(clients, workerClient{
			"python",
			[]string{python, "testdata/workers/worker.py"},
			[]string{"PYTHONPATH=" + folder, "PYTHONDONTWRITEBYTECODE=1", "PYTHONWARNINGS=error"},
		})
	}
	if node := nodeForWorkers(t); node != "" {
		clients = append(clients, workerClient{"typescript", []string{node, "testdata/workers/worker.ts"}, []string{"NODE_NO_WARNINGS=1"}})
	}
	if len(clients) == 0 {
		t.Skip("neither Python 3.9 nor a Node that strips types is here")
	}
	return clients
}

// lacking says that a program is not there, which fails a run that has to have all.
func lacking(t *testing.T, what string, err error) {
	t.Helper()
	if os.Getenv("HARK_REQUIRE_SERVERS") != "" {
		t.Fatalf("%s: %v", what, err)
	}
}

// pythonForWorkers returns a Python that hark_worker.py is for, "" if there is none: python3, or
// what HARK_TEST_PYTHON names.
func pythonForWorkers(t *testing.T) string {
	t.Helper()
	python := os.Getenv("HARK_TEST_PYTHON")
	if python == "" {
		python = "python3"
	}
	if out, err := exec.Command(python, "-c", "import sys; sys.exit(sys.version_info < (3, 9))").CombinedOutput(); err != nil {
		lacking(t, "Python 3.9", fmt.Errorf("%w %s", err, out))
		return ""
	}
	return python
}

// nodeForWorkers returns a Node that runs TypeScript, "" if there is none: that on PATH, or, where
// all has to be there, the one that scripts/generators.sh brings.
func nodeForWorkers(t *testing.T) string {
	t.Helper()
	if exec.Command("node", "-e", "process.exit(process.features.typescript ? 0 : 1)").Run() == nil {
		return "node"
	}
	if os.Getenv("HARK_REQUIRE_SERVERS") == "" {
		return ""
	}
	pinned := regexp.MustCompile(`with_node \S+ (\S+)`).FindStringSubmatch(docs.Read(t, "scripts/generators.sh"))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	path, err := exec.CommandContext(ctx, "npx", "--yes", "--package=node@"+pinned[1], "--", "node", "-p", "process.execPath").Output()
	if err != nil {
		lacking(t, "Node "+pinned[1], err)
	}
	return strings.TrimSpace(string(path))
}

// workerProcess is such a program, which runs.
type workerProcess struct {
	*record
	cmd      *exec.Cmd
	released string
}

// start runs the program with options of its worker. What holds goes on until release.
func (c workerClient) start(t *testing.T, url string, options map[string]any, env ...string) *workerProcess {
	t.Helper()
	given, err := json.Marshal(options)
	if err != nil {
		t.Fatal(err)
	}
	p := &workerProcess{released: filepath.Join(t.TempDir(), "released")}
	p.cmd = exec.Command(c.command[0], c.command[1:]...)
	p.cmd.Env = append(append(append(os.Environ(), c.env...), "HARK_URL="+url, "WORKER_RELEASED="+p.released, "WORKER_OPTIONS="+string(given)), env...)
	p.record = recorded(t, p.cmd)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the worker said\n%s", p.record)
		}
	})
	return p
}

// release ends what holds.
func (p *workerProcess) release() {
	p.t.Helper()
	if err := os.WriteFile(p.released, nil, 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// ends waits until the process has ended, with the status that is wanted.
func (p *workerProcess) ends(status int) {
	p.t.Helper()
	ended := time.AfterFunc(30*time.Second, func() { _ = p.cmd.Process.Kill() })
	_ = p.cmd.Wait()
	ended.Stop()
	if got := p.cmd.ProcessState.ExitCode(); got != status {
		p.t.Errorf("it ended with %v, want %d", p.cmd.ProcessState, status)
	}
}

func (p *workerProcess) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// says waits until the process has said something of a request.
func (p *workerProcess) says(what, id string, more any) {
	p.t.Helper()
	p.until(fmt.Sprintf("%s %s %v\n", what, id, more))
}

// order submits what testdata/workers is to do, and returns the id.
func (s *server) order(what string, more map[string]any) string {
	s.t.Helper()
	body := map[string]any{"route": "default", "content": map[string]any{"do": what}}
	maps.Copy(body, more)
	return s.call("POST", "/v1/requests", body, async).want(202).json()["id"].(string)
}

func (s *server) document(id string) map[string]any {
	s.t.Helper()
	return s.call("GET", "/v1/requests/"+id, nil).want(200).json()
}

// comesTo waits until a request has a status, and holds its attempt against what is wanted.
func (s *server) comesTo(id, status string, attempt int) map[string]any {
	s.t.Helper()
	var doc map[string]any
	s.eventually(func() bool { doc = s.document(id); return doc["status"] == status })
	if doc["attempt"] != float64(attempt) {
		s.t.Errorf("%s is %s by attempt %v, want %d", id, status, doc["attempt"], attempt)
	}
	return doc
}

// noneRanOut waits until nobody holds work, and says how many leases ran out: none may.
func (s *server) noneRanOut() {
	s.t.Helper()
	s.eventually(func() bool { return s.metric("hark_leases") == 0 })
	if n := s.metric("hark_leases_expired_total"); n != 0 {
		s.t.Errorf("%d leases ran out", n)
	}
}

// named are the options of a worker that has a name, with more.
func named(more map[string]any) map[string]any {
	options := map[string]any{"name": "w", "concurrency": 4}
	maps.Copy(options, more)
	return options
}

// eachWorkerClient runs a test with each client.
func eachWorkerClient(t *testing.T, f func(t *testing.T, c workerClient)) {
	for _, c := range workerClients(t) {
		t.Run(c.name, func(t *testing.T) { f(t, c) })
	}
}

// TestWorkerClientResults: what a handler returns is the result, of any media type, and what it
// knows of a request is what was submitted.
func TestWorkerClientResults(t *testing.T) {
	t.Parallel()
	eachWorkerClient(t, func(t *testing.T, c workerClient) {
		s := start(t, "--samples=false", "--max-body=65536")
		p := c.start(t, s.url, named(nil))
		const sync = "Prefer: wait=30"
		value := `{"größe":[1,null,"a\"\u0000"],"n":0.5}`
		for _, test := range []struct{ content, contentType, want, wantType string }{
			{`{"content":{"do":"echo","value":` + value + `}}`, "application/json", value, "application/json"},
			{`{"content":{"do":"bytes"}}`, "application/json", "\x00\xff", "application/octet-stream"},
			{`{"content":{"do":"typed"}}`, "application/json", "größer", "text/x-test; charset=utf-8"},
			{"\x01\x02\xff", "image/x-test", "\xff\x02\x01", "image/x-test"},
		} {
			a := s.call("POST", "/v1/requests", []byte(test.content), "Content-Type: "+test.contentType, sync).want(200)
			got := string(a.body)
			if test.wantType == "application/json" {
				var is, want any
				if json.Unmarshal(a.body, &is) != nil || json.Unmarshal([]byte(test.want), &want) != nil || fmt.Sprint(is) != fmt.Sprint(want) {
					t.Errorf("%s became %s", test.content, got)
				}
			} else if got != test.want {
				t.Errorf("%q became %q", test.content, got)
			}
			if got := a.header.Get("Content-Type"); got != test.wantType {
				t.Errorf("%q became %s", test.content, got)
			}
		}
		if doc := s.comesTo(s.order("nothing", nil), "succeeded", 1); doc["result"] != nil {
			t.Errorf("%v", doc)
		}
		about := s.call("POST", "/v1/requests", `{"content":{"do":"about"},"topic":"t","priority":3,"timeout":"90s"}`, "X-Request-Id: x-1", sync).want(200).json()
		if want := map[string]any{"route": "default", "topic": "t", "priority": 3.0, "caller": "anonymous", "request": "x-1", "left": 90.0}; fmt.Sprint(about) != fmt.Sprint(want) {
			t.Errorf("%v, want %v", about, want)
		}

		// What the gateway does not take is no success, and no silence.
		id := s.order("large", map[string]any{"content": map[string]any{"do": "large", "bytes": 1 << 20}})
		doc := s.comesTo(id, "failed", 1)
		if failure := doc["error"].(map[string]any); failure["code"] != "result-refused" || !strings.Contains(fmt.Sprint(failure["detail"]), "413") {
			t.Errorf("%v", failure)
		}
		p.signal(syscall.SIGINT)
		p.ends(0)
		s.noneRanOut()
	})
}

// TestWorkerClientFailures: what a handler raises says what becomes of the request.
func TestWorkerClientFailures(t *testing.T) {
	t.Parallel()
	eachWorkerClient(t, func(t *testing.T, c workerClient) {
		s := start(t, "--samples=false", "--retry-delay=20ms")
		p := c.start(t, s.url, named(nil))
		failure := func(doc map[string]any) map[string]any { return doc["error"].(map[string]any) }

		if f := failure(s.comesTo(s.order("fail", nil), "failed", 1)); f["code"] != "bad" || f["message"] != "It cannot be done." || !strings.Contains(fmt.Sprint(f["detail"]), "because") {
			t.Errorf("%v", f)
		}
		for _, again := range []string{"retry", "break", "unfit"} {
			s.comesTo(s.order(again, nil), "succeeded", 2)
		}
		once := map[string]any{"maxAttempts": 1}
		if f := failure(s.comesTo(s.order("retry", once), "failed", 1)); f["code"] != "early" || f["message"] != "Not yet." {
			t.Errorf("%v", f)
		}
		if f := failure(s.comesTo(s.order("break", once), "failed", 1)); f["code"] != "error" || !strings.Contains(fmt.Sprint(f["detail"]), "broken") {
			t.Errorf("%v", f)
		}
		s.comesTo(s.order("snooze", once), "succeeded", 2) // which counts no attempt
		p.signal(syscall.SIGTERM)
		p.ends(0)
		s.noneRanOut()
	})
}

// TestWorkerClientAsks: a handler asks, is called again with the answer, by another worker if there
// is one, and costs no attempt. What nobody answers goes on with its default; what cannot be asked
// ends the request, in words.
func TestWorkerClientAsks(t *testing.T) {
	eachWorkerClient(t, func(t *testing.T, c workerClient) {
		s := start(t, "--samples=false")
		asks := func(more map[string]any) string {
			content := map[string]any{"do": "ask", "message": "Publish <it>?"}
			maps.Copy(content, more)
			return s.order("ask", map[string]any{"content": content, "maxAttempts": 1})
		}
		p := c.start(t, s.url, named(map[string]any{"lease": 3600}))
		id := asks(map[string]any{"name": "publish", "schema": map[string]any{"type": "boolean"}, "timeout": 1800})
		question := s.waits(id)["question"].(map[string]any)
		if question["name"] != "publish" || question["message"] != "Publish <it>?" || fmt.Sprint(question["schema"]) != "map[type:boolean]" {
			t.Errorf("%v", question)
		}
		s.eventually(func() bool { return s.metric("hark_leases") == 0 })
		p.signal(syscall.SIGKILL)
		p.ends(-1)
		s.call("POST", "/v1/requests/"+id+"/input", `{"question":"publish","answer":false}`).want(200)

		p = c.start(t, s.url, named(nil))
		s.eventually(func() bool { q, _ := s.document(id)["question"].(map[string]any); return q["name"] == "question" })
		s.call("POST", "/v1/requests/"+id+"/input", `{"answer":{"größe":[1]}}`).want(200)
		s.comesTo(id, "succeeded", 1)
		if got := string(s.call("GET", "/v1/requests/"+id+"/result", nil).want(200).body); got != `[false,{"größe":[1]}]` {
			t.Errorf("the answers came as %s", got)
		}

		byDefault := asks(map[string]any{"name": "publish", "default": nil, "timeout": 0.001})
		s.eventually(func() bool {
			q, _ := s.document(byDefault)["question"].(map[string]any)
			return q["name"] == "question"
		})
		s.call("POST", "/v1/requests/"+byDefault+"/input", `{"answer":2}`).want(200)
		s.comesTo(byDefault, "succeeded", 1)
		if got := string(s.call("GET", "/v1/requests/"+byDefault+"/result", nil).want(200).body); got != `[null,2]` {
			t.Errorf("the answers came as %s", got)
		}

		for _, bad := range []map[string]any{{"message": ""}, {"name": "no name"}, {"timeout": 1e9}} {
			failure := s.comesTo(asks(bad), "failed", 1)["error"].(map[string]any)
			if failure["code"] != "bad-question" || !strings.Contains(fmt.Sprint(failure["detail"]), "must") && !strings.Contains(fmt.Sprint(failure["detail"]), "required") {
				t.Errorf("%v: %v", bad, failure)
			}
		}

		canceled := asks(nil)
		s.waits(canceled)
		s.call("POST", "/v1/requests/"+canceled+"/cancel", nil).want(200)
		s.comesTo(canceled, "canceled", 1)
		p.signal(syscall.SIGTERM)
		p.ends(0)
		s.noneRanOut()
	})
}

// TestWorkerClientProgress: followers see each report, a lease is renewed for as long as its
// handler works, and who asked for the end, or took over, ends the handler.
func TestWorkerClientProgress(t *testing.T) {
	eachWorkerClient(t, func(t *testing.T, c workerClient) {
		s := start(t, "--samples=false")
		p := c.start(t, s.url, named(map[string]any{"lease": 1}))
		id := s.order("tell", map[string]any{"timeout": "1m"})
		s.comesTo(id, "succeeded", 1)
		var told []string
		for _, event := range s.events(id) {
			told = append(told, string(event))
		}
		for _, want := range []string{`"step":"one"`, `"percent":10`, `"percent":50`, `"half of it"`} {
			if !strings.Contains(strings.Join(told, "\n"), want) {
				t.Errorf("%s was not told: %s", want, told)
			}
		}

		// Longer than its lease.
		held := s.order("hold", nil)
		p.says("began", held, 1)
		s.eventually(func() bool { return len(s.events(held)) > 8 })
		p.release()
		s.comesTo(held, "succeeded", 1)
		if err := os.Remove(p.released); err != nil {
			t.Fatal(err)
		}

		canceled := s.order("hold", nil)
		p.says("began", canceled, 1)
		s.call("POST", "/v1/requests/"+canceled+"/cancel", nil).want(202)
		p.says("over", canceled, "canceled")
		s.comesTo(canceled, "canceled", 1)

		for _, what := range []string{"hold", "ignore"} {
			lost := s.order(what, nil)
			p.says("began", lost, 1)
			s.call("POST", "/v1/work/"+lost+"/start?redelivered=true", nil).want(200)
			p.says("over", lost, "lost")
			s.call("PUT", "/v1/work/"+lost+"/result?attempt=2", `"ours"`).want(200)
			p.release()
			if a := s.call("GET", "/v1/requests/"+lost+"/result", nil).want(200); string(a.body) != `"ours"` {
				t.Errorf("%s", a.body)
			}
			_ = os.Remove(p.released)
		}
		p.signal(syscall.SIGTERM)
		p.release()
		p.ends(0)
		s.noneRanOut()
	})
}

// TestWorkerClientKilled: a worker is killed with work in hand, and started again: it goes on with
// that at once, and no attempt is lost.
func TestWorkerClientKilled(t *testing.T) {
	t.Parallel()
	eachWorkerClient(t, func(t *testing.T, c workerClient) {
		s := start(t, "--samples=false")
		options := named(map[string]any{"lease": 3600, "concurrency": 3})
		p := c.start(t, s.url, options)
		var held []string
		for range 3 {
			held = append(held, s.order("hold", nil))
		}
		for _, id := range held {
			p.says("began", id, 1)
		}
		waiting := s.order("echo", map[string]any{"content": map[string]any{"do": "echo", "value": 1}})
		p.signal(syscall.SIGKILL)
		p.ends(-1)

		p = c.start(t, s.url, options)
		p.release()
		for _, id := range held {
			p.says("began", id, 2)
			if doc := s.comesTo(id, "succeeded", 2); doc["error"] != nil {
				t.Errorf("%v", doc)
			}
		}
		s.comesTo(waiting, "succeeded", 1)
		if n := s.metric("hark_leases_taken_over_total"); n != 3 {
			t.Errorf("%d were taken over", n)
		}
		s.noneRanOut()
	})
}

// TestWorkerClientDrains: a worker that is told to stop ends what it has begun and begins nothing
// more. What does not end in time is handed back, at no cost.
func TestWorkerClientDrains(t *testing.T) {
	t.Parallel()
	eachWorkerClient(t, func(t *testing.T, c workerClient) {
		s := start(t, "--samples=false")
		idle := c.start(t, s.url, named(nil))
		s.eventually(func() bool { return s.metric("hark_lease_calls") == 1 })
		idle.signal(syscall.SIGTERM)
		idle.ends(0)
		s.eventually(func() bool { return s.metric("hark_lease_calls") == 0 })

		p := c.start(t, s.url, named(map[string]any{"concurrency": 2, "lease": 3600}))
		running := []string{s.order("hold", nil), s.order("hold", nil)}
		for _, id := range running {
			p.says("began", id, 1)
		}
		var waiting []string
		for i := range 3 {
			waiting = append(waiting, s.order("echo", map[string]any{"content": map[string]any{"do": "echo", "value": i}}))
		}
		p.signal(syscall.SIGTERM)
		p.until("draining\n")
		p.release()
		p.ends(0)
		for _, id := range running {
			s.comesTo(id, "succeeded", 1)
		}
		for _, id := range waiting {
			s.comesTo(id, "pending", 0)
		}

		// Handlers that take longer are told, and left behind if they do not listen.
		options := named(map[string]any{"lease": 3600, "drain": 0.05, "grace": 0.5})
		p = c.start(t, s.url, options)
		for _, id := range waiting {
			s.comesTo(id, "succeeded", 1)
		}
		once := map[string]any{"maxAttempts": 1}
		held, ignores := s.order("hold", once), s.order("ignore", once)
		p.says("began", held, 1)
		p.says("began", ignores, 1)
		p.signal(syscall.SIGTERM)
		p.says("over", held, "shutdown")
		p.says("over", ignores, "shutdown")
		p.ends(0)
		for _, id := range []string{held, ignores} {
			if doc := s.comesTo(id, "pending", 1); doc["error"] != nil {
				t.Errorf("%v", doc)
			}
		}
		p = c.start(t, s.url, options)
		p.release()
		s.comesTo(held, "succeeded", 2)
		s.comesTo(ignores, "succeeded", 2)
		s.noneRanOut()
	})
}

// TestWorkerClientHandsBack: work that comes while a worker is told to stop, and is not begun, is
// handed back, at no cost.
func TestWorkerClientHandsBack(t *testing.T) {
	eachWorkerClient(t, func(t *testing.T, c workerClient) {
		s := start(t, "--samples=false")
		at, err := url.Parse(s.url)
		if err != nil {
			t.Fatal(err)
		}
		// Of the answer to the first lease the head comes before the worker is told, and the rest
		// after it.
		headed, rest := make(chan struct{}), make(chan struct{})
		others := httputil.NewSingleHostReverseProxy(at)
		between := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v1/work/lease" {
				others.ServeHTTP(w, r)
				return
			}
			order, _ := io.ReadAll(r.Body)
			answer, err := s.http.Post(s.url+r.URL.Path, "application/json", bytes.NewReader(order))
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = answer.Body.Close() }()
			w.Header().Set("Content-Type", answer.Header.Get("Content-Type"))
			w.WriteHeader(answer.StatusCode)
			_ = http.NewResponseController(w).Flush()
			close(headed)
			<-rest
			_, _ = io.Copy(w, answer.Body)
		}))
		defer between.Close()
		var ids []string
		for range 3 {
			ids = append(ids, s.order("hold", map[string]any{"maxAttempts": 1}))
		}
		p := c.start(t, between.URL, named(map[string]any{"lease": 3600}))
		<-headed
		p.signal(syscall.SIGTERM)
		p.until("draining\n")
		close(rest)
		p.ends(0)
		if strings.Contains(p.String(), "began") {
			t.Error("it has begun something")
		}
		attempts := 0.0
		for _, id := range ids {
			doc := s.document(id)
			attempts += doc["attempt"].(float64)
			if doc["status"] != "pending" || doc["error"] != nil {
				t.Errorf("%v", doc)
			}
		}
		if attempts == 0 {
			t.Error("nothing came")
		}
		s.noneRanOut()
	})
}

// TestWorkerClientOutages: a gateway is killed under a worker, refuses it for a while, and does not
// get its answers through. The worker comes back when it is told to, and nothing is done twice.
func TestWorkerClientOutages(t *testing.T) {
	eachWorkerClient(t, func(t *testing.T, c workerClient) {
		t.Run("killed", func(t *testing.T) {
			data := t.TempDir()
			s := spawn(t, data, "--samples=false")
			proxy := servertest.Proxy(t, strings.TrimPrefix(s.url, "http://"))
			p := c.start(t, "http://"+proxy.Addr, named(map[string]any{"heartbeat": 0.2}))
			held := s.order("hold", nil)
			p.says("began", held, 1)
			s.kill()
			p.until("no work can be had")
			s = spawn(t, data, "--samples=false")
			proxy.Retarget(strings.TrimPrefix(s.url, "http://"))
			s.comesTo(s.order("nothing", nil), "succeeded", 1)
			p.release()
			s.comesTo(held, "succeeded", 1)
			p.signal(syscall.SIGTERM)
			p.ends(0)
		})
		t.Run("refuses", func(t *testing.T) {
			s := start(t, "--samples=false")
			at, err := url.Parse(s.url)
			if err != nil {
				t.Fatal(err)
			}
			var leases, results atomic.Int32
			var first, second atomic.Int64 // calls for work, in nanoseconds
			others := httputil.NewSingleHostReverseProxy(at)
			// It has hung up.
			others.ErrorHandler = func(http.ResponseWriter, *http.Request, error) {}
			between := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				refuse := func() {
					w.Header().Set("Retry-After", "1")
					w.WriteHeader(http.StatusServiceUnavailable)
				}
				switch {
				case r.URL.Path == "/v1/work/lease" && leases.Add(1) <= 2:
					if leases.Load() == 1 {
						first.Store(time.Now().UnixNano())
						refuse()
						return
					}
					second.Store(time.Now().UnixNano())
				case strings.HasSuffix(r.URL.Path, "/result"):
					switch results.Add(1) {
					case 1:
						refuse()
						return
					case 2: // it arrives, and the answer is lost
						others.ServeHTTP(httptest.NewRecorder(), r)
						panic(http.ErrAbortHandler)
					}
				}
				others.ServeHTTP(w, r)
			}))
			defer between.Close()
			p := c.start(t, between.URL, named(nil))
			id := s.order("echo", map[string]any{"content": map[string]any{"do": "echo", "value": "once"}})
			s.comesTo(id, "succeeded", 1)
			s.comesTo(s.order("nothing", nil), "succeeded", 1) // it goes on
			s.eventually(func() bool { return results.Load() == 3 })
			if pause := time.Duration(second.Load() - first.Load()); pause < time.Second {
				t.Errorf("it came back after %v", pause)
			}
			p.signal(syscall.SIGTERM)
			p.ends(0)
			s.noneRanOut()
		})
	})
}

// TestWorkerClientRefused: a worker whose name is another's now, whose route there is not, or whose
// key is not known, ends, and says why.
func TestWorkerClientRefused(t *testing.T) {
	t.Parallel()
	eachWorkerClient(t, func(t *testing.T, c workerClient) {
		s, _ := startKeyed(t, "--samples=false")
		alice, processor := s.as(aliceKey), s.as(workerKey)
		p := c.start(t, s.url, named(map[string]any{"lease": 3600}), "HARK_KEY="+workerKey)
		held := alice.order("hold", nil)
		p.says("began", held, 1)
		again := processor.firstOf(`"worker":"w","session":"` + rand.Text() + `"`)
		p.says("over", held, "lost")
		p.ends(1)
		if !strings.Contains(p.String(), "WorkerSuperseded worker w: ") {
			t.Error("it did not say so")
		}
		processor.call("PUT", again.path("result"), `"ours"`).want(200)
		alice.comesTo(held, "succeeded", 2)

		p = c.start(t, s.url, named(nil), "HARK_KEY="+workerKey, "WORKER_ROUTE=defaults")
		p.ends(1)
		if !strings.Contains(p.String(), "WorkerError") || !strings.Contains(p.String(), `did you mean "default"`) || !strings.Contains(p.String(), "--routes") {
			t.Error("it did not say what there is")
		}
		p = c.start(t, s.url, named(nil), "HARK_KEY=hark_nobody_0123456789")
		p.ends(1)
		if !strings.Contains(p.String(), "WorkerError") || !strings.Contains(p.String(), "401") {
			t.Error("it did not say that it is not known")
		}
	})
}
