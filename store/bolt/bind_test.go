package bolt

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/bolt/wal"
)

// TestBelongs: without its log, or beside another one, a file that was not closed is refused with
// what to do, and left as it is; so is a log without its file.
func TestBelongs(t *testing.T) {
	path, other := filepath.Join(t.TempDir(), "hark.db"), filepath.Join(t.TempDir(), "hark.db")
	s := openLogged(t, path)
	lives(t, s, 0, 1, func() {})
	if err := s.emptyLog(); err != nil {
		t.Fatal(err)
	}
	lives(t, s, 1, 3, func() {})
	earlier := crash(t, path)
	if err := s.emptyLog(); err != nil {
		t.Fatal(err)
	}
	lives(t, s, 3, 6, func() {})
	lives(t, openLogged(t, other), 0, 3, func() {})
	later, foreign := crash(t, path), crash(t, other)
	read := func(path string) []byte {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	file, log := read(later), read(walPath(later))
	for _, c := range []struct {
		name      string
		file, log []byte // nil: not there
		want      error
		discard   bool // the file can be used without the log
	}{
		{"no log", file, nil, errLogMissing, true},
		{"an empty log", file, []byte{}, errLogBlank, true},
		{"a log of zeros", file, make([]byte, len(log)), errLogBlank, true},
		{"a log with another beginning", file, append(make([]byte, wal.HeaderBlock), log[wal.HeaderBlock:]...), errLogHead, true},
		{"another store's log", file, read(walPath(foreign)), errLogForeign, true},
		{"an older log", file, read(walPath(earlier)), errLogOlder, true},
		{"a log that was cut", file, log[:len(log)/2], errTorn, true},
		{"an older file", read(earlier), log, errGap, true},
		{"no file", nil, log, errFileMissing, false},
		{"an empty file", []byte{}, log, errFileEmpty, false},
		{"an empty file without a log", []byte{}, nil, errFileEmpty, false},
	} {
		at := filepath.Join(t.TempDir(), "hark.db")
		if c.file != nil {
			if err := os.WriteFile(at, c.file, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if c.log != nil {
			if err := os.WriteFile(walPath(at), c.log, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s, err := Open(at, Options{})
		if err == nil {
			s.Close()
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		for suffix, want := range map[string][]byte{"": c.file, "-wal": c.log} {
			if got, err := os.ReadFile(at + suffix); !bytes.Equal(got, want) || (err != nil) != (want == nil) {
				t.Errorf("%s: hark.db%s was changed", c.name, suffix)
			}
		}
		if _, err := Check(at, func(error) {}); !errors.Is(err, c.want) {
			t.Errorf("%s: a check says %v", c.name, err)
		}
		if kept, err := DiscardLog(at); (err == nil) != c.discard {
			t.Errorf("%s: discarding: %v", c.name, err)
		} else if c.discard {
			if (kept != "") != (c.log != nil) || kept != "" && !bytes.Equal(read(kept), c.log) {
				t.Errorf("%s: the log is kept as %q", c.name, kept)
			}
			if _, err := openLogged(t, at).Get(t.Context(), lifecycle.Named("r0")); err != nil {
				t.Errorf("%s: without the log: %v", c.name, err)
			}
		}
	}
}
