//go:build !portable

package hub

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// takeDescriptor takes a connection over. What the net package and the runtime keep for each
// connection, its addresses, its place among those that goroutines wait for, is as much again as
// the hub does, and nothing of it is needed here: so the descriptor alone is kept, which then
// belongs to who calls, and rest is nil. With TLS, or if there is no descriptor to be had, rest is
// conn.
func takeDescriptor(conn net.Conn) (rest net.Conn, fd int32) {
	plain, ok := conn.(interface {
		syscall.Conn
		CloseWrite() error
	})
	if !ok {
		return conn, -1
	}
	raw, err := plain.SyscallConn()
	if err != nil {
		return conn, -1
	}
	fd = -1
	if err := raw.Control(func(its uintptr) {
		// The copy is of the same open socket, which stays non-blocking.
		if n, err := unix.FcntlInt(its, unix.F_DUPFD_CLOEXEC, 0); err == nil {
			fd = int32(n)
		}
	}); err != nil || fd < 0 {
		return conn, -1
	}
	_ = conn.Close() // gives back what is kept for it; the socket stays open
	return nil, fd
}
