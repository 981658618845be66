package bolt

import "syscall"

// letGo unmaps the pages of a file that is mapped for reading. Who reads there again finds them in
// the cache of the system.
func letGo(at uintptr, size int) {
	_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, at, uintptr(size), syscall.MADV_DONTNEED)
}
