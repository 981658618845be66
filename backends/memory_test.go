package backends

import "testing"

func TestGCPercent(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{{0, 400}, {1 << 20, 400}, {20 << 20, 400}, {30 << 20, 300}, {40 << 20, 200}, {60 << 20, 100}, {1 << 30, 100}} {
		if got := gcPercent(c.live); got != c.want {
			t.Errorf("%d bytes: %d %%, want %d", c.live, got, c.want)
		}
	}
}

// TestMemoryLimit: bodies add what they have to the room of a heap, and do not double it, which
// everything else may.
func TestMemoryLimit(t *testing.T) {
	const mb = 1 << 20
	for _, c := range []struct{ live, held, beside, want uint64 }{
		{10 * mb, 0, 8 * mb, 144 * mb},
		{106 * mb, 96 * mb, 8 * mb, 240 * mb},
		{10 * mb, 96 * mb, 0, 232 * mb}, // it is claimed, and not there yet
		{1000 * mb, 0, 0, 2008 * mb},
		{1096 * mb, 96 * mb, 0, 2104 * mb},
	} {
		if got := memoryLimit(c.live, c.held, c.beside); got != int64(c.want) {
			t.Errorf("%d MB of which %d are bodies', %d beside: %d MB, want %d", c.live/mb, c.held/mb, c.beside/mb, got/mb, c.want/mb)
		}
	}
}
