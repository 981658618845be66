//go:build !linux

package bolt

// letGo leaves it to the system which pages of a file are mapped.
func letGo(uintptr, int) {}
