package blackbox_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// topic names one of the topics of the load.
func (c *cluster) topic(n int) string { return fmt.Sprint("load.", n%c.topics) }

// followFeed reads a feed from its beginning, from any node, until so many requests of
// the load have ended in it: every offset once and in order, every request in the order of
// its own events.
func (c *cluster) followFeed(ctx context.Context, n int, path string, requests int) {
	at, ended, sequences := uint64(0), 0, make(map[string]uint64)
	for try := n; ended < requests && ctx.Err() == nil; try++ {
		r, _ := http.NewRequestWithContext(ctx, "GET", c.node(try).url+path, nil)
		r.Header.Set("Accept", "text/event-stream")
		r.Header.Set("Last-Event-ID", strconv.FormatUint(at, 10))
		res, err := followClient.Do(r)
		if err != nil || res.StatusCode != http.StatusOK {
			if err == nil {
				_ = res.Body.Close()
			}
			time.Sleep(50 * time.Millisecond) // as a client would
			continue
		}
		if at > 0 {
			c.resumed.Add(1)
		}
		if _, err := readEvents(res, func(e sseEvent) error {
			var event struct {
				Type string
				Data struct {
					ID       string
					Status   lifecycle.Status
					Sequence uint64
				}
			}
			if err := json.Unmarshal([]byte(e.data), &event); err != nil {
				return err
			}
			offset, err := strconv.ParseUint(e.id, 10, 64)
			switch {
			case err != nil:
				return err
			case event.Type == "feed.reset":
				return fmt.Errorf("reset at %d", offset)
			case offset != at+1:
				return fmt.Errorf("offset %d after %d", offset, at)
			case event.Data.Sequence != sequences[event.Data.ID]+1:
				return fmt.Errorf("event %d of %s after %d", event.Data.Sequence, event.Data.ID, sequences[event.Data.ID])
			}
			at, sequences[event.Data.ID] = offset, event.Data.Sequence
			if event.Data.Status.Terminal() {
				ended++
			}
			if ended == requests {
				_ = res.Body.Close() // enough
			}
			return nil
		}); err != nil {
			c.t.Errorf("%s: %v", path, err)
			return
		}
	}
	if ended < requests {
		c.t.Errorf("%s: only %d requests ended in it", path, ended)
	}
}
