package blackbox_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hark-push/hark/gateway/api"
	"github.com/hark-push/hark/gateway/misuse"
)

// TestBadRequests: each of the thousands of requests that are wrong by the document of the
// interface is refused with the status, the type of problem and the pointer that it has there;
// none fails the gateway, none is left without an answer, and none is taken. It prints with -v how
// many there are of each kind.
func TestBadRequests(t *testing.T) {
	anywhere(t)
	const maxBody = 320 << 10
	s := start(t, "--samples=false", "--routes=default,echo,images,fetch,sleep", fmt.Sprint("--max-body=", maxBody), "--max-wait=100ms", "--webhook-allow-http", "--webhook-allow-cidrs=127.0.0.0/8")
	there := whatIsThere(s)
	host := strings.TrimPrefix(s.url, "http://")
	cases, err := misuse.Cases(misuse.Options{Document: api.OpenAPI, Host: host, There: there, MaxBody: maxBody})
	if err != nil {
		t.Fatal(err)
	}
	next := make(chan *misuse.Case)
	var mu sync.Mutex
	count, failed := make(map[string]int), make(map[string][]string)
	var slowest time.Duration
	var which *misuse.Case
	var sending sync.WaitGroup
	began := time.Now()
	for range 8 {
		sending.Go(func() {
			c := &misuse.Client{Address: host, Wait: 20 * time.Second}
			defer c.Close()
			for k := range next {
				began := time.Now()
				a, err := c.Send(k)
				took := time.Since(began)
				var wrong string
				if err != nil {
					wrong = err.Error()
				} else {
					wrong = k.Check(a)
				}
				mu.Lock()
				count[k.Kind]++
				if took > slowest {
					slowest, which = took, k
				}
				if wrong != "" {
					failed[k.Kind] = append(failed[k.Kind], fmt.Sprintf("%s: %s\n\t%s", k.Name, wrong, k.Show()))
				}
				mu.Unlock()
			}
		})
	}
	for i := range cases {
		next <- &cases[i]
	}
	close(next)
	sending.Wait()
	total := 0
	for _, kind := range slices.Sorted(maps.Keys(count)) {
		total += count[kind]
		t.Logf("%6d %6d  %s", count[kind], count[kind]-len(failed[kind]), kind)
	}
	t.Logf("%6d bad requests in %v, the slowest in %v: %s", total, time.Since(began).Round(time.Millisecond), slowest.Round(time.Millisecond), which.Name)
	if total < 8000 {
		t.Errorf("only %d: the document is not read as it was", total)
	}
	const most = 12 // of a kind
	for _, kind := range slices.Sorted(maps.Keys(failed)) {
		slices.Sort(failed[kind])
		t.Errorf("%s: %d of %d are not refused as they should be:\n%s", kind, len(failed[kind]), count[kind], strings.Join(failed[kind][:min(most, len(failed[kind]))], "\n"))
	}
	// The gateway goes on, and what was there still is as it was.
	s.call("GET", "/health/ready", nil).want(200)
	if status := s.call("GET", "/v1/requests/"+there.Request, nil).want(200).json()["status"]; status != "pending" {
		t.Errorf("the request is %v", status)
	}
	s.call("GET", "/v1/webhooks/"+there.Webhook, nil).want(200)
}

// whatIsThere makes one of everything that a path can name.
func whatIsThere(s *server) misuse.There {
	hook := s.call("POST", "/v1/webhooks", `{"url":"https://127.0.0.1:9/"}`).want(201).json()["id"].(string)
	s.call("POST", "/v1/webhooks/"+hook+"/pause", nil).want(200)
	ended := s.submit("default", 1)
	s.call("POST", "/v1/work/"+ended+"/start", nil).want(200)
	s.call("PUT", "/v1/work/"+ended+"/result", []byte("0123456789"), "Content-Type: text/plain").want(200)
	batch := s.call("POST", "/v1/batches", `{"requests":[{"content":1},{"content":2}]}`).want(202).json()["id"].(string)
	there := misuse.There{Request: s.submit("default", 1), Ended: ended, Batch: batch, Webhook: hook, URL: "https://127.0.0.1:9/", Stream: "there"}
	s.call("PUT", "/v1/stream/there", "[1]").want(201)
	s.eventually(func() bool {
		deliveries := s.call("GET", "/v1/webhooks/"+hook+"/deliveries", nil).want(http.StatusOK).json()["deliveries"].([]any)
		if len(deliveries) > 0 {
			there.Message = deliveries[0].(map[string]any)["id"].(string)
		}
		return there.Message != ""
	})
	return there
}
