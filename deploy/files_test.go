// Package deploy_test holds the files of deployment against the programs that they
// start, and starts them.
package deploy_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"gopkg.in/yaml.v3"

	"github.com/hark-push/hark/gateway/config"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		gatewayBinary.remove()
		os.Exit(code)
	}))
}

// root is the folder of docker-compose.yml.
const root = ".."

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

type service struct {
	Image       string
	Build       any
	User        string
	Entrypoint  []string
	Command     []string
	Environment map[string]string
	Volumes     []string
	Ports       []string
	Networks    []string
	Restart     string
	DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
	StopGrace   string                                `yaml:"stop_grace_period"`
	Healthcheck *struct {
		Test    []string
		Disable bool
	}
	Deploy struct {
		Resources struct {
			Limits struct{ CPUs, Memory string }
		}
	}
}

type composeFile struct {
	Services map[string]service
	Networks map[string]struct{ Internal bool }
	Volumes  map[string]any
}

func compose(t *testing.T) composeFile {
	t.Helper()
	var f composeFile
	if err := yaml.Unmarshal([]byte(read(t, "docker-compose.yml")), &f); err != nil {
		t.Fatal(err)
	}
	return f
}

var variable = regexp.MustCompile(`\$\{(\w+)(:[-?])?([^}]*)\}`)

// expand puts values for the variables of a compose file, and defaults where it has some.
func expand(text string) string {
	return variable.ReplaceAllStringFunc(text, func(s string) string {
		if m := variable.FindStringSubmatch(s); m[2] == ":-" {
			return m[3]
		}
		return "secret"
	})
}

func duration(t *testing.T, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Error(err)
	}
	return d
}

func defaults(t *testing.T) config.Config {
	t.Helper()
	c, err := config.Parse(nil, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCompose(t *testing.T) {
	f := compose(t)
	for _, name := range []string{"proxy", "gateway-1", "gateway-2", "worker", "redis", "rabbitmq"} {
		if _, ok := f.Services[name]; !ok {
			t.Errorf("there is no service %s", name)
		}
	}
	pinned := regexp.MustCompile(`^[a-z./]+:\d+\.\d+[a-z0-9.-]*$`)
	for name, s := range f.Services {
		if s.Build == nil && !pinned.MatchString(s.Image) {
			t.Errorf("%s: the image %q has no version", name, s.Image)
		}
		if s.Healthcheck == nil || len(s.Healthcheck.Test) < 2 && (name != "worker" || !s.Healthcheck.Disable) {
			t.Errorf("%s has no health check", name)
		}
		if s.Restart == "" || s.Deploy.Resources.Limits.CPUs == "" || s.Deploy.Resources.Limits.Memory == "" {
			t.Errorf("%s has no restart policy or no limits: %+v", name, s)
		}
		if duration(t, s.StopGrace) <= 10*time.Second { // the default
			t.Errorf("%s gets %s to stop", name, s.StopGrace)
		}
		for other, dependency := range s.DependsOn {
			if _, ok := f.Services[other]; !ok || dependency.Condition != "service_healthy" {
				t.Errorf("%s depends on %s: %q", name, other, dependency.Condition)
			}
		}
		for _, network := range s.Networks {
			if _, ok := f.Networks[network]; !ok {
				t.Errorf("%s: unknown network %s", name, network)
			}
		}
		for _, v := range s.Volumes {
			source, _, _ := strings.Cut(v, ":")
			if strings.HasPrefix(source, "./") {
				read(t, source)
			} else if _, ok := f.Volumes[source]; !ok {
				t.Errorf("%s: unknown volume %s", name, source)
			}
		}
		if (len(s.Ports) > 0) != (name == "proxy") {
			t.Errorf("%s publishes %v", name, s.Ports)
		}
	}
	if ports := f.Services["proxy"].Ports; len(ports) != 1 || expand(ports[0]) != "127.0.0.1:8080:8080" {
		t.Errorf("without being told the proxy listens on %v", ports)
	}
	if !f.Networks["back"].Internal {
		t.Error("Redis and RabbitMQ can be reached from elsewhere")
	}
	for _, name := range []string{"redis", "rabbitmq"} {
		if got := f.Services[name].Networks; !slices.Equal(got, []string{"back"}) {
			t.Errorf("%s is on %v", name, got)
		}
	}
	if slices.Contains(f.Services["proxy"].Networks, "back") {
		t.Error("the proxy reaches Redis and RabbitMQ")
	}
}

// TestComposeManagement: the image with the plugin is of the version of the one without.
func TestComposeManagement(t *testing.T) {
	var with composeFile
	if err := yaml.Unmarshal([]byte(read(t, "deploy/compose.management.yml")), &with); err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(compose(t).Services["rabbitmq"].Image, "-", "-management-", 1)
	if got := with.Services["rabbitmq"].Image; got != want {
		t.Errorf("%s, not %s", got, want)
	}
	for _, name := range []string{"gateway-1", "gateway-2"} {
		if _, ok := compose(t).Services[name].Environment["HARK_CALLBACK_EXCHANGE"]; !ok {
			t.Errorf("%s is not told of HARK_CALLBACK_EXCHANGE", name)
		}
	}
}

// TestComposeHasNoPasswords: each comes from a variable that has no default.
func TestComposeHasNoPasswords(t *testing.T) {
	text := read(t, "docker-compose.yml")
	for _, m := range regexp.MustCompile(`(?i)(?:pass\w*|auth)\s*[:=]\s*(.*)|://[^@\s/]*:([^@\s]*)@`).FindAllStringSubmatch(expand(text), -1) {
		if m[1]+m[2] != "secret" {
			t.Errorf("%q", m[0])
		}
	}
	required := make(map[string]bool)
	for _, m := range variable.FindAllStringSubmatch(text, -1) {
		if strings.Contains(m[1], "PASSWORD") {
			required[m[1]] = true
			if m[2] != ":?" || !strings.Contains(m[3], "deploy/secrets.sh") {
				t.Errorf("%s may be missing, or its error does not say what to do", m[0])
			}
		}
	}

	file := filepath.Join(t.TempDir(), ".env")
	made := make(map[string]bool)
	var last string
	for range 2 { // the second run leaves it as it is
		if out, err := exec.Command("sh", "secrets.sh", file).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		secrets, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if last != "" && last != string(secrets) {
			t.Error("secrets.sh overwrites secrets")
		}
		last = string(secrets)
	}
	for line := range strings.Lines(last) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		made[name] = true
		if !regexp.MustCompile(`^[0-9a-f]{48}$`).MatchString(value) {
			t.Errorf("%s=%s", name, value)
		}
	}
	if !reflect.DeepEqual(made, required) {
		t.Errorf("secrets.sh makes %v, Compose wants %v", made, required)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if !regexp.MustCompile(`(?m)^\.env$`).MatchString(read(t, ".dockerignore")) {
		t.Error("secrets get into the image: .dockerignore has no .env")
	}
}

// TestComposeStartsGateways: the gateway understands how Compose starts it.
func TestComposeStartsGateways(t *testing.T) {
	f := compose(t)
	known := make(map[string]bool)
	for _, field := range reflect.VisibleFields(reflect.TypeFor[config.Config]()) {
		known[field.Tag.Get("env")] = true
	}
	for _, name := range []string{"gateway-1", "gateway-2"} {
		t.Run(name, func(t *testing.T) {
			s := f.Services[name]
			for key, value := range s.Environment {
				if strings.HasPrefix(key, "HARK_") && !known[key] {
					t.Errorf("the gateway does not know %s", key)
				}
				if value == "" {
					// It is passed on if it is set where Compose runs, and not set else.
					continue
				}
				t.Setenv(key, expand(value))
				if os.Getenv(key) == "" {
					t.Errorf("%s is set to nothing, which the gateway refuses", key)
				}
			}
			c, err := config.Parse(s.Command, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			if c.Redis != "redis://:secret@redis:6379/0" || c.AMQP != "amqp://hark:secret@rabbitmq:5672/" || c.Samples || !c.Insecure || c.Listen != "0.0.0.0:8080" {
				t.Errorf("%+v", c)
			}
			// The gateway lets calls go on for 10 s more than it drains.
			if grace := duration(t, s.StopGrace); grace < c.Drain+15*time.Second {
				t.Errorf("killed after %v, drains for %v", grace, c.Drain)
			}
		})
	}
	worker := f.Services["worker"]
	source := read(t, "processor/worker/main.go") + read(t, "backends/options.go")
	for key := range worker.Environment {
		if strings.HasPrefix(key, "HARK_") && !strings.Contains(source, `env:"`+key+`"`) {
			t.Errorf("the worker does not know %s", key)
		}
	}
	if len(worker.Command) > 0 {
		t.Errorf("arguments that nothing checks: %v", worker.Command)
	}
	if grace, drain := duration(t, worker.StopGrace), duration(t, worker.Environment["HARK_DRAIN"]); grace < drain+10*time.Second {
		t.Errorf("killed after %v, drains for %v", grace, drain)
	}
	proxied := read(t, "deploy/nginx.conf") + read(t, "deploy/Caddyfile")
	for name := range f.Services {
		if strings.HasPrefix(name, "gateway") && strings.Count(proxied, name+":8080") != 2 {
			t.Errorf("%s is not behind both proxies", name)
		}
	}
}

// TestComposeConfig asks Compose itself, which needs no engine for it.
func TestComposeConfig(t *testing.T) {
	if exec.Command("docker", "compose", "version").Run() != nil {
		t.Skip("docker compose is not installed")
	}
	for _, files := range [][]string{{"docker-compose.yml"}, {"docker-compose.yml", "deploy/compose.caddy.yml"}, {"docker-compose.yml", "deploy/compose.keys.yml"}, {"docker-compose.yml", "deploy/compose.management.yml"}, {"docker-compose.yml", "deploy/compose.redis.yml"}} {
		arguments := []string{"compose", "--env-file", "/dev/null"}
		for _, f := range files {
			arguments = append(arguments, "-f", f)
		}
		c := exec.Command("docker", append(arguments, "config", "--quiet")...)
		c.Dir = root
		if out, err := c.CombinedOutput(); err == nil || !strings.Contains(string(out), "run sh deploy/secrets.sh") {
			t.Errorf("%v without passwords: %v\n%s", files, err, out)
		}
		c = exec.Command("docker", append(arguments, "config", "--quiet")...)
		c.Dir, c.Env = root, append(os.Environ(), "REDIS_PASSWORD=a", "RABBITMQ_PASSWORD=b")
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("%v: %v\n%s", files, err, out)
		}
	}
}

func TestDockerfile(t *testing.T) {
	text := read(t, "Dockerfile")
	built := 0
	stages := make(map[string]bool)
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0:
		case fields[0] == "FROM":
			if fields[1] != "scratch" && !regexp.MustCompile(`^[a-z./]+:\d+\.\d+`).MatchString(fields[1]) {
				t.Errorf("%s has no version", fields[1])
			}
			if len(fields) == 4 {
				stages[fields[3]] = true
			}
		case fields[0] == "COPY" && strings.HasPrefix(fields[1], "--from="):
			if !stages[strings.TrimPrefix(fields[1], "--from=")] {
				t.Error(line)
			}
		case fields[0] == "COPY":
			for _, source := range fields[1 : len(fields)-1] {
				if _, err := os.Stat(filepath.Join(root, source)); err != nil {
					t.Error(err)
				}
			}
		case strings.HasPrefix(line, "RUN go build"):
			built++
			if main := read(t, filepath.Join(fields[len(fields)-1], "main.go")); !strings.Contains(main, "\npackage main\n") {
				t.Errorf("%s is no program", fields[len(fields)-1])
			}
			if !slices.Contains(fields, "-trimpath") {
				t.Error(line)
			}
		}
	}
	if built != 3 {
		t.Errorf("builds %d programs", built)
	}
	if n := strings.Count(text, "\nARG VERSION="); n != len(stages)+1 {
		t.Errorf("%d of %d stages know the version", n, len(stages)+1)
	}
	for _, want := range []string{
		"CGO_ENABLED=0", "\nUSER 65532:65532\n", "\nHEALTHCHECK ", `CMD ["/health"`,
		"-X github.com/hark-push/hark/version.stamped=${VERSION}", `org.opencontainers.image.version="${VERSION}"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing", want)
		}
	}
	// What is built is not left out.
	for _, want := range []string{"/deploy/*", "!/deploy/health"} {
		if !slices.Contains(strings.Split(read(t, ".dockerignore"), "\n"), want) {
			t.Errorf(".dockerignore has no %s", want)
		}
	}
	major, _, _ := strings.Cut(strings.TrimPrefix(regexp.MustCompile(`(?m)^go \d+\.\d+`).FindString(read(t, "go.mod")), "go "), "\n")
	if !strings.Contains(text, "FROM golang:"+major+"-") {
		t.Errorf("go.mod wants Go %s", major)
	}
}

// TestHealth: the program ends as health checks want it.
func TestHealth(t *testing.T) {
	path := filepath.Join(t.TempDir(), "health")
	if out, err := exec.Command("go", "build", "-o", path, "./health").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var status atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(status.Load())) }))
	for _, test := range []struct{ status, code int }{{200, 0}, {503, 1}, {0, 1}} {
		if status.Store(int64(test.status)); test.status == 0 {
			server.Close()
		}
		c := exec.Command(path, server.URL)
		out, _ := c.CombinedOutput()
		if code := c.ProcessState.ExitCode(); code != test.code || (len(out) > 0) != (code != 0) {
			t.Errorf("%d: ended with %d: %s", test.status, code, out)
		}
	}
}

// TestProxiesWaitLongEnough: no stream is cut between two heartbeats, no call before
// it is answered, and what may be large is the same everywhere.
func TestProxiesWaitLongEnough(t *testing.T) {
	c := defaults(t)
	text := read(t, "deploy/nginx.conf")
	timeouts := make(map[string]time.Duration)
	for _, m := range regexp.MustCompile(`(?s)location ([^{]*) \{[^}]*proxy_read_timeout (\w+);`).FindAllStringSubmatch(text, -1) {
		timeouts[m[1]] = duration(t, m[2])
	}
	streams := 0
	for location, timeout := range timeouts {
		if pattern, ok := strings.CutPrefix(location, "~ "); ok {
			streams++
			if timeout < 3*c.Heartbeat {
				t.Errorf("%s: %v between heartbeats of %v", location, timeout, c.Heartbeat)
			}
			for path, want := range map[string]bool{
				"/v1/ws": true, "/v1/events": true, "/v1/requests/a/events": true, "/v1/topics/a-b/events": true,
				"/v1/requests/a": false, "/v1/requests": false, "/v1/call/sleep/events": false, "/events": false,
			} {
				if regexp.MustCompile(pattern).MatchString(path) != want {
					t.Errorf("%s: %s is a stream: %v", location, path, !want)
				}
			}
			continue
		}
		if timeout < c.MaxWait+15*time.Second {
			t.Errorf("%s: %v for calls that may wait %v", location, timeout, c.MaxWait)
		}
	}
	if streams != 1 || len(timeouts) != 3 {
		t.Errorf("locations: %v", timeouts)
	}
	m := regexp.MustCompile(`client_max_body_size (\d+)m;`).FindStringSubmatch(text)
	if m == nil {
		t.Fatal("no client_max_body_size")
	}
	if n, _ := strconv.Atoi(m[1]); n<<20 != c.MaxBody {
		t.Errorf("nginx refuses bodies of %s MiB, the gateway of %d bytes", m[1], c.MaxBody)
	}
	// The other proxies' files have one limit and at most two timeouts, written as each of them
	// writes it.
	for path, patterns := range map[string]struct{ body, stream, call string }{
		"deploy/haproxy.cfg": {`content-length\) gt (\d+)`, `backend streams\n    timeout server (\w+)`, `timeout server (\w+)  # calls`},
		"deploy/varnish.vcl": {`Content-Length, 0\) > (\d+)`, `pipe_timeout=(\d+)`, `first_byte_timeout = (\w+);`},
		"deploy/apache.conf": {`LimitRequestBody (\d+)`, `BalancerMember .* timeout=(\d+)`, `BalancerMember .* timeout=(\d+)`},
		"deploy/Caddyfile":   {`int\(.*Content-Length}\) > (\d+)`, "", ""},
	} {
		text := read(t, path)
		find := func(pattern string) string {
			m := regexp.MustCompile(pattern).FindStringSubmatch(text)
			if m == nil {
				t.Fatalf("%s has no %s", path, pattern)
			}
			return m[1]
		}
		if n, _ := strconv.Atoi(find(patterns.body)); n != c.MaxBody {
			t.Errorf("%s refuses bodies of %d bytes, the gateway of %d", path, n, c.MaxBody)
		}
		for pattern, least := range map[string]time.Duration{patterns.stream: 3 * c.Heartbeat, patterns.call: c.MaxWait + 15*time.Second} {
			if pattern == "" { // waits as long as it takes
				continue
			}
			if timeout := duration(t, strings.TrimSuffix(find(pattern), "s")+"s"); timeout < least {
				t.Errorf("%s: %s waits %v, want %v", path, pattern, timeout, least)
			}
		}
	}
	m = regexp.MustCompile(`consumer_timeout = (\d+)`).FindStringSubmatch(read(t, "deploy/rabbitmq.conf"))
	if m == nil {
		t.Fatal("no consumer_timeout")
	}
	if ms, _ := strconv.Atoi(m[1]); time.Duration(ms)*time.Millisecond <= c.MaxTimeout {
		t.Errorf("RabbitMQ takes work back after %s ms, which may take %v", m[1], c.MaxTimeout)
	}
	for _, want := range []string{"\nappendonly yes\n", "\nappendfsync everysec\n", "\nmaxmemory-policy noeviction\n"} {
		if !strings.Contains(read(t, "deploy/redis.conf"), want) {
			t.Errorf("redis.conf has no %q", strings.TrimSpace(want))
		}
	}
}

// TestProxyFiles lets the proxies read their files as Compose gives them.
func TestProxyFiles(t *testing.T) {
	t.Run("nginx", func(t *testing.T) {
		nginx := program(t, "nginx")
		version, _ := exec.Command(nginx, "-v").CombinedOutput()
		var major, minor, patch int
		if m := regexp.MustCompile(`nginx/(\d+)\.(\d+)\.(\d+)`).FindSubmatch(version); m != nil {
			major, _ = strconv.Atoi(string(m[1]))
			minor, _ = strconv.Atoi(string(m[2]))
			patch, _ = strconv.Atoi(string(m[3]))
		}
		text := read(t, "deploy/nginx.conf")
		if slices.Compare([]int{major, minor, patch}, []int{1, 27, 3}) < 0 {
			text = strings.NewReplacer("gateway-1:8080 resolve", "127.0.0.1:1", "gateway-2:8080 resolve", "127.0.0.1:2").Replace(text)
		}
		dir := t.TempDir()
		file := filepath.Join(dir, "nginx.conf")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(nginx, "-t", "-q", "-p", dir+"/", "-c", file, "-e", "stderr").CombinedOutput(); err != nil || strings.Contains(string(out), "[warn]") {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("caddy", func(t *testing.T) {
		caddy := program(t, "caddy")
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		c := exec.CommandContext(ctx, caddy, "validate", "--config", "Caddyfile", "--adapter", "caddyfile")
		c.Env = append(os.Environ(), "XDG_DATA_HOME="+t.TempDir(), "XDG_CONFIG_HOME="+t.TempDir())
		if out, err := c.CombinedOutput(); err != nil || strings.Contains(string(out), "not formatted") {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

// program finds a program, also where Debian puts servers. Without it the test fails where
// all must run, else it is skipped.
func program(t *testing.T, name string) string {
	t.Helper()
	for _, path := range []string{name, "/usr/sbin/" + name, "/usr/local/sbin/" + name} {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	if os.Getenv("HARK_REQUIRE_SERVERS") != "" || os.Getenv("CI") != "" {
		t.Fatalf("%s is not on PATH", name)
	}
	t.Skipf("%s is not on PATH", name)
	return ""
}
