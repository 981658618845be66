package hub_test

import (
	"maps"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hark-push/hark/hub"
)

// TestHeartbeatsThatAreSeen: who asks for it sees the heartbeats, the first one at once, and others
// on the same channel see comments. They have no id, so that a client comes back with that of the
// last event.
func TestHeartbeatsThatAreSeen(t *testing.T) {
	for _, version := range []string{"1.0", "1.1"} {
		t.Run("by "+version, func(t *testing.T) {
			t.Parallel()
			source := newMemorySource()
			addr := serve(t, hub.New(source, hub.Options{Heartbeat: time.Second, Retry: 700 * time.Millisecond}))
			source.append("request-a", false)
			// Each is closed by its credential behind some heartbeats.
			ask := func(more url.Values) string {
				query := url.Values{"channel": {"request-a"}, "until": {in(3500 * time.Millisecond)}}
				maps.Copy(query, more)
				text, _ := bodyOf(t, rawStream(t, addr, version, query), version)
				checkBlocks(t, text, "unauthenticated")
				return text
			}
			others := make(chan string, 1)
			go func() { others <- ask(nil) }()
			told := ask(url.Values{"heartbeats": {"yes"}})
			const block = "event: heartbeat\ndata: {\"interval\":1,\"retry\":700}\n\n"
			begin, rest, _ := strings.Cut(told, "\n\n")
			if !strings.HasPrefix(begin, ":\nevent: start\n") || !strings.HasPrefix(rest, block+"data: ") {
				t.Errorf("it begins with %q", told)
			}
			if n := strings.Count(told, block); n < 3 || strings.Contains(told, "\n:\n") {
				t.Errorf("%d heartbeats are told: %q", n, told)
			}
			if text := <-others; strings.Contains(text, "heartbeat") || !strings.Contains(text, "\n:\n") {
				t.Errorf("who has not asked is told %q", text)
			}
		})
	}
}
