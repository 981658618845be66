// Package hangup notices when the client of a call has gone that is being answered.
package hangup

import (
	"context"
	"crypto/tls"
	"net"
	"syscall"
	"time"
)

// goneEvery is how often it is looked whether a client has gone that has sent more than the call
// that it waits for: that stands in front of the end, and nobody may read it yet.
const goneEvery = 200 * time.Millisecond

// Watch returns a context that ends with ctx, or as soon as the client at the other end of a
// connection has hung up, so that nobody waits for an answer that nobody reads. A client that has
// only closed its half is taken for gone, as by most servers and proxies. stop has to be called
// before anything is read from the connection.
func Watch(ctx context.Context, conn net.Conn) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	raw := socketOf(conn)
	if raw == nil {
		return ctx, cancel
	}
	_ = conn.SetReadDeadline(time.Time{}) // that of the call's head
	done := make(chan struct{})
	go func() {
		defer close(done)
		if hungUp(ctx, raw) {
			cancel()
		}
	}()
	return ctx, func() {
		cancel()
		_ = conn.SetReadDeadline(time.Unix(1, 0)) // wakes it
		<-done
		_ = conn.SetReadDeadline(time.Time{})
	}
}

// Left reports whether the client at the other end of a connection has gone, as far as that can be
// seen now. It reads nothing.
func Left(conn net.Conn) bool {
	raw := socketOf(conn)
	return raw != nil && hasLeft(raw)
}

// socketOf returns the socket beneath a connection, nil if there is none.
func socketOf(c net.Conn) syscall.RawConn {
	for {
		switch wrapped := c.(type) {
		case *tls.Conn:
			c = wrapped.NetConn()
		case interface{ UnsafeConn() net.Conn }:
			c = wrapped.UnsafeConn()
		case syscall.Conn:
			raw, err := wrapped.SyscallConn()
			if err != nil {
				return nil
			}
			return raw
		default:
			return nil
		}
	}
}
