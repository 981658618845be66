package blackbox_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hark-push/hark/gateway/misuse"
)

// TestBadFrames: what is wrong by RFC 6455 closes a WebSocket with the code that it has there,
// what is wrong by hark.v1 is told in it, and what is at the edge of right is taken, however the
// bytes arrive. It prints with -v how many cases there are of each kind.
func TestBadFrames(t *testing.T) {
	anywhere(t)
	const maxMessage = 32 << 10
	s := start(t, "--samples=false", fmt.Sprint("--max-message=", maxMessage))
	host := strings.TrimPrefix(s.url, "http://")
	talks := misuse.Talks(maxMessage, s.submit("default", 1))
	next := make(chan *misuse.Talk)
	var mu sync.Mutex
	count, failed := make(map[string]int), make(map[string][]string)
	var talking sync.WaitGroup
	for range 8 {
		talking.Go(func() {
			for k := range next {
				var wrong string
				if line, err := misuse.Open(host, 20*time.Second); err != nil {
					wrong = err.Error()
				} else {
					wrong = line.Have(k)
					line.Close()
				}
				mu.Lock()
				count[k.Kind]++
				if wrong != "" {
					failed[k.Kind] = append(failed[k.Kind], fmt.Sprintf("%s: %s\n\t% x", k.Name, wrong, k.Sends[:min(len(k.Sends), 60)]))
				}
				mu.Unlock()
			}
		})
	}
	for i := range talks {
		next <- &talks[i]
	}
	close(next)
	talking.Wait()
	for _, kind := range slices.Sorted(maps.Keys(count)) {
		t.Logf("%5d %5d  %s", count[kind], count[kind]-len(failed[kind]), kind)
	}
	t.Logf("%5d cases", len(talks))
	if len(talks) < 450 {
		t.Errorf("only %d", len(talks))
	}
	for _, kind := range slices.Sorted(maps.Keys(failed)) {
		slices.Sort(failed[kind])
		t.Errorf("%s: %d of %d are wrong:\n%s", kind, len(failed[kind]), count[kind], strings.Join(failed[kind][:min(20, len(failed[kind]))], "\n"))
	}
	s.call("GET", "/health/ready", nil).want(200)
}
