package misuse

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// Line is the client's end of a WebSocket that was opened.
type Line struct {
	conn net.Conn
	r    *bufio.Reader
}

// Open opens a WebSocket with the subprotocol hark.v1. It ends after that time.
func Open(address string, wait time.Duration) (*Line, error) {
	conn, err := new(net.Dialer).DialContext(context.Background(), "tcp", address)
	if err != nil {
		return nil, err
	}
	l := &Line{conn: conn, r: bufio.NewReader(conn)}
	if err := l.open(address, wait); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return l, nil
}

func (l *Line) open(address string, wait time.Duration) error {
	if err := l.conn.SetDeadline(time.Now().Add(wait)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(l.conn, "GET /v1/ws HTTP/1.1\r\nHost: %s\r\n%s\r\n\r\n", address, strings.Join(handshake, "\r\n")); err != nil {
		return err
	}
	res, err := http.ReadResponse(l.r, nil)
	if err != nil {
		return err
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusSwitchingProtocols {
		return errors.New(res.Status)
	}
	return nil
}

// Close ends the connection.
func (l *Line) Close() { _ = l.conn.Close() }

// Receive returns what the gateway says next: "op:" and the op of a message, "error:" and the type
// of its problem, "pong:" and what it holds, or "close:" and the code, which is none if it says
// none.
func (l *Line) Receive() (string, error) {
	var head [10]byte
	if _, err := io.ReadFull(l.r, head[:2]); err != nil {
		return "", err
	}
	n, op := uint64(head[1]), head[0]
	switch n {
	case 126:
		if _, err := io.ReadFull(l.r, head[2:4]); err != nil {
			return "", err
		}
		n = uint64(binary.BigEndian.Uint16(head[2:]))
	case 127:
		if _, err := io.ReadFull(l.r, head[2:10]); err != nil {
			return "", err
		}
		n = binary.BigEndian.Uint64(head[2:])
	}
	if op&0x70 != 0 || op&final == 0 || n > 1<<20 {
		return "", fmt.Errorf("a bad frame: %x", head)
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(l.r, payload); err != nil {
		return "", err
	}
	switch op &^ final {
	case opPong:
		return "pong:" + string(payload), nil
	case opClose:
		if n < 2 {
			return "close:none", nil
		}
		return fmt.Sprint("close:", binary.BigEndian.Uint16(payload)), nil
	case opText:
		var m struct {
			Op      string
			Problem struct{ Type string }
		}
		if err := json.Unmarshal(payload, &m); err != nil {
			return "", fmt.Errorf("%s: %w", payload, err)
		}
		if m.Op == "error" {
			return "error:" + strings.TrimPrefix(m.Problem.Type, "/problems/"), nil
		}
		return "op:" + m.Op, nil
	}
	return "", fmt.Errorf("opcode %#x", op)
}

// Have sends what a talk sends, and returns what is wrong with what it is told, "" if nothing is.
func (l *Line) Have(t *Talk) string {
	want := append([]string(nil), t.Receives...)
	sends := t.Sends
	if t.Close == "" { // it says one thing more, to be sure that nothing else comes
		sends = append(append([]byte(nil), sends...), frame(final|opText, ping)...)
		want = append(want, "op:pong")
	} else {
		told := strings.Fields(t.Close)
		want = append(append(want, told[:len(told)-1]...), "close:"+strings.ReplaceAll(told[len(told)-1], "|", "|close:"))
	}
	go l.send(sends, t.Step) // it may be closed meanwhile
	for i := 0; i < len(want); i++ {
		got, err := l.Receive()
		if err != nil {
			return fmt.Sprintf("nothing, %v, where %s should come (%d of %d)", err, want[i], i+1, len(want))
		}
		for strings.HasPrefix(want[i], "?") && want[i] != "?"+got {
			i++ // the last one has to come
		}
		if w := strings.TrimPrefix(want[i], "?"); !oneOf(w, got) {
			return fmt.Sprintf("%.200q, want %.200q (%d of %d)", got, w, i+1, len(want))
		}
	}
	if t.Close == "" {
		return ""
	}
	if got, err := l.Receive(); err == nil {
		return fmt.Sprintf("%q after the close", got)
	} else if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return "the connection stays after the close"
	}
	return ""
}

func oneOf(want, got string) bool {
	if strings.HasPrefix(want, "pong:") {
		return got == want
	}
	for w := range strings.SplitSeq(want, "|") {
		if w == got {
			return true
		}
	}
	return false
}

func (l *Line) send(b []byte, step int) {
	if step == 0 {
		step = len(b)
	}
	for len(b) > 0 {
		n := min(step, len(b))
		if _, err := l.conn.Write(b[:n]); err != nil {
			return
		}
		b = b[n:]
	}
}
