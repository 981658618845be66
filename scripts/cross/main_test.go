package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTellsWhereItDoesNotCompile: what only Linux has is missed elsewhere, in a function's body
// too, and named with its place.
func TestTellsWhereItDoesNotCompile(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":     "module example.com/here\n\ngo 1.26\n",
		"main.go":    "package main\n\nimport \"syscall\"\n\nfunc main() { _, _ = syscall.EpollCreate1(0) }\n",
		"only.go":    "//go:build !linux\n\npackage main\n\nvar fd int = int32(1)\n",
		"windows.go": "package main\n\nfunc unused() {}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := &checker{dir: dir, programs: []string{"."}}
	if said, err := c.check(t.Context(), "linux", "arm64"); err != nil {
		t.Errorf("linux: %s, %v", said, err)
	}
	for _, system := range []string{"darwin", "windows", "freebsd"} {
		_, err := c.check(t.Context(), system, "amd64")
		for _, want := range []string{"main.go:5", "EpollCreate1", "only.go:5", "int32"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v does not tell of %s", system, err, want)
			}
		}
	}
}

// TestOfThisModule: a target that is not the machine's own. All of them are what the command is
// for.
func TestOfThisModule(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	c := &checker{dir: "../..", programs: []string{"./hub"}}
	if said, err := c.check(t.Context(), "windows", "arm64"); err != nil {
		t.Errorf("%s, %v", said, err)
	}
}
