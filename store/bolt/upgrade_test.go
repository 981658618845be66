package bolt

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/transfer"
	"github.com/hark-push/hark/webhook/dispatch"
)

// layout5 lays out a store that the version before sums wrote (testdata), and was killed.
func layout5(t *testing.T) (path string) { return layout(t, "layout5") }

// layout lays out a store of testdata.
func layout(t *testing.T, name string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "hark.db")
	for _, suffix := range []string{"", "-wal"} {
		packed, err := os.Open("testdata/" + name + ".db" + suffix + ".gz")
		if err != nil {
			t.Fatal(err)
		}
		defer packed.Close()
		unpacked, err := gzip.NewReader(packed)
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(unpacked)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+suffix, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// TestLayout5: a store that an older version left, killed, opens with all that was in its file and
// its log, goes on, and can be exported, compacted, and made anew with sums.
func TestLayout5(t *testing.T) {
	path := layout5(t)
	if _, err := Check(path, func(err error) { t.Error(err) }); err != nil {
		t.Fatal(err)
	}
	var export string
	for round := range 3 {
		s := openLogged(t, path)
		for i := range 12 {
			id := fmt.Sprintf("r%02d", i)
			c, err := s.Content(t.Context(), lifecycle.Named(id), lifecycle.Input)
			if err != nil || !bytes.Equal(c.Data, bytes.Repeat([]byte(id), 1+i*i*20)) {
				t.Errorf("content of %s: %d bytes, %v", id, len(c.Data), err)
			}
			c, err = s.Content(t.Context(), lifecycle.Named(id), lifecycle.Output)
			if done := i%5 > 2; done && string(c.Data) != "result of "+id || !done && !errors.Is(err, lifecycle.ErrNotFound) {
				t.Errorf("result of %s: %q, %v", id, c.Data, err)
			}
			h, err := s.Read(t.Context(), "request:"+id, 0, 100)
			if want := min(i%5, 3) + 1; err != nil || len(h.Messages) < want {
				t.Errorf("%s has %d events, %v", id, len(h.Messages), err)
			}
		}
		if kept, err := s.PutIfAbsent(t.Context(), "tickets", nil); err != nil || string(kept) != "\x01the key of tickets" {
			t.Errorf("%q, %v", kept, err)
		}
		if round == 0 {
			if _, err := s.Apply(t.Context(), lifecycle.Named("r00"), lifecycle.Start{}); err != nil {
				t.Error(err)
			}
			claims, _, err := s.Claim(t.Context(), 1, 0)
			if err != nil || len(claims) != 1 {
				t.Fatal(claims, err)
			}
			if _, err := s.Settle(t.Context(), claims[0], dispatch.Outcome{State: dispatch.Delivered}); err != nil {
				t.Error(err)
			}
		}
		export = exported(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Compact(path, nil); err != nil {
			t.Fatal(err)
		}
	}
	made := filepath.Join(t.TempDir(), "hark.db")
	if err := Import(made, transfer.Read(strings.NewReader(export), nil)); err != nil {
		t.Fatal(err)
	}
	s := openLogged(t, made)
	if !s.journal.strict {
		t.Error("what is without a sum is read")
	}
	if again := exported(t, s); again != export {
		t.Error("the export of the import is another one")
	}
}

// TestLayout5Log: the log of an older version is refused where it is another store's or damaged,
// and left as it is.
func TestLayout5Log(t *testing.T) {
	for name, change := range map[string]func(log []byte) []byte{
		"another's": func(log []byte) []byte { return bytes.Repeat([]byte("somebody else's"), 1000) },
		"damaged":   func(log []byte) []byte { log[100] ^= 1; return log },
	} {
		path := layout5(t)
		log, err := os.ReadFile(walPath(path))
		if err != nil {
			t.Fatal(err)
		}
		log = change(log)
		if err := os.WriteFile(walPath(path), log, 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := Open(path, Options{}); err == nil {
			s.Close()
			t.Errorf("%s: no error", name)
		} else if !strings.Contains(err.Error(), "discard-log") {
			t.Errorf("%s: %v", name, err)
		}
		if left, err := os.ReadFile(walPath(path)); err != nil || !bytes.Equal(left, log) {
			t.Errorf("%s: the log was changed, %v", name, err)
		}
	}
}

// TestLayout6: of a store that a version left, killed, which kept values in records and events, all
// have their values, and what ends from now on keeps its value once.
func TestLayout6(t *testing.T) {
	path := layout(t, "layout6")
	if _, err := Check(path, func(err error) { t.Error(err) }); err != nil {
		t.Fatal(err)
	}
	s := openLogged(t, path)
	same := func() {
		t.Helper()
		for i := range 6 {
			id := fmt.Sprintf("r%02d", i)
			value := fmt.Sprintf(`{"of":"%s","is":"%s"}`, id, strings.Repeat("v", i*i*600))
			r, err := s.Get(t.Context(), lifecycle.Named(id))
			if err != nil || r.Result == nil || string(r.Result.Value) != value {
				t.Errorf("%s: %+v, %v", id, r.Result, err)
			}
			h, err := s.Read(t.Context(), "request:"+r.Ref().String(), 2, 10)
			if err != nil || len(h.Messages) != 1 || !strings.Contains(text(h.Messages[0].Event), value) {
				t.Errorf("%s: %+v, %v", id, h, err)
			}
			if got, err := body(t, s, r.Ref()); err != nil || !strings.Contains(got, value) {
				t.Errorf("delivery of %s: %.80s, %v", id, got, err)
			}
		}
	}
	same()
	result, value := words("new", 10<<10, false)
	r := succeed(t, s, request("new"), result)
	if n := count(t, s, eventsBucket, `"of":"new"`); n > 0 || string(r.Result.Value) != value {
		t.Errorf("a new value is in %d events, %+v", n, r.Result)
	}
	export := exported(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := open(path, Options{}, migrations[:6]); err == nil || !strings.Contains(err.Error(), "run the program that wrote it, or a newer one") {
		t.Errorf("an older program: %v", err)
	}
	s = openLogged(t, path)
	same()
	made := filepath.Join(t.TempDir(), "hark.db")
	if err := Import(made, transfer.Read(strings.NewReader(export), nil)); err != nil {
		t.Fatal(err)
	}
	if again := exported(t, openLogged(t, made)); again != export {
		t.Error("the export of the import is another one")
	}
}
