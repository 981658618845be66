package peer

import "testing"

// TestIDs reads the ids of events with and without a life.
func TestIDs(t *testing.T) {
	for id, want := range map[string]int{"7": 7, "1-ebtqjpjkhs": 1, "12-k3m9p2q4rz": 12, "": -1, "x": -1, "-ebtqjpjkhs": -1} {
		got, ok := offsetOf([]byte(id))
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %d, not %d", id, got, want)
		}
	}
}
