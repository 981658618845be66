//go:build unix && !linux

package hangup

import "golang.org/x/sys/unix"

// closedBehind reports whether the connection was reset. That its client has closed it behind what
// nobody has read yet is not told here.
func closedBehind(fd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(fd)}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
}
