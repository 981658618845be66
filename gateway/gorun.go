package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// endWithGoRun has this process drain, as on SIGTERM, when the `go run` that has started it is
// gone. That command passes nothing on: whoever ends it, by kill or with the unit that it runs in,
// would leave a gateway that holds the port and the data. Whatever else starts a gateway may end
// before it, as shells, nohup and supervisors do: where the program lies tells the two apart. It
// returns when ctx ends, or at once if there is nothing to watch.
func endWithGoRun(ctx context.Context, logger *slog.Logger) {
	path, err := os.Executable()
	if err != nil || !builtByGoRun(path) || runtime.GOOS == "windows" {
		// On Windows a process keeps the id of a parent that has gone.
		return
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for parent := os.Getppid(); os.Getppid() == parent; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
	logger.Info("go run has ended, and so does what it has started")
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		_ = self.Signal(syscall.SIGTERM) // the way that who ends go run has meant
	}
}

// cached is where a program lies in the build cache, wherever that is: two digits of a hash, and
// all of them.
var cached = regexp.MustCompile(`/([0-9a-f]{2})/[0-9a-f]{64}-d/[^/]+$`)

// builtByGoRun reports whether a program lies where go run puts what it runs: in a temporary
// folder, or in the build cache.
func builtByGoRun(path string) bool {
	path = filepath.ToSlash(path)
	temporary := strings.Contains(path, "/go-build") && strings.Contains(path, "/exe/")
	return temporary || cached.MatchString(path)
}
