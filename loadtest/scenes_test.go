package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestScenes runs each scene against the real gateway, as small as it gets: that each reads what the gateway writes today, the ids of
// both kinds of wires among it, since a message that is not understood, lost or out of order fails a scene.
func TestScenes(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	const root = ".."
	kept := t.TempDir()
	binary, err := buildIn(root, kept, "./loadtest")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := buildIn(root, kept, "./gateway"); err != nil { // the scenes find it up to date, and do not write it while another runs it
		t.Fatal(err)
	}
	for _, scene := range []string{
		"idle --wire=sse --connections=4 --settle=1ms",
		"idle --wire=ws --connections=4 --settle=1ms",
		"broadcast --wire=sse --followers=4 --warmup=100ms --duration=500ms",
		"broadcast --wire=ws --followers=4 --warmup=100ms --duration=500ms",
		"unicast --channels=4 --publishers=2 --warmup=100ms --duration=500ms",
		"lifecycle --wire=sse --producers=2 --duration=500ms",
		"lifecycle --wire=ws --producers=2 --duration=500ms",
		"slow --followers=10 --rounds=1 --warmup=100ms --duration=500ms",
		"storm --connections=4 --retry=100ms",
		"growth --followers=1,2 --channels=1,2 --deliveries=20 --rate=100 --publishers=2 --rounds=1",
		"soak --connections=40 --warmup=100ms --duration=1s",
		"attack --only=heads --only=endpoints --before=200ms --during=300ms --settle=1ms --rest=1ms --report",
		"webhooks --endpoints=4 --dead=0.25 --rate=20 --duration=500ms --reporters=2",
	} {
		t.Run(scene, func(t *testing.T) {
			t.Parallel() // they wait more than they work
			cmd := exec.CommandContext(t.Context(), binary, append(strings.Fields(scene), "--programs="+kept)...)
			cmd.Dir = root
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if !strings.Contains(string(out), "Hark, embedded\n") {
				t.Errorf("it tells nothing: %s", out)
			}
		})
	}
}

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
