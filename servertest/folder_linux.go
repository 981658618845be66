package servertest

import "syscall"

// freeBytes returns how much may still be written below a folder.
func freeBytes(folder string) (free uint64, ok bool) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(folder, &s); err != nil {
		return 0, false
	}
	return s.Bavail * uint64(s.Bsize), true // a block has a size
}
