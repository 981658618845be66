package blackbox_test

import (
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestStopped: what processors have reported while the gateway stood still is read before the time
// of anything they work on ends, be it a lease or a deadline, and what nobody reports ends
// nevertheless.
func TestStopped(t *testing.T) {
	const lease, stopped = "1s", 3 * time.Second
	p := spawn(t, t.TempDir(), "--samples=false")
	p.submit("default", "reported", "timeout=1h")
	p.submit("default", "silent", "timeout=1h")
	p.submit("default", "deadline", "timeout=2s")
	work := make(map[any]leased)
	for len(work) < 3 {
		for _, w := range p.lease(`,"max":3,"wait":"30s","lease":"` + lease + `"`) {
			work[w.Content] = w
		}
	}
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var reports sync.WaitGroup
	for _, name := range []string{"reported", "deadline"} {
		reports.Go(func() { // on connections that were kept, and on new ones
			a, err := p.try(http.MethodPost, work[name].path("progress"), `{"percent":50}`)
			if err != nil || a.status != http.StatusOK && a.status != http.StatusNoContent {
				t.Errorf("progress of what is %s: %d %s, %v", name, a.status, a.body, err)
				return
			}
			if a, err = p.try(http.MethodPut, work[name].path("result"), `"done"`); err != nil || a.status >= 300 {
				t.Errorf("result of what is %s: %d %s, %v", name, a.status, a.body, err)
			}
		})
	}
	time.Sleep(stopped) // it has to stand still for longer than the lease and the timeout
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	reports.Wait()
	for _, name := range []string{"reported", "deadline"} {
		doc := p.call("GET", "/v1/requests/"+work[name].ID, nil).want(200).json()
		if doc["status"] != "succeeded" || doc["attempt"] != 1.0 {
			t.Errorf("what is %s: %v, attempt %v", name, doc["status"], doc["attempt"])
		}
	}
	p.eventually(func() bool { // the lease of the other one runs out when the grace is over
		doc := p.call("GET", "/v1/requests/"+work["silent"].ID, nil).want(200).json()
		return doc["status"] == "pending"
	})
}
