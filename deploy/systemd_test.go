package deploy_test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hark-push/hark/gateway/config"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// unit returns the settings of a unit by their names; one that is there more often has a line for
// each.
func unit(t *testing.T, name string) map[string]string {
	t.Helper()
	settings := make(map[string]string)
	for line := range strings.Lines(read(t, "deploy/systemd/"+name)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && !strings.HasPrefix(key, "#") {
			if before, there := settings[key]; there {
				value = before + "\n" + value
			}
			settings[key] = value
		}
	}
	return settings
}

// TestSystemd: the units start the programs with what those know, give them the time that they take
// to stop, and let them do nothing that they do not need; systemd itself finds nothing wrong.
func TestSystemd(t *testing.T) {
	for name, more := range map[string]time.Duration{"hark.service": 15 * time.Second, "hark-worker.service": 15 * time.Second} {
		s := unit(t, name)
		drain := defaults(t).Drain
		if m := regexp.MustCompile(`HARK_DRAIN=(\S+)`).FindStringSubmatch(s["Environment"]); m != nil {
			drain = duration(t, m[1])
		}
		if grace := duration(t, s["TimeoutStopSec"]); grace < drain+more {
			t.Errorf("%s is killed after %v, and drains for %v", name, grace, drain)
		}
		if s["Restart"] != "always" || s["User"] == "" || s["User"] == "root" || s["NoNewPrivileges"] != "yes" || s["ProtectSystem"] != "strict" {
			t.Errorf("%s: %v", name, s)
		}
	}
	worker := sourceOf(t, "processor", "backends")
	for _, m := range regexp.MustCompile(`HARK_\w+`).FindAllString(unit(t, "hark-worker.service")["Environment"], -1) {
		if !strings.Contains(worker, `env:"`+m+`"`) {
			t.Errorf("the worker does not know %s", m)
		}
	}
	start := strings.Fields(unit(t, "hark.service")["ExecStart"])
	folder := t.TempDir()
	write(t, filepath.Join(folder, "hark.yaml"), "timeout: 2h\n")
	for i, arg := range start {
		start[i] = strings.Replace(arg, "/etc/hark/gateway.d", folder, 1)
	}
	t.Setenv("HARK_DATA", "/var/lib/hark")
	if c, err := config.Parse(start[1:], io.Discard); err != nil || c.Timeout != 2*time.Hour {
		t.Errorf("%v %+v", err, c)
	}

	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd itself was not asked, because systemd-analyze (Debian: systemd) is not on PATH")
	}
	for _, name := range []string{"hark.service", "hark-worker.service"} {
		// The programs are not where they are installed to.
		text := regexp.MustCompile(`/usr/local/bin/[a-z-]+`).ReplaceAllString(read(t, "deploy/systemd/"+name), "/bin/true")
		path := filepath.Join(t.TempDir(), name)
		write(t, path, text)
		for _, args := range [][]string{{"verify", path}, {"security", "--offline=true", "--threshold=20", path}} {
			if out, err := exec.Command(analyze, args...).CombinedOutput(); err != nil || args[0] == "verify" && strings.Contains(string(out), name) {
				t.Errorf("systemd-analyze %v: %v\n%s", args, err, out)
			}
		}
	}
}
