package hub

import "testing"

func FuzzCommand(f *testing.F) {
	f.Add([]byte(`{"op":"subscribe","channel":"request:x","after":3}`))
	f.Add([]byte(`{"op":"ping"}`))
	f.Fuzz(func(_ *testing.T, text []byte) {
		_, _ = parseCommand(text) // must not panic whatever it is
	})
}
