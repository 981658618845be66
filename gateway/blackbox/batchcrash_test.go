package blackbox_test

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hark-push/hark/servertest"
)

// many are so many contents for the route sleep.
func many(n int, content string) []string {
	contents := make([]string, n)
	for i := range contents {
		contents[i] = content
	}
	return contents
}

// until waits for a condition that a gateway is to be killed under.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); {
		if time.Now().After(deadline) {
			t.Fatal("never ", what)
		}
		time.Sleep(time.Millisecond) // a poll
	}
}

// TestBatchSurvivesKills kills the gateway while it stores the requests of batches, and again and
// again while those end. Started again it goes on with them by itself; each end counts once.
func TestBatchSurvivesKills(t *testing.T) {
	t.Parallel()
	const requests = 500
	data := t.TempDir()
	args := []string{"--concurrency=20", "--requeue=2s"}
	p := spawn(t, data, args...)
	body := func(id string) string {
		return strings.ReplaceAll(sleeping(id, many(requests, `{"steps":2,"duration":"30ms"}`)...), `"route"`, `"maxAttempts":20,"route"`)
	}
	cutOff, ids := 0, []string{"at-once", "after-one", "after-some"}
	for n, id := range ids {
		var submitting sync.WaitGroup
		current := p
		submitting.Go(func() {
			if _, err := current.try("POST", "/v1/batches", body(id), async); err != nil {
				cutOff++
			}
		})
		there := "/v1/batches/" + id
		if n > 0 {
			there += fmt.Sprintf("/requests?limit=1&cursor=%d", 1+(n-1)*60)
		}
		until(t, "stored in part", func() bool {
			res, err := http.Get(p.url + there)
			if err != nil {
				return false
			}
			defer res.Body.Close()
			text, err := io.ReadAll(res.Body)
			return err == nil && res.StatusCode == 200 && !strings.Contains(string(text), `"requests":[]`)
		})
		p.kill()
		submitting.Wait()
		p = spawn(t, data, args...)
		t.Logf("%s: killed, then %v", id, counts(p.call("GET", "/v1/batches/"+id, nil).want(200).json()))
	}
	t.Logf("%d calls were cut off", cutOff)
	if cutOff == 0 {
		t.Error("all were answered before")
	}
	ended := func() (n int) {
		for _, id := range ids {
			c := counts(p.call("GET", "/v1/batches/"+id, nil).want(200).json())
			n += c[0] - c[1]
		}
		return n
	}
	for range 3 {
		due := min(ended()+requests/2, 3*requests-requests/4)
		until(t, "ended in part", func() bool { return ended() >= due })
		p.kill()
		p = spawn(t, data, args...)
		t.Logf("killed, then %d", ended())
	}
	for _, id := range ids {
		doc := p.ended(id)
		if doc["status"] != "succeeded" || counts(doc) != [6]int{requests, 0, requests} {
			t.Errorf("%v", doc)
		}
		if n := len(p.members(id)); n != requests {
			t.Errorf("%d requests", n)
		}
		at := 0
		for _, e := range p.call("GET", "/v1/requests/"+id+"/events?after=0", nil, "Accept: application/json").want(200).json()["events"].([]any) {
			if at++; e.(map[string]any)["data"].(map[string]any)["sequence"] != float64(at) {
				t.Errorf("event %d: %v", at, e)
			}
		}
	}
}

// TestBatchRefused: the broker takes some of a batch's requests and then no more. Nothing of the
// batch stays behind, and it may be submitted again.
func TestBatchRefused(t *testing.T) {
	t.Parallel()
	s := startServers(t)
	// Nobody else goes on with what it has begun.
	g := start(t, s.args(s.proxy.Addr, "--samples=false", "--requeue=1m")...)
	body := `{"id":"b","requests":[{"id":"own","route":"sleep","content":` + quick + `}` +
		strings.Repeat(`,{"route":"sleep","content":`+quick+`}`, 30) + `]}`
	g.call("POST", "/v1/requests", `{"id":"before","route":"sleep","content":`+quick+`}`, async).want(202)

	relieve := sync.OnceFunc(func() { s.ctl("clear_policy", "full") })
	t.Cleanup(relieve)
	s.ctl("set_policy", "--apply-to", "queues", "full", `^`+s.prefix+`\.work\.sleep$`, `{"max-length":5}`)
	var a answer
	until(t, "full", func() bool { // RabbitMQ notices a little late
		if a = g.call("POST", "/v1/batches", body); a.status == 202 {
			g.call("POST", "/v1/requests/b/cancel", nil).want(200)
			for _, r := range g.members("b") {
				g.call("DELETE", "/v1/requests/"+r["id"].(string), nil).want(204)
			}
			g.call("DELETE", "/v1/requests/b", nil).want(204)
		}
		return a.status != 202
	})
	a.problem(503, "unavailable")
	g.call("GET", "/v1/requests/b", nil).problem(404, "request-not-found")
	g.call("GET", "/v1/requests/own", nil).problem(404, "request-not-found")
	if l := g.call("GET", "/v1/requests?limit=200", nil).want(200).json()["requests"].([]any); len(l) != 1 {
		t.Errorf("%d requests stay behind", len(l)-1)
	}

	relieve()
	start(t, s.args(s.rabbit.Addr)...) // with processors
	g.eventually(func() bool {
		again := g.call("POST", "/v1/batches", body)
		if again.status == 503 { // RabbitMQ goes on refusing whoever does not let off
			seconds, _ := strconv.Atoi(again.header.Get("Retry-After"))
			time.Sleep(time.Duration(seconds) * time.Second)
		}
		return again.status == 202
	})
	// RabbitMQ may have taken one request and refused the next. If that one has begun, the batch is
	// not taken back: whoever tends to batches queues the rest.
	g.eventually(func() bool {
		return g.call("GET", "/v1/batches/b", nil, "Prefer: wait=10").want(200).json()["endedAt"] != nil
	})
	if doc := g.ended("b"); doc["status"] != "succeeded" || counts(doc) != [6]int{31, 0, 31} {
		t.Errorf("%v", doc)
	}
	for _, r := range g.members("b") {
		if r["attempt"] != 1.0 {
			t.Errorf("%v", r)
		}
	}

	// RabbitMQ's confirms never come: nobody has taken anything, as far as is known.
	s.proxy.Drop(servertest.ToClient)
	id := ""
	for n := 0; a.status == 503 && n == 0 || a.status == 202; n++ {
		id = fmt.Sprint("c", n)
		a = g.call("POST", "/v1/batches", batchOf(id, "default", "1", "2", "3"))
	}
	a.problem(503, "unavailable")
	g.call("GET", "/v1/requests/"+id, nil).problem(404, "request-not-found")
	s.proxy.Restore()
	s.proxy.Cut()
	g.eventually(func() bool { return g.call("POST", "/v1/batches", batchOf(id, "default", "1", "2", "3")).status == 202 })
}

// TestBatchOnManyNodes: gateways and workers die while a batch is worked on that was submitted at
// another node than it is read at.
func TestBatchOnManyNodes(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, 2)
	const requests = 600
	c.node(0).call("POST", "/v1/batches", sleeping("b", many(requests, `{"steps":2,"duration":"100ms"}`)...)).want(202)
	at := func(n int) {
		t.Helper()
		until(t, fmt.Sprint(n, " ended"), func() bool {
			doc := counts(c.node(1).call("GET", "/v1/batches/b", nil).want(200).json())
			return doc[0]-doc[1] >= n
		})
	}
	at(requests / 6)
	c.replaceWorker(0)
	at(requests / 3)
	c.replaceGateway(0)
	at(requests / 2)
	c.replaceWorker(1)
	doc := c.node(1).ended("b")
	if doc["status"] != "succeeded" || counts(doc) != [6]int{requests, 0, requests} {
		t.Errorf("%v", doc)
	}
	if elsewhere := c.node(0).call("GET", "/v1/batches/b", nil).want(200).json(); counts(elsewhere) != counts(doc) {
		t.Errorf("%v", elsewhere)
	}
}
