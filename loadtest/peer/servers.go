package peer

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Backends are servers behind a gateway, by their URLs; AMQP is "" if there is no RabbitMQ.
type Backends struct{ Redis, AMQP string }

// Environment names them to gateways and workers.
func (b Backends) Environment() []string {
	named := []string{"HARK_REDIS=" + b.Redis}
	if b.AMQP != "" {
		named = append(named, "HARK_AMQP="+b.AMQP)
	}
	return named
}

// Shared reports whether servers are behind the gateways that are asked for.
func (o *Options) Shared() bool { return o.Backends != "" && o.Backends != "embedded" }

// behind says which.
func (o *Options) behind() string {
	if o.Backends == "redis" {
		return "Redis alone"
	}
	return "Redis and RabbitMQ"
}

// ServersOf starts the servers that Hark is to have behind it.
func (t *Target) ServersOf(o *Options) (Backends, error) {
	if o.Backends == "redis" {
		return t.Servers("redis")
	}
	return t.Servers("epmd rabbitmq redis")
}

// Servers starts those of deploy/cluster.sh, by their names there. Their CPU and memory count.
func (t *Target) Servers(programs string) (b Backends, err error) {
	dir, ports, err := t.place(4)
	if err != nil {
		return b, err
	}
	cmd := exec.Command("deploy/cluster.sh", dir)
	cmd.Env = append(os.Environ(), "PROGRAMS="+programs,
		"REDIS_PORT="+ports[0], "REDIS_MAXMEMORY=8gb", "AMQP_PORT="+ports[1], "EPMD_PORT="+ports[2], "DIST_PORT="+ports[3])
	out, err := cmd.StdoutPipe()
	if err != nil {
		return b, err
	}
	if err := t.spawn(cmd); err != nil {
		return b, err
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return b, fmt.Errorf("deploy/cluster.sh did not start the servers: %w", err)
	}
	for name := range strings.FieldsSeq(programs) {
		if name == "epmd" { // a directory of names, which does nothing
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, "pid", name))
		if err != nil {
			return b, err
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			return b, err
		}
		t.Processes = append(t.Processes, Process{name, pid})
	}
	secrets, err := os.ReadFile(filepath.Join(dir, "secrets"))
	if err != nil {
		return b, err
	}
	password := make(map[string]string)
	for line := range strings.Lines(string(secrets)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		password[key] = value
	}
	b.Redis = fmt.Sprintf("redis://:%s@127.0.0.1:%s/0", password["REDIS_PASSWORD"], ports[0])
	if !slices.Contains(strings.Fields(programs), "rabbitmq") {
		return b, nil
	}
	b.AMQP = fmt.Sprintf("amqp://hark:%s@127.0.0.1:%s/", password["RABBITMQ_PASSWORD"], ports[1])
	return b, nil
}
