package hangup

import "golang.org/x/sys/unix"

// closedBehind reports whether the client has closed behind what nobody has read yet (poll(2)).
func closedBehind(fd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
}
