package bolt

import (
	"os"
	"runtime"
)

// fill keeps the part of the file that is used next filled with zeros, so that pages are written where the
// file has blocks already. In a hole the file system has to find some and to journal that,
// with each commit while the file grows, and to wait for it takes longer than for the data.
//
// It writes beyond what is used only, and before the commit in the same goroutine. If it cannot, the
// file grows as it would without.
type fill struct {
	file *os.File // nil: not here
	to   int64    // up to where it is filled
	most int64    // the file's bound, 0 if there is none
}

// fillBytes is how much is filled at a time: as little as makes it rare, because the next commit waits for it.
const fillBytes = 1 << 20

var zeros [fillBytes]byte

func openFill(path string, most int) fill {
	if runtime.GOOS != "linux" { // elsewhere to close the file could take the lock of the database with it
		return fill{}
	}
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fill{}
	}
	return fill{file: file, most: int64(most)}
}

// ahead fills on if the file is used nearly up to where that was done.
func (f *fill) ahead(used int64) {
	if f.file == nil {
		return
	}
	if info, err := f.file.Stat(); err == nil {
		f.to = min(f.to, info.Size()) // bbolt cuts what is too much for it while the file is small
	}
	f.to = max(f.to, used)
	if used+fillBytes/4 <= f.to || f.most > 0 && f.to+fillBytes > f.most {
		return
	}
	if _, err := f.file.WriteAt(zeros[:], f.to); err != nil {
		f.close() // the disk is full, say: commits will tell
		return
	}
	f.to += fillBytes
}

func (f *fill) close() {
	if f.file != nil {
		_ = f.file.Close()
		f.file = nil
	}
}
