package hub_test

import (
	"bytes"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/hark-push/hark/hub"
)

// TestTalkativeStreams: who does not stop to talk on an event stream is ended, and not heard for
// ever; one request behind that of the stream is dropped, and the stream goes on.
func TestTalkativeStreams(t *testing.T) {
	source := newMemorySource()
	h := hub.New(source, hub.Options{})
	addr := serve(t, h)
	quiet := dialSSE(t, addr, "request-a", "0")
	if _, err := quiet.conn.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		loud := dialSSE(t, addr, "request-a", "0")
		go func() {
			for word := bytes.Repeat([]byte("x"), 4096); ; {
				if _, err := loud.conn.Write(word); err != nil {
					return
				}
			}
		}()
	}
	eventually(t, func() bool { return h.Stats().Closed["protocol"] == 4 })
	top := source.appendFat("request-a", 10)
	if e, err := quiet.next(); err != nil || e.id == "" {
		t.Errorf("beside: %v %v, want %d", e, err, top)
	}
}

// TestTalkativeSockets: sockets that ping without end take turns, and are answered, while another
// one is served.
func TestTalkativeSockets(t *testing.T) {
	source := newMemorySource()
	h := hub.New(source, hub.Options{})
	addr := serve(t, h)
	stop := make(chan struct{})
	var pongs atomic.Int64
	var loud sync.WaitGroup
	for range 3 {
		c := dialSocket(t, addr)
		c.SetPongHandler(func(string) error { pongs.Add(1); return nil })
		loud.Go(func() {
			for {
				if _, _, err := c.ReadMessage(); err != nil {
					return
				}
			}
		})
		loud.Go(func() {
			for {
				select {
				case <-stop:
					_ = c.Close()
					return
				default:
				}
				if err := c.WriteMessage(websocket.PingMessage, []byte("x")); err != nil {
					return
				}
			}
		})
	}
	calm := dialSocket(t, addr)
	for range 100 {
		if err := calm.WriteMessage(websocket.TextMessage, []byte(`{"op":"ping"}`)); err != nil {
			t.Fatal(err)
		}
		if _, text, err := calm.ReadMessage(); err != nil || !bytes.Contains(text, []byte(`"pong"`)) {
			t.Fatalf("%s %v", text, err)
		}
	}
	// That is beyond what one may say as it likes.
	eventually(t, func() bool { return pongs.Load() > 3*140 })
	close(stop)
	loud.Wait()
}

// TestCrowdIsThrottled: of those that say too much one is heard at a time.
func TestCrowdIsThrottled(t *testing.T) {
	var crowd hub.Crowd
	var inside, turns atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				crowd.Throttle(func() {
					if inside.Add(1) > 1 {
						t.Error("two at once")
					}
					turns.Add(1)
					inside.Add(-1)
				})
			}
		})
	}
	if all.Wait(); turns.Load() != 160 {
		t.Errorf("%d turns", turns.Load())
	}
}
