package servertest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// RabbitMQServer is a running RabbitMQ: one node, user and password guest, quorum
// queues available.
type RabbitMQServer struct {
	*Server
	node        string // its Erlang name
	cookie      string // what nodes prove to each other that they belong together with
	environment []string
	epmdAddr    string
	epmdOfPeer  bool      // another node of the cluster starts it and ends it
	epmd        *exec.Cmd // the names of Erlang nodes; nil while it does not run
	epmdExited  chan struct{}
}

// RabbitMQ starts a rabbitmq-server, which takes some seconds; [Shared] spares them.
// More settings may be given as lines of rabbitmq.conf:
// RabbitMQ(t, "vm_memory_high_watermark.absolute = 200MB").
func RabbitMQ(t testing.TB, settings ...string) *RabbitMQServer {
	t.Helper()
	require(t, "rabbitmq-server", "rabbitmq-server")
	return open(t, func(dir string) *RabbitMQServer { return newRabbitMQ(dir, nil, settings) })
}

// RabbitMQCluster starts a cluster of three nodes, which takes three times as long.
// Each can be paused, killed and started again. Quorum queues that are declared on it
// have a replica on each node and go on while two of them live.
func RabbitMQCluster(t testing.TB, settings ...string) []*RabbitMQServer {
	t.Helper()
	nodes := []*RabbitMQServer{RabbitMQ(t, settings...)}
	for range 2 {
		nodes = append(nodes, open(t, func(dir string) *RabbitMQServer { return newRabbitMQ(dir, nodes[0], settings) }))
	}
	for _, s := range nodes {
		if _, err := s.Ctl("await_online_nodes", "3"); err != nil {
			t.Fatal(err)
		}
	}
	return nodes
}

// Ctl runs rabbitmqctl and returns what it prints. It takes a second or more.
func (s *RabbitMQServer) Ctl(arguments ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	c := exec.CommandContext(ctx, rabbitProgram("rabbitmqctl"), append([]string{"--quiet"}, arguments...)...)
	c.Env = s.environment
	out, err := c.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("rabbitmqctl %s: %w: %s", strings.Join(arguments, " "), err, out)
	}
	return string(out), err
}

// Sync makes what was declared so far safe from Kill. RabbitMQ itself (3.10) writes
// the names of new quorum queues to disk only after about three seconds, and a queue
// that is killed before never answers again. Messages need no Sync.
func (s *RabbitMQServer) Sync() {
	if _, err := s.Ctl("eval", "[ok = dets:sync(T) || T <- dets:all()], ok."); err != nil {
		s.fatal("%v", err)
	}
}

// newRabbitMQ returns a node that joins the cluster of a peer when it starts for the
// first time, or stays alone.
func newRabbitMQ(dir string, peer *RabbitMQServer, settings []string) *RabbitMQServer {
	addr, dist := freeAddr(), freeAddr()
	s := &RabbitMQServer{node: "hark" + strings.ToLower(rand.Text()[:8]) + "@localhost"}
	if peer == nil {
		s.cookie, s.epmdAddr = rand.Text(), freeAddr()
	} else {
		s.cookie, s.epmdAddr, s.epmdOfPeer = peer.cookie, peer.epmdAddr, true
		settings = append([]string{
			"cluster_formation.peer_discovery_backend = classic_config",
			"cluster_formation.classic_config.nodes.1 = " + peer.node,
		}, settings...)
	}
	// Nothing is taken from the machine's own configuration, nor from a server that
	// it may run: other ports, another node name, another cookie.
	s.environment = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "LANG=C.UTF-8",
		"ERL_EPMD_PORT=" + port(s.epmdAddr), "ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_NODENAME=" + s.node,
		"RABBITMQ_DIST_PORT=" + port(dist),
		"RABBITMQ_MNESIA_BASE=" + filepath.Join(dir, "data"),
		"RABBITMQ_LOG_BASE=" + filepath.Join(dir, "log"),
		"RABBITMQ_LOGS=-",
		"RABBITMQ_CONFIG_FILE=" + filepath.Join(dir, "rabbitmq.conf"),
		"RABBITMQ_ADVANCED_CONFIG_FILE=" + filepath.Join(dir, "none.config"),
		"RABBITMQ_CONF_ENV_FILE=" + filepath.Join(dir, "none.conf"),
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + filepath.Join(dir, "enabled_plugins"),
		"RABBITMQ_GENERATED_CONFIG_DIR=" + filepath.Join(dir, "config"),
		"RABBITMQ_PID_FILE=" + filepath.Join(dir, "pid"),
		// With it the script becomes the server instead of waiting for it, so that
		// signals reach the server itself.
		"RABBITMQ_ALLOW_INPUT=1",
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+S 1:1 +SDcpu 1:1 +SDio 1 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}",
	}
	config := append([]string{
		"listeners.tcp.1 = " + addr,
		"log.console.level = warning",
		"disk_free_limit.absolute = 50MB",
		"raft.wal_max_size_bytes = 16777216", // 512 MB by default
	}, settings...)
	s.Server = &Server{
		Addr: addr,
		URL:  "amqp://guest:guest@" + addr + "/",
		log:  filepath.Join(dir, "rabbitmq.log"),
		command: func() *exec.Cmd {
			for name, text := range map[string]string{
				"rabbitmq.conf":   strings.Join(config, "\n") + "\n",
				"enabled_plugins": "[].\n",
				".erlang.cookie":  s.cookie,
			} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					s.fatal("%v", err)
				}
			}
			c := exec.Command(rabbitProgram("rabbitmq-server"), "-noinput")
			c.Env, c.Dir = s.environment, dir
			return c
		},
		usable: func() error { return openAMQP(addr) },
	}
	return s
}

// start shadows Server's: Erlang's name server comes first, as a process of ours,
// since the one that Erlang would start itself outlives everything.
func (s *RabbitMQServer) start() error {
	if s.epmd == nil && !s.epmdOfPeer {
		c := exec.Command("epmd", "-port", port(s.epmdAddr), "-address", "127.0.0.1")
		exited, err := launch(c)
		if err != nil {
			return err
		}
		s.epmd, s.epmdExited = c, exited
	}
	return s.Server.start()
}

// Restart is like that of Server.
func (s *RabbitMQServer) Restart() {
	s.Kill()
	if err := s.start(); err != nil {
		s.fatal("%v", err)
	}
}

func (s *RabbitMQServer) end() {
	s.Server.end()
	if s.epmd != nil {
		_ = signalGroup(s.epmd, syscall.SIGKILL)
		<-s.epmdExited
		s.epmd = nil
	}
}

// openAMQP opens a connection and a channel.
func openAMQP(addr string) error {
	conn, err := amqp.DialConfig("amqp://guest:guest@"+addr+"/", amqp.Config{Dial: amqp.DefaultDial(5 * time.Second)})
	if err != nil {
		return err
	}
	_, err = conn.Channel()
	return errors.Join(err, conn.Close())
}

// rabbitProgram returns the program itself where PATH leads to Debian's wrapper of it, which
// changes the user and insists on being root.
func rabbitProgram(name string) string {
	if on, err := exec.LookPath(name); err == nil && filepath.Dir(on) == "/usr/sbin" {
		if path := "/usr/lib/rabbitmq/bin/" + name; exec.Command("test", "-x", path).Run() == nil {
			return path
		}
	}
	return name
}
