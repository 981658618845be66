package blackbox_test

import (
	"os"
	"path/filepath"
	"testing"
)

// TestFollowsSettings: a gateway that runs takes what has changed in its settings.
func TestFollowsSettings(t *testing.T) {
	anywhere(t)
	folder := t.TempDir()
	path := filepath.Join(folder, "limits.yaml")
	set := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set("max-waiting-per-route: 1\n")
	p := spawn(t, t.TempDir(), "--samples=false", "--config", folder)
	p.call("POST", "/v1/requests", `{"content":1}`, async).want(202)
	p.call("POST", "/v1/requests", `{"content":2}`, async).problem(503, "route-full")
	set("max-waiting-per-route: 2\n")
	p.eventually(func() bool { return p.call("POST", "/v1/requests", `{"id":"b","content":2}`, async).status == 202 })
	p.call("POST", "/v1/requests", `{"content":3}`, async).problem(503, "route-full")
}
