package bolt

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"syscall"

	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/hark-push/hark/lifecycle"
)

// full are the errors of a disk, a quota or a limit on files that has no space left; fullWindows
// those of Windows, where the others are inventions of package syscall.
var (
	full        = []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG}
	fullWindows = []syscall.Errno{112, 39} // ERROR_DISK_FULL, ERROR_HANDLE_DISK_FULL
)

// isFull reports whether the database could not write because there is no space.
func isFull(err error) bool {
	if errors.Is(err, bolterrors.ErrMaxSizeReached) {
		return true
	}
	errnos := full
	if runtime.GOOS == "windows" {
		errnos = fullWindows
	}
	for _, errno := range errnos {
		// bbolt passes the words alone on if its file could not grow.
		if errors.Is(err, errno) || strings.HasSuffix(err.Error(), errno.Error()) {
			return true
		}
	}
	return false
}

// unavailable wraps what the database said.
func unavailable(err error) error {
	if isFull(err) {
		return fmt.Errorf("%w: store: %w: %w", lifecycle.ErrUnavailable, lifecycle.ErrFull, err)
	}
	return fmt.Errorf("%w: store: %w", lifecycle.ErrUnavailable, err)
}

// probeSize is how much Probe writes, in bytes: as much room as a request without content takes,
// which changes a dozen pages.
const probeSize = 64 << 10

// Probe returns nil while changes can be made durable, as far as is known. After one could not, it
// makes one that means nothing: else nobody would notice that it can again where calls come only
// while it can.
func (s *Store) Probe(ctx context.Context) error {
	if s.isClosed() {
		return unavailable(errClosed)
	}
	if !s.failing.Load() {
		return nil
	}
	name := []byte(probeName)
	if err := s.write(ctx, func(b *batch) error {
		b.put(keptBucket, name, make([]byte, probeSize))
		return nil
	}); err != nil {
		return err
	}
	return s.write(ctx, func(b *batch) error {
		b.delete(keptBucket, name)
		return nil
	})
}
