package peer

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestProgressIsALineForEachPhaseWithoutTerminal(t *testing.T) {
	var out bytes.Buffer
	run := &Target{Progress: Progress{out: &out, name: "idle"}}
	run.Phase("connecting", 2)
	run.Step()
	run.Step()
	run.Settle(time.Nanosecond)
	run.Phase("checking", 0)
	run.Progress.End()
	if want := "idle: connecting\nidle: settling\nidle: checking\n"; out.String() != want {
		t.Errorf("%q", &out)
	}
}

func TestProgressIsABarOnATerminal(t *testing.T) {
	var out bytes.Buffer
	run := &Target{Progress: Progress{out: &out, name: "idle", terminal: true}}
	run.Phase("connecting", 4)
	run.Step()
	run.Step()
	time.Sleep(2 * redraw) // so that it is drawn again
	run.Phase("checking", 0)
	run.Progress.End()
	if !strings.Contains(out.String(), "idle: connecting") || !strings.Contains(out.String(), "50%") || !strings.Contains(out.String(), "idle: checking") {
		t.Errorf("%q", &out)
	}
	if strings.Contains(out.String(), "\n") {
		t.Errorf("it scrolls: %q", &out)
	}
}

func TestNobodyNeedsToLook(*testing.T) {
	run := &Target{}
	run.Phase("connecting", 1)
	run.Step()
	run.Progress.End()
}
