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
	script := regexp.MustCompile("(?s)## A processor over HTTP\n.*?```js\n(.*?)```").FindSubmatch(readme)
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
	s.eventually(func() bool { return s.call("GET", "/v1/requests/"+before, nil).json()["status"] == "succeeded" })
	if a := s.call("GET", "/v1/requests/"+before+"/result", nil).want(200); string(a.body) != `{"text":"BEFORE"}` {
		t.Errorf("%s", a.body)
	}
}

// TestReadmeWebhooks makes the calls that the README shows of webhooks, to endpoints that are there.
func TestReadmeWebhooks(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "\n## Webhooks\n")
	section, _, _ = strings.Cut(section, "\n## ")
	section = strings.ReplaceAll(section, "\\\n", "")
	s := startHooks(t)
	r := newReceiver(t, nil)
	calls := 0
	var endpoint, delivery string
	for line := range strings.Lines(section) {
		m := regexp.MustCompile(`^curl.* '?http://127\.0\.0\.1:8080(/[^\s']*)`).FindStringSubmatch(line)
		if m == nil {
			continue
		}
		calls++
		method, body, path := "GET", any(nil), strings.Replace(m[1], "ep_…", endpoint, 1)
		path = strings.Replace(path, "/…", "/"+delivery, 1)
		var headers []string
		if d := regexp.MustCompile(`-d '([^']*)'`).FindStringSubmatch(line); d != nil {
			method, body = "POST", strings.ReplaceAll(d[1], "https://example.org", r.url)
		} else if strings.Contains(line, "-X POST") {
			method = "POST"
		}
		if strings.Contains(line, async) {
			headers = append(headers, async)
		}
		a := s.call(method, path, body, headers...)
		if a.status > 299 {
			t.Fatalf("%s: %d %s", line, a.status, a.body)
		}
		switch id, _ := a.json()["id"].(string); {
		case strings.HasPrefix(id, "ep_"):
			endpoint = id
		case strings.HasSuffix(path, "/test"):
			delivery = id
			(&hook{s: s, path: "/v1/webhooks/" + endpoint}).settled()
		}
	}
	if calls != 6 {
		t.Errorf("%d calls", calls)
	}
}
