package filewatch_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hark-push/hark/gateway/filewatch"
)

// TestChanged: whatever makes another file of it is told, once, even if it looks nearly the same.
func TestChanged(t *testing.T) {
	dir := t.TempDir()
	path, long := filepath.Join(dir, "file"), time.Now().Add(-time.Hour)
	write := func(path, text string, at time.Time) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	f := filewatch.New(path)
	check := func(what string, want bool) {
		t.Helper()
		if changed, err := f.Changed(); err != nil || changed != want {
			t.Errorf("%s: changed %v, %v, want %v", what, changed, err, want)
		}
	}
	gone := func() {
		t.Helper()
		if changed, err := f.Changed(); err == nil || changed {
			t.Errorf("it is gone, and changed %v, %v", changed, err)
		}
	}
	gone()
	write(path, "one", long)
	check("it is new", true)
	check("nothing happened", false)
	write(path, "two", long.Add(time.Second))
	check("another time", true)
	check("nothing happened since", false)
	write(path, "three", long.Add(time.Second))
	check("another size at the same time", true)
	check("nothing happened after that", false)
	write(filepath.Join(dir, "next"), "3hree", long.Add(time.Second))
	if err := os.Rename(filepath.Join(dir, "next"), path); err != nil {
		t.Fatal(err)
	}
	check("another file of the same size and time", true)
	check("nothing happened to that", false)
	f.Forget()
	check("it could not be taken", true)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	gone()
	write(path, "3hree", long.Add(time.Second))
	check("it is back", true)
	write(path, "4hree", time.Now().Add(time.Hour))
	check("in the future", true)
	check("which no time tells from a further change", true)
}

// TestSwappedLinks: a file behind links that are swapped as Kubernetes does is another one.
func TestSwappedLinks(t *testing.T) {
	dir := t.TempDir()
	at := time.Now().Add(-time.Hour)
	version := func(name string) {
		t.Helper()
		path := filepath.Join(dir, name, "file")
		if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(name, filepath.Join(dir, "..next")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..next"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	version("..1")
	if err := os.Symlink(filepath.Join("..data", "file"), filepath.Join(dir, "file")); err != nil {
		t.Fatal(err)
	}
	f := filewatch.New(filepath.Join(dir, "file"))
	for _, name := range []string{"..2", "..3"} {
		if changed, err := f.Changed(); err != nil || !changed {
			t.Errorf("before %s: %v, %v", name, changed, err)
		}
		if changed, err := f.Changed(); err != nil || changed {
			t.Errorf("nothing happened before %s: %v, %v", name, changed, err)
		}
		version(name)
	}
}
