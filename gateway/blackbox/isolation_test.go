package blackbox_test

import (
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/hark-push/hark/servertest"
)

// TestDeadEndpoints: while a third of all endpoints is dead, each in its own way, and takes up what
// it can, the others get all that is for them.
func TestDeadEndpoints(t *testing.T) {
	const healthy, requests = 28, 10
	over := make(chan struct{})
	failing := newReceiver(t, status(http.StatusInternalServerError))
	silent := newReceiver(t, func(http.ResponseWriter, *http.Request) { <-over })
	dead := []string{closedPort(t), failing.url, silent.url, dripping(t, over)}
	s := startHooks(t, "--webhook-slots=32")
	// This comes before the receivers are closed, which wait for their answers.
	t.Cleanup(func() { close(over) })

	r := newReceiver(t, nil)
	var hooks []*hook
	for n := range healthy {
		if n < 3*len(dead) { // three of each kind
			s.hook(dead[n%len(dead)], map[string]any{"timeout": "60s", "schedule": []string{"50ms", "50ms", "50ms", "1h"}})
		}
		hooks = append(hooks, s.hook(fmt.Sprintf("%s/%d", r.url, n), map[string]any{"concurrency": 1 + n%2*7}))
	}
	for n := range requests {
		id := fmt.Sprintf("i-%d", n)
		s.call("POST", "/v1/requests", `{"content":1,"id":"`+id+`"}`, async).want(202)
		s.process(id)
	}
	s.eventually(func() bool { return r.count() >= healthy*requests*4 })
	for _, h := range hooks {
		h.settled()
		if n := h.health("failures"); n != 0.0 {
			t.Errorf("%s: %v failures", h.id, n)
		}
	}
	if n := r.count(); n != healthy*requests*4 {
		t.Errorf("%d arrived, want %d", n, healthy*requests*4)
	}
	// One delivery is under way to each of those that hang.
	s.eventually(func() bool { return s.metric("hark_webhook_sending") == 6 })
	if n := silent.count(); n != 3 {
		t.Errorf("%d deliveries to 3 endpoints that never answer", n)
	}
}

// dripping returns a URL where a header is sent byte by byte.
func dripping(t *testing.T, over <-chan struct{}) string {
	t.Helper()
	return "http://" + servertest.Serve(t, func(conn net.Conn) {
		defer func() { _ = conn.Close() }()
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for _, b := range []byte("HTTP/1.1 200 OK\r\nX-Much: to come\r\nX-More: of this\r\nX-And: so on, and so on\r\n") {
			select {
			case <-tick.C:
			case <-over:
				return
			}
			if _, err := conn.Write([]byte{b}); err != nil {
				return
			}
		}
	})
}
