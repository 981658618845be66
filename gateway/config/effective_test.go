package config

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestEffective: each value says where it comes from, by the precedence that [Parse] has, and no
// secret is in any.
func TestEffective(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hark.yaml")
	if err := os.WriteFile(file, []byte("listen: 127.0.0.1:1\nretry: 5s\nheartbeat: 7s\njwt-secret: "+strings.Repeat("geheim", 6)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HARK_RETRY", "6s")
	t.Setenv("HARK_AMQP", "amqp://u:geheim@one:5672/,amqp://u:geh,eim@two:5672/v")
	c, values, wrong, err := Effective([]string{
		"--listen=127.0.0.1:2", "--config", file, "--redis=redis://:geheim@h:1/0?sentinel_password=geheim", "--no-samples",
		"--webhook-key=Z2VoZWltZ2VoZWltZ2VoZWltZ2VoZWltZ2VoZWltZWg=",
	}, io.Discard)
	if err != nil || wrong != nil {
		t.Fatal(err, wrong)
	}
	if c.Listen != "127.0.0.1:2" {
		t.Error(c.Listen)
	}
	got := make(map[string]Value)
	for _, v := range values {
		got[v.Name] = v
	}
	for _, want := range []Value{
		{"listen", "127.0.0.1:2", "flag", ""},
		{"samples", "false", "flag", ""},
		{"retry", "6s", "variable", "HARK_RETRY"},
		{"heartbeat", "7s", "file", file},
		{"jwt-secret", "(hidden)", "file", file},
		{"webhook-key", "(hidden)", "flag", ""},
		{"redis", "redis://:(hidden)@h:1/0?(hidden)", "flag", ""},
		{"amqp", "amqp://u:(hidden)@one:5672/,amqp://u:(hidden)@two:5672/v", "variable", "HARK_AMQP"},
		{"routes", "default,images,fetch,sleep", "default", ""},
		{"data", "./data", "default", ""},
	} {
		if got[want.Name] != want {
			t.Errorf("%+v, want %+v", got[want.Name], want)
		}
	}
	if text, _ := json.Marshal(values); strings.Contains(string(text), "geheim") || strings.Contains(string(text), "Z2Vo") {
		t.Errorf("a secret is shown: %s", text)
	}
	if _, _, wrong, err := Effective([]string{"--listen=0.0.0.0:1"}, io.Discard); err != nil || wrong == nil {
		t.Errorf("what is not allowed is not told: %v %v", wrong, err)
	}
	if _, _, _, err := Effective([]string{"--lissten=x"}, io.Discard); err == nil {
		t.Error("a flag that there is not is taken")
	}
}
