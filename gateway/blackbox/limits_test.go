package blackbox_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// few runs a gateway that may have so many files open.
func few(t *testing.T, files int, args ...string) *process {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	args = append([]string{"--listen=127.0.0.1:0", "--data=" + t.TempDir(), "--drain=200ms", "--log-level=warn"}, args...)
	return listening(t, exec.Command("bash", append([]string{"-c", fmt.Sprintf(`ulimit -n %d; exec "$@"`, files), "-", path}, args...)...))
}

// hold opens so many connections from an address and says the same on each. It returns what has
// been opened.
func hold(t testing.TB, from, to string, n int, say string) []net.Conn {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
	var held []net.Conn
	for range n {
		c, err := dialer.Dial("tcp", strings.TrimPrefix(to, "http://"))
		if err != nil {
			continue // the backlog is full
		}
		t.Cleanup(func() { _ = c.Close() })
		_, _ = io.WriteString(c, say)
		held = append(held, c)
	}
	return held
}

// TestDescriptorsRunOut: more connections than there are descriptors for end nothing: silent ones,
// half heads and streams of one address leave room for calls and streams of others, and for its
// own.
func TestDescriptorsRunOut(t *testing.T) {
	anywhere(t)
	p := few(t, 512)
	p.http.Timeout = 15 * time.Second
	for _, say := range []string{"", "GET /v1/requests HTTP/1.1\r\nHost: localhost\r\n", "GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"} {
		held := hold(t, "127.0.0.2", p.url, 700, say)
		for _, address := range []string{"127.0.0.1", "127.0.0.2"} {
			conns := hold(t, address, p.url, 1, "GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
			if len(conns) != 1 {
				t.Fatalf("%q: cannot connect from %s", say, address)
			}
			_ = conns[0].SetReadDeadline(time.Now().Add(3 * time.Minute))
			answer, err := http.ReadResponse(bufio.NewReader(conns[0]), nil)
			if err != nil || answer.StatusCode != http.StatusOK {
				t.Errorf("%q held by %d: from %s %v %v", say, len(held), address, answer, err)
			}
		}
		stream := hold(t, "127.0.0.3", p.url, 1, "GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")[0]
		_ = stream.SetReadDeadline(time.Now().Add(3 * time.Minute))
		begun, err := http.ReadResponse(bufio.NewReader(stream), nil)
		first := make([]byte, 100)
		if err == nil {
			_, err = begun.Body.Read(first)
		}
		if err != nil || strings.Contains(string(first), "busy") {
			t.Errorf("%q: a stream of another address: %s %v", say, first, err)
		}
		for _, c := range held {
			_ = c.Close()
		}
	}
}

// TestTooFewFiles: a limit that is too low is one sentence, with the remedy, and the end.
func TestTooFewFiles(t *testing.T) {
	anywhere(t)
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("bash", "-c", `ulimit -n 100; exec "$@"`, "-", path, "--listen=127.0.0.1:0", "--data="+t.TempDir()).CombinedOutput()
	if err == nil || strings.Count(string(out), "\n") != 1 || !strings.Contains(string(out), "LimitNOFILE=20000") {
		t.Errorf("%v: %s", err, out)
	}
}
