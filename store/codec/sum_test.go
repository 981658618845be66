package codec

import (
	"bytes"
	"slices"
	"testing"

	"github.com/hark-push/hark/lifecycle"
)

// TestSealedBody: whatever byte of a stored body is changed, or missing, it is told, whether the
// body is read as a whole or by pieces.
func TestSealedBody(t *testing.T) {
	for _, size := range []int{0, 1, BodyChunk - 1, BodyChunk, BodyChunk + 1, 3*BodyChunk + 7} {
		c := lifecycle.Content{Type: "text/plain; charset=utf-8", Data: bytes.Repeat([]byte("abcdefg"), size/7+1)[:size]}
		stored := SealBody(c)
		if got, err := OpenBody(stored); err != nil || got.Type != c.Type || !bytes.Equal(got.Data, c.Data) {
			t.Fatalf("%d bytes: %v, or others", size, err)
		}
		if need := readHead(t, stored); need > 512 {
			t.Errorf("%d bytes: the head takes %d", size, need)
		}
		places := []int{0, 1, 2, 5, 6, 7, 8, 9, 12, 20, 31, 32, 33, 34, 40, len(stored) / 2, len(stored) - BodyChunk, len(stored) - 2, len(stored) - 1}
		for _, at := range places {
			if at < 0 || at >= len(stored) {
				continue
			}
			damaged := bytes.Clone(stored)
			damaged[at] ^= 0x10
			if got, err := OpenBody(damaged); err == nil {
				t.Errorf("%d bytes, changed at %d: a type of %d, %d bytes", size, at, len(got.Type), len(got.Data))
			}
			if at > 8 {
				if got, err := OpenBody(stored[:at]); err == nil {
					t.Errorf("%d bytes, cut at %d: a type of %d, %d bytes", size, at, len(got.Type), len(got.Data))
				}
			}
		}
	}
}

// readHead reads the head of a body with no more than what is asked for, and returns how much that
// was.
func readHead(t *testing.T, stored []byte) int {
	t.Helper()
	have := 16
	for range 10 {
		h, need, err := ReadBodyHead(stored[:min(have, len(stored))])
		switch {
		case err != nil:
			t.Fatal(err)
		case need == 0:
			if err := h.Check(stored[h.Begin:], 0, true); err != nil {
				t.Error(err)
			}
			return h.Begin
		case need <= have:
			t.Fatalf("with %d bytes it needs %d", have, need)
		}
		have = need
	}
	t.Fatal("the head has no end")
	return 0
}

// TestBodyWithoutSum: what was stored before there were sums is read as it is.
func TestBodyWithoutSum(t *testing.T) {
	c := lifecycle.Content{Type: "a/b", Data: slices.Repeat([]byte{1}, 1000)}
	got, err := OpenBody(EncodeBody(c))
	if err != nil || got.Type != c.Type || !bytes.Equal(got.Data, c.Data) {
		t.Errorf("%v, or others", err)
	}
}
