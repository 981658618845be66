package peer

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hark-push/hark/loadtest/bench"
)

// Prepare builds what is built of this repository, and returns what cannot be compared with, by
// server, and why.
func Prepare() (absent map[string]string, err error) {
	absent = make(map[string]string)
	for _, path := range []string{"./gateway", "./processor/cmd/worker", "./loadtest/bare", "./loadtest/floor"} {
		if _, err := Build(Programs, path); err != nil {
			return nil, err
		}
	}
	if _, err := os.Stat(nchanModule); err != nil {
		absent["nchan"] = "not installed (Debian: nginx-light libnginx-mod-nchan)"
	}
	for server, program := range map[string]string{"nchan": "nginx", "centrifugo": "centrifugo", "mercure": "mercure"} {
		if _, err := exec.LookPath(program); err != nil {
			absent[server] = program + " is not on PATH"
		}
	}
	if _, away := absent["centrifugo"]; !away {
		absent["centrifuge"] = "Centrifugo itself is there"
	} else if _, err := buildModule(Programs, "loadtest/centrifuge"); err != nil {
		absent["centrifuge"] = err.Error()
	}
	if _, err := buildModule(Programs, "loadtest/asynq"); err != nil {
		absent["asynq"] = err.Error()
	}
	for _, program := range []string{"redis-server", "rabbitmq-server", "epmd"} {
		if _, err := exec.LookPath(program); err != nil {
			absent["redis"] = program + " is not on PATH, so there is nothing on Redis and RabbitMQ"
		}
	}
	return absent, nil
}

// Skipped says what is left out, of those that were asked for.
func Skipped(absent map[string]string, servers []string) (all []bench.Skipped) {
	for _, server := range slices.Sorted(maps.Keys(absent)) {
		if len(servers) == 0 || server == "redis" || server == "asynq" || slices.Contains(servers, server) {
			all = append(all, bench.Skipped{What: server, Why: absent[server]})
		}
	}
	if _, away := absent["mercure"]; !away {
		all = append(all, bench.Skipped{What: "mercure by WebSocket", Why: "it has server-sent events only"})
	}
	return all
}

// Versions asks the servers that are there which they are.
func Versions(absent map[string]string) map[string]string {
	said := make(map[string]string)
	note := func(server, name string, cmd *exec.Cmd, cut func(string) string) {
		if _, away := absent[server]; away {
			return
		}
		// Whoever does not say it, is there without.
		if out, err := cmd.CombinedOutput(); err == nil {
			said[name] = cut(strings.TrimSpace(string(out)))
		}
	}
	all := func(text string) string { return text }
	word := func(prefix string) func(string) string {
		return func(text string) string {
			_, rest, _ := strings.Cut(text, prefix)
			return strings.Fields(rest + " ?")[0]
		}
	}
	note("nchan", "nginx", exec.Command("nginx", "-v"), word("nginx/"))
	note("nchan", "nchan", exec.Command("dpkg-query", "-W", "-f=${Version}", "libnginx-mod-nchan"), all)
	note("centrifugo", "Centrifugo", exec.Command("centrifugo", "version"), word("Centrifugo "))
	note("mercure", "Mercure", exec.Command("mercure", "version"), all)
	note("redis", "Redis", exec.Command("redis-server", "--version"), word("v="))
	note("redis", "RabbitMQ", exec.Command("rabbitmqctl", "version"), all)
	for name, module := range map[string]string{"centrifuge": "github.com/centrifugal/centrifuge", "asynq": "github.com/hibiken/asynq"} {
		cmd := exec.Command("go", "list", "-m", "-f={{.Version}}", module)
		cmd.Dir = filepath.Join("loadtest", name)
		note(name, name, cmd, all)
	}
	return said
}
