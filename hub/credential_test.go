package hub_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/hark-push/hark/hub"
)

// openSocket connects with a query.
func openSocket(t *testing.T, addr string, query url.Values) *websocket.Conn {
	t.Helper()
	ws, _, err := (&websocket.Dialer{Subprotocols: []string{hub.Subprotocol}}).Dial("ws://"+addr+"/ws?"+query.Encode(), http.Header{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ws.Close() })
	_ = ws.SetReadDeadline(time.Now().Add(3 * time.Minute))
	return ws
}

// receive returns the next message, or the code with which the connection was closed.
func receive(t *testing.T, ws *websocket.Conn) (map[string]any, hub.CloseCode) {
	t.Helper()
	_, text, err := ws.ReadMessage()
	if closed, ok := errors.AsType[*websocket.CloseError](err); ok {
		return nil, hub.CloseCode(closed.Code)
	}
	var m map[string]any
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m, 0
}

// receiveOp is receive for a message of an op.
func receiveOp(t *testing.T, ws *websocket.Conn, op string) map[string]any {
	t.Helper()
	m, code := receive(t, ws)
	if m["op"] != op {
		t.Fatalf("received %v (%d), want %s", m, code, op)
	}
	return m
}

func tell(t *testing.T, ws *websocket.Conn, text string) {
	t.Helper()
	if err := ws.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func in(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339Nano) }

// TestCredentialEnds: a connection does not outlive its credential by more than about a second
// although heartbeats are far apart, and its client is told why.
func TestCredentialEnds(t *testing.T) {
	h, addr := limited(t, hub.Options{Heartbeat: time.Minute})
	ends := time.Now().Add(1200 * time.Millisecond)
	query := url.Values{"until": {ends.UTC().Format(time.RFC3339Nano)}, "channel": {"request-1"}}
	res, err := http.Get("http://" + addr + "/sse?" + query.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	ws := openSocket(t, addr, query)
	receiveOp(t, ws, "subscribed")
	receiveOp(t, ws, "event")
	if _, code := receive(t, ws); code != hub.CloseExpired || time.Now().Before(ends) {
		t.Errorf("the socket was closed with %d, %v after its credential", code, time.Since(ends))
	}
	body, err := io.ReadAll(res.Body)
	if err != io.ErrUnexpectedEOF || !strings.Contains(string(body), `{"n":1`) || !strings.HasSuffix(string(body), "\n\nevent: unauthenticated\ndata: {\"detail\":\"The token has expired, or was revoked.\"}\n\n") || time.Now().Before(ends) {
		t.Errorf("the stream said %q, %v, %v after its credential", body, err, time.Since(ends))
	}
	if late := time.Since(ends); late > 30*time.Second { // not with the heartbeat
		t.Errorf("closed %v late", late)
	}
	until(t, "both are counted", func() bool { return h.Stats().Closed["expired"] == 2 })
}

// TestCredentialIsRevoked ends connections that share a credential which had no end.
func TestCredentialIsRevoked(t *testing.T) {
	credential := hub.NewCredential(time.Time{})
	if ends := credential.Ends(); !ends.IsZero() {
		t.Errorf("ends at %v", ends)
	}
	credential.Revoke()
	if ends := credential.Ends(); ends.IsZero() || ends.After(time.Now()) {
		t.Errorf("revoked, it ends at %v", ends)
	}
}

// TestFirstMessage: a client that has yet to say who it is gets nothing, and what it asked for
// in its URL as soon as it has.
func TestFirstMessage(t *testing.T) {
	_, addr := limited(t, hub.Options{PerCaller: 1})
	query := url.Values{"unproven": {""}, "channel": {"request-1"}}
	ws := openSocket(t, addr, query)
	tell(t, ws, `{"op":"subscribe","channel":"request-1"}`)
	if m := receiveOp(t, ws, "error"); m["channel"] != "request-1" {
		t.Errorf("%v", m)
	}
	tell(t, ws, `{"op":"ping"}`)
	receiveOp(t, ws, "pong")
	end := in(time.Hour)
	tell(t, ws, `{"op":"auth","token":"a until `+end+`"}`)
	if m := receiveOp(t, ws, "authenticated"); m["expires"] != end[:len("2006-01-02T15:04:05")]+"Z" {
		t.Errorf("%v, want %s", m, end)
	}
	receiveOp(t, ws, "subscribed")
	receiveOp(t, ws, "event")

	second := openSocket(t, addr, query) // nobody's yet, so it is not one too many
	tell(t, second, `{"op":"auth","token":"a"}`)
	if m, code := receive(t, second); code != hub.CloseTryLater {
		t.Errorf("the second connection of a caller: %v, %d", m, code)
	}
	_ = ws.Close()
	until(t, "the first one counts no more", func() bool {
		third := openSocket(t, addr, query)
		tell(t, third, `{"op":"auth","token":"a"}`)
		m, _ := receive(t, third)
		return m["op"] == "authenticated" && m["expires"] == nil
	})
}

// TestUnproven: who sends no token, or one that is not taken, is let go.
func TestUnproven(t *testing.T) {
	h, addr := limited(t, hub.Options{Heartbeat: time.Minute, AuthTime: 1200 * time.Millisecond})
	silent := openSocket(t, addr, url.Values{"unproven": {""}})
	for token, want := range map[string]hub.CloseCode{"": hub.CloseUnauthenticated, "down": hub.CloseTryLater} {
		ws := openSocket(t, addr, url.Values{"unproven": {""}})
		tell(t, ws, `{"op":"auth","token":"`+token+`"}`)
		receiveOp(t, ws, "error")
		if _, code := receive(t, ws); code != want {
			t.Errorf("token %q: closed with %d, want %d", token, code, want)
		}
	}
	if _, code := receive(t, silent); code != hub.CloseUnauthenticated {
		t.Errorf("silent: closed with %d", code)
	}
	until(t, "they are counted", func() bool { return h.Stats().Closed["unauthenticated"] == 2 && h.Stats().Sockets == 0 })
}

// TestRefresh: with a newer token a connection outlives the one that it came with; one that is not
// taken changes nothing.
func TestRefresh(t *testing.T) {
	_, addr := limited(t, hub.Options{Heartbeat: 2 * time.Second})
	first := time.Now().Add(2 * time.Second)
	ws := openSocket(t, addr, url.Values{"until": {first.UTC().Format(time.RFC3339Nano)}})
	tell(t, ws, `{"op":"auth","token":""}`)
	receiveOp(t, ws, "error")
	tell(t, ws, `{"op":"auth","token":"a until `+in(5*time.Second)+`"}`)
	receiveOp(t, ws, "authenticated")
	if _, code := receive(t, ws); code != hub.CloseExpired || time.Since(first) < 2*time.Second {
		t.Errorf("closed with %d, %v after the first credential", code, time.Since(first))
	}
}
