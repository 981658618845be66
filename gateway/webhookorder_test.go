package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestWebhookOrder: with a concurrency of 1 the events of each request arrive in their order, each
// once, although the receiver fails at random.
func TestWebhookOrder(t *testing.T) {
	requests := 100
	if os.Getenv("HARK_CHAOS") != "" {
		requests = 1000
	}
	s := startHooks(t, "--concurrency=64")
	r := newReceiver(t, nil)
	var mu sync.Mutex
	last := make(map[string]int) // the sequence of what was accepted last, by request
	random, row, failed, arrived, ended := rand.New(rand.NewPCG(1, 2)), 0, 0, 0, 0
	r.answers(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		mu.Lock()
		defer mu.Unlock()
		if random.IntN(5) == 0 && row < 4 { // five in a row would open the circuit breaker
			row++
			failed++
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		row = 0
		id := q.Header.Get("Webhook-Id")
		at := strings.LastIndexByte(id, '_')
		if n, err := strconv.Atoi(id[at+1:]); err != nil || n != last[id[:at]]+1 {
			t.Errorf("%s arrived after %d", id, last[id[:at]])
		} else {
			last[id[:at]] = n
			arrived++
		}
		if bytes.Contains(body, []byte(`"type":"request.succeeded"`)) {
			ended++
		}
	})
	// Long enough that none is given up: 0.2 to the power of 13 of them would be.
	schedule := slices.Repeat([]string{"10ms"}, 12)
	h := s.hook(r.url, map[string]any{"concurrency": 1, "schedule": schedule})
	for n := range requests {
		s.call("POST", "/v1/requests", fmt.Sprintf(`{"id":"o-%d","route":"sleep","content":{"steps":4,"duration":"30ms"}}`, n), async).want(202)
	}
	s.within(2*time.Minute, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return ended >= requests
	})
	h.settled()
	mu.Lock()
	defer mu.Unlock()
	t.Logf("%d events of %d requests arrived in order, after %d attempts that failed", arrived, requests, failed)
	if ended != requests || arrived < 5*requests || failed == 0 {
		t.Errorf("%d events of %d requests, %d ended", arrived, len(last), ended)
	}
}
