package servertest

import "golang.org/x/sys/unix"

// freeBytes returns how much may still be written below a folder.
func freeBytes(folder string) (free uint64, ok bool) {
	var s unix.Statfs_t
	if err := unix.Statfs(folder, &s); err != nil {
		return 0, false
	}
	return s.Bavail * uint64(s.Bsize), true //nolint:gosec // a block's size is positive
}
