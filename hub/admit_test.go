package hub_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/hark-push/hark/hub"
)

// connect opens a stream and returns the retry field in milliseconds, and whether the
// stream stays open.
func connect(t *testing.T, addr, caller string) (retry int, stays bool, leave func()) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_, _ = fmt.Fprintf(conn, "GET /sse?channel=request-1&caller=%s HTTP/1.1\r\nHost: x\r\n\r\n", caller)
	_ = conn.SetReadDeadline(time.Now().Add(3 * time.Minute))
	var said strings.Builder
	buffer := make([]byte, 4096)
	for !strings.Contains(said.String(), `{"n":1`) {
		n, err := conn.Read(buffer)
		said.Write(buffer[:n])
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err, said.String())
		}
	}
	if !strings.HasPrefix(said.String(), "HTTP/1.1 200 OK\r\n") || !strings.Contains(said.String(), "text/event-stream") {
		t.Errorf("answered %q", said.String())
	}
	_, rest, _ := strings.Cut(said.String(), "retry: ")
	digits, _, _ := strings.Cut(rest, "\n")
	retry, err = strconv.Atoi(digits)
	if err != nil {
		t.Errorf("no retry in %q", said.String())
	}
	return retry, strings.Contains(said.String(), `{"n":1`), func() { _ = conn.Close() }
}

// until waits for a condition.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

func limited(t *testing.T, o hub.Options) (*hub.Hub, string) {
	t.Helper()
	source := newMemorySource()
	o.Retry = time.Second
	h := hub.New(source, o)
	source.append("request-1", false)
	return h, serve(t, h)
}

// TestShedding: who is one too many is told to come back much later, in the form that
// its client understands, and is taken on when there is room again.
func TestShedding(t *testing.T) {
	h, addr := limited(t, hub.Options{Connections: 2})
	_, stays, leave := connect(t, addr, "a")
	if !stays {
		t.Fatal("the first was shed")
	}
	if _, stays, _ := connect(t, addr, "a"); !stays {
		t.Fatal("the second was shed")
	}
	retry, stays, _ := connect(t, addr, "b")
	if stays || retry < 10_000 || retry > 20_000 {
		t.Errorf("the third: stays %v, retry %d ms", stays, retry)
	}
	ws, _, err := (&websocket.Dialer{Subprotocols: []string{hub.Subprotocol}}).Dial("ws://"+addr+"/ws", http.Header{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.Close() }()
	if _, _, err := ws.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseTryAgainLater) {
		t.Errorf("the WebSocket was told %v", err)
	}
	_ = ws.Close()
	until(t, "both are counted as shed", func() bool { return h.Stats().Closed["shed"] == 2 })
	leave()
	until(t, "room for one", func() bool { return h.Stats().Streams+h.Stats().Sockets == 1 })
	if _, stays, _ := connect(t, addr, "b"); !stays {
		t.Error("shed although there is room")
	}
}

// TestLimitsAreNamed: who is one too many learns which limit that is, and what sets it.
func TestLimitsAreNamed(t *testing.T) {
	for policy, test := range map[string]struct {
		options hub.Options
		flag    string
	}{
		"connections":              {hub.Options{Connections: 1}, "--max-connections"},
		"connections-per-caller":   {hub.Options{PerCaller: 1}, "--max-per-caller"},
		"connections-per-address":  {hub.Options{PerAddress: 1}, "--max-per-address"},
		"connect-rate":             {hub.Options{ConnectRate: 1e-6}, "--connect-rate"},
		"connect-rate-per-caller":  {hub.Options{RatePerCaller: 1e-6}, "--connect-rate-per-caller"},
		"connect-rate-per-address": {hub.Options{RatePerAddress: 1e-6}, "--connect-rate-per-address"},
	} {
		_, addr := limited(t, test.options)
		const from = "&caller=a&address=192.0.2.1"
		first := dialSSE(t, addr, "request-1"+from, "0")
		if e, err := first.next(); err != nil || e.id != "1" {
			t.Fatalf("%s: the first got %+v, %v", policy, e, err)
		}
		e, err := dialSSE(t, addr, "request-1"+from, "0").next()
		var said struct {
			Retry    int
			Policies []string `json:"violated-policies"`
			Detail   string
		}
		if err == nil {
			err = json.Unmarshal([]byte(e.data), &said)
		}
		if err != nil || e.name != "busy" || said.Retry < 10_000 || !slices.Equal(said.Policies, []string{policy}) || !strings.Contains(said.Detail, "("+test.flag) {
			t.Errorf("%s: a stream got %+v, %v", policy, e, err)
		}
		_, _, err = dialSocketAs(t, addr, from[1:]).ReadMessage()
		if closed, ok := errors.AsType[*websocket.CloseError](err); !ok || closed.Code != websocket.CloseTryAgainLater || closed.Text != said.Detail {
			t.Errorf("%s: a WebSocket got %v, and a stream %q", policy, err, said.Detail)
		}
	}
	for flag, o := range map[string]hub.Options{"--max-unproven": {Unproven: 1}, "--max-unproven-per-address": {UnprovenPerAddress: 1}} {
		_, addr := limited(t, o)
		const from = "unproven&address=192.0.2.1"
		dialSocketAs(t, addr, from)
		_, _, err := dialSocketAs(t, addr, from).ReadMessage()
		if closed, ok := errors.AsType[*websocket.CloseError](err); !ok || closed.Code != websocket.CloseTryAgainLater || !strings.Contains(closed.Text, "("+flag+")") {
			t.Errorf("%s: a WebSocket got %v", flag, err)
		}
	}
}

// TestSubprotocol: who offers other protocols only is told; who offers none may mean ours.
func TestSubprotocol(t *testing.T) {
	h, addr := limited(t, hub.Options{})
	for _, test := range []struct {
		offer []string
		taken bool
	}{
		{nil, true}, {[]string{"hark.v2", hub.Subprotocol}, true}, {[]string{"hark.v2"}, false}, {[]string{"a", "b"}, false},
	} {
		ws, _, err := (&websocket.Dialer{Subprotocols: test.offer}).Dial("ws://"+addr+"/ws", http.Header{})
		if err != nil {
			t.Fatal(err)
		}
		if err := ws.WriteJSON(map[string]string{"op": "ping"}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := ws.ReadMessage(); test.taken != (err == nil) || !test.taken && !websocket.IsCloseError(err, int(hub.CloseSubprotocol)) {
			t.Errorf("%q: %v", test.offer, err)
		}
		_ = ws.Close()
	}
	until(t, "all have left", func() bool { return h.Stats().Sockets == 0 })
}

func TestPerCaller(t *testing.T) {
	h, addr := limited(t, hub.Options{PerCaller: 1})
	_, stays, leave := connect(t, addr, "a")
	if !stays {
		t.Fatal("the first was shed")
	}
	if _, stays, _ := connect(t, addr, "a"); stays {
		t.Error("a second one of the same caller stays")
	}
	if _, stays, _ := connect(t, addr, "b"); !stays {
		t.Error("another caller was shed")
	}
	leave()
	until(t, "the first has left", func() bool { return h.Stats().Streams == 1 })
	if _, stays, _ := connect(t, addr, "a"); !stays {
		t.Error("shed although the other one has left")
	}
}

func TestConnectRate(t *testing.T) {
	_, addr := limited(t, hub.Options{ConnectRate: 3})
	took := 0
	for range 10 {
		if _, stays, _ := connect(t, addr, "a"); stays {
			took++
		}
	}
	if took < 3 || took > 6 { // three at once, and what comes while we try
		t.Errorf("%d of 10 were taken on", took)
	}
	until(t, "another one is taken on", func() bool {
		_, stays, _ := connect(t, addr, "a")
		return stays
	})
}
