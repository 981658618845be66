//go:build unix

package intake

import (
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// reset reports whether the client has given a connection up, so that nothing can be answered on it
// any more. One that has only closed its half still waits. It does not block (poll(2)).
func reset(c net.Conn) (gone bool) {
	s, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd)}} // what is asked for is only what is always told
		n, err := unix.Poll(fds, 0)
		gone = err == nil && n > 0 && fds[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0
	})
	return gone && err == nil
}

// silent reports whether a connection has nothing that nobody has read. It does not block.
func silent(c net.Conn) (nothing bool) {
	s, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Control(func(fd uintptr) {
		var one [1]byte
		_, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		nothing = errors.Is(err, unix.EAGAIN)
	})
	return nothing && err == nil
}
