package blackbox_test

import (
	"bytes"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// warnedOf returns the routes of the warnings of an answer.
func warnedOf(t *testing.T, doc map[string]any) []string {
	t.Helper()
	var routes []string
	list, _ := doc["warnings"].([]any)
	for _, w := range list {
		warning := w.(map[string]any)
		if warning["code"] != "no-processor" {
			t.Errorf("%v", warning)
		}
		says(t, warning["message"].(string), "POST /v1/work/lease")
		routes = append(routes, warning["route"].(string))
	}
	return routes
}

// unserved returns the routes without a processor that the health page lists.
func (s *server) unserved() []string {
	s.t.Helper()
	var routes []string
	list, _ := s.call("GET", "/health/ready", nil).want(200).json()["routesWithoutProcessor"].([]any)
	for _, route := range list {
		routes = append(routes, route.(string))
	}
	return routes
}

// TestNoProcessor: who submits where nobody works is told in the answer, and nowhere else; it ends
// when somebody comes.
func TestNoProcessor(t *testing.T) {
	s := start(t, "--routes=default,other,sleep", "--samples")
	s.eventually(func() bool { return slices.Equal(s.unserved(), []string{"default", "other"}) })
	const body = `{"content":1,"id":"a"}`
	doc := s.call("POST", "/v1/requests", body, async, "Idempotency-Key: k").want(202).json()
	if got := warnedOf(t, doc); !slices.Equal(got, []string{"default"}) {
		t.Errorf("warned of %v", got)
	}
	says(t, doc["warnings"].([]any)[0].(map[string]any)["message"].(string), `"default"`, "Routes that have one: sleep.")
	if doc = s.call("GET", "/v1/requests/a", nil).want(200).json(); doc["warnings"] != nil {
		t.Errorf("the document has warnings: %v", doc)
	}
	if a := s.call("GET", "/v1/requests/a/history", nil).want(200); bytes.Contains(a.body, []byte("warnings")) {
		t.Errorf("an event has warnings: %s", a.body)
	}
	// A ticket, a wait that was in vain, a call, and a batch are told, too.
	for _, path := range []string{"/v1/requests?ticket=true", "/v1/requests?ticket=true&expired=failed"} {
		if got := warnedOf(t, s.call("POST", path, `{"content":1}`, async).want(202).json()); !slices.Equal(got, []string{"default"}) {
			t.Errorf("warned of %v", got)
		}
	}
	if got := warnedOf(t, s.call("PUT", "/v1/call/other/x", nil, "Prefer: wait=0").want(202).json()); !slices.Equal(got, []string{"other"}) {
		t.Errorf("warned of %v", got)
	}
	batch := `{"requests":[{"content":1},{"content":2,"route":"other"},{"content":3},{"content":{"steps":1,"duration":"1m"},"route":"sleep"}]}`
	if got := warnedOf(t, s.call("POST", "/v1/batches", batch).want(202).json()); !slices.Equal(got, []string{"default", "other"}) {
		t.Errorf("warned of %v", got)
	}
	if doc := s.call("POST", "/v1/requests", `{"content":{"steps":1,"duration":"1m"},"route":"sleep"}`, async).want(202).json(); doc["warnings"] != nil {
		t.Errorf("the sample works there: %v", doc["warnings"])
	}
	// A processor over HTTP is one, and stays one for a while after its call.
	s.call("POST", "/v1/work/lease", `{"routes":["default"],"wait":0}`).want(200)
	doc = s.call("POST", "/v1/requests", body, async, "Idempotency-Key: k").want(202).json()
	if doc["id"] != "a" || doc["warnings"] != nil {
		t.Errorf("%v", doc)
	}
	if got := s.unserved(); !slices.Equal(got, []string{"other"}) {
		t.Errorf("without a processor are %v", got)
	}
	// So is one that knows what to work on.
	id := s.submit("other", 1)
	s.call("POST", "/v1/work/"+id+"/start", nil).want(200)
	if got := s.unserved(); got != nil {
		t.Errorf("without a processor are %v", got)
	}
}

// TestNoProcessorAnywhere: with RabbitMQ the processors of all processes count.
func TestNoProcessorAnywhere(t *testing.T) {
	t.Parallel()
	s := startServers(t)
	first, second := start(t, s.args(s.rabbit.Addr, "--samples=false")...), start(t, s.args(s.rabbit.Addr, "--samples=false")...)
	routes := []string{"default", "fetch", "images", "sleep"}
	for _, g := range []*server{first, second} {
		g.eventually(func() bool { return slices.Equal(slices.Sorted(slices.Values(g.unserved())), routes) })
	}
	post := func(g *server) []string {
		return warnedOf(t, g.call("POST", "/v1/requests", `{"content":{"steps":1,"duration":"1h"},"route":"sleep"}`, async).want(202).json())
	}
	if got := post(first); !slices.Equal(got, []string{"sleep"}) {
		t.Errorf("warned of %v", got)
	}
	path, err := workerBinary()
	if err != nil {
		t.Fatal(err)
	}
	worker := exec.Command(path, "--redis="+s.redis.URL, "--amqp="+s.rabbit.URL, "--prefix="+s.prefix, "--routes=sleep", "--drain=0s")
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = worker.Process.Kill(); _ = worker.Wait() })
	for _, g := range []*server{first, second} {
		g.eventually(func() bool { return !slices.Contains(g.unserved(), "sleep") })
		if got := post(g); got != nil {
			t.Errorf("warned of %v", got)
		}
	}
	// A call that waits for work at one gateway is a processor for the other, too.
	leased := make(chan error, 1)
	go func() {
		_, err := first.try("POST", "/v1/work/lease", `{"routes":["images"],"wait":"20s"}`)
		leased <- err
	}()
	second.eventually(func() bool { return !slices.Contains(second.unserved(), "images") })
	id := second.submit("images", 1)
	if err := <-leased; err != nil {
		t.Error(err)
	}
	second.call("POST", "/v1/work/"+id+"/complete", nil).want(200)
}

// TestStartTellsOfRoutes: the log says at start which routes nobody works on.
func TestStartTellsOfRoutes(t *testing.T) {
	anywhere(t)
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "--listen=127.0.0.1:0", "--data="+t.TempDir(), "--routes=sleep,mine")
	log := recorded(t, cmd)
	log.until(`"msg":"no processor works on these routes yet`)
	if line := log.line("no processor works on these routes yet"); !strings.Contains(line, `"routes":["mine"]`) {
		t.Error(line)
	}
}
