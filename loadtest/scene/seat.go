package scene

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hark-push/hark/loadtest/client"
	"github.com/hark-push/hark/loadtest/peer"
)

// seat is a follower of a channel that may leave, and then goes on where it was.
type seat struct {
	crowd          *Crowd
	group, channel int
	addr, wire     string
	path           string // without the offset
	last           atomic.Int64

	mu   sync.Mutex
	now  *client.Follower // nil while it is away
	left bool             // by itself
}

// newSeat returns seat i of a group, which is number of all.
func newSeat(c *Crowd, o *crowdOpen, group, i, number int) *seat {
	g := o.Groups[group]
	s := &seat{crowd: c, group: group, channel: i % g.Channels, addr: o.Addrs[number%len(o.Addrs)], wire: "sse"}
	if number/len(o.Addrs)%2 == 1 {
		s.wire = "ws"
	}
	name := g.Prefix + strconv.Itoa(s.channel)
	switch {
	case s.wire == "ws" && g.Topic:
		s.path = "/v1/ws?channel=topic:" + name + "&"
	case s.wire == "ws":
		s.path = "/v1/ws?channel=request:" + name + "&"
	case g.Topic:
		s.path = "/v1/topics/" + name + "/events?"
	default:
		s.path = "/v1/requests/" + name + "/events?"
	}
	return s
}

// follow opens a connection, from the last offset on.
func (s *seat) follow() (*client.Follower, error) {
	h := &peer.Hark{Addr: s.addr}
	f, err := h.OpenAfter(s.wire, s.path, s.last.Load())
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now, s.left = f, false
	return f, nil
}

func (s *seat) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now != nil {
		s.left = true
		_ = s.now.Conn.Close()
	}
}

// stay counts what arrives, and comes back whenever the connection has ended.
func (s *seat) stay(f *client.Follower) {
	for {
		offset, err := f.Next()
		if err == nil {
			if last := s.last.Load(); int64(offset) != last+1 {
				err := fmt.Errorf("%s: offset %d after %d", s.path, offset, last)
				s.crowd.wrong.CompareAndSwap(nil, &err)
				return
			}
			s.last.Add(1)
			s.crowd.delivered.Add(1)
			continue
		}
		_ = f.Conn.Close()
		s.mu.Lock()
		left := s.left
		s.now = nil
		s.mu.Unlock()
		if !left {
			s.crowd.cut.Add(1)
		}
		for tries := 0; ; tries++ {
			time.Sleep(time.Duration(rand.Int64N(int64(2 * time.Second))))
			if f, err = s.follow(); err == nil {
				break
			}
			if tries == 30 {
				err := fmt.Errorf("%s: cannot come back: %w", s.path, err)
				s.crowd.wrong.CompareAndSwap(nil, &err)
				return
			}
		}
		s.crowd.returned.Add(1)
	}
}
