package schemas

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// root is the folder of docker-compose.yml and of the Dockerfile.
var root = filepath.Join("..", "..")

// secrets is what deploy/secrets.sh makes.
var secrets = []string{"REDIS_PASSWORD=a", "RABBITMQ_PASSWORD=b"}

// load reads files as Compose does: their schema, what they refer to, and what overrides what.
func load(t *testing.T, env []string, files ...string) (*types.Project, error) {
	t.Helper()
	for i, f := range files {
		if !filepath.IsAbs(f) {
			files[i] = filepath.Join(root, f)
		}
	}
	options, err := cli.NewProjectOptions(files, cli.WithWorkingDirectory(root), cli.WithEnv(env), cli.WithResolvedPaths(true), cli.WithInterpolation(true), cli.WithNormalization(true), cli.WithConsistency(true))
	if err != nil {
		return nil, err
	}
	return options.LoadProject(t.Context())
}

// TestCompose: each way of docker-compose.yml and what goes with it is one to Compose, and not
// without passwords.
func TestCompose(t *testing.T) {
	beside, err := filepath.Glob(filepath.Join(root, "deploy", "compose.*.yml"))
	if err != nil || len(beside) < 3 {
		t.Fatalf("%v, %v", beside, err)
	}
	ways := [][]string{{"docker-compose.yml"}}
	for _, f := range beside {
		ways = append(ways, []string{"docker-compose.yml", filepath.Join("deploy", filepath.Base(f))})
	}
	for _, files := range ways {
		name := strings.Join(files, " and ")
		p, err := load(t, secrets, files...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		services := []string{"proxy", "gateway-1", "gateway-2", "worker", "redis", "rabbitmq"}
		if strings.HasSuffix(name, "compose.redis.yml") { // that one has no RabbitMQ
			services = services[:5]
		}
		for _, service := range services {
			if _, err := p.GetService(service); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := load(t, nil, "docker-compose.yml"); err == nil || !strings.Contains(err.Error(), "run sh deploy/secrets.sh") {
			t.Errorf("%s without passwords: %v", name, err)
		}
	}
}

// TestComposeMistaken: what is wrong is found.
func TestComposeMistaken(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string][2]string{
		"a member that is misspelt": {"stop_grace_period: 40s", "stop_graceperiod: 40s"},
		"another type":              {"read_only: true", "read_only: [yes]"},
		"no duration":               {"interval: 10s", "interval: ten"},
		"no such network":           {"networks: [back, out]", "networks: [back, outside]"},
		"no such service":           {"redis: { condition: service_healthy }", "valkey: { condition: service_healthy }"},
		"no such condition":         {"redis: { condition: service_healthy }", "redis: { condition: service_well }"},
		"no size":                   {"memory: 1G", "memory: much"},
	} {
		changed := strings.Replace(string(text), change[0], change[1], 1)
		if changed == string(text) {
			t.Errorf("%s: %q is not there", what, change[0])
		}
		path := filepath.Join(t.TempDir(), "docker-compose.yml")
		if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := load(t, secrets, path)
		if err == nil {
			t.Errorf("nobody minds %s", what)
		}
		t.Logf("%s: %v", what, err)
	}
}

// dockerfile returns what is wrong with one, and what BuildKit would warn of when it is read.
func dockerfile(text []byte) (wrong []string) {
	file, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return []string{err.Error()}
	}
	for _, w := range file.Warnings {
		wrong = append(wrong, w.Short)
	}
	warn := func(rule, description, _, message string, _ []parser.Range) {
		wrong = append(wrong, fmt.Sprintf("%s: %s (%s)", rule, message, description))
	}
	stages, arguments, err := instructions.Parse(file.AST, linter.New(&linter.Config{Warn: warn}))
	if err != nil {
		return append(wrong, err.Error())
	}
	for _, stage := range stages {
		for _, command := range stage.Commands {
			ofShell := false
			switch c := command.(type) {
			case *instructions.CopyCommand:
				if _, ok := instructions.HasStage(stages, c.From); !ok && c.From != "" {
					wrong = append(wrong, c.String()+": there is no such stage")
				}
			case *instructions.RunCommand:
				ofShell = c.PrependShell
			case *instructions.CmdCommand:
				ofShell = c.PrependShell
			case *instructions.EntrypointCommand:
				ofShell = c.PrependShell
			case *instructions.HealthCheckCommand:
				ofShell = slices.Contains(c.Health.Test, "CMD-SHELL")
			}
			if ofShell && stage.BaseName == "scratch" {
				wrong = append(wrong, command.Name()+" is for a shell, and on nothing there is none")
			}
		}
	}
	if len(arguments) > 0 {
		wrong = append(wrong, "arguments before the first stage, which no stage has")
	}
	return wrong
}

// TestDockerfile: BuildKit's own parser takes the Dockerfile, and warns of nothing.
func TestDockerfile(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range dockerfile(text) {
		t.Error(w)
	}
	for what, change := range map[string][2]string{
		"no such instruction":    {"EXPOSE 8080", "EXPOSED 8080"},
		"no such flag":           {"--start-period=30s", "--start=30s"},
		"no duration":            {"--interval=10s", "--interval=ten"},
		"no such stage":          {"--from=build --chown", "--from=built --chown"},
		"a command of a shell":   {`ENTRYPOINT ["/hark"]`, `ENTRYPOINT ["/hark"`},
		"a check of a shell":     {`CMD ["/health"`, `CMD /health`},
		"an empty continuation":  {"org.opencontainers.image.title=\"Hark\" \\\n", "org.opencontainers.image.title=\"Hark\" \\\n\n"},
		"no value":               {`HARK_DATA=/data`, `HARK_DATA`},
		"nothing to be copied":   {"COPY . .", "COPY ."},
		"a name that is another": {"AS build", "as build"},
	} {
		changed := strings.Replace(string(text), change[0], change[1], 1)
		if changed == string(text) {
			t.Errorf("%s: %q is not there", what, change[0])
		}
		wrong := dockerfile([]byte(changed))
		if len(wrong) == 0 {
			t.Errorf("nobody minds %s", what)
		}
		t.Logf("%s: %v", what, wrong)
	}
}
