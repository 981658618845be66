// Package hark_test holds the rules of the house: who may import whom.
package hark_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/hark-push/hark"

// rooms says what each room may import besides the standard library and itself: other rooms
// of this module, by their path in it, and other modules. A room's rule holds for
// the rooms inside it unless they have one of their own.
var rooms = map[string][]string{
	"backoff":          {},
	"lifecycle":        {"backoff", "stream"},
	"stream":           {},
	"broker":           {},
	"hub":              {"backoff", "github.com/coder/websocket", "golang.org/x/sys", "golang.org/x/time"},
	"egress":           {"code.dny.dev/ssrf"},
	"webhook":          {},
	"webhook/dispatch": {"backoff", "webhook", "lifecycle", "egress", "golang.org/x"},
	"store/codec":      {"lifecycle", "stream"},
	"store/transfer":   {"lifecycle", "stream", "store/codec", "webhook/dispatch"},
	"store/bolt":       {"lifecycle", "stream", "store/codec", "store/transfer", "webhook/dispatch", "go.etcd.io/bbolt"},
	"store/bolt/wal":   {},
	"store/redis":      {"backoff", "lifecycle", "stream", "store/codec", "store/transfer", "webhook/dispatch", "github.com/redis"},
	"store/redis/link": {"backoff", "github.com/redis"},
	"broker/rabbitmq":  {"backoff", "broker", "github.com/rabbitmq"},
	"broker/redis":     {"backoff", "broker", "lifecycle", "store/redis"},
	"processor":        {"backoff", "lifecycle", "broker"},
	"settings":         {},
	"logs":             {},
	"metrics":          {"github.com/prometheus"},
	"metrics/otlp":     {"tracing", "github.com/prometheus", "go.opentelemetry.io", "google.golang.org/protobuf"},
	"backends": {
		"backoff", "lifecycle", "broker", "store", "processor", "webhook/dispatch", "settings", "logs", "metrics",
		"version", "github.com/prometheus",
	},
	"processor/cmd":             {"processor/worker", "processor/samples/drivers"},
	"processor/worker":          {"lifecycle", "processor", "backends", "settings", "metrics", "tracing", "github.com/alecthomas", "github.com/prometheus"},
	"examples":                  {"lifecycle", "processor", "backends", "github.com/alecthomas", "github.com/rabbitmq/amqp091-go"},
	"processor/traced":          {"processor", "tracing", "go.opentelemetry.io"},
	"processor/samples":         {"lifecycle", "processor", "egress", "settings", "github.com/wneessen", "golang.org/x"},
	"processor/samples/drivers": {"github.com/jackc", "modernc.org"},
	"tracing":                   {"lifecycle", "go.opentelemetry.io"},
	"loadtest":                  {"github.com/alecthomas"},
	"loadtest/attack":           {"loadtest/peer", "loadtest/client", "loadtest/measure", "loadtest/bench", "github.com/HdrHistogram"},
	"loadtest/client":           {},
	"loadtest/measure":          {"loadtest/bench", "github.com/HdrHistogram"},
	"loadtest/peer":             {"loadtest/client", "loadtest/bench", "github.com/schollz", "golang.org/x"},
	"loadtest/scene": {
		"loadtest/peer", "loadtest/client", "loadtest/measure", "loadtest/bench", "loadtest/churn",
		"github.com/HdrHistogram", "github.com/redis", "github.com/rabbitmq", "go.etcd.io/bbolt",
	},
	"loadtest/bare":       {"golang.org/x"},
	"loadtest/churn":      {"webhook", "github.com/coder"},
	"loadtest/floor":      {"github.com/redis", "github.com/rabbitmq", "github.com/valyala"},
	"loadtest/bench":      {},
	"loadtest/bench/page": {"loadtest/bench", "github.com/go-echarts"},
	"web-demo":            {},
	"version":             {},
	// Whoever uses a gateway: over HTTP, but for the file of keys.
	"cli": {
		"backoff", "settings", "version", "lifecycle/suggest", "gateway/auth", "github.com/alecthomas", "golang.org/x/term",
	},
	"cli/doctor": {
		"cli", "settings", "backends", "broker/rabbitmq", "store/redis", "gateway/auth", "gateway/config", "gateway/node",
		"github.com/alecthomas", "golang.org/x/sys",
	},
	"gateway": {"lifecycle", "store", "backends", "processor/samples/drivers", "processor/worker", "cli", "github.com/alecthomas"},
	"gateway/api": {
		"lifecycle", "hub", "webhook/dispatch", "tracing", "gateway/auth", "gateway/authority", "gateway/budget", "gateway/hangup", "gateway/intake",
		"gateway/lease", "gateway/strictjson", "gateway/wire", "github.com/gofiber", "github.com/google", "github.com/valyala", "go.opentelemetry.io",
	},
	"gateway/api/field": {"lifecycle/suggest"},
	"gateway/api/httpbody": {
		"lifecycle", "gateway/api/problem", "gateway/budget", "gateway/hangup", "gateway/intake", "github.com/gofiber", "github.com/valyala",
	},
	"gateway/api/jsonobject": {"gateway/api/problem", "gateway/api/field", "gateway/strictjson", "lifecycle/suggest"},
	"gateway/api/problem":    {"lifecycle"},
	"gateway/auth":           {"lifecycle", "hub", "gateway/filewatch", "gateway/strictjson", "github.com/MicahParks", "github.com/golang-jwt", "golang.org/x/time", "gopkg.in"},
	"gateway/authority":      {},
	"gateway/budget":         {},
	"gateway/filewatch":      {},
	"gateway/config": {
		"lifecycle", "broker/rabbitmq", "backends", "processor/samples", "settings", "gateway/auth", "gateway/authority", "gateway/budget", "gateway/filewatch", "backoff",
		"github.com/alecthomas", "gopkg.in",
	},
	"gateway/hangup": {"golang.org/x/sys"},
	"gateway/intake": {"backoff", "gateway/authority", "golang.org/x"},
	"gateway/lease":  {"lifecycle", "broker"},
	"gateway/node": {
		"lifecycle", "broker", "hub", "processor", "webhook/dispatch", "web-demo", "backends", "metrics", "tracing",
		"gateway/api", "gateway/auth", "gateway/config", "gateway/filewatch", "gateway/intake", "gateway/lease", "gateway/wire",
		"github.com/prometheus", "go.opentelemetry.io", "golang.org/x",
	},
	"gateway/strictjson": {},
	"gateway/wire":       {"lifecycle", "hub", "store/codec"},
	// What only tests use.
	"deploy":             {},
	"docs":               {},
	"servertest":         {"github.com"},
	"scripts":            {},
	"broker/brokertest":  {"broker"},
	"gateway/blackbox":   {},
	"gateway/misuse":     {"github.com/getkin"},
	"store/storetest":    {"lifecycle", "gateway/wire", "store/codec"},
	"store/streamtest":   {"lifecycle", "stream"},
	"store/transfertest": {"lifecycle", "stream", "store/transfer"},
	"store/webhooktest":  {"lifecycle", "gateway/wire", "webhook/dispatch"},
}

func TestRoomsImportOnlyWhatTheyMay(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}}{{range .Imports}} {{.}}{{end}}", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		room := strings.TrimPrefix(strings.TrimPrefix(fields[0], module), "/")
		if room == "" {
			continue
		}
		rule, name := ruleOf(room)
		if name == "" {
			t.Errorf("%s is a room without a rule", room)
			continue
		}
		seen[name] = true
		for _, path := range fields[1:] {
			if !strings.Contains(strings.Split(path, "/")[0], ".") { // the standard library
				continue
			}
			if inside, ok := strings.CutPrefix(path, module+"/"); ok {
				path = inside
				if within(path, name) {
					continue
				}
			}
			if !slices.ContainsFunc(rule, func(allowed string) bool { return within(path, allowed) }) {
				t.Errorf("%s imports %s, but may import only %v", room, path, rule)
			}
		}
	}
	for name := range rooms {
		if !seen[name] {
			t.Errorf("there is no room %s any more", name)
		}
	}
}

// modules are those of their own, whose dependencies the main one is not to have. They know nothing
// of ours, and `go list ./...` nothing of them.
var modules = []string{"clienttest/follow", "clienttest/generated", "clienttest/receivers/go", "deploy/schemas", "loadtest/asynq", "loadtest/centrifuge", "tools"}

func TestModulesOfTheirOwnImportNothingOfOurs(t *testing.T) {
	var found []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git"):
			return filepath.SkipDir
		case d.Name() == "go.mod" && path != "go.mod":
			found = append(found, filepath.ToSlash(filepath.Dir(path)))
		case filepath.Ext(path) == ".go":
			dir := filepath.ToSlash(filepath.Dir(path))
			if !slices.ContainsFunc(modules, func(m string) bool { return within(dir, m) }) {
				return nil
			}
			source, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text := string(source)
			if dir == "clienttest/receivers/go" { // which is about those who import that
				text = strings.ReplaceAll(text, `"`+module+`/webhook"`, "")
			}
			if strings.Contains(text, `"`+module) {
				t.Errorf("%s imports something of %s", path, module)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	if !slices.Equal(found, modules) {
		t.Errorf("the modules are %v, not %v", found, modules)
	}
	lint, err := os.ReadFile("scripts/lint.sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range modules {
		if m != "tools" && !strings.Contains(string(lint), m) {
			t.Errorf("scripts/lint.sh does not look at %s", m)
		}
	}
}

// ruleOf returns the rule of the innermost room that has one.
func ruleOf(room string) ([]string, string) {
	for name := room; name != ""; {
		if rule, ok := rooms[name]; ok {
			return rule, name
		}
		cut := strings.LastIndexByte(name, '/')
		if cut < 0 {
			break
		}
		name = name[:cut]
	}
	return nil, ""
}

func within(path, room string) bool { return path == room || strings.HasPrefix(path, room+"/") }
