package blackbox_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// addressOf reads what a process says until it names its address.
func addressOf(t *testing.T, out io.Reader) string {
	t.Helper()
	var said strings.Builder
	for b := make([]byte, 4096); ; {
		n, err := out.Read(b)
		said.Write(b[:n])
		if address := regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(said.String()); address != "" {
			return address
		}
		if err != nil {
			t.Fatalf("it ended: %v, having said %q", err, said.String())
		}
	}
}

// untilClosed returns when nobody holds the other end of a pipe any more.
func untilClosed(t *testing.T, pipe *os.File) {
	t.Helper()
	_ = pipe.SetReadDeadline(time.Now().Add(3 * time.Minute))
	if _, err := io.Copy(io.Discard, pipe); err != nil {
		t.Errorf("the gateway does not end: %v", err)
	}
}

// TestEndsWithGoRun kills `go run` by its process id and waits for the end of the gateway that it
// has started, which alone holds the other end of the pipe then.
func TestEndsWithGoRun(t *testing.T) {
	anywhere(t)
	cmd := exec.Command("go", "run", "..", "--listen=127.0.0.1:0", "--data="+t.TempDir(), "--drain=200ms", "--log-level=error")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	addressOf(t, out)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	untilClosed(t, out.(*os.File))
	_ = cmd.Wait() // it was killed
}

// TestLivesOnWithoutItsParent has a shell start two gateways in the background and end, as daemons
// are started. The one that lies where go run puts its programs ends as well, and the other one
// answers still when it has.
func TestLivesOnWithoutItsParent(t *testing.T) {
	anywhere(t)
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	ofGoRun := filepath.Join(t.TempDir(), "go-build1", "b001", "exe", "gateway")
	if err := os.MkdirAll(filepath.Dir(ofGoRun), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(path, ofGoRun); err != nil {
		t.Fatal(err)
	}
	const shell = `"$1" --listen=127.0.0.1:0 --data="$2" --drain=200ms 2>/dev/null >&3 3>&- 4>&- & echo $!
		"$3" --listen=127.0.0.1:0 --data="$4" --drain=200ms 2>/dev/null >&4 3>&- 4>&- &
		read -r _ # until both have been heard of`
	cmd := exec.Command("sh", "-c", shell, "sh", path, t.TempDir(), ofGoRun, t.TempDir())
	var ends [2]*os.File
	for i := range ends {
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = read.Close() }()
		defer func() { _ = write.Close() }()
		ends[i], cmd.ExtraFiles = read, append(cmd.ExtraFiles, write)
	}
	stay, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	ids, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, write := range cmd.ExtraFiles {
		_ = write.Close()
	}
	var id int
	if _, err := fmt.Fscan(ids, &id); err != nil {
		t.Fatal(err)
	}
	daemon, err := os.FindProcess(id)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = daemon.Kill() }()
	address := addressOf(t, ends[0])
	addressOf(t, ends[1])
	_ = stay.Close() // the shell reads no more
	if _, err := cmd.Process.Wait(); err != nil {
		t.Fatal(err)
	}
	untilClosed(t, ends[1])
	res, err := http.Get(address + "/health/live")
	if err != nil {
		t.Fatalf("the other one has ended too: %v", err)
	}
	_ = res.Body.Close()
	if err := daemon.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	untilClosed(t, ends[0])
}
