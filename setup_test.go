package hark_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSetupRemovesOnlyItsOwnPolicy: while packages are installed there is a policy by which they
// start nothing. One that was there before is left as it is, also if it says the same; ours is
// removed, also when the packages cannot be installed.
func TestSetupRemovesOnlyItsOwnPolicy(t *testing.T) {
	script, err := os.ReadFile("scripts/setup.sh")
	if err != nil {
		t.Fatal(err)
	}
	const refuses = "#!/bin/sh\nexit 101\n"
	for _, test := range []struct {
		name, before string
		apt          string // what apt-get ends with
		during       string
		after        string // empty if there is to be none
	}{
		{"ours", "", "0", refuses, ""},
		{"ours, and the packages fail", "", "100", refuses, ""},
		{"another's that says the same", refuses, "0", refuses, refuses},
		{"another's", "#!/bin/sh\nexit 0\n", "0", "#!/bin/sh\nexit 0\n", "#!/bin/sh\nexit 0\n"},
		{"another's, and the packages fail", refuses, "100", refuses, refuses},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			policy, seen := filepath.Join(dir, "policy-rc.d"), filepath.Join(dir, "seen")
			// Programs with which nothing that is needed is there, and the packages are installed
			// by root.
			bin := filepath.Join(dir, "bin")
			if err := os.Mkdir(bin, 0o700); err != nil {
				t.Fatal(err)
			}
			for name, text := range map[string]string{
				"id":      "#!/bin/sh\necho 0\n",
				"apt-get": "#!/bin/sh\n[ \"$1\" = update ] && exit 0\ncat \"$POLICY_RC_D\" >" + seen + "\nexit " + test.apt + "\n",
			} {
				if err := os.WriteFile(filepath.Join(bin, name), []byte(text), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range []string{"sh", "cat", "rm", "chmod", "grep", "echo"} {
				path, err := exec.LookPath(name)
				if err != nil {
					t.Skip(err)
				}
				if err := os.Symlink(path, filepath.Join(bin, name)); err != nil {
					t.Fatal(err)
				}
			}
			if test.before != "" {
				if err := os.WriteFile(policy, []byte(test.before), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			setup := exec.CommandContext(t.Context(), filepath.Join(bin, "sh"), "-c", string(script), "setup", "echo", "the command")
			setup.Env = []string{"PATH=" + bin, "POLICY_RC_D=" + policy}
			out, err := setup.CombinedOutput()
			if ran := strings.Contains(string(out), "the command"); ran != (test.apt == "0") || ran != (err == nil) {
				t.Errorf("%v\n%s", err, out)
			}
			if during, err := os.ReadFile(seen); string(during) != test.during {
				t.Errorf("while packages were installed: %q, %v", during, err)
			}
			if after, _ := os.ReadFile(policy); string(after) != test.after {
				t.Errorf("afterwards: %q", after)
			}
		})
	}
}
