//go:build !portable

package hub

import (
	"bytes"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// TestOnlyTheDescriptorIsKept: the connection that was handed over is closed for everybody else,
// and its descriptor goes on, also when the socket does not take everything at once.
func TestOnlyTheDescriptorIsKept(t *testing.T) {
	server, client := tcpPair(t)
	h := followed(t, Options{}, server)
	if _, err := server.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("writing beside the hub: %v", err)
	}
	if got := all(t, h, client); !bytes.Contains(got, large[0].Event) {
		t.Errorf("%d bytes arrived", len(got))
	}
	if h.stats.full.Load() == 0 {
		t.Error("the socket took everything at once, so that this shows nothing")
	}
}

// TestCannotBeWatched: a WebSocket that the system cannot watch is told to come back later.
func TestCannotBeWatched(t *testing.T) {
	h := New(new(benchSource), Options{Heartbeat: time.Hour})
	defer h.Close()
	server, client := tcpPair(t)
	follow(h, server, 0, 0).unwatched(syscall.ENOSPC)
	_ = client.SetReadDeadline(time.Now().Add(3 * time.Minute))
	got, err := io.ReadAll(client)
	if err != nil || !bytes.Equal(got, closeFrame(uint16(CloseTryLater), "cannot be served, try later")) {
		t.Errorf("%q, %v", got, err)
	}
}
