// Package servertest starts real servers for tests: a redis-server, a postgres or a
// rabbitmq-server of its own for each caller, on free ports of the loopback
// interface, with data in a temporary directory, in memory where that has room. It never
// talks to a server that runs already, and it leaves no process behind, not even when
// the test binary is killed.
//
//	server := servertest.Redis(t)
//	client := redis.NewClient(&redis.Options{Addr: server.Addr})
//
// A server can be paused, killed and started again with its data on its port, and a
// [Proxy] in front of it can cut, silence and slow down its connections.
//
// The programs are taken from PATH. Where one is missing the test is skipped, unless
// HARK_REQUIRE_SERVERS or CI is set in the environment: then it fails.
// `make setup` installs them.
package servertest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startTimeout bounds how long a server may take until it can be used. RabbitMQ
// needs some seconds, on a busy machine many.
const startTimeout = 90 * time.Second

// Server is a running server. Its methods fail the test that the server was
// started for, or panic for one of a [Shared]. They must not be called concurrently.
type Server struct {
	Addr string // host:port
	URL  string // with scheme and credentials, as clients take it

	command func() *exec.Cmd // makes the process
	usable  func() error     // nil once the server answers
	log     string           // file that its output goes to
	fatal   func(format string, arguments ...any)

	process *exec.Cmd // nil while it does not run
	exited  chan struct{}
}

// Pause stops the server's processes (SIGSTOP) and returns once they stand still: connections stay
// open and nothing answers. Undone by Resume.
func (s *Server) Pause() {
	s.signal(syscall.SIGSTOP)
	if s.process == nil {
		return
	}
	for deadline := time.Now().Add(10 * time.Second); moving(s.process.Process.Pid); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			s.fatal("%s does not stand still", filepath.Base(s.log))
			return
		}
	}
}

// moving reports whether a thread of a process group is not stopped yet: each stops by itself, on a
// busy machine some milliseconds after the signal. It is false where there is no /proc.
func moving(group int) bool {
	threads, _ := filepath.Glob("/proc/[0-9]*/task/[0-9]*/stat")
	for _, thread := range threads {
		stat, err := os.ReadFile(thread)
		if err != nil {
			continue // it has ended
		}
		// proc(5): pid (name) state ppid pgrp; the name may hold anything.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) > 2 && fields[2] == strconv.Itoa(group) && !slices.Contains([]string{"T", "t", "Z", "X"}, fields[0]) {
			return true
		}
	}
	return false
}

// Resume lets a paused server go on.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

// Kill ends the server as a power failure would (SIGKILL) and returns once it is
// gone.
func (s *Server) Kill() {
	if s.process == nil {
		return
	}
	s.signal(syscall.SIGKILL)
	s.wait(10 * time.Second)
}

// Stop ends the server in an orderly way (SIGTERM) and returns once it is gone.
func (s *Server) Stop() {
	if s.process == nil {
		return
	}
	s.signal(syscall.SIGTERM)
	s.wait(30 * time.Second)
}

// Restart starts the server again, on the same port with the data that the last
// process left, and returns once it can be used. A server that runs is killed first.
func (s *Server) Restart() {
	s.Kill()
	if err := s.start(); err != nil {
		s.fatal("%v", err)
	}
}

// Log returns the last 4 KiB that the server wrote.
func (s *Server) Log() string {
	text, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4096):])
}

// start starts the process and waits until it can be used.
func (s *Server) start() error {
	out, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	c := s.command()
	c.Stdout, c.Stderr = out, out
	if s.exited, err = launch(c); err != nil {
		return err
	}
	s.process = c
	for deadline := time.Now().Add(startTimeout); ; {
		err := s.usable()
		if err == nil {
			return nil
		}
		select {
		case <-s.exited:
			s.process = nil
			return fmt.Errorf("%s ended while it started: %w\n%s", c.Path, err, s.Log())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			s.Kill()
			return fmt.Errorf("%s cannot be used after %v: %w\n%s", c.Path, startTimeout, err, s.Log())
		}
	}
}

// launch starts a process in a group of its own, which dies with this one, and
// returns a channel that is closed when it has ended.
func launch(c *exec.Cmd) (exited chan struct{}, err error) {
	if c.SysProcAttr == nil {
		c.SysProcAttr = new(syscall.SysProcAttr)
	}
	c.SysProcAttr.Setpgid, c.SysProcAttr.Pdeathsig = true, syscall.SIGKILL
	started := make(chan error)
	exited = make(chan struct{})
	// The signal comes when the thread that forked ends, so this goroutine keeps it.
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.Start()
		started <- err
		if err != nil {
			return
		}
		_ = c.Wait()
		close(exited)
	}()
	return exited, <-started
}

func (s *Server) signal(sig syscall.Signal) {
	if s.process == nil {
		s.fatal("%s does not run", filepath.Base(s.log))
		return
	}
	if err := signalGroup(s.process, sig); err != nil {
		s.fatal("%v: %v", sig, err)
	}
}

func signalGroup(c *exec.Cmd, sig syscall.Signal) error {
	if err := syscall.Kill(-c.Process.Pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

// wait returns when the process has ended, after the given time by force.
func (s *Server) wait(patience time.Duration) {
	select {
	case <-s.exited:
	case <-time.After(patience):
		s.signal(syscall.SIGKILL)
		<-s.exited
	}
	s.process = nil
}

// freeAddr returns an address of the loopback interface that nobody listens on. Its
// port is below those that outgoing connections get, so that it stays free until the
// server takes it, and while it is down.
func freeAddr() string {
	for {
		addr := fmt.Sprintf("127.0.0.1:%d", 15000+rand.IntN(17000))
		if l, err := net.Listen("tcp", addr); err == nil {
			_ = l.Close()
			return addr
		}
	}
}

func port(addr string) string {
	_, p, _ := net.SplitHostPort(addr)
	return p
}

// require skips or fails the test if the program is not installed.
func require(t testing.TB, program, debian string) {
	t.Helper()
	if _, err := exec.LookPath(program); err == nil {
		return
	}
	message := fmt.Sprintf("%s is not on PATH: run make setup, or install it (Debian: apt-get install --no-install-recommends %s)", program, debian)
	if os.Getenv("HARK_REQUIRE_SERVERS") != "" || os.Getenv("CI") != "" {
		t.Fatal(message)
	}
	t.Skip(message)
}

// Promtool runs Prometheus' promtool, with input, and returns what it said and whether it was
// content. It skips or fails the test if that is not installed, as the servers do.
func Promtool(t testing.TB, input []byte, args ...string) (said string, ok bool) {
	t.Helper()
	require(t, "promtool", "prometheus")
	command := exec.CommandContext(t.Context(), "promtool", args...)
	command.Stdin = bytes.NewReader(input)
	out, err := command.CombinedOutput()
	return string(out), err == nil
}

// starter is a Server or what embeds one.
type starter interface {
	start() error
	end()
	failWith(fatal func(string, ...any))
}

// open starts what create returns, again if a port was taken in between, and ends it
// with the test.
func open[T starter](t testing.TB, create func(dir string) T) T {
	t.Helper()
	for try := 1; ; try++ {
		dir, remove, err := newFolder()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(remove)
		s := create(dir)
		s.failWith(t.Fatalf)
		t.Cleanup(s.end)
		if err = s.start(); err == nil {
			return s
		}
		if try == 3 || !portTaken(err) {
			t.Fatal(err)
		}
	}
}

// portTaken reports whether a server did not start because of its port.
func portTaken(err error) bool {
	text := strings.ToLower(err.Error())
	return strings.Contains(text, "in use") || strings.Contains(text, "eaddrinuse")
}

func (s *Server) failWith(fatal func(string, ...any)) { s.fatal = fatal }

func (s *Server) end() {
	s.fatal = func(string, ...any) {}
	s.Kill()
}

// Shared is one RabbitMQ for the tests of a package, started by the first that asks.
// TestMain calls Stop. Tests keep apart by the names of what they declare. It should
// not be killed: RabbitMQ 3.10 may not take new queues after that if many were deleted
// shortly before.
//
// What tests have declared stays, and thousands of quorum queues make a server so slow that clients
// give it up. So another one takes its place after some tests, between two.
type Shared struct {
	mu     sync.Mutex
	broker *RabbitMQServer
	remove func() // its folder
	err    error
	tests  int    // that it was given to
	using  int    // of them, those that have not ended
	last   string // the newest of them, without its parts: they may have it one after the other
}

// sharedBy is how many tests share a server.
const sharedBy = 40

// RabbitMQ returns the server, until the test has ended.
func (s *Shared) RabbitMQ(t testing.TB) *RabbitMQServer {
	t.Helper()
	require(t, "rabbitmq-server", "rabbitmq-server")
	s.mu.Lock()
	defer s.mu.Unlock()
	test, _, _ := strings.Cut(t.Name(), "/")
	if s.tests >= sharedBy && s.using == 0 && s.last != test {
		s.stop()
	}
	s.last = test
	for try := 0; s.broker == nil && s.err == nil; try++ {
		var dir string
		if dir, s.remove, s.err = newFolder(); s.err != nil {
			break
		}
		b := newRabbitMQ(dir, nil, nil)
		b.fatal = func(format string, arguments ...any) { panic(fmt.Sprintf(format, arguments...)) }
		err := b.start()
		if err == nil {
			s.broker = b
			break
		}
		b.end()
		s.remove()
		if try == 2 || !portTaken(err) {
			s.err = err
		}
	}
	if s.err != nil {
		t.Fatal(s.err)
	}
	s.tests++
	s.using++
	t.Cleanup(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.using--
	})
	return s.broker
}

// Stop ends the server if one was started.
func (s *Shared) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop()
}

func (s *Shared) stop() {
	if s.broker != nil {
		s.broker.end()
		s.broker = nil
	}
	if s.remove != nil {
		s.remove()
	}
	s.remove, s.tests = nil, 0
}
