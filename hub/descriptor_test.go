package hub

import (
	"bytes"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// large is what these tests send: more than what a socket takes at once.
var large = []Message{{Offset: 1, Event: bytes.Repeat([]byte("x"), 16<<20)}}

// followed serves a stream on conn and sends it large.
func followed(t *testing.T, o Options, conn net.Conn) *Hub {
	t.Helper()
	o.Heartbeat, o.QueueBytes = time.Hour, 64<<20
	h := New(new(benchSource), o)
	t.Cleanup(h.Close)
	h.ServeStream(conn, Channel{Key: "feed", Name: "feed", Live: true}, StreamOptions{})
	h.shard("feed").channels["feed"].deliver(large, nil)
	return h
}

// all reads what a client gets before the hub drains.
func all(t *testing.T, h *Hub, client net.Conn) []byte {
	t.Helper()
	go h.Drain(t.Context(), 0)
	got, err := io.ReadAll(client)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// withoutDescriptor is a connection whose descriptor cannot be had, as when the process has no more
// of them.
type withoutDescriptor struct{ *net.TCPConn }

func (withoutDescriptor) SyscallConn() (syscall.RawConn, error) { return nil, syscall.EMFILE }

// TestWithoutDescriptor: it works all the same.
func TestWithoutDescriptor(t *testing.T) {
	server, client := tcpPair(t)
	h := followed(t, Options{}, withoutDescriptor{server})
	if got := all(t, h, client); !bytes.Contains(got, large[0].Event) {
		t.Errorf("%d bytes arrived", len(got))
	}
}

// TestTakesNothing: a client that takes nothing for WriteTimeout is gone.
func TestTakesNothing(t *testing.T) {
	for name, wrap := range map[string]func(*net.TCPConn) net.Conn{
		"descriptor": func(c *net.TCPConn) net.Conn { return c },
		"connection": func(c *net.TCPConn) net.Conn { return withoutDescriptor{c} },
	} {
		t.Run(name, func(t *testing.T) {
			server, _ := tcpPair(t)
			h := followed(t, Options{WriteTimeout: 20 * time.Millisecond}, wrap(server))
			for deadline := time.Now().Add(3 * time.Minute); h.Stats().Streams > 0; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("it is still there")
				}
			}
		})
	}
}
