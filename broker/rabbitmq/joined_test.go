package rabbitmq

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// counting counts the writes that reach a connection.
type counting struct {
	net.Conn
	mu     sync.Mutex
	writes int
}

func (c *counting) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.writes++
	c.mu.Unlock()
	return c.Conn.Write(p)
}

// TestJoined: what many write arrives whole, each one's in order, in fewer writes, and the last of
// it before the end.
func TestJoined(t *testing.T) {
	client, server := net.Pipe()
	below := &counting{Conn: client}
	c := newJoined(below)
	const writers, each = 8, 200
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for n := range each {
				word := binary.BigEndian.AppendUint32(nil, uint32(w)<<16|uint32(n))
				if size, err := c.Write(word); size != len(word) || err != nil {
					t.Error(size, err)
				}
			}
		})
	}
	closed := make(chan error, 1)
	go func() {
		writing.Wait()
		closed <- c.Close()
	}()
	all, err := io.ReadAll(server)
	if err != nil || len(all) != writers*each*4 {
		t.Fatalf("%d bytes arrived, %v", len(all), err)
	}
	var next [writers]uint32
	for ; len(all) > 0; all = all[4:] {
		word := binary.BigEndian.Uint32(all)
		if w := word >> 16; next[w] != word&0xffff {
			t.Fatalf("writer %d: %d after %d", w, word&0xffff, next[w])
		}
		next[word>>16]++
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if below.writes >= writers*each {
		t.Errorf("%d writes", below.writes)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// TestJoinedStuck: who writes to a server that takes nothing waits, and is told when the connection
// ends.
func TestJoinedStuck(t *testing.T) {
	client, server := net.Pipe()
	c := newJoined(client)
	failed := make(chan error, 1)
	go func() {
		for {
			if _, err := c.Write(bytes.Repeat([]byte("x"), 64<<10)); err != nil {
				failed <- err
				return
			}
		}
	}()
	if _, err := io.ReadFull(server, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	_ = server.Close()
	if err := <-failed; !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
