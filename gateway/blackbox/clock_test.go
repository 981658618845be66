package blackbox_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hark-push/hark/servertest"
)

// clockOffset names the seconds by which the clock of a program from wrongClocks is off.
const clockOffset = "HARK_TEST_CLOCK"

// wrongClocks builds the gateway and the worker with a standard library whose
// time.Now is off by clockOffset. What measures how long something takes (the
// monotonic clock, timers) is right, as on a machine that was given a wrong time.
func wrongClocks(t *testing.T) (gateway, worker string) {
	t.Helper()
	dir := t.TempDir()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	original := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	source, err := os.ReadFile(original)
	if err != nil {
		t.Fatal(err)
	}
	text := string(source)
	for old, replacement := range map[string]string{
		"\tsec, nsec, mono := runtimeNow()\n": "\tsec, nsec, mono := runtimeNow()\n\tsec += clockOffset\n",
		"import (\n":                          "import (\n\t\"syscall\"\n",
	} {
		if strings.Count(text, old) != 1 {
			t.Fatalf("time.Now of %s is not written as expected: %q is not in it once", runtime.Version(), old)
		}
		text = strings.Replace(text, old, replacement, 1)
	}
	text += `
var clockOffset = func() int64 {
	text, _ := syscall.Getenv("` + clockOffset + `")
	n, _ := atoi(text)
	return int64(n)
}()
`
	changed := filepath.Join(dir, "time.go")
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{original: changed}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{changed: text, filepath.Join(dir, "overlay.json"): string(overlay)} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	// Everything has to be compiled again, so without what makes it fast and small.
	out, err := exec.Command("go", "build", "-overlay="+filepath.Join(dir, "overlay.json"),
		"-gcflags=all=-N -l", "-ldflags=-s -w", "-o", dir+"/", "..", "../../processor/cmd/worker").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Logf("built in %v", time.Since(began).Round(time.Second))
	return filepath.Join(dir, "gateway"), filepath.Join(dir, "worker")
}

// told is what the events of a request say of its life.
type told struct {
	id    string
	types []string
	times []time.Time
}

// at returns when an event of a type came first.
func (h told) at(event string) (time.Time, bool) {
	for i, t := range h.types {
		if t == "request."+event {
			return h.times[i], true
		}
	}
	return time.Time{}, false
}

// history follows a request to its end.
func (s *server) history(id string) (told, error) {
	h := told{id: id}
	r, _ := http.NewRequest("GET", s.url+"/v1/requests/"+id+"/events", nil)
	r.Header.Set("Accept", "text/event-stream")
	res, err := followClient.Do(r)
	if err != nil {
		return h, err
	}
	ended, err := readEvents(res, func(e sseEvent) error {
		var event struct {
			Type string
			Time time.Time
		}
		err := json.Unmarshal([]byte(e.data), &event)
		h.types, h.times = append(h.types, event.Type), append(h.times, event.Time)
		return err
	})
	if err == nil && !ended {
		err = errors.New("the stream broke off")
	}
	return h, err
}

// TestClocks runs nodes whose clocks are an hour off: every time is that of Redis's clock, and
// every wait as long as it should be, whichever node it passes through.
func TestClocks(t *testing.T) {
	t.Parallel()
	c := emptyCluster(t)
	c.redis = servertest.Redis(t)
	c.servers = []string{"--redis=" + c.redis.URL, "--prefix=clocks"}
	if !onRedis() {
		c.rabbit = shared.RabbitMQ(t)
		c.servers = append(c.servers, "--amqp="+c.rabbit.URL)
	}
	const patient = "--requeue=1h" // or it would make good for a job that waits too long
	c.addGateway(patient)
	c.grow(0, 2)
	c.gateway, c.worker = wrongClocks(t)
	for _, seconds := range []string{"3600", "-3600"} {
		c.environment = []string{clockOffset + "=" + seconds}
		c.addGateway(patient)
	}
	c.environment = []string{clockOffset + "=3600"}
	c.addWorker()
	if date := c.nodes[1].call("GET", "/health/live", nil).header.Get("Date"); !strings.HasPrefix(date, time.Now().Add(time.Hour).UTC().Format("Mon, 02 Jan 2006 15:")) {
		t.Fatalf("the clock of the second gateway is not off: %s", date)
	}

	began := time.Now()
	var running sync.WaitGroup
	submit := func(n int, id, fields string) {
		t.Helper()
		c.nodes[n].call("POST", "/v1/requests", fmt.Sprintf(`{"id":%q,%s}`, id, fields), async).want(202)
	}
	check := func(id string, f func(told)) {
		running.Go(func() {
			h, err := c.nodes[0].history(id)
			if err != nil {
				t.Errorf("%s: %v", id, err)
				return
			}
			for i, at := range h.times {
				if at.Before(began.Add(-time.Second)) || at.After(time.Now().Add(time.Second)) || i > 0 && at.Before(h.times[i-1]) {
					t.Errorf("%s: %s at %v, it is %v", id, h.types[i], at, time.Now().UTC())
				}
			}
			f(h)
		})
	}
	took := func(h told, from, to string, least time.Duration) {
		t.Helper()
		begin, begun := h.at(from)
		end, ended := h.at(to)
		if d := end.Sub(begin); !begun || !ended || d < least || d > least+10*time.Second {
			t.Errorf("%s: %v from %s to %s, want %v: %v", h.id, d, from, to, least, h.types)
		}
	}
	for n := range c.nodes {
		for i := range 6 { // so that each worker gets some of each kind
			name := func(kind string) string { return fmt.Sprintf("%s-%d-%d", kind, n, i) }
			submit(n, name("plain"), `"route":"sleep","content":{"steps":1,"duration":"1ms"}`)
			check(name("plain"), func(h told) { took(h, "accepted", "succeeded", 0) })
			submit(n, name("delayed"), `"route":"sleep","delay":"2s","content":{"steps":1,"duration":"1ms"}`)
			check(name("delayed"), func(h told) { took(h, "accepted", "started", 2*time.Second) })
			submit(n, name("late"), `"route":"sleep","timeout":"3s","content":{"steps":100,"duration":"1s"}`)
			check(name("late"), func(h told) { took(h, "accepted", "expired", 3*time.Second) })
			submit(n, name("retried"), `"route":"fetch","maxAttempts":2,"content":{"url":"http://127.0.0.1:1/"}`)
			check(name("retried"), func(h told) { took(h, "retrying", "failed", 750*time.Millisecond) })
		}
		id := fmt.Sprint("waits-", n)
		submit(n, id, `"route":"default","timeout":"3s","content":1`) // nobody works on it
		check(id, func(h told) { took(h, "accepted", "expired", 3*time.Second) })

		key := fmt.Sprintf("Idempotency-Key: key-%d", n)
		body := `{"route":"sleep","content":{"steps":1,"duration":"1ms"}}`
		first := c.nodes[n].call("POST", "/v1/requests", body, async, key).want(202)
		for other := range c.nodes {
			a := c.nodes[other].call("POST", "/v1/requests", body, async, key).want(202)
			if a.header.Get("Idempotency-Replayed") != "true" || a.json()["id"] != first.json()["id"] {
				t.Errorf("repeated at %d: %v %s", other, a.header, a.body)
			}
		}
	}
	running.Wait()
}
