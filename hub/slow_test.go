package hub_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/hark-push/hark/hub"
)

// fat makes the source's events large, so that a few fill a socket.
func (s *memorySource) appendFat(key string, bytes int) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch := s.channel(key)
	offset := ch.trimmed + uint64(len(ch.messages)) + 1
	m := hub.Message{Offset: offset, Event: fmt.Appendf(nil, `{"n":%d,"pad":%q}`, offset, strings.Repeat("x", bytes))}
	ch.messages = append(ch.messages, m)
	s.ring(key, m)
	return offset
}

// TestSlowStreamIsClosedAndResumes: a client that does not read is closed after its
// bound, what it got is whole, a client beside it notices nothing, and with its
// cursor it gets the rest.
func TestSlowStreamIsClosedAndResumes(t *testing.T) {
	source := newMemorySource()
	h := hub.New(source, hub.Options{QueueBytes: 256 << 10})
	addr := serve(t, h)
	slow, fast := dialSSE(t, addr, "request-a", "0"), dialSSE(t, addr, "request-a", "0")
	eventually(t, func() bool { return h.Stats().Streams == 2 })
	var top uint64
	for h.Stats().Slow == 0 {
		top = source.appendFat("request-a", 32<<10)
		if e, err := fast.next(); err != nil || e.id != fmt.Sprint(top) {
			t.Fatalf("beside: %v %v, want %d", e.id, err, top)
		}
		if top > 10_000 {
			t.Fatal("never closed")
		}
	}
	at := uint64(0)
	for {
		e, err := slow.next()
		if err != nil {
			break
		}
		if at++; e.id != fmt.Sprint(at) || !json.Valid([]byte(e.data)) {
			t.Fatalf("slow got %s after %d: %.40s…", e.id, at-1, e.data)
		}
	}
	if at == 0 || at >= top {
		t.Fatalf("slow got %d of %d", at, top)
	}
	eventually(t, func() bool { return h.Stats().Closed["slow"] == 1 })
	again := dialSSE(t, addr, "request-a", fmt.Sprint(at))
	for at < top {
		e, err := again.next()
		if at++; err != nil || e.id != fmt.Sprint(at) {
			t.Fatalf("resumed: %s %v, want %d", e.id, err, at)
		}
	}
}

// TestFramesNeverInterleave reads slowly while events, pings from the hub and
// pongs to the client's pings all go out at once: each frame is whole, the events are
// in order, and the close says how to go on.
func TestFramesNeverInterleave(t *testing.T) {
	source := newMemorySource()
	h := hub.New(source, hub.Options{QueueBytes: 128 << 10, Heartbeat: time.Second})
	addr := serve(t, h)
	conn := dialSocket(t, addr)
	if err := conn.WriteMessage(websocket.TextMessage, []byte(`{"op":"subscribe","channel":"request-a","after":0}`)); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		_ = source.appendFat("request-a", 16<<10)
		_ = conn.WriteControl(websocket.PingMessage, []byte("are you there?"), time.Now().Add(time.Second))
		return h.Stats().Slow == 1
	})
	var at float64
	pongs := 0
	conn.SetPongHandler(func(text string) error {
		if pongs++; text != "are you there?" {
			t.Errorf("pong %q", text)
		}
		return nil
	})
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	for {
		var m struct {
			Op     string
			Offset float64
		}
		_, r, err := conn.NextReader()
		if err == nil {
			err = json.NewDecoder(r).Decode(&m)
		}
		if c, ok := errors.AsType[*websocket.CloseError](err); ok {
			if c.Code != int(hub.CloseSlow) {
				t.Errorf("closed with %d", c.Code)
			}
			break
		}
		if err != nil {
			t.Fatalf("after %v: %v", at, err)
		}
		if m.Op == "event" {
			if at++; m.Offset != at {
				t.Fatalf("offset %v, want %v", m.Offset, at)
			}
		}
	}
	if at == 0 || pongs == 0 {
		t.Errorf("%v events, %d pongs", at, pongs)
	}
}

func dialSocket(t *testing.T, addr string) *websocket.Conn {
	t.Helper()
	conn, res, err := websocket.DefaultDialer.Dial("ws://"+addr+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); {
		if time.Now().After(deadline) {
			t.Fatal("condition never held")
		}
		time.Sleep(time.Millisecond) // a poll: the condition decides
	}
}

func TestUnreadableSourceClosesResumably(t *testing.T) {
	source := newMemorySource()
	source.fail = io.ErrUnexpectedEOF
	h := hub.New(source, hub.Options{})
	addr := serve(t, h)
	r := dialSSE(t, addr, "request-a", "")
	if e, err := r.next(); err == nil {
		t.Errorf("got %v", e)
	}
	conn := dialSocket(t, addr)
	if err := conn.WriteMessage(websocket.TextMessage, []byte(`{"op":"subscribe","channel":"request-a"}`)); err != nil {
		t.Fatal(err)
	}
	_, _, err := conn.ReadMessage()
	if c, ok := errors.AsType[*websocket.CloseError](err); !ok || c.Code != int(hub.CloseSource) {
		t.Errorf("%v", err)
	}
	eventually(t, func() bool { s := h.Stats(); return s.Streams == 0 && s.Sockets == 0 })
}
