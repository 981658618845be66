package blackbox_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hark-push/hark/servertest"
)

// How `hark store` ends.
const (
	exitDone    = 0
	exitDamaged = 1 // or it failed
	exitUsage   = 2
	exitInUse   = 3
)

// storeCommand runs `hark store` and returns how it ends and what it says.
func storeCommand(t testing.TB, in string, args ...string) (code int, out, errOut string) {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, append([]string{"store"}, args...)...)
	var o, e strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(in), &o, &e
	_ = cmd.Run() // the code says how it ends
	return cmd.ProcessState.ExitCode(), o.String(), e.String()
}

// TestStoreCommands: what a gateway has stored can be checked, exported, moved to Redis and back,
// and compacted, and gateways go on with it; a damaged result is told over the wire with its
// request, counted, and concerns nobody else.
func TestStoreCommands(t *testing.T) {
	t.Parallel()
	if onServers() {
		t.Skip("about both kinds of store by itself")
	}
	data := t.TempDir()
	p := spawn(t, data)
	for _, id := range []string{"a", "b"} {
		p.call("POST", "/v1/requests", `{"id":"`+id+`","route":"sleep","content":{"steps":1,"duration":"1ms","result":{"said":"hello from `+id+`"}}}`,
			"Prefer: wait=10").want(200)
	}
	feed := p.call("GET", "/v1/history", nil).want(200).body
	if code, _, text := storeCommand(t, "", "check", "--data="+data); code != exitInUse || !strings.Contains(text, "in use by another process") {
		t.Errorf("while a gateway runs: %d, %s", code, text)
	}
	p.kill()
	withoutItsLog(t, data)
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"check"}, exitDone, "2 requests"},
		{[]string{"compact"}, exitDone, "bytes and has"},
		{[]string{"check"}, exitDone, "0 things are damaged"},
		{[]string{"export", filepath.Join(data, "export")}, exitDone, "secrets"},
		{[]string{"export", filepath.Join(data, "export")}, exitDamaged, "exists"},
		{[]string{"import", filepath.Join(data, "export")}, exitDamaged, "there is something already"},
		{[]string{"mend"}, exitUsage, "mend"},
		{[]string{"compact", "--redis=redis://localhost"}, exitUsage, "redis"},
		{[]string{"--help"}, exitDone, "discard-log"},
	} {
		code, out, errOut := storeCommand(t, "", append(c.args, "--data="+data)...)
		if code != c.code || !strings.Contains(out+errOut, c.says) {
			t.Errorf("%v ends with %d, and says %s%s", c.args, code, out, errOut)
		}
	}
	export, err := os.ReadFile(filepath.Join(data, "export"))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(data, "export")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}

	server := servertest.Redis(t)
	count := fmt.Sprintf("%d lines were ", bytes.Count(export, []byte("\n")))
	changed := bytes.Replace(export, []byte(`"data":"e`), []byte(`"data":"f`), 1)
	if code, out, errOut := storeCommand(t, string(changed), "import", "--redis="+server.URL); code != exitDamaged ||
		!strings.Contains(errOut, "is not what was written") {
		t.Error(code, out, errOut)
	}
	if code, out, errOut := storeCommand(t, string(export), "import", "--redis="+server.URL); code != exitDone ||
		!strings.HasPrefix(out, count+"imported") || errOut != "" {
		t.Fatal(out, errOut)
	}
	code, back, errOut := storeCommand(t, "", "export", "--redis="+server.URL)
	if code != exitDone || back != string(export) || !strings.HasPrefix(errOut, count+"exported") {
		t.Errorf("from Redis comes\n%s\nand what went there was\n%s\n%s", back, export, errOut)
	}
	older := regexp.MustCompile(`,"sum":"[^"]*"`).ReplaceAllString(back, "")
	if code, out, errOut := storeCommand(t, older, "import", "--data="+t.TempDir()); code != exitDone || !strings.Contains(errOut, "has no sum") {
		t.Error(out, errOut)
	}
	other := t.TempDir()
	if code, out, errOut := storeCommand(t, back, "import", "--data="+other); code != exitDone {
		t.Fatal(out, errOut)
	}
	p = spawn(t, other)
	if again := p.call("GET", "/v1/history", nil).want(200).body; !bytes.Equal(again, feed) {
		t.Errorf("the feed is\n%s\nwas\n%s", again, feed)
	}
	p.kill()
	if code, out, errOut := storeCommand(t, "", "check", "--data="+other); code != exitDone {
		t.Error(out, errOut)
	}

	path := filepath.Join(other, "hark.db")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copy(content[64:], "DAMAGED!") // the number of the first page
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errOut := storeCommand(t, "", "check", "--data="+other); code != exitDamaged || !strings.Contains(errOut, "its first page is damaged: nothing is lost") {
		t.Errorf("%d, %s", code, errOut)
	}
	if code, back, errOut := storeCommand(t, "", "export", "--salvage", "--data="+other); code != exitDamaged || back != string(export) {
		t.Errorf("%d, %s\n%s", code, errOut, back)
	}
	p = spawn(t, other)
	if metrics := string(p.call("GET", "/metrics", nil).want(200).body); !strings.Contains(metrics, "\nhark_store_damages_total 1\n") {
		t.Error("a damaged page is not counted")
	}
	p.kill()
	if code, out, errOut := storeCommand(t, "", "check", "--data="+other); code != exitDone {
		t.Error(out, errOut)
	}
	if content, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	damaged := bytes.ReplaceAll(content, []byte("application/json{\"said\":\"hello from a"), []byte("application/json{\"said\":\"jello from a"))
	if bytes.Equal(damaged, content) {
		t.Fatal("the result is not in the file")
	}
	content = damaged
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	p = spawn(t, other)
	problem := p.call("GET", "/v1/requests/a/result", nil).problem(500, "stored-data-damaged")
	if problem["requestId"] != "a" || !strings.Contains(problem["detail"].(string), "the result") {
		t.Errorf("%v", problem)
	}
	p.call("GET", "/v1/requests/b/result", nil).want(200)
	if metrics := string(p.call("GET", "/metrics", nil).want(200).body); !strings.Contains(metrics, "\nhark_store_damages_total 1\n") {
		t.Error("it is not counted")
	}
	p.kill()
	if code, _, errOut := storeCommand(t, "", "check", "--data="+other); code != exitDamaged || !strings.Contains(errOut, "request a: the result is damaged") {
		t.Errorf("%d, %s", code, errOut)
	}
	half := filepath.Join(other, "half")
	if code, _, _ := storeCommand(t, "", "export", half, "--data="+other); code != exitDamaged {
		t.Error("an export with what is damaged")
	}
	if _, err := os.Stat(half); err == nil {
		t.Error("half of an export is left")
	}
	code, salvaged, errOut := storeCommand(t, "", "export", "--salvage", "--data="+other)
	if code != exitDamaged || !strings.Contains(errOut, "request a: the result") || !strings.Contains(salvaged, `"kind":"end"`) {
		t.Errorf("%d, %s", code, errOut)
	}
	if err := os.Truncate(path, 20_000); err != nil {
		t.Fatal(err)
	}
	if code, _, errOut := storeCommand(t, "", "check", "--data="+other); code != exitDamaged || !strings.Contains(errOut, "it was cut") {
		t.Errorf("%d, %s", code, errOut)
	}
}

// withoutItsLog holds that a gateway does not start on a copy of a store whose log is gone, says
// what to do, and starts when that was done.
func withoutItsLog(t *testing.T, data string) {
	t.Helper()
	alone := t.TempDir()
	content, err := os.ReadFile(filepath.Join(data, "hark.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(alone, "hark.db"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	said, err := exec.Command(path, "--listen=127.0.0.1:0", "--data="+alone).CombinedOutput()
	if err == nil || !strings.Contains(string(said), "its log is missing") || !strings.Contains(string(said), "store discard-log") {
		t.Errorf("%v, %s", err, said)
	}
	if left, err := os.ReadFile(filepath.Join(alone, "hark.db")); err != nil || !bytes.Equal(left, content) {
		t.Errorf("the file was changed, %v", err)
	}
	if code, out, errOut := storeCommand(t, "", "discard-log", "--data="+alone); code != exitDone {
		t.Error(out, errOut)
	}
	spawn(t, alone).kill()
}
