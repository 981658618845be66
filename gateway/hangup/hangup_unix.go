//go:build unix

package hangup

import (
	"context"
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// hungUp returns true when the client at the other end of a socket has gone, and false when ctx has
// ended or a deadline for reading has passed. It reads nothing.
func hungUp(ctx context.Context, raw syscall.RawConn) bool {
	var left, more bool
	err := raw.Read(func(fd uintptr) bool {
		left, more = peek(fd)
		return left || more
	})
	if err != nil || left {
		return err == nil
	}
	for tick := time.NewTicker(goneEvery); more; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			tick.Stop()
			return false
		}
		if err := raw.Control(func(fd uintptr) { left = closedBehind(fd) }); err != nil || left {
			tick.Stop()
			return err == nil
		}
	}
	return false
}

// hasLeft reports whether the client at the other end of a socket has gone. It reads nothing, and
// does not wait.
func hasLeft(raw syscall.RawConn) (left bool) {
	err := raw.Control(func(fd uintptr) {
		var more bool
		if left, more = peek(fd); more {
			left = closedBehind(fd)
		}
	})
	return err != nil || left
}

// peek reports whether the client has gone, or has sent something that nobody has read. Neither
// may be so.
func peek(fd uintptr) (left, more bool) {
	var one [1]byte
	for {
		n, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return false, false
		}
		return err != nil || n == 0, n > 0
	}
}
