//go:build linux || darwin || freebsd

package doctor

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// freeBytes returns how much of a disk this user may still fill.
func freeBytes(folder string) (free uint64, known bool) {
	var s unix.Statfs_t
	if err := unix.Statfs(folder, &s); err != nil {
		return 0, false
	}
	return uint64(max(int64(s.Bavail), 0)) * uint64(s.Bsize), true
}

// full reports whether an error is that a disk, or somebody's part of it, is full.
func full(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }
