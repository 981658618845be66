package dispatch

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// TestFailuresAreSummed: the log has one line for each endpoint of which attempts failed, however
// many did, and nothing is kept of it then.
func TestFailuresAreSummed(t *testing.T) {
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, nil))
	var f failing
	for i := range 1000 {
		c := Claim{Endpoint: Endpoint{ID: []string{"a", "b"}[i%2]}}
		o := Outcome{State: Waiting, Attempt: Attempt{Class: ClassStatus}}
		if i == 999 {
			o.State = Dead
		}
		f.add(&c, o, answer{status: 500 + i%2})
	}
	f.tell(log)
	lines := strings.Count(text.String(), "\n")
	if lines != 2 || !strings.Contains(text.String(), "endpoint=a owner=\"\" attempts=500 dead=0") || !strings.Contains(text.String(), "endpoint=b owner=\"\" attempts=500 dead=1") ||
		!strings.Contains(text.String(), "status=501") || strings.Count(text.String(), "level=WARN") != 2 {
		t.Errorf("%d lines:\n%s", lines, &text)
	}
	text.Reset()
	if f.tell(log); text.Len() > 0 || f.endpoints != nil {
		t.Errorf("told again: %s", &text)
	}
}
