package httpbody

import (
	"errors"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/hark-push/hark/gateway/hangup"
)

// TestUndelivered: of an answer that does not reach its client is told, once, as far as it can be
// known; of others it is not.
func TestUndelivered(t *testing.T) {
	large := make([]byte, 32<<20)
	for name, c := range map[string]struct {
		answer func(t *testing.T, c *Conn, client *net.TCPConn)
		told   int
	}{
		"written": {func(t *testing.T, c *Conn, client *net.TCPConn) {
			if _, err := c.Write([]byte("answer")); err != nil {
				t.Error(err)
			}
			c.answered()
			if err := client.Close(); err != nil {
				t.Error(err)
			}
			gone(t, c)
			_, _ = c.Write([]byte("of another call"))
		}, 0},
		"the client has closed": {func(t *testing.T, c *Conn, client *net.TCPConn) {
			if err := client.Close(); err != nil {
				t.Error(err)
			}
			gone(t, c)
			if n, err := c.Write([]byte("answer")); err == nil || n > 0 {
				t.Errorf("%d bytes were written: %v", n, err)
			}
			c.answered()
		}, 1},
		"the client has closed behind what it sent": {func(t *testing.T, c *Conn, client *net.TCPConn) {
			if runtime.GOOS != "linux" {
				c.Missed() // it is not told elsewhere
				return
			}
			if _, err := client.Write([]byte("the next call")); err != nil {
				t.Error(err)
			}
			if err := client.CloseWrite(); err != nil {
				t.Error(err)
			}
			gone(t, c)
			if n, err := c.Write([]byte("answer")); err == nil || n > 0 {
				t.Errorf("%d bytes were written: %v", n, err)
			}
			c.answered()
		}, 1},
		"the client closes meanwhile": {func(t *testing.T, c *Conn, client *net.TCPConn) {
			go func() {
				_, _ = io.ReadFull(client, make([]byte, 1000))
				_ = client.Close()
			}()
			if _, err := c.Write(large); err == nil {
				t.Error("all was written")
			}
			c.answered()
		}, 1},
		"nothing was written": {func(_ *testing.T, c *Conn, _ *net.TCPConn) { c.answered() }, 1},
		"it could not be made": {func(_ *testing.T, c *Conn, _ *net.TCPConn) {
			_, _ = c.Write([]byte("a part"))
			answer := &held{parts: []io.WriterTo{NewSection(1, func([]byte, int64) (int, error) { return 0, errors.New("away") })}, cut: c.Missed}
			_, _ = answer.WriteTo(c)
			_ = answer.Close()
			_ = answer.Close()
			c.answered()
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			client, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = client.Close() }()
			accepted, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = accepted.Close() }()
			own, told := &Conn{Conn: accepted, bounds: &Bounds{Stall: time.Minute}}, 0
			own.Await(func() { told++ })
			c.answer(t, own, client.(*net.TCPConn))
			if told != c.told {
				t.Errorf("it was told %d times, want %d", told, c.told)
			}
		})
	}
}

// gone waits until it can be seen here that the client has gone.
func gone(t *testing.T, c *Conn) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("it is not seen there")
	}
	for deadline := time.Now().Add(3 * time.Minute); !hangup.Left(c); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is not seen")
		}
	}
}
