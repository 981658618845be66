package suggest_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/hark-push/hark/lifecycle/suggest"
)

func TestName(t *testing.T) {
	known := []string{"id", "route", "topic", "priority", "maxAttempts", "delay", "timeout", "retention", "webhook"}
	for got, want := range map[string]string{
		"piority":      "priority",    // a letter is missing
		"prioritty":    "priority",    // one is too many
		"prioroty":     "priority",    // another one
		"pirority":     "priority",    // two are swapped
		"max_attempts": "maxAttempts", // written as elsewhere
		"MaxAttempts":  "maxAttempts",
		"rout":         "route",
		"x":            "",
		"_":            "",
		"":             "",
		"color":        "",
		"ttl":          "",
		// Nobody waits for this.
		strings.Repeat("priority", 10_000): "",
	} {
		if name := suggest.Name(got, known); name != want {
			t.Errorf("%.20q: %q, want %q", got, name, want)
		}
	}
	if text := suggest.Mean("piority", known); text != ` (did you mean "priority"?)` {
		t.Error(text)
	}
	if text := suggest.Mean("color", known); text != "" {
		t.Error(text)
	}
	if name := suggest.Name("lisen", nil); name != "" {
		t.Error(name)
	}
}

// TestNeighbours: of what is as close as another the first is meant, always the same.
func TestNeighbours(t *testing.T) {
	for range 10 {
		if name := suggest.Name("ab", []string{"ac", "ad"}); name != "ac" {
			t.Fatal(name)
		}
	}
}

func TestFields(t *testing.T) {
	got := suggest.Fields(&struct {
		A string `json:"first"`
		B int    `json:"maxAttempts,omitempty"`
		D bool   `json:",omitempty"`
	}{})
	if want := []string{"first", "maxAttempts"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
