package servertest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// memoryFolder is where Linux keeps files in memory for everybody.
const memoryFolder = "/dev/shm"

// enoughMemory is what must be free there, in bytes. Containers often have 64 MB, which one server
// would fill.
const enoughMemory = 4 << 30

var sweepOnce sync.Once

// newFolder makes a folder for what servers write, and returns how it is removed. It is in memory
// where that has room: what the servers promise is the same there, as long as the machine runs,
// and tests wait neither for a slow disk nor for what others write to it at the same time.
func newFolder() (dir string, remove func(), err error) {
	parent := ""
	if free, ok := freeBytes(memoryFolder); ok && free >= enoughMemory {
		parent = memoryFolder
		sweepOnce.Do(sweep)
	}
	dir, err = os.MkdirTemp(parent, fmt.Sprintf("hark-servertest-%d-", os.Getpid()))
	if err != nil {
		return "", nil, err
	}
	return dir, func() { _ = os.RemoveAll(dir) }, nil
}

// sweep removes what test programs left in memory that were killed: nothing else would before the
// machine is started again.
func sweep() {
	dirs, _ := filepath.Glob(filepath.Join(memoryFolder, "hark-servertest-*"))
	for _, dir := range dirs {
		_, rest, _ := strings.Cut(filepath.Base(dir), "hark-servertest-")
		pid, _, _ := strings.Cut(rest, "-")
		if n, err := strconv.Atoi(pid); err == nil && syscall.Kill(n, 0) == syscall.ESRCH {
			_ = os.RemoveAll(dir)
		}
	}
}
