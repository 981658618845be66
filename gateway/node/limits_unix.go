//go:build unix

package node

import "golang.org/x/sys/unix"

// openFiles returns how many files the process may have open; ok is false if that is not known.
func openFiles() (limit uint64, ok bool) {
	var l unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l)
	return uint64(l.Cur), err == nil //nolint:unconvert // it is an int64 on FreeBSD
}
