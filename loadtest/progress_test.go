package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestProgressIsALineForEachPhaseWithoutTerminal(t *testing.T) {
	var out bytes.Buffer
	run := &target{progress: progress{out: &out, name: "idle"}}
	run.phase("connecting", 2)
	run.step()
	run.step()
	run.settle(time.Nanosecond)
	run.phase("checking", 0)
	run.progress.end()
	if want := "idle: connecting\nidle: settling\nidle: checking\n"; out.String() != want {
		t.Errorf("%q", &out)
	}
}

func TestProgressIsABarOnATerminal(t *testing.T) {
	var out bytes.Buffer
	run := &target{progress: progress{out: &out, name: "idle", terminal: true}}
	run.phase("connecting", 4)
	run.step()
	run.step()
	time.Sleep(2 * redraw) // so that it is drawn again
	run.phase("checking", 0)
	run.progress.end()
	if !strings.Contains(out.String(), "idle: connecting") || !strings.Contains(out.String(), "50%") || !strings.Contains(out.String(), "idle: checking") {
		t.Errorf("%q", &out)
	}
	if strings.Contains(out.String(), "\n") {
		t.Errorf("it scrolls: %q", &out)
	}
}

func TestNobodyNeedsToLook(*testing.T) {
	run := &target{}
	run.phase("connecting", 1)
	run.step()
	run.progress.end()
}
