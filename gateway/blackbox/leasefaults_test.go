package blackbox_test

import (
	"sync"
	"testing"
	"time"
)

// TestLeaseWhenKilled: a gateway that dies takes no work with it. Who has the work goes on when it
// is back, or somebody else does if it is silent.
func TestLeaseWhenKilled(t *testing.T) {
	data := t.TempDir()
	p := spawn(t, data, "--samples=false")
	goesOn, falls := p.submit("default", 1), p.submit("default", 2)
	first, second := p.leaseOne(`,"lease":"1h"`), p.leaseOne(`,"lease":"2s"`)
	p.kill()
	p = spawn(t, data, "--samples=false")
	began := time.Now()
	for other := false; !other || time.Since(began) < 3*time.Second; {
		if time.Since(began) > time.Minute {
			t.Fatal("nobody gets what fell silent")
		}
		p.call("POST", first.path("progress"), nil).want(200)
		for _, w := range p.lease(`,"wait":"200ms","lease":"1h"`) {
			if w.ID != falls || w.Attempt != 2 {
				t.Fatalf("%+v, although its worker goes on", w)
			}
			p.call("PUT", second.path("result"), "1").problem(409, "attempt-superseded")
			p.call("PUT", w.path("result"), "2").want(200)
			other = true
		}
	}
	p.call("PUT", first.path("result"), "1").want(200)
	for _, id := range []string{goesOn, falls} {
		p.eventually(func() bool { return p.call("GET", "/v1/requests/"+id, nil).want(200).json()["status"] == "succeeded" })
	}
}

// TestLeaseDrain: calls that wait are answered at once when the gateway is told to stop, and what
// is out is not lost.
func TestLeaseDrain(t *testing.T) {
	data := t.TempDir()
	s := startOn(t, data, "--samples=false")
	id := s.submit("default", 1)
	first := s.leaseOne(`,"lease":"1h"`)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		a, err := s.try("POST", "/v1/work/lease", `{"routes":["default"],"wait":30}`)
		if err != nil || a.status != 200 || string(a.body) != "{\"work\":[]}\n" {
			t.Errorf("%v %d %s", err, a.status, a.body)
		}
	})
	s.eventually(func() bool { return s.metric("hark_lease_calls") == 1 })
	began := time.Now()
	s.stop()
	waiting.Wait()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	s = startOn(t, data, "--samples=false")
	if work := s.lease(`,"wait":0`); len(work) != 0 {
		t.Errorf("%+v, although its worker goes on", work)
	}
	s.call("POST", first.path("complete"), nil).want(200)
	if doc := s.call("GET", "/v1/requests/"+id, nil).want(200).json(); doc["status"] != "succeeded" || doc["attempt"] != 1.0 {
		t.Errorf("%v", doc)
	}
}

// TestLeaseOnManyNodes: a lease is renewed and ended by reports to another node than the one that
// holds it.
func TestLeaseOnManyNodes(t *testing.T) {
	servers := startServers(t)
	args := servers.args(servers.rabbit.Addr, "--samples=false", "--requeue=1m")
	holder, other := start(t, args...), start(t, args...)
	id := other.submit("default", map[string]string{"of": "both"})
	w := holder.leaseOne(`,"lease":"1s"`)
	if w.ID != id {
		t.Errorf("%+v", w)
	}
	for began := time.Now(); time.Since(began) < 3*time.Second; {
		other.call("POST", w.path("progress"), nil).want(200)
		if work := other.lease(`,"wait":"400ms"`); len(work) != 0 {
			t.Fatalf("%+v, although it was reported on", work)
		}
	}
	if again := other.call("POST", w.path("start"), nil).want(200).json(); again["content"].(map[string]any)["of"] != "both" {
		t.Errorf("%v", again)
	}
	other.call("PUT", w.path("result"), "1").want(200)
	holder.eventually(func() bool { return holder.metric("hark_leases") == 0 })

	// A silent one goes on at whichever node asks, and so does the work of one that drains.
	id = holder.submit("default", 2)
	w = holder.leaseOne(`,"lease":"1s"`)
	second := other.leaseOne(`,"lease":"1h"`)
	if second.ID != id || second.Attempt != 2 {
		t.Errorf("%+v", second)
	}
	holder.call("PUT", w.path("result"), "1").problem(409, "attempt-superseded")
	other.stop()
	if work := holder.lease(`,"wait":"1s"`); len(work) != 0 {
		t.Errorf("%+v, although its worker goes on", work)
	}
	holder.call("PUT", second.path("result"), "1").want(200)
	holder.eventually(func() bool { return holder.metric("hark_leases") == 0 })
}

// TestLeaseWhileServersAreAway: no work is lost, and none costs an attempt, because it could not be
// started.
func TestLeaseWhileServersAreAway(t *testing.T) {
	servers := startServers(t)
	s := start(t, servers.args(servers.proxy.Addr, "--samples=false", "--requeue=1h")...)
	id := s.call("POST", "/v1/requests", `{"content":1,"maxAttempts":20}`, async).want(202).json()["id"].(string)
	servers.redis.Pause()
	s.call("POST", "/v1/work/lease", `{"routes":["default"],"wait":"30s"}`).problem(503, "unavailable")
	servers.redis.Resume()
	var w leased
	s.eventually(func() bool {
		work := s.lease(`,"wait":"5s","lease":"1s"`)
		if len(work) == 1 {
			w = work[0]
		}
		return len(work) == 1
	})
	// The start may have been made although its answer was lost.
	if w.ID != id || w.Attempt > 2 {
		t.Errorf("%+v", w)
	}
	s.eventually(func() bool { return s.metric("hark_leases") == 0 }) // it was silent
	servers.proxy.Refuse()
	servers.proxy.Cut()
	s.call("POST", "/v1/work/lease", `{"routes":["default"],"wait":1}`).problem(503, "unavailable")
	servers.proxy.Restore()
	w = s.leaseOne(`,"lease":"1h"`)

	servers.proxy.Cut()        // with the connection that the delivery came by
	s.eventually(func() bool { // it was delivered again, and found to go on
		a := s.call("POST", "/v1/work/lease", `{"routes":["default"],"wait":1}`)
		if a.status == 200 && string(a.body) != "{\"work\":[]}\n" {
			t.Fatalf("%s, although %+v goes on", a.body, w)
		}
		// The one whose delivery was lost is there, too.
		return a.status == 200 && s.metric("hark_leases") == 2
	})
	s.call("PUT", w.path("result"), "1").want(200)
	s.eventually(func() bool { return s.metric("hark_leases") == 0 })
}
