package bolt

import (
	"os"
	"path/filepath"
	"testing"
)

// TestFill: what is filled is ahead of what is used, never in it, and never beyond the bound.
func TestFill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("used"), 0o600); err != nil {
		t.Fatal(err)
	}
	size := func() int64 {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	f := openFill(path, 3*fillBytes)
	if f.file == nil {
		t.Skip("not on this system")
	}
	defer f.close()
	for _, step := range []struct{ used, want int64 }{
		{4, 4 + fillBytes},
		{fillBytes / 2, 4 + fillBytes},             // there is enough
		{fillBytes, 4 + 2*fillBytes},               // nearly there
		{2*fillBytes + 100, 2*fillBytes + 4},       // the bound
		{fillBytes + fillBytes/2, 4 + 2*fillBytes}, // it is ahead
	} {
		f.ahead(step.used)
		if got := size(); got != step.want {
			t.Errorf("%d used: %d bytes, want %d", step.used, got, step.want)
		}
	}
	if err := os.Truncate(path, fillBytes/2); err != nil {
		t.Fatal(err)
	}
	f.ahead(fillBytes / 2)
	if got := size(); got != fillBytes/2+fillBytes {
		t.Errorf("after it was cut: %d bytes", got)
	}
	begin := make([]byte, 4)
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.Read(begin); err != nil || string(begin) != "used" {
		t.Errorf("%q, %v", begin, err)
	}
}
