package blackbox_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// binary is the gateway as it is shipped, built once, with the race detector if
// the tests run with it.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "hark-test-")
	if err != nil {
		return "", err
	}
	binaries = dir
	path := filepath.Join(dir, "gateway")
	args := []string{"build", "-o", path}
	if raceEnabled {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "..")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// binaries is the folder of both, if one of them was built.
var binaries string

// workerBinary is the worker, built likewise.
var workerBinary = sync.OnceValues(func() (string, error) {
	path, err := binary()
	if err != nil {
		return "", err
	}
	path = filepath.Join(filepath.Dir(path), "worker")
	args := []string{"build", "-o", path}
	if raceEnabled {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "../../processor/cmd/worker")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// process is a gateway of its own, to be killed.
type process struct {
	*server
	cmd *exec.Cmd
}

// spawn runs the binary and waits until it says where it listens.
func spawn(t testing.TB, data string, args ...string) *process {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return listening(t, exec.Command(path, append(append([]string{"--listen=127.0.0.1:0", "--data=" + data, "--drain=200ms", "--log-level=warn"}, backendsOf(t, data)...), args...)...))
}

// listening starts a gateway and returns when it has said where it listens. It ends
// with the test.
func listening(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = &processLog{t: t}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	head := make([]byte, 4096)
	var said strings.Builder
	for {
		n, err := out.Read(head)
		said.Write(head[:n])
		if url := regexp.MustCompile(`http://[0-9.:]+`).FindString(said.String()); url != "" {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return &process{server: newServer(t, url), cmd: cmd}
		}
		if err != nil {
			t.Fatalf("gateway ended: %v, having said %q", err, said.String())
		}
	}
}

// kill ends the process as a power cut for processes does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	p.http.CloseIdleConnections()
}

// processLog is what a process says on stderr. Errors, and what is not of its log, are
// passed on; what must never be said fails the test.
type processLog struct {
	t    testing.TB
	rest []byte // an unfinished line
}

func (l *processLog) Write(b []byte) (int, error) {
	lines := bytes.Split(append(l.rest, b...), []byte("\n"))
	for _, line := range lines[:len(lines)-1] {
		switch {
		case bytes.Contains(line, []byte("CROSSSLOT")), bytes.Contains(line, []byte("DATA RACE")), bytes.HasPrefix(line, []byte("panic:")):
			l.t.Errorf("%s", line)
		case bytes.HasPrefix(line, []byte("redis: ")): // the client's own words about connections
		case !bytes.HasPrefix(line, []byte("{")), bytes.Contains(line, []byte(`"level":"ERROR"`)):
			l.t.Logf("%s", line)
		}
	}
	l.rest = bytes.Clone(lines[len(lines)-1])
	return len(b), nil
}

// record is what a process, or a verb, has said.
type record struct {
	t    testing.TB
	mu   sync.Mutex
	text strings.Builder
	more chan struct{} // gets a value when there is more
}

// newRecord is one in which nothing has been said.
func newRecord(t testing.TB) *record { return &record{t: t, more: make(chan struct{}, 1)} }

// recorded starts a process, which ends with the test, and records what it says.
func recorded(t testing.TB, cmd *exec.Cmd) *record {
	t.Helper()
	r := newRecord(t)
	cmd.Stdout, cmd.Stderr = r, r
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return r
}

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case r.more <- struct{}{}:
	default:
	}
	return r.text.Write(b)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// until waits until the process has said something.
func (r *record) until(part string) {
	r.t.Helper()
	late := time.After(patience)
	for !strings.Contains(r.String(), part) {
		select {
		case <-r.more:
		case <-late:
			r.t.Fatalf("%q was never said: %s", part, r)
		}
	}
}

// line returns the line that has a part.
func (r *record) line(part string) string {
	for line := range strings.Lines(r.String()) {
		if strings.Contains(line, part) {
			return line
		}
	}
	return ""
}
