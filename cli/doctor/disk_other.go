//go:build !linux && !darwin && !freebsd

package doctor

// freeBytes is not known.
func freeBytes(string) (free uint64, known bool) { return 0, false }

// full is not known: the error says it.
func full(error) bool { return false }
