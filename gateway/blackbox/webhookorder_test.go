package blackbox_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// TestWebhookOrder: with a concurrency of 1 the events of each request arrive in their order, each
// once, although the receiver fails at random.
func TestWebhookOrder(t *testing.T) {
	requests := 100
	if os.Getenv("HARK_CHAOS") != "" {
		requests = 1000
	}
	const events = 6 // of each: accepted, started, three of progress, succeeded
	s := startHooks(t)
	r := newReceiver(t, nil)
	var mu sync.Mutex
	last := make(map[string]int) // the sequence of what was accepted last, by request
	random, row, failed, arrived := rand.New(rand.NewPCG(1, 2)), 0, 0, 0
	r.answers(func(w http.ResponseWriter, q *http.Request) {
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
	})
	// Long enough that none is given up: 0.2 to the power of 13 of them would be.
	schedule := slices.Repeat([]string{"10ms"}, 12)
	h := s.hook(r.url, map[string]any{"concurrency": 1, "schedule": schedule})
	var working sync.WaitGroup
	const workers = 4
	for w := range workers {
		working.Go(func() {
			for n := w; n < requests; n += workers {
				id := fmt.Sprintf("o-%d", n)
				for _, c := range [events][3]string{
					{"POST", "/v1/requests", `{"content":1,"id":"` + id + `"}`},
					{"POST", "/v1/work/" + id + "/start", ""},
					{"POST", "/v1/work/" + id + "/progress", `{"step":"a","percent":25}`},
					{"POST", "/v1/work/" + id + "/progress", `{"step":"b","percent":50}`},
					{"POST", "/v1/work/" + id + "/progress", `{"step":"c","percent":75}`},
					{"PUT", "/v1/work/" + id + "/result", `1`},
				} {
					if a, err := s.try(c[0], c[1], c[2], async); err != nil || a.status > 299 {
						t.Errorf("%s %s: %v %d %s", c[0], c[1], err, a.status, a.body)
						return
					}
				}
			}
		})
	}
	working.Wait()
	s.eventually(func() bool {
		mu.Lock()
		defer mu.Unlock()
		return arrived >= requests*events || t.Failed()
	})
	h.settled()
	mu.Lock()
	defer mu.Unlock()
	t.Logf("%d events of %d requests arrived in order, after %d attempts that failed", arrived, requests, failed)
	if arrived != requests*events || len(last) != requests || failed == 0 {
		t.Errorf("%d events of %d requests, %d failed", arrived, len(last), failed)
	}
}
