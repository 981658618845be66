package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestScenes runs each scene against the real gateway, as small as it gets: that each reads what
// the gateway writes today, the ids of both kinds of wires among it, since a message that is not
// understood, lost or out of order fails a scene.
func TestScenes(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	const root = ".."
	kept := t.TempDir()
	// The scenes find the gateway up to date, and do not write it while another runs it.
	build := exec.CommandContext(t.Context(), "go", "build", "-o", kept, "./loadtest", "./gateway")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, scene := range []string{
		"idle --wire=sse --connections=4 --settle=1ms",
		"idle --wire=ws --connections=4 --settle=1ms",
		"broadcast --wire=sse --followers=4 --warmup=100ms --duration=500ms",
		"broadcast --wire=ws --followers=4 --warmup=100ms --duration=500ms",
		"broadcast --wire=sse --form=thin --followers=4 --warmup=100ms --duration=500ms",
		"lifecycle --wire=ws --form=thin --producers=2 --duration=500ms",
		"unicast --channels=4 --publishers=2 --warmup=100ms --duration=500ms",
		"lifecycle --wire=sse --producers=2 --duration=500ms",
		"lifecycle --wire=ws --producers=2 --duration=500ms",
		"lifecycle --metrics-turns=1 --producers=2 --duration=200ms",
		"slow --followers=10 --rounds=1 --warmup=100ms --duration=500ms",
		"storm --connections=4 --retry=100ms",
		"growth --followers=1,2 --channels=1,2 --deliveries=20 --rate=100 --publishers=2 --rounds=1",
		"soak --connections=40 --warmup=100ms --duration=1s",
		"attack --only=heads --only=endpoints --before=200ms --during=300ms --settle=1ms --rest=1ms --report",
		"keys --requests=100 --customers=5 --limit=2 --pace=20ms --producers=2 --rounds=1 --duration=200ms",
		"kept --requests=200 --callers=4",
		"webhooks --endpoints=4 --dead=0.25 --rate=20 --duration=500ms --reporters=2",
	} {
		t.Run(scene, func(t *testing.T) {
			t.Parallel() // they wait more than they work
			cmd := exec.CommandContext(t.Context(), filepath.Join(kept, "loadtest"), append(strings.Fields(scene), "--programs="+kept)...)
			cmd.Dir = root
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if !strings.Contains(string(out), "Hark, embedded\n") && !strings.Contains(string(out), "Hark, embedded, thin form\n") {
				t.Errorf("it tells nothing: %s", out)
			}
		})
	}
}
