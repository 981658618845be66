package attack

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hark-push/hark/loadtest/client"
	"github.com/hark-push/hark/loadtest/peer"
)

// attackKind is a way to take a gateway from others. begin starts it; it goes on until the siege
// ends.
type attackKind struct {
	name  string
	begin func(s *Siege) error
}

func attackNamed(name string) *attackKind {
	for i := range attackKinds {
		if attackKinds[i].name == name {
			return &attackKinds[i]
		}
	}
	return nil
}

// Sizes of bodies, in bytes.
const (
	mostBody = 32 << 20 // that a gateway takes, unless configured
	someBody = 30 << 20
)

// attackKinds are all attacks, in the order in which they are shown.
var attackKinds = []attackKind{
	{"announced bodies, no key", func(s *Siege) error { return s.announced("/v1/requests", "", 60) }},
	{"announced bodies, key", func(s *Siege) error { return s.announced("/v1/requests", s.Key, 60) }},
	{"announced bodies, no path", func(s *Siege) error { return s.announced("/nothing", s.Key, 60) }},
	{"unfinished bodies, no key", func(s *Siege) error { return s.unfinished("", 40) }},
	{"unfinished bodies, key", func(s *Siege) error { return s.unfinished(s.Key, 40) }},
	{"slow bodies", (*Siege).slowBodies},
	{"slow heads", (*Siege).slowHeads},
	{"silent TCP", func(s *Siege) error { return s.silent(1100) }},
	{"silent TCP, beyond descriptors", func(s *Siege) error { return s.silent(2 * s.Descriptors) }},
	{"unproven WebSockets", func(s *Siege) error { return s.sockets(1100, "", nil) }},
	{"WebSockets", func(s *Siege) error { return s.sockets(1100, s.Key, nil) }},
	{"streams", func(s *Siege) error { return s.streams(1500) }},
	{"connects of streams", (*Siege).connects},
	{"waiting calls", (*Siege).waiting},
	{"waiting calls, hung up", (*Siege).hungUp},
	{"waiting leases", (*Siege).leases},
	{"flood of POSTs", (*Siege).posts},
	{"flood of large POSTs", (*Siege).largePosts},
	{"flood of pings", func(s *Siege) error { return s.sockets(50, s.Key, s.pings(true)) }},
	{"flood of pings, none read", func(s *Siege) error { return s.sockets(50, s.Key, s.pings(false)) }},
	{"flood of keys", (*Siege).keys},
	{"flood of batches", (*Siege).batches},
	{"flood of broken batches", (*Siege).brokenBatches},
	{"flood of endpoints", (*Siege).endpoints},
	{"slow readers of results", (*Siege).slowResults},
	{"ranges of a byte", (*Siege).ranges},
	{"slow readers of streams", (*Siege).slowStreams},
}

// announced are bodies of which a length is said, and a byte is sent.
func (s *Siege) announced(path, key string, n int) error {
	head := s.head(http.MethodPost, path, key, "Content-Type: application/octet-stream", fmt.Sprint("Content-Length: ", mostBody))
	s.hold(n, func(conn *net.TCPConn) error {
		if _, err := conn.Write(append(slices.Clone(head), 'x')); err != nil {
			return err
		}
		return s.hear(conn)
	})
	return nil
}

// unfinished are bodies of which nearly all is sent, at once.
func (s *Siege) unfinished(key string, n int) error {
	head := s.head(http.MethodPost, "/v1/requests", key, "Content-Type: application/octet-stream", fmt.Sprint("Content-Length: ", mostBody))
	part := make([]byte, 1<<20)
	s.hold(n, func(conn *net.TCPConn) error {
		s.busy.Go(func() { // it may be answered meanwhile
			if _, err := conn.Write(head); err != nil {
				return
			}
			for range someBody / len(part) {
				if _, err := conn.Write(part); err != nil {
					return
				}
			}
		})
		return s.hear(conn)
	})
	return nil
}

// trickle writes a byte, or a line, each second until it fails.
func (s *Siege) trickle(conn *net.TCPConn, head []byte, more string) error {
	s.busy.Go(func() {
		_, err := conn.Write(head)
		for err == nil && peer.Pause(s.ctx, time.Second) {
			_, err = io.WriteString(conn, more)
		}
	})
	return s.hear(conn)
}

func (s *Siege) slowBodies() error {
	head := s.head(http.MethodPost, "/v1/requests", s.Key, "Content-Type: application/octet-stream", "Content-Length: 1000000")
	s.hold(500, func(conn *net.TCPConn) error { return s.trickle(conn, head, "x") })
	return nil
}

func (s *Siege) slowHeads() error {
	head := s.head(http.MethodPost, "/v1/requests", "")
	s.hold(500, func(conn *net.TCPConn) error { return s.trickle(conn, head[:len(head)-2], "X-A: b\r\n") })
	return nil
}

func (s *Siege) silent(n int) error {
	s.hold(n, func(conn *net.TCPConn) error { return s.hear(conn) })
	return nil
}

var upgrade = []string{
	"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: hark.v1",
}

// sockets are WebSockets of whose clients nothing is heard behind the handshake but what talk says.
func (s *Siege) sockets(n int, key string, talk func(conn *net.TCPConn) error) error {
	head := s.head(http.MethodGet, "/v1/ws", key, upgrade...)
	s.hold(n, func(conn *net.TCPConn) error {
		if _, err := conn.Write(head); err != nil {
			return err
		}
		if talk != nil {
			return talk(conn)
		}
		return s.hear(conn)
	})
	return nil
}

// pings are as many as a connection takes, whose pongs are read or not.
func (s *Siege) pings(read bool) func(conn *net.TCPConn) error {
	ping := append([]byte{0x89, 0x80 | 125, 0, 0, 0, 0}, bytes.Repeat([]byte("p"), 125)...)
	many := bytes.Repeat(ping, 100)
	return func(conn *net.TCPConn) error {
		if read {
			s.busy.Go(func() { _ = s.hear(conn) })
		}
		for {
			if _, err := conn.Write(many); err != nil {
				return err
			}
		}
	}
}

func (s *Siege) streams(n int) error {
	head := s.head(http.MethodGet, "/v1/events", s.Key, "Accept: text/event-stream")
	s.hold(n, func(conn *net.TCPConn) error {
		if _, err := conn.Write(head); err != nil {
			return err
		}
		return s.hear(conn)
	})
	return nil
}

// connects are streams that are left as soon as they are there.
func (s *Siege) connects() error {
	head := s.head(http.MethodGet, "/v1/events", s.Key, "Accept: text/event-stream")
	return s.again(head, true)
}

// again makes calls by hand, each on a connection of its own, which is left at once or with the
// answer.
func (s *Siege) again(head []byte, answered bool) error {
	for range 32 {
		s.busy.Go(func() {
			for s.ctx.Err() == nil {
				conn, done, err := s.dial()
				if err != nil {
					peer.Pause(s.ctx, 50*time.Millisecond)
					continue
				}
				_, err = conn.Write(head)
				if err == nil && answered {
					_, err = conn.Read(make([]byte, 512))
				}
				s.answered(err)
				done()
			}
		})
	}
	s.ready()
	return nil
}

func (s *Siege) waiting() error {
	_, pending, err := s.prepared(0)
	head := s.head(http.MethodGet, "/v1/requests/"+pending, s.Key, "Prefer: wait=30")
	s.hold(900, func(conn *net.TCPConn) error {
		if _, err := conn.Write(head); err != nil {
			return err
		}
		return s.hear(conn)
	})
	return err
}

func (s *Siege) hungUp() error {
	_, pending, err := s.prepared(0)
	if err != nil {
		return err
	}
	return s.again(s.head(http.MethodGet, "/v1/requests/"+pending, s.Key, "Prefer: wait=30"), false)
}

func (s *Siege) leases() error {
	body := `{"routes":["idle"],"wait":"30s"}`
	head := s.head(http.MethodPost, "/v1/work/lease", s.WorkKey, "Content-Type: application/json", fmt.Sprint("Content-Length: ", len(body)))
	s.hold(900, func(conn *net.TCPConn) error {
		if _, err := conn.Write(append(slices.Clone(head), body...)); err != nil {
			return err
		}
		return s.hear(conn)
	})
	return nil
}

func (s *Siege) posts() error {
	body := []byte(`{"route":"echo","content":"some bytes of work, as many as one has"}`)
	s.flood(64, func(c *client.Client) error {
		return s.call(c, http.MethodPost, "/v1/requests", "application/json", body)
	})
	return nil
}

// largePosts store a gigabyte at most, because they are kept.
func (s *Siege) largePosts() error {
	body := make([]byte, 4<<20)
	var left atomic.Int64
	left.Store(1 << 30 / int64(len(body)))
	s.flood(8, func(c *client.Client) error {
		if left.Load() <= 0 {
			peer.Pause(s.ctx, time.Second)
			return nil
		}
		err := s.call(c, http.MethodPost, "/v1/requests?route=idle", "application/octet-stream", body)
		if err == nil {
			left.Add(-1)
		}
		return err
	})
	return nil
}

// keys are made up, of both kinds that there are.
func (s *Siege) keys() error {
	s.flood(32, func(c *client.Client) error {
		key := "hark_" + rand.Text()
		if key[6]%2 == 0 {
			claims := base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"` + key + `","exp":4000000000}`))
			key = "eyJhbGciOiJIUzI1NiJ9." + claims + "." + rand.Text()
		}
		return s.callAs(c, key, http.MethodGet, "/v1/requests", "", nil)
	})
	return nil
}

func (s *Siege) batches() error {
	one := `{"content":1,"route":"idle"}`
	body := []byte(`{"requests":[` + strings.Repeat(one+",", 999) + one + `]}`)
	s.flood(8, func(c *client.Client) error {
		return s.call(c, http.MethodPost, "/v1/batches", "application/json", body)
	})
	return nil
}

// brokenBatches have millions of members, of which each is wrong in a way of its own.
func (s *Siege) brokenBatches() error {
	var body bytes.Buffer
	body.WriteString(`{"requests":[{"x":1}`)
	for n := 0; body.Len() < 28<<20; n++ {
		_, _ = fmt.Fprintf(&body, `,{"x%d":1}`, n) // a buffer takes everything
	}
	body.WriteString("]}")
	s.flood(4, func(c *client.Client) error {
		return s.call(c, http.MethodPost, "/v1/batches", "application/json", body.Bytes())
	})
	return nil
}

func (s *Siege) endpoints() error {
	body := []byte(`{"url":"http://127.0.0.1:9/","description":"` + strings.Repeat("d", 500) + `"}`)
	s.flood(16, func(c *client.Client) error {
		return s.call(c, http.MethodPost, "/v1/webhooks", "application/json", body)
	})
	return nil
}

// slowResults are large results of which a kilobyte is read now and then.
func (s *Siege) slowResults() error {
	large, _, err := s.prepared(someBody)
	head := s.head(http.MethodGet, "/v1/requests/"+large+"/result", s.Key)
	s.hold(20, func(conn *net.TCPConn) error {
		_ = conn.SetReadBuffer(4096)
		if _, err := conn.Write(head); err != nil {
			return err
		}
		s.meet("asked")
		buffer := make([]byte, 1024)
		for peer.Pause(s.ctx, 100*time.Millisecond) {
			if _, err := conn.Read(buffer); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

func (s *Siege) ranges() error {
	large, _, err := s.prepared(someBody)
	s.flood(16, func(c *client.Client) error {
		return s.call(c, http.MethodGet, "/v1/requests/"+large+"/result", "", nil, "Range", "bytes=0-0")
	})
	return err
}

// slowStreams read nothing, while results as large as an event may hold are told in them.
func (s *Siege) slowStreams() error {
	head := s.head(http.MethodGet, "/v1/events", s.Key, "Accept: text/event-stream")
	s.hold(300, func(conn *net.TCPConn) error {
		_ = conn.SetReadBuffer(4096)
		if _, err := conn.Write(head); err != nil {
			return err
		}
		s.meet("asked")
		for peer.Pause(s.ctx, time.Second) {
			if _, err := conn.Read(make([]byte, 1)); err != nil {
				return err
			}
		}
		return nil
	})
	body := []byte(`{"route":"echo","content":"` + strings.Repeat("c", 15<<10) + `"}`)
	s.flood(4, func(c *client.Client) error {
		return s.call(c, http.MethodPost, "/v1/requests", "application/json", body)
	})
	return nil
}
