package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/hark-push/hark/loadtest/peer"
	"github.com/hark-push/hark/loadtest/scene"
)

// TestChurn is the check of the same name, for some seconds, on both kinds of backends: everything
// at once, while gateways and workers die.
func TestChurn(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute on each kind of backends")
	}
	t.Chdir("..") // programs are built from the root of the module
	for _, backends := range []string{"embedded", "shared"} {
		t.Run(backends, func(t *testing.T) {
			if backends == "shared" {
				for _, program := range []string{"redis-server", "rabbitmq-server"} {
					needServer(t, program)
				}
			}
			check := &scene.Churn{Minutes: 8. / 60, Seed: 1, Rate: 8, Drain: 3 * time.Minute, Race: raceEnabled}
			o, r := &options{Options: peer.Options{On: "hark", Backends: backends, Nodes: 1}}, &report{Scene: "churn"}
			if err := play(o, r, check); err != nil {
				t.Errorf("%v", err)
			}
			if t.Failed() || testing.Verbose() {
				r.print()
			}
			for _, name := range []string{"outcomes as asked", "followers that saw the end", "results, byte for byte", "feeds seen whole"} {
				if r.value(name) == 0 {
					t.Errorf("nothing was checked: %s", name)
				}
			}
		})
	}
}

func needServer(t *testing.T, program string) {
	t.Helper()
	path := os.Getenv("PATH") + ":/usr/sbin:/usr/local/sbin" // where Debian puts servers
	t.Setenv("PATH", path)
	if _, err := exec.LookPath(program); err == nil {
		return
	}
	if os.Getenv("HARK_REQUIRE_SERVERS") != "" || os.Getenv("CI") != "" {
		t.Fatalf("%s is not on PATH; make setup brings it", program)
	}
	t.Skipf("%s is not on PATH", program)
}

// value returns a figure by its name, 0 if there is none.
func (r *report) value(name string) float64 {
	for _, f := range r.Figures {
		if strings.TrimSpace(f.Name) == name {
			return f.Value
		}
	}
	return 0
}
