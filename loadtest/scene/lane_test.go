package scene

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hark-push/hark/loadtest/client"
	"github.com/hark-push/hark/loadtest/peer"
)

// recorder is a peer that remembers what is published.
type recorder struct {
	counts bool

	mu        sync.Mutex
	published map[string][]int
}

func (*recorder) Create(string) error                             { return nil }
func (*recorder) Follow(string, string) (*client.Follower, error) { return nil, nil }
func (*recorder) Rest()                                           {}
func (r *recorder) Numbers() bool                                 { return r.counts }
func (r *recorder) Publish(channel string, n int) error {
	time.Sleep(time.Millisecond)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.published[channel] = append(r.published[channel], n)
	return nil
}

func TestLaneKeepsOrderAndPace(t *testing.T) {
	for channels := 1; channels <= 4; channels++ {
		synctest.Test(t, func(t *testing.T) {
			r := &recorder{published: make(map[string][]int)}
			l, began := newLane("c", channels), time.Now()
			for range 2 {
				if err := l.pace(&peer.Target{Peer: r}, 8, 60, 2*time.Millisecond); err != nil {
					t.Fatal(err)
				}
			}
			if took := time.Since(began); took < 236*time.Millisecond || took > 250*time.Millisecond {
				t.Errorf("took %s", took)
			}
			for i := range channels {
				got := r.published[fmt.Sprint("c", i)]
				if len(got) != 120/channels {
					t.Errorf("%d messages", len(got))
				}
				for n, number := range got {
					if number != n+1 {
						t.Errorf("channel %d: %v", i, got)
						break
					}
				}
			}
		})
	}
}
