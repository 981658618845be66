package hub_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/hark-push/hark/hub"
)

// dial opens a WebSocket by a query.
func dial(t *testing.T, addr, query string) *websocket.Conn {
	t.Helper()
	ws, _, err := (&websocket.Dialer{Subprotocols: []string{hub.Subprotocol}}).Dial("ws://"+addr+"/ws?"+query, http.Header{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ws.Close() })
	return ws
}

// serves reports whether a WebSocket is taken on, or why it was closed.
func serves(t *testing.T, ws *websocket.Conn) (bool, string) {
	t.Helper()
	_ = ws.WriteJSON(map[string]string{"op": "ping"})
	_ = ws.SetReadDeadline(time.Now().Add(3 * time.Minute))
	_, _, err := ws.ReadMessage()
	if err != nil {
		return false, err.Error()
	}
	return true, ""
}

// TestPerAddress: one address takes no more than its share, whoever calls from there, and what it
// took it gets back.
func TestPerAddress(t *testing.T) {
	h, addr := limited(t, hub.Options{PerAddress: 2})
	_, stays, leave := connect(t, addr, "a&address=192.0.2.1")
	if !stays {
		t.Fatal("the first was shed")
	}
	if ok, why := serves(t, dial(t, addr, "caller=b&address=192.0.2.1")); !ok {
		t.Fatal(why)
	}
	if _, stays, _ := connect(t, addr, "c&address=192.0.2.1"); stays {
		t.Error("a third one stays")
	}
	if ok, why := serves(t, dial(t, addr, "caller=d&address=192.0.2.1")); ok || !strings.Contains(why, "from this address") {
		t.Errorf("a third WebSocket: %v, %s", ok, why)
	}
	if met := h.Stats().Met; met["connections-per-address"] != 2 || met["connections-per-caller"] != 0 {
		t.Errorf("limits were met: %v", met)
	}
	for _, other := range []string{"192.0.2.2", "2001:db8::", ""} {
		if _, stays, _ := connect(t, addr, "a&address="+other); !stays {
			t.Errorf("shed from %q", other)
		}
	}
	leave()
	until(t, "the first has left", func() bool { return h.Stats().Streams == 3 })
	if _, stays, _ := connect(t, addr, "a&address=192.0.2.1"); !stays {
		t.Error("shed although the other one has left")
	}
}

// TestUnprovenShare: those who have not said who they are have places of their own, in all and by
// address, which they leave when they say it.
func TestUnprovenShare(t *testing.T) {
	_, addr := limited(t, hub.Options{Unproven: 3, UnprovenPerAddress: 2})
	closed := func(query string) string {
		ws := dial(t, addr, "unproven&"+query)
		_ = ws.SetReadDeadline(time.Now().Add(3 * time.Minute))
		_, _, err := ws.ReadMessage()
		return fmt.Sprint(err)
	}
	first := dial(t, addr, "unproven&address=192.0.2.1")
	second := dial(t, addr, "unproven&address=192.0.2.1")
	until(t, "both are counted", func() bool { return strings.Contains(closed("address=192.0.2.1"), "have not said who they are") })
	third := dial(t, addr, "unproven&address=192.0.2.2")
	until(t, "all are", func() bool { return strings.Contains(closed("address=192.0.2.3"), "have not said who they are") })
	if ok, why := serves(t, dial(t, addr, "caller=a&address=192.0.2.1")); !ok {
		t.Errorf("one that has: %s", why)
	}
	_ = first.WriteJSON(map[string]string{"op": "auth", "token": "a"})
	if _, said, err := first.ReadMessage(); err != nil || !bytes.Contains(said, []byte("authenticated")) {
		t.Fatalf("%s %v", said, err)
	}
	_ = third.Close()
	for range 2 { // both places are free again
		until(t, "a place", func() bool {
			ws := dial(t, addr, "unproven&address=192.0.2.4")
			_ = ws.WriteJSON(map[string]string{"op": "auth", "token": "b"})
			_, said, _ := ws.ReadMessage()
			return bytes.Contains(said, []byte("authenticated"))
		})
	}
	_ = second.Close()
}

// TestRates: a caller, and an address, that connects too often leaves the rest of the rate to
// others.
func TestRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		admit := hub.Admission(hub.Options{ConnectRate: 10, RatePerCaller: 3, RatePerAddress: 5})
		count := func(n int, caller, from string) (taken int) {
			for range n {
				if admit(caller, from) == "" {
					taken++
				}
			}
			return taken
		}
		for _, c := range []struct {
			caller, from string
			want         int
		}{{"a", "192.0.2.1", 3}, {"b", "192.0.2.1", 2}, {"b", "192.0.2.2", 1}, {"c", "192.0.2.3", 3}, {"d", "192.0.2.4", 1}, {"e", "192.0.2.5", 0}} {
			if got := count(20, c.caller, c.from); got != c.want {
				t.Errorf("%s from %s: %d were taken on, want %d", c.caller, c.from, got, c.want)
			}
		}
		time.Sleep(time.Second)
		if got := count(20, "a", "192.0.2.1"); got != 3 {
			t.Errorf("a second later: %d", got)
		}
	})
}

// TestSilentSocket: a WebSocket that answers no ping is closed with the third heartbeat, and one
// that answers stays.
func TestSilentSocket(t *testing.T) {
	h, addr := limited(t, hub.Options{Heartbeat: time.Hour})
	silent, lively := dial(t, addr, ""), dial(t, addr, "")
	answered := make(chan struct{}, 10)
	lively.SetPingHandler(func(data string) error {
		defer func() { answered <- struct{}{} }()
		return lively.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(time.Second))
	})
	pinged := make(chan struct{}, 10)
	silent.SetPingHandler(func(string) error { pinged <- struct{}{}; return nil })
	ends := make(chan error, 2)
	for _, ws := range []*websocket.Conn{silent, lively} {
		go func() { _, _, err := ws.ReadMessage(); ends <- err }()
	}
	for range 2 {
		hub.Beat(h)
		<-pinged
		<-answered
		until(t, "the answer has been read", func() bool { return hub.Unanswered(h) == 1 })
	}
	if h.Stats().Sockets != 2 {
		t.Fatal("closed too early")
	}
	hub.Beat(h)
	if err := <-ends; !websocket.IsCloseError(err, int(hub.CloseSilent)) {
		t.Error(err)
	}
	until(t, "one is left", func() bool { return h.Stats().Sockets == 1 && h.Stats().Closed["silent"] == 1 })
}

// TestPingsAreAnsweredTogether: of pings that came together the last one is answered, before what
// came behind them.
func TestPingsAreAnsweredTogether(t *testing.T) {
	_, addr := limited(t, hub.Options{})
	ws := dial(t, addr, "")
	conn := ws.NetConn()
	var burst []byte
	for n := range 200 {
		burst = append(burst, 0x89, 0x81, 0, 0, 0, 0, byte(n))
	}
	burst = append(burst, 0x89, 0x84, 0, 0, 0, 0, 'l', 'a', 's', 't')
	if _, err := conn.Write(burst); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(3 * time.Minute))
	pongs, last := 0, false
	for !last {
		var head [2]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			t.Fatal(err)
		}
		payload := make([]byte, head[1]&0x7f)
		if _, err := io.ReadFull(conn, payload); err != nil {
			t.Fatal(err)
		}
		pongs++
		last = string(payload) == "last"
	}
	if pongs > 10 { // the burst may arrive in pieces
		t.Errorf("%d pongs for 201 pings", pongs)
	}
}
