package blackbox_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestExamples: each example is a processor that works as it stands, on a route that the gateway is
// told of, and ends when it is told to: over HTTP beside either store, with the SDK where there are
// servers to share.
func TestExamples(t *testing.T) {
	anywhere(t)
	for _, test := range []struct {
		name   string
		shared bool // it needs servers to share
		want   string
	}{
		{"lease", false, `{"words":6}`},
		{"words", true, `{"words":6,"distinct":4}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			data := t.TempDir()
			s := startOn(t, data, "--routes=default,words", "--samples=false")
			var args []string
			for _, arg := range backendsOf(t, data) {
				if !strings.HasPrefix(arg, "--requeue") { // which is for gateways
					args = append(args, arg)
				}
			}
			if test.shared && args == nil {
				t.Skip("there are no servers in this run of these tests")
			}
			path := filepath.Join(t.TempDir(), test.name)
			build := []string{"build", "-o", path}
			if raceEnabled {
				build = append(build, "-race")
			}
			if out, err := exec.Command("go", append(build, "../../examples/"+test.name)...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			cmd := s.beside(t, path, args...)

			if a := s.call("POST", "/v1/requests", `{"route":"words","content":{"text":"to be or not to be"}}`, "Prefer: wait=30").want(200); string(a.body) != test.want {
				t.Errorf("%s, want %s", a.body, test.want)
			}
			for content, code := range map[string]string{`{"text":""}`: "no-words", `{"text":1}`: "bad-content"} {
				a := s.call("POST", "/v1/requests", `{"route":"words","content":`+content+`}`, async).want(202)
				id := a.json()["id"].(string)
				s.eventually(func() bool { return s.call("GET", "/v1/requests/"+id, nil).json()["status"] == "failed" })
				if failure := s.call("GET", "/v1/requests/"+id, nil).json()["error"].(map[string]any); failure["code"] != code {
					t.Errorf("%s: %v, want %s", content, failure, code)
				}
			}
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("it ended with %v", err)
			}
		})
	}
}

// beside starts a program that is told where the server is, and kills it when the test ends; if
// that has failed, the log has what the program said.
func (s *server) beside(t *testing.T, path string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "HARK_URL="+s.url)
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	})
	return cmd
}
