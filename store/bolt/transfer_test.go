package bolt

import (
	"bytes"
	"errors"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/transfer"
	"github.com/hark-push/hark/store/transfertest"
)

var discard = slog.New(slog.DiscardHandler)

func exported(t *testing.T, s *Store) string {
	t.Helper()
	var out strings.Builder
	if _, err := transfer.Write(&out, s, wire.JSON, nil); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestTransfer: the export of an import is the export that it was made of, whatever is in it, and
// followers go on after their cursors.
func TestTransfer(t *testing.T) {
	s := openLogged(t, filepath.Join(t.TempDir(), "hark.db"))
	furnish(t, s)
	want := exported(t, s)
	path := filepath.Join(t.TempDir(), "hark.db")
	if err := Import(path, transfer.Read(strings.NewReader(want), nil)); err != nil {
		t.Fatal(err)
	}
	again := openLogged(t, path)
	if got := exported(t, again); got != want {
		a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
		for i := range min(len(a), len(b)) {
			if a[i] != b[i] {
				t.Fatalf("line %d is\n%.900s\nwas\n%.900s", i+1, b[i], a[i])
			}
		}
		t.Fatalf("%d lines, want %d", len(b), len(a))
	}
	if err := again.journal.view(again.consistent); err != nil {
		t.Error(err)
	}
	top := uint64(0)
	for _, store := range []*Store{s, again} { // both go on alike
		if _, err := store.Apply(t.Context(), lifecycle.Named("r02"), lifecycle.Progress{}); err != nil {
			t.Fatal(err)
		}
		h, err := store.Read(t.Context(), "owner:alice", 10, 1000)
		if err != nil || h.Messages[0].Offset != 11 || top != 0 && h.Top != top {
			t.Errorf("%d messages up to %d, %v", len(h.Messages), h.Top, err)
		}
		top = h.Top
	}
	if err := Import(path, transfer.Read(strings.NewReader(want), nil)); err == nil || !strings.Contains(err.Error(), "there is something already") {
		t.Errorf("into a store that is there: %v", err)
	}
}

// TestWrongExport: of an export that a gateway cannot have written nothing is taken over.
func TestWrongExport(t *testing.T) {
	s := openLogged(t, filepath.Join(t.TempDir(), "hark.db"))
	furnish(t, s)
	take := func(t *testing.T, lines iter.Seq2[transfer.Line, error]) error {
		path := filepath.Join(t.TempDir(), "hark.db")
		err := Import(path, lines)
		if left, failed := os.ReadDir(filepath.Dir(path)); failed != nil || len(left) > 0 {
			t.Errorf("%v is left, %v", left, failed)
		}
		return err
	}
	whole := exported(t, s)
	transfertest.Imports(t, whole, take)
	var lines []transfer.Line
	for l, err := range transfer.Read(strings.NewReader(whole), nil) {
		if err != nil {
			t.Fatal(err)
		}
		if r := l.Request; r != nil && r.ID == "r02" {
			lines[0].Serial = l.Serial // which is alice's, too
		}
		lines = append(lines, l)
	}
	if err := take(t, func(yield func(transfer.Line, error) bool) {
		for _, l := range lines {
			if !yield(l, nil) {
				return
			}
		}
	}); err == nil || !strings.Contains(err.Error(), "of another one") {
		t.Errorf("two requests with one serial: %v", err)
	}
}

// TestCutExport: of an export that is not whole nothing is taken over.
func TestCutExport(t *testing.T) {
	s := openLogged(t, filepath.Join(t.TempDir(), "hark.db"))
	lives(t, s, 0, 4, func() {})
	whole := exported(t, s)
	lines := strings.SplitAfter(whole, "\n")
	for name, text := range map[string]string{
		"nothing": "", "no end": strings.Join(lines[:len(lines)-2], ""), "half a line": whole[:len(whole)/2],
		"a line is missing": strings.Join(append(append([]string{}, lines[:3]...), lines[4:]...), ""), "more": whole + lines[1],
		"not ours": "{}\n", "newer": `{"kind":"hark-export","version":99}` + "\n",
	} {
		path := filepath.Join(t.TempDir(), "hark.db")
		if err := Import(path, transfer.Read(strings.NewReader(text), nil)); err == nil {
			t.Errorf("%s: no error", name)
		}
		left, err := os.ReadDir(filepath.Dir(path))
		if err != nil || len(left) > 0 {
			t.Errorf("%s: %v is left, %v", name, left, err)
		}
	}
}

// TestSalvage: what can still be read of a damaged store is exported, and what can not is told.
func TestSalvage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hark.db")
	s := openLogged(t, path)
	furnish(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// Somewhere in the content of a request.
	at := bytes.LastIndex(content, bytes.Repeat([]byte("r39"), 300))
	content[at] ^= 1
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	var lost []error
	if _, err := Salvage(path, &out, wire.JSON, func(err error) { lost = append(lost, err) }); err != nil {
		t.Fatal(err)
	}
	if d, ok := errors.AsType[*lifecycle.DamageError](errors.Join(lost...)); !ok || d.ID != "r39" {
		t.Errorf("%v", lost)
	}
	made := filepath.Join(t.TempDir(), "hark.db")
	if err := Import(made, transfer.Read(strings.NewReader(out.String()), nil)); err != nil {
		t.Fatal(err)
	}
	s, err = Open(made, Options{CheckpointAfter: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Content(t.Context(), lifecycle.Named("r38"), lifecycle.Input); err != nil {
		t.Error(err)
	}
	if _, err := s.Content(t.Context(), lifecycle.Named("r39"), lifecycle.Input); err == nil {
		t.Error("what was damaged is there")
	}
}
