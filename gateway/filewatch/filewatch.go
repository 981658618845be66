// Package filewatch tells when a file may have changed. It asks the file now and then, as nobody is
// notified of what happens on a network, behind a bind mount, or behind the symbolic links that
// Kubernetes swaps to replace what is mounted.
package filewatch

import (
	"os"
	"time"
)

// settles is how long ago a file has to have changed for its time to tell a further change.
const settles = time.Second

// File is a file that is watched. It is not for concurrent use.
type File struct {
	path string
	seen os.FileInfo // when it had last changed, nil for never
}

// New returns a file that has changed as long as nobody has asked.
func New(path string) File { return File{path: path} }

// Path returns where the file is.
func (f *File) Path() string { return f.path }

// Changed reports whether the file may have changed since it had last. Whoever reads it afterwards
// misses no change: what is written in between has changed it again.
func (f *File) Changed() (bool, error) {
	file, err := os.Open(f.path) // what cannot be opened may look as it was
	if err != nil {
		f.seen = nil
		return false, err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		f.seen = nil
		return false, err
	}
	if was := f.seen; was != nil && os.SameFile(was, info) && was.Size() == info.Size() && was.ModTime().Equal(info.ModTime()) &&
		time.Since(info.ModTime()) > settles {
		return false, nil
	}
	f.seen = info
	return true, nil
}

// Forget has the file changed when it is next asked: what it held could not be taken.
func (f *File) Forget() { f.seen = nil }
