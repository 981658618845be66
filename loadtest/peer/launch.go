package peer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// Folder makes a temporary folder that ends with the target.
func (t *Target) Folder() (string, error) {
	dir, err := os.MkdirTemp("", "hark-loadtest-")
	if err == nil {
		t.onStop(func() error { return os.RemoveAll(dir) })
	}
	return dir, err
}

// place makes a temporary folder, as folder does, and finds ports.
func (t *Target) place(ports int) (dir string, free []string, err error) {
	if dir, err = t.Folder(); err != nil {
		return "", nil, err
	}
	free, err = FreePorts(ports)
	return dir, free, err
}

// launch starts a program whose CPU counts, and returns when it has printed its first line.
func (t *Target) launch(name string, cmd *exec.Cmd) error {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := t.run(name, cmd); err != nil {
		return err
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return fmt.Errorf("%s did not start: %w", name, err)
	}
	return nil
}

// run starts a program whose CPU counts. It ends with the target.
func (t *Target) run(name string, cmd *exec.Cmd) error {
	if err := t.spawn(cmd); err != nil {
		return fmt.Errorf("%s did not start: %w", name, err)
	}
	t.Processes = append(t.Processes, Process{name, cmd.Process.Pid})
	return nil
}

// spawn starts a program that ends with the target.
func (t *Target) spawn(cmd *exec.Cmd) error {
	said := new(bytes.Buffer)
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		return err
	}
	t.onStop(func() error {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		err := cmd.Wait()
		if err != nil {
			err = fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, said.String())
		}
		return err
	})
	return nil
}

// Build builds a program of this module into a folder.
func Build(dir, path string, flags ...string) (string, error) {
	return buildIn(".", dir, path, flags...)
}

// buildModule builds a program that is a module of its own.
func buildModule(dir, module string) (string, error) { return buildIn(module, dir, ".") }

// Programs is a folder for what is built, if it is to be kept.
var Programs string

func buildIn(module, dir, path string, flags ...string) (string, error) {
	if Programs != "" {
		dir = Programs
	}
	binary := filepath.Join(dir, filepath.Base(filepath.Join(module, path)))
	cmd := exec.Command("go", append(append([]string{"build"}, flags...), "-o", binary, path)...)
	cmd.Dir = module
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w: %s", filepath.Join(module, path), err, out)
	}
	return binary, nil
}

// FreePorts returns ports that nobody listens on. They are below those that the kernel
// gives to outgoing connections, so that none takes them meanwhile.
func FreePorts(n int) (ports []string, err error) {
	for tries := 0; len(ports) < n; tries++ {
		port := strconv.Itoa(10_000 + rand.IntN(20_000))
		l, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			if tries > 100 {
				return nil, err
			}
			continue
		}
		defer func() { _ = l.Close() }()
		ports = append(ports, port)
	}
	return ports, nil
}

// reachable waits until somebody listens.
func reachable(addr string) error {
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		var conn net.Conn
		if conn, err = net.Dial("tcp", addr); err == nil {
			return conn.Close()
		}
		time.Sleep(20 * time.Millisecond)
	}
	return errors.Join(errors.New("nobody listens on "+addr), err)
}
