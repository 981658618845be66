//go:build unix && (!linux || portable) && !nodescriptor

package hub

import (
	"net"
	"syscall"
)

// takeDescriptor returns the descriptor of a connection, for writes that do not wait. It stays that
// of conn.
func takeDescriptor(conn net.Conn) (rest net.Conn, fd int32) {
	fd = -1
	if plain, ok := conn.(syscall.Conn); ok {
		if raw, err := plain.SyscallConn(); err == nil {
			_ = raw.Control(func(its uintptr) { fd = int32(its) })
		}
	}
	return conn, fd
}
