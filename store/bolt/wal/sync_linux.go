//go:build !portable

package wal

import (
	"errors"
	"os"
	"syscall"
)

// dataFile syncs with fdatasync(2): a file that is written over only does not have its times
// journaled then.
type dataFile struct{ *os.File }

func (f dataFile) Sync() error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); !errors.Is(err, syscall.EINTR) {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}
