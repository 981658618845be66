package bolt

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hark-push/hark/lifecycle"
)

// largeRequest has a content that takes several batches, of bytes that tell where they are.
func largeRequest(id string) lifecycle.Submission {
	sub := request(id)
	sub.Content.Data = make([]byte, 3*aheadStep*pieceSize+12345)
	for i := range sub.Content.Data {
		sub.Content.Data[i] = byte(i / 251)
	}
	return sub
}

// leftAhead returns what is left of bodies that are none.
func leftAhead(t *testing.T, s *Store) (left []string) {
	t.Helper()
	for key := range dump(t, s) {
		if strings.HasPrefix(key, `pieces "`) || strings.Contains(key, "ahead") {
			left = append(left, key)
		}
	}
	return left
}

// TestAhead: a large content, and a large result, come back as they were, and are written in more
// than one batch; others are answered between these.
func TestAhead(t *testing.T) {
	s := openLogged(t, filepath.Join(t.TempDir(), "hark.db"))
	large := largeRequest("large")
	log := hold(s)
	created := in(func() error { _, err := s.Create(t.Context(), large); return err })
	batches, other := 0, (<-chan error)(nil)
	for done := false; !done; {
		select {
		case <-log.begun:
			batches++
			if batches == 2 {
				other = in(func() error { _, err := s.Create(t.Context(), request("other")); return err })
			}
			log.end <- nil
		case err := <-created:
			if err != nil {
				t.Fatal(err)
			}
			done = true
		case err := <-other:
			if err != nil {
				t.Fatal(err)
			}
			other = nil
			if batches > 5 {
				t.Errorf("another one was answered after %d batches", batches)
			}
		}
	}
	if batches < 5 { // its mark, three steps and the rest of one, itself
		t.Errorf("%d batches", batches)
	}
	setLog(s, log.File)
	if _, err := s.Apply(t.Context(), lifecycle.Named("large"), lifecycle.Start{}); err != nil {
		t.Fatal(err)
	}
	result := lifecycle.Content{Type: "x/y", Data: bytes.Repeat(large.Content.Data, 2)}
	if _, err := s.Apply(t.Context(), lifecycle.Named("large"), lifecycle.Succeed{Result: &result}); err != nil {
		t.Fatal(err)
	}
	for part, want := range map[lifecycle.Part][]byte{lifecycle.Input: large.Content.Data, lifecycle.Output: result.Data} {
		if got, err := s.Content(t.Context(), lifecycle.Named("large"), part); err != nil || !bytes.Equal(got.Data, want) {
			t.Errorf("part %d: %d bytes, %v", part, len(got.Data), err)
		}
	}
	if err := s.Delete(t.Context(), lifecycle.Named("large")); err != nil {
		t.Fatal(err)
	}
	for _, key := range leftAhead(t, s) {
		if !strings.Contains(key, "other") {
			t.Errorf("%s is left", key)
		}
	}
}

// TestAheadInVain: what was written ahead of a request goes when that is not stored: for want of
// time, of room, or because the process ended.
func TestAheadInVain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hark.db")
	s := openLogged(t, path)
	log := hold(s)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	created := in(func() error { _, err := s.Create(ctx, largeRequest("large")); return err })
	for range 2 {
		<-log.begun
		log.end <- nil
	}
	<-log.begun
	again := openLogged(t, crash(t, path))
	if left := leftAhead(t, again); len(left) != 0 {
		t.Errorf("after the end of the process there are %d pieces", len(left))
	}
	if _, err := again.Content(t.Context(), lifecycle.Named("large"), lifecycle.Input); !errors.Is(err, lifecycle.ErrNotFound) {
		t.Errorf("its content: %v", err)
	}
	cancel()
	for done := false; !done; {
		select {
		case <-log.begun:
		case log.end <- nil:
		case err := <-created:
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			done = true
		}
	}
	setLog(s, log.File)
	if left := leftAhead(t, s); len(left) != 0 || s.ahead != nil {
		t.Errorf("there are %d pieces", len(left))
	}
	if _, err := s.Create(t.Context(), largeRequest("large")); err != nil {
		t.Error(err)
	}
}

// TestAheadAndOthers: who submits the same id meanwhile, with a small content, finds the request
// that was first.
func TestAheadAndOthers(t *testing.T) {
	s := openLogged(t, filepath.Join(t.TempDir(), "hark.db"))
	log := hold(s)
	first := in(func() error { _, err := s.Create(t.Context(), largeRequest("one")); return err })
	<-log.begun
	other := request("one")
	other.Fingerprint = "another"
	second := in(func() error { _, err := s.Create(t.Context(), other); return err })
	for first != nil || second != nil {
		select {
		case <-log.begun:
		case log.end <- nil:
		case err := <-first:
			if err != nil {
				t.Error(err)
			}
			first = nil
		case err := <-second:
			if !errors.Is(err, lifecycle.ErrIDTaken) || first != nil {
				t.Error(err, first != nil)
			}
			second = nil
		}
	}
}
