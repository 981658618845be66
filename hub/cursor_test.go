package hub_test

import (
	"encoding/json"
	"testing"

	"github.com/hark-push/hark/hub"
)

func TestParseCursor(t *testing.T) {
	for text, want := range map[string]hub.Cursor{
		"0": {}, "7": {Offset: 7}, "7-0123456789": {Offset: 7, Epoch: "0123456789"}, "18446744073709551615-a-b": {Offset: 18446744073709551615, Epoch: "a-b"},
	} {
		if got, err := hub.ParseCursor(text); got != want || err != nil || got.String() != text {
			t.Errorf("%s: %+v, %v, %s", text, got, err, got)
		}
	}
	for _, text := range []string{"", "-", "-a", "7-", "+7", " 7", "7 ", "x", "-7", "7.0", "18446744073709551616", "0x7", "7-A", "7-a b", "7-\x00", "7-é"} {
		if got, err := hub.ParseCursor(text); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
	for text, want := range map[string]hub.Cursor{`7`: {Offset: 7}, `"7"`: {Offset: 7}, `"7-a"`: {Offset: 7, Epoch: "a"}} {
		got := hub.Cursor{Offset: 1, Epoch: "x"}
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{`-1`, `1.5`, `"x"`, `{}`, `[1]`, `true`, `"7-"`} {
		var got hub.Cursor
		if err := json.Unmarshal([]byte(text), &got); err == nil {
			t.Errorf("%s: %+v", text, got)
		}
	}
}

func FuzzParseCursor(f *testing.F) {
	for _, text := range []string{"7", "7-0123456789", "007-", "-", "7-\x00"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := hub.ParseCursor(text)
		if err != nil {
			return
		}
		if again, err := hub.ParseCursor(c.String()); err != nil || again != c {
			t.Errorf("%q is %+v, and that is %+v, %v", text, c, again, err)
		}
	})
}
