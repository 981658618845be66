package bolt

import (
	"bytes"
	"fmt"
	"maps"
	"path/filepath"
	"testing"

	"github.com/hark-push/hark/lifecycle"
)

// TestLargeBodiesFindRoom: bodies of 5 MB do not make the file grow while two thirds of it are
// free.
func TestLargeBodiesFindRoom(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hark.db")
	s := openLogged(t, path)
	n := 0
	add := func(size int) string {
		n++
		sub := request(fmt.Sprintf("r%d", n))
		sub.Content.Data = bytes.Repeat([]byte{byte(n)}, size)
		if _, err := s.Create(t.Context(), sub); err != nil {
			t.Fatal(err)
		}
		return sub.ID
	}
	drop := func(id string) {
		if _, err := s.Apply(t.Context(), lifecycle.Named(id), lifecycle.Cancel{}); err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(t.Context(), lifecycle.Named(id)); err != nil {
			t.Fatal(err)
		}
	}
	var ids []string
	for range 900 {
		ids = append(ids, add(100_000))
	}
	for i, id := range ids {
		if i%3 != 0 { // what is free is scattered
			drop(id)
		}
	}
	size := func() int64 {
		if err := s.emptyLog(); err != nil {
			t.Fatal(err)
		}
		size, err := sizeOf(path)
		if err != nil {
			t.Fatal(err)
		}
		return size
	}
	before := size()
	for range 3 {
		var large []string
		for range 5 {
			large = append(large, add(5<<20))
		}
		size()
		for _, id := range large {
			drop(id)
		}
		size()
	}
	if after := size(); after > before {
		t.Errorf("the file grew from %d to %d bytes while two thirds were free", before, after)
	}
	want := dump(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	was, is, err := Compact(path, nil)
	if err != nil || is > was/2 {
		t.Errorf("compacted from %d to %d bytes, %v", was, is, err)
	}
	s = openLogged(t, path)
	if got := dump(t, s); !maps.Equal(got, want) {
		t.Errorf("%d entries after, %d before", len(got), len(want))
	}
}
