package churn

import (
	"strings"
	"testing"
)

// TestStays: what is there after the rest and was not at the start is told, unless it is what comes
// and goes.
func TestStays(t *testing.T) {
	before := inventory{at: "start", found: map[string]float64{"keys e:": 2, inventoryGoroutines: 40, "once: floor": 0}}
	after := inventory{at: "rest", found: map[string]float64{"keys e:": 3, inventoryGoroutines: 60, "keys t:": 1, "once: floor": 1}}
	if left := stays(before, after); len(left) != 2 || !strings.HasPrefix(left[0], "keys e:: 3") || !strings.HasPrefix(left[1], "keys t:: 1") {
		t.Errorf("%q", left)
	}
	if left := stays(before, before); len(left) != 0 {
		t.Errorf("%q", left)
	}
	text := table([]inventory{before, after})
	if lines := strings.Split(strings.TrimSpace(text), "\n"); len(lines) != 5 || !strings.Contains(lines[2], " 2 ") || !strings.Contains(text, " .") {
		t.Errorf("%s", text)
	}
}
