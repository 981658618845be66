package hub

import (
	"errors"
	"strings"
	"testing"
)

// TestCommand: a command is an object with members of its own, each once and by its exact name.
func TestCommand(t *testing.T) {
	for text, want := range map[string]string{
		`{"op":"ping"}`: "ping  ", ` {"op":"subscribe", "channel":"owner","after":null} `: "subscribe owner ",
		`{"after":"3-k3m9p2q4rz","channel":"c","op":"subscribe"}`: "subscribe c 3-k3m9p2q4rz",
		`{"op":"auth","token":"t"}`:                               "auth  ", "{}": "  ",
		"": "!", "null": "!", "[]": "!", `"op"`: "!", "{": "!", `{"op"`: "!", `{"op":`: "!", `{"op":"ping"`: "!", `{"op":"ping",}`: "!", `{"op":"ping"}{}`: "!", `{"op":"ping"}x`: "!", `{"op":1}`: "!",
		`{"op":"ping","op":"ping"}`: "!", "{\"\\u006fp\":\"x\",\"op\":\"ping\"}": "!", `{"OP":"ping"}`: "!", `{"op":"ping","x":1}`: "!", `{"op":"ping","":1}`: "!", `{"op":"subscribe","after":-1}`: "!", `{"op":"subscribe","after":true}`: "!",
	} {
		c, err := parseCommand([]byte(text))
		got := strings.Join([]string{c.Op, c.Channel, ""}, " ")
		if c.After != nil {
			got += c.After.String()
		}
		if err != nil {
			got = "!"
		}
		if got != want || err != nil && !errors.Is(err, ErrMessage) {
			t.Errorf("%s: %q, %v, want %q", text, got, err, want)
		}
	}
}

func FuzzCommand(f *testing.F) {
	f.Add([]byte(`{"op":"subscribe","channel":"request:x","after":3}`))
	f.Add([]byte(`{"op":"ping"}`))
	f.Fuzz(func(_ *testing.T, text []byte) {
		_, _ = parseCommand(text) // must not panic whatever it is
	})
}
