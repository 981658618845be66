package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestReadmeProcessor runs the processor that the README shows, as it stands there.
func TestReadmeProcessor(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not on PATH")
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	script := regexp.MustCompile("(?s)```js\n(.*?)```").FindSubmatch(readme)
	if script == nil {
		t.Fatal("the README shows no processor")
	}
	path := filepath.Join(t.TempDir(), "processor.mjs")
	if err := os.WriteFile(path, script[1], 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t)
	before := s.submit("default", map[string]string{"text": "before"})
	cmd := exec.CommandContext(t.Context(), node, path)
	cmd.Env = append(os.Environ(), "HARK_URL="+s.url)
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	}()
	if a := s.call("POST", "/v1/requests", `{"content":{"text":"hello"}}`).want(200); string(a.body) != `{"text":"HELLO"}` {
		t.Errorf("%s", a.body)
	}
	if a := s.call("GET", "/v1/requests/"+before+"/result", nil).want(200); string(a.body) != `{"text":"BEFORE"}` {
		t.Errorf("%s", a.body)
	}
}
