package servertest

import (
	"net"
	"sync"
	"testing"
)

// Serve listens on a free port until the test ends and calls f for each connection, in a
// goroutine of its own. f takes the connection over: nobody else closes it. Where f does not
// return by itself, the test must see to it that it does, in a cleanup that it adds after
// this call: the test ends only when all have returned.
func Serve(t testing.TB, f func(net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { f(conn) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); serving.Wait() })
	return l.Addr().String()
}
