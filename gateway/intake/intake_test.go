package intake_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hark-push/hark/gateway/intake"
)

// fake is a listener whose connections and errors a test gives it.
type fake struct{ next chan any }

func (f *fake) Accept() (net.Conn, error) {
	switch n := (<-f.next).(type) {
	case net.Conn:
		return n, nil
	case error:
		return nil, n
	}
	return nil, net.ErrClosed
}

func (f *fake) Close() error {
	f.next <- net.ErrClosed
	return nil
}
func (f *fake) Addr() net.Addr { return nil }

// conn is one end of a connection from an address.
type conn struct {
	net.Conn
	from string
}

func (c conn) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(c.from), 1))
}
func (c conn) CloseWrite() error { return nil }

type side struct {
	*fake
	*intake.Listener
	t *testing.T
}

func open(t *testing.T, o intake.Options) *side {
	f := &fake{make(chan any, 100)}
	l := intake.New(f, o)
	t.Cleanup(func() { _ = l.Close() })
	return &side{f, l, t}
}

// dialUnsettled is dial while another connection is held.
func (s *side) dialUnsettled(from string) (client net.Conn, accepted *intake.Conn) {
	client, server := net.Pipe()
	s.t.Cleanup(func() { _ = client.Close() })
	s.next <- conn{server, from}
	c, err := s.Listener.Accept()
	if err != nil {
		return client, nil
	}
	return client, intake.Of(c)
}

// dial lets a connection come and returns both of its ends; accepted is nil if it was refused.
func (s *side) dial(from string) (client net.Conn, accepted *intake.Conn) {
	s.t.Helper()
	client, server := net.Pipe()
	s.t.Cleanup(func() { _ = client.Close() })
	s.next <- conn{server, from}
	s.next <- errors.New("nothing more") // final, so that Accept returns
	c, err := s.Listener.Accept()
	if err != nil {
		return client, nil
	}
	<-s.next
	go func() { _, _ = c.Read(make([]byte, 1)) }() // as a server does
	s.settled()
	return client, intake.Of(c)
}

// settled waits until no connection waits for a place.
func (s *side) settled() {
	for s.Stats().Held > 0 {
		time.Sleep(time.Millisecond)
	}
}

// gone reports whether the other end was closed.
func gone(client net.Conn) bool {
	_ = client.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	_, err := client.Read(make([]byte, 1))
	return errors.Is(err, io.EOF)
}

// TestAcceptErrors: what passes is waited out, also ECONNABORTED and whatever the network says;
// what does not is returned.
func TestAcceptErrors(t *testing.T) {
	s := open(t, intake.Options{})
	passing := []error{syscall.EMFILE, syscall.ENFILE, syscall.ECONNABORTED, syscall.ENOBUFS, syscall.ENOMEM, syscall.EPROTO, syscall.EHOSTUNREACH}
	for _, err := range passing {
		s.next <- &net.OpError{Op: "accept", Err: err}
	}
	if _, c := s.dial("192.0.2.1"); c == nil {
		t.Fatal("no connection after them")
	}
	if got := s.Stats().Failed; got != int64(len(passing)) {
		t.Errorf("%d failures", got)
	}
	for _, err := range []error{net.ErrClosed, syscall.EINVAL, errors.New("something else")} {
		s.next <- err
		if _, got := s.Listener.Accept(); !errors.Is(got, err) {
			t.Errorf("%v became %v", err, got)
		}
	}
	s.next <- &net.OpError{Op: "accept", Err: syscall.EMFILE} // closing ends the pause
	time.AfterFunc(time.Millisecond, func() { _ = s.Listener.Close() })
	if _, err := s.Listener.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

// TestIdleMakesRoom: the connection that has been idle for longest is closed for a new one, of the
// same address if that has its share, and none with a call under way.
func TestIdleMakesRoom(t *testing.T) {
	s := open(t, intake.Options{Most: 4, PerAddress: 2})
	busy, first := s.dial("192.0.2.1")
	first.Begin()
	idle, _ := s.dial("192.0.2.1")
	other, _ := s.dial("192.0.2.2")
	if _, c := s.dial("192.0.2.1"); c == nil {
		t.Fatal("refused though one of its own is idle")
	}
	if !gone(idle) || gone(busy) || gone(other) {
		t.Error("another one was closed")
	}
	rested, third := s.dial("192.0.2.3")
	third.Begin()
	third.End()
	if _, c := s.dial("192.0.2.4"); c == nil || !gone(other) || gone(rested) {
		t.Error("of all, not the one that has been idle for longest")
	}
	if st := s.Stats(); st.Open != 4 || st.Idle != 3 || st.Evicted != 2 {
		t.Errorf("%+v", st)
	}
	third.Release()
	_ = first.Close()
	if st := s.Stats(); st.Open != 2 {
		t.Errorf("%+v", st)
	}
}

// TestRefused: whose address has its share under way is told so, and whose has not is served.
func TestRefused(t *testing.T) {
	trusted := netip.MustParseAddr("192.0.2.9")
	s := open(t, intake.Options{Most: 100, PerAddress: 1, Exempt: func(a netip.Addr) bool { return a == trusted }})
	_, c := s.dial("2001:db8:1:2::1")
	c.Begin()
	client, server := net.Pipe()
	s.next <- conn{server, "2001:db8:1:2:ffff::2"} // of the same /64
	s.next <- errors.New("nothing more")
	accepted := make(chan error)
	go func() {
		_, err := s.Listener.Accept()
		accepted <- err
	}()
	answer := make([]byte, 1024)
	n, _ := client.Read(answer)
	if text := string(answer[:n]); !strings.HasPrefix(text, "HTTP/1.1 429 ") || !strings.Contains(text, "/problems/too-many-connections") || !strings.Contains(text, "Retry-After: ") {
		t.Errorf("told %q", text)
	}
	_ = client.Close()
	if err := <-accepted; err == nil {
		t.Error("it was taken on")
	}
	for _, from := range []string{"2001:db8:1:3::1", "192.0.2.1", "192.0.2.9", "192.0.2.9", "192.0.2.9"} {
		_, c := s.dial(from)
		if c == nil {
			t.Fatalf("%s was refused", from)
		}
		c.Begin()
	}
}

// TestNobodyWaitsBehind: a connection whose address has its share waits for a place of that by
// itself; one of another address, which comes behind it, is served meanwhile.
func TestNobodyWaitsBehind(t *testing.T) {
	s := open(t, intake.Options{Most: 10, PerAddress: 1})
	_, first := s.dial("192.0.2.1") // idle, and not for long enough
	held, server := net.Pipe()
	defer func() { _ = held.Close() }()
	s.next <- conn{server, "192.0.2.1"}
	second, err := s.Listener.Accept()
	if err != nil || s.Stats().Held != 1 {
		t.Fatalf("%v, %+v", err, s.Stats())
	}
	if _, c := s.dialUnsettled("192.0.2.2"); c == nil || s.Stats().Open != 2 {
		t.Fatalf("%+v", s.Stats())
	}
	_ = first.Close()
	go func() { _, _ = second.Read(make([]byte, 1)) }()
	s.settled()
	if st := s.Stats(); st.Open != 2 || st.Refused != 0 {
		t.Errorf("%+v", st)
	}
	_ = second.Close()
	if st := s.Stats(); st.Open != 1 {
		t.Errorf("%+v", st)
	}
}

// TestHeldIsRefused: who waits for a place in vain is told so, and counts nowhere.
func TestHeldIsRefused(t *testing.T) {
	s := open(t, intake.Options{Most: 1})
	_, first := s.dial("192.0.2.1")
	first.Begin()
	client, server := net.Pipe()
	s.next <- conn{server, "192.0.2.2"}
	c, err := s.Listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() { _, err := c.Read(make([]byte, 1)); read <- err }()
	answer := make([]byte, 1024)
	n, _ := client.Read(answer)
	if text := string(answer[:n]); !strings.HasPrefix(text, "HTTP/1.1 503 ") {
		t.Errorf("told %q", text)
	}
	_ = client.Close()
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if st := s.Stats(); st.Held != 0 || st.Open != 1 || st.Refused != 1 {
		t.Errorf("%+v", st)
	}
}

// TestOf: what counts a connection is found beneath TLS, too.
func TestOf(t *testing.T) {
	s := open(t, intake.Options{})
	_, c := s.dial("192.0.2.1")
	if intake.Of(tls.Server(c, &tls.Config{MinVersion: tls.VersionTLS12})) != c || intake.Of(nil) != nil {
		t.Error("not found")
	}
	var none *intake.Conn
	none.Begin()
	none.End()
	none.Release()
}

// TestGivenUp: a connection that its client has reset before anybody came to it is no more work;
// one of which only a half is closed is.
func TestGivenUp(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("it is not known there")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := intake.New(listener, intake.Options{Most: 10})
	defer func() { _ = l.Close() }()
	dial := func() *net.TCPConn {
		c, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return c.(*net.TCPConn)
	}
	for range 3 {
		gone := dial()
		_, _ = io.WriteString(gone, "GET / HTTP/1.1\r\n\r\n")
		_ = gone.SetLinger(0)
		_ = gone.Close()
	}
	half := dial()
	defer func() { _ = half.Close() }()
	_, _ = io.WriteString(half, "GET / HTTP/1.1\r\n\r\n")
	_ = half.CloseWrite()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if c.RemoteAddr().String() != half.LocalAddr().String() {
		t.Error("one that was given up is served")
	}
}
