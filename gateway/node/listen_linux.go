//go:build !portable

package node

import (
	"time"

	"golang.org/x/sys/unix"
)

// noticeVanished lets data that a peer does not acknowledge for a minute end its connection, so
// that streams to vanished clients are found (tcp(7), TCP_USER_TIMEOUT). Connections have it from
// the socket that listens.
func noticeVanished(listener uintptr) error {
	return unix.SetsockoptInt(int(listener), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(time.Minute.Milliseconds()))
}
