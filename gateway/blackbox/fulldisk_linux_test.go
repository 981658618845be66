package blackbox_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// smallDisk mounts a file system of so many bytes. Only root may.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Skipf("a file system cannot be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill writes a file until the disk takes no more.
func fill(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 4096)
	for err == nil {
		_, err = file.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestFullDisk: when the disk is full the gateway says so, keeps what it has accepted and nothing
// else, and goes on when there is room.
func TestFullDisk(t *testing.T) {
	for _, disk := range []struct {
		name string
		// begin starts a gateway whose disk can be filled, and empty makes room.
		begin func(*testing.T) (p *process, fill, empty func(), again func() *process)
	}{
		{"a disk", func(t *testing.T) (*process, func(), func(), func() *process) {
			dir := smallDisk(t, 24<<20)
			ballast, data := filepath.Join(dir, "ballast"), filepath.Join(dir, "data")
			return spawn(t, data), func() { fill(t, ballast) }, func() {
				if err := os.Remove(ballast); err != nil {
					t.Fatal(err)
				}
			}, func() *process { return spawn(t, data) }
		}},
		{"a limit on files", func(t *testing.T) (*process, func(), func(), func() *process) {
			path, err := binary()
			if err != nil {
				t.Fatal(err)
			}
			data := t.TempDir()
			p := listening(t, exec.Command("sh", "-c", `ulimit -S -f 12288; exec "$0" "$@"`, path, "--listen=127.0.0.1:0", "--data="+data, "--drain=200ms", "--log-level=warn"))
			return p, func() {}, func() {
				var was unix.Rlimit
				if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_FSIZE, nil, &was); err != nil {
					t.Fatal(err)
				}
				was.Cur = was.Max
				if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_FSIZE, &was, nil); err != nil {
					t.Fatal(err)
				}
			}, func() *process { return spawn(t, data) }
		}},
	} {
		t.Run(disk.name, func(t *testing.T) {
			if onServers() {
				t.Skip("about the embedded store")
			}
			p, fill, empty, again := disk.begin(t)
			p.call("GET", "/health/ready", nil).want(200)
			// Work that is under way: of a sample, and of a processor over HTTP.
			sample := p.submit("sleep", map[string]any{"steps": 20, "duration": "100ms"})
			leased := p.submit("default", "leased")
			if work := p.call("POST", "/v1/work/lease", `{"routes":["default"],"lease":"10m"}`).want(200).json()["work"].([]any); len(work) != 1 {
				t.Fatal(work)
			}
			fill()
			accepted := []string{sample, leased}
			// Until there is no room for large ones, and then for none.
			body := bytes.Repeat([]byte("x"), 64<<10)
			refused := ""
			for n, small := 0, false; refused == ""; n++ {
				if n == 10_000 {
					t.Fatal("it takes more than the disk has")
				}
				id, content := fmt.Sprint("r", n), body
				if small {
					content = body[:100]
				}
				a := p.call("POST", "/v1/requests?route=images&delay=1h&id="+id, content, async, "Content-Type: image/png")
				if a.status == 202 {
					accepted = append(accepted, id)
					continue
				}
				a.problem(503, "unavailable")
				says(t, a.detail(), "no space left", "--data", "is kept, and goes on when there is room")
				if small {
					refused = id
				}
				small = true
			}
			// It lives, and reads; it is not ready, and says why.
			p.call("GET", "/health/live", nil).want(200)
			a := p.call("GET", "/health/ready", nil)
			a.problem(503, "unavailable")
			says(t, a.detail(), "disk", "--data", "full")
			p.call("GET", "/v1/requests/"+refused, nil).problem(404, "request-not-found")
			all := func(p *process) {
				t.Helper()
				for _, id := range accepted {
					p.call("GET", "/v1/requests/"+id, nil).want(200)
				}
			}
			all(p)
			report := p.call("PUT", "/v1/work/"+leased+"/result", body, "Content-Type: image/png")
			if report.status != 503 && report.status != 200 { // a little room may be left for it
				t.Errorf("%d %s", report.status, report.body)
			}

			empty()
			p.eventually(func() bool { return p.call("GET", "/health/ready", nil).status == 200 })
			p.call("POST", "/v1/requests?route=images&delay=1h&id="+refused, body, async, "Content-Type: image/png").want(202)
			accepted = append(accepted, refused)
			if report.status == 503 {
				p.call("PUT", "/v1/work/"+leased+"/result", body, "Content-Type: image/png").want(200)
			}
			for _, id := range []string{sample, leased} {
				p.eventually(func() bool { return p.call("GET", "/v1/requests/"+id, nil).want(200).json()["status"] == "succeeded" })
			}
			all(p)
			p.kill()
			all(again())
		})
	}
}
