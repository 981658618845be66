package blackbox_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/hark-push/hark/cli"
)

// command runs a verb of the command line against a gateway.
func (s *server) command(args ...string) (code int, out, errOut string) {
	s.t.Helper()
	var o, e bytes.Buffer
	code = cli.Run(s.t.Context(), append(args, "--url="+s.url, "--patience=1m"), cli.Streams{In: strings.NewReader("from the input"), Out: &o, Err: &e})
	return code, o.String(), e.String()
}

// TestCommandLine: what there is to do with requests, with what has failed, and with webhooks is
// done by the command line, as whoever has the key.
func TestCommandLine(t *testing.T) {
	s, file := startKeyed(t, "--webhook-allow-http", "--webhook-allow-cidrs=127.0.0.0/8")
	key := filepath.Join(filepath.Dir(file), "key")
	if err := os.WriteFile(key, []byte(adminKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(want int, args ...string) string {
		t.Helper()
		code, out, errOut := s.command(append(args, "--key="+key)...)
		if code != want {
			t.Fatalf("%v ends with %d, want %d: %s%s", args, code, want, out, errOut)
		}
		return out + errOut
	}

	if got := run(0, "submit", "sleep", `{"steps":2,"duration":"1ms","result":{"ok":true}}`, "--id=one", "--topic=t", "--wait"); got != `{"ok":true}` {
		t.Errorf("%q", got)
	}
	if got := run(0, "submit", "sleep", `{"steps":1,"duration":"1ms"}`, "--id=two", "--follow"); !strings.Contains(got, "two  accepted") || !strings.Contains(got, "two  succeeded") {
		t.Errorf("%q", got)
	}
	if got := run(0, "submit", "default", "--file=-", "--type=text/plain", "--id=three", "--delay=1h"); got != "three\n" {
		t.Errorf("%q", got)
	}
	says(t, run(0, "requests"), "ID", "one", "succeeded", "three", "pending", "default")
	if got := run(0, "requests", "list", "--status=succeeded", "--topic=t", "--json"); strings.Count(got, "\n") != 1 || !json.Valid([]byte(got)) {
		t.Errorf("%q", got)
	}
	says(t, run(0, "requests", "list", "--owner=*", "--since=1h"), "OWNER", "root", "one")
	if got := run(0, "requests", "list", "--owner=alice"); strings.Contains(got, "one") {
		t.Errorf("%q", got)
	}
	if got := run(0, "requests", "result", "one"); got != `{"ok":true}` {
		t.Errorf("%q", got)
	}
	if got := run(0, "requests", "cancel", "three"); got != "three canceled\n" {
		t.Errorf("%q", got)
	}
	says(t, run(cli.ExitEnded, "follow", "three"), "three  canceled")
	run(0, "requests", "delete", "three")
	says(t, run(cli.ExitFailed, "requests", "show", "three"), "404")
	// The cursor of an event is where to go on.
	var at struct{ Cursor string }
	if err := json.Unmarshal([]byte(strings.SplitN(run(0, "follow", "one", "--json"), "\n", 2)[0]), &at); err != nil || at.Cursor == "" {
		t.Fatal(at, err)
	}
	if got := run(0, "follow", "one", "--after="+at.Cursor); strings.Contains(got, "accepted") || !strings.Contains(got, "one  succeeded") {
		t.Errorf("%q", got)
	}

	says(t, run(cli.ExitFailed, "submit", "slep", "1"), "422", `did you mean "sleep"?`)
	says(t, run(cli.ExitEnded, "submit", "sleep", `{"steps":"many"}`, "--id=bad", "--max-attempts=1", "--wait"), "failed")
	says(t, run(0, "dead"), "sleep", "1")
	says(t, run(0, "dead", "list", "sleep"), "bad")
	says(t, run(0, "dead", "redrive", "sleep"), "1 redriven on sleep")
	s.as(adminKey).eventually(func() bool {
		return s.as(adminKey).call("GET", "/v1/requests/bad", nil).want(200).json()["status"] == "failed"
	})
	run(0, "requests", "redrive", "bad")
	s.as(adminKey).eventually(func() bool {
		return s.as(adminKey).call("GET", "/v1/requests/bad", nil).want(200).json()["status"] == "failed"
	})
	says(t, run(0, "dead", "purge", "sleep", "--yes"), "1 purged on sleep")
	run(0, "dead", "messages", "sleep")

	to := newReceiver(t, nil)
	id := strings.Fields(run(0, "webhooks", "add", to.url, "--events=request.succeeded", "--description=ours"))[1]
	says(t, run(0, "webhooks"), id, to.url, "ours", "active")
	run(0, "webhooks", "test", id)
	s.as(adminKey).eventually(func() bool { return strings.Contains(run(0, "webhooks", "deliveries", id), "delivered") })
	delivery := strings.Fields(strings.Split(run(0, "webhooks", "deliveries", id), "\n")[1])[0]
	run(0, "webhooks", "resend", id, delivery)
	if got := run(0, "webhooks", "recover", id, "--since=1h"); strings.TrimSpace(got) == "" {
		t.Errorf("%q", got)
	}
	run(0, "webhooks", "delete", id)
	says(t, run(cli.ExitFailed, "webhooks", "show", id), "404")

	// Without the key, and with one that does not do.
	code, _, errOut := s.command("requests")
	if code != cli.ExitFailed {
		t.Error(code)
	}
	says(t, errOut, "401", "--key", "HARK_KEY")
}

// TestFollowSurvivesRestart: who follows sees each event once and in order, through a gateway that
// is killed and one that drains.
func TestFollowSurvivesRestart(t *testing.T) {
	data := t.TempDir()
	s := spawn(t, data)
	at := "--listen=" + strings.TrimPrefix(s.url, "http://")
	s.call("POST", "/v1/requests", `{"id":"long","content":1}`, async).want(202)
	work := s.call("POST", "/v1/work/lease", `{"routes":["default"],"lease":"10m"}`).want(200).json()["work"].([]any)
	if len(work) != 1 {
		t.Fatal(work)
	}
	out := newRecord(t)
	done := make(chan int, 1)
	go func() {
		done <- cli.Run(t.Context(), []string{"follow", "long", "--json", "--url=" + s.url, "--patience=1m"}, cli.Streams{In: strings.NewReader(""), Out: out, Err: io.Discard})
	}()
	progress := func(p *process, n int) {
		t.Helper()
		p.call("POST", "/v1/work/long/progress?attempt=1", fmt.Sprintf(`{"percent":%d}`, n)).want(200)
		p.eventually(func() bool { return strings.Contains(out.String(), fmt.Sprintf(`"percent":%d,`, n)) })
	}
	progress(s, 10)
	s.kill()
	s = spawn(t, data, at)
	progress(s, 20)
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = s.cmd.Wait()
	s = spawn(t, data, at)
	progress(s, 30)
	s.call("PUT", "/v1/work/long/result?attempt=1", `{"all":true}`, "Content-Type: application/json").want(200)
	if code := <-done; code != 0 {
		t.Errorf("ends with %d", code)
	}
	n := 0
	for line := range strings.Lines(out.String()) {
		var e struct {
			Event struct {
				Sequence string
				Type     string
			}
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(line, err)
		}
		n++
		if got, err := strconv.Atoi(e.Event.Sequence); err != nil || got != n {
			t.Errorf("event %d has the sequence %s", n, e.Event.Sequence)
		}
	}
	if n != 6 { // accepted, started, three times progress, succeeded
		t.Errorf("%d events:\n%s", n, out)
	}
}

// TestVerbs: the program is the gateway without a verb, and something else with one.
func TestVerbs(t *testing.T) {
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	hark := filepath.Join(dir, "hark")
	if err := os.Symlink(path, hark); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "hark.yaml")
	if err := os.WriteFile(config, []byte("retry: 5s\njwt-secret: "+strings.Repeat("geheim", 6)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(want int, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), hark, args...)
		cmd.Env = append(os.Environ(), "HARK_HEARTBEAT=9s")
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != want {
			t.Errorf("%v ends with %d, want %d: %s", args, code, want, out)
		}
		return string(out)
	}
	help := run(0, "--help")
	for _, verb := range []string{"worker", "store", "submit", "follow", "requests", "dead", "webhooks", "keys", "config", "doctor", "version", "completion"} {
		says(t, help, verb)
		says(t, run(0, verb, "--help"), "Usage: hark "+verb)
	}
	says(t, run(2, "worke"), `no verb "worke"`, `did you mean "worker"?`)
	says(t, run(2, "requests", "--sttaus=failed"), "--status")
	says(t, run(0, "version"), "hark ", "go1.")
	says(t, run(2, "worker"), "redis is not given")
	shown := run(0, "config", "--changed", "--config="+config, "--listen=127.0.0.1:1")
	says(t, shown, "NAME", "listen", "127.0.0.1:1", "flag", "retry", "5s", "file "+config, "heartbeat", "9s", "variable HARK_HEARTBEAT", "(hidden)")
	if strings.Contains(shown, "geheim") || strings.Contains(shown, "drain") {
		t.Errorf("a secret, or a default: %s", shown)
	}
	says(t, run(1, "config", "--listen=0.0.0.0:1", "--changed"), "refuses", "--keys")
	for _, shell := range []string{"bash", "zsh", "fish"} {
		says(t, run(0, "completion", shell), "hark __complete")
	}
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", `source <(hark completion bash); COMP_WORDS=(hark requests "$1"); COMP_CWORD=2; _hark; echo "${COMPREPLY[@]}"`, "-", "re")
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "redrive result\n" {
		t.Errorf("%v %q", err, out)
	}
}
