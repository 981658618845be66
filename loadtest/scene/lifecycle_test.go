package scene

import "testing"

// TestIsEvent reads the ids in events with and without a life.
func TestIsEvent(t *testing.T) {
	for event, want := range map[string]bool{
		`{"id":"a/2"}`:               true,
		`{"id":"a/k3m9p2q4rz/2"}`:    true,
		`{"id":"a/12"}`:              false,
		`{"id":"a/k3m9p2q4rz/12"}`:   false,
		`{"id":"aa/2"}`:              false,
		`{"id":"a/2`:                 false,
		`{"id":"a/3","other":"a/2"}`: false,
	} {
		if got := isEvent([]byte(event), "a", 2); got != want {
			t.Errorf("%s: %v", event, got)
		}
	}
}
