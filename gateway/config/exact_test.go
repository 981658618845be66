package config_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/hark-push/hark/gateway/config"
)

// TestSetButEmpty: what is there and says nothing is refused, wherever it stands: its default may
// be the opposite of what was meant.
func TestSetButEmpty(t *testing.T) {
	tried := 0
	for _, f := range reflect.VisibleFields(reflect.TypeFor[config.Config]()) {
		name := f.Tag.Get("env")
		if name == "" {
			continue
		}
		tried++
		for _, value := range []string{"", " "} {
			t.Run(name, func(t *testing.T) {
				t.Setenv(name, value)
				if _, err := parse(t, "--listen=127.0.0.1:0"); err == nil || !strings.Contains(err.Error(), name+" is set but empty: unset it") {
					t.Errorf("%q: %v", value, err)
				}
			})
		}
	}
	if tried < 60 {
		t.Errorf("only %d variables were tried", tried)
	}
	for _, args := range [][]string{{"--keys="}, {"--keys", ""}, {"--origins="}, {"--routes= "}, {"-c="}, {"-c", ""}, {"--new-key="}, {"--insecure="}} {
		if _, err := parse(t, args...); err == nil || !strings.Contains(err.Error(), "is given but empty") {
			t.Errorf("%q: %v", args, err)
		}
	}
	for text, line := range map[string]string{
		"keys:\n": "line 1", "listen: 127.0.0.1:0\nkeys: \"\"\n": "line 2", "keys: ~\n": "line 1", "keys: ' '": "line 1", "routes: []": "line 1", "routes: [a, null]": "line 1", "routes:\n- a\n-\n": "line 3",
	} {
		if _, err := parse(t, "--config", file(t, text)); err == nil || !strings.Contains(err.Error(), "is there but empty") && !strings.Contains(err.Error(), "is an empty list") || !strings.Contains(err.Error(), line) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestFileIsTakenAsItStands: what YAML would make another value of is the text that stands there,
// and what it would pass over is refused.
func TestFileIsTakenAsItStands(t *testing.T) {
	secret := strings.Repeat("1234567890", 4)
	c, err := parse(t, "--config", file(t, "jwt-secret: "+secret+"\njwt-issuer: 1.10\njwt-audience: 0o17\nwebhook-origin: &name 1e3\nprefix: *name\nsamples: False\nroutes: [010, yes]\n"))
	if err != nil || c.JWTSecret != secret || c.JWTIssuer != "1.10" || c.JWTAudience != "0o17" || c.WebhookOrigin != "1e3" || c.Prefix != "1e3" || c.Samples || strings.Join(c.Routes, " ") != "010 yes" {
		t.Errorf("%+v, %v", c, err)
	}
	for text, want := range map[string]string{
		"listen: 127.0.0.1:0\n---\nkeys: k.yaml\n": "one YAML document", "keys: a\nkeys: b\n": "already defined", "keys: \"\xff\"": "UTF-8",
		"insecure: maybe": "maybe", "samples: on": "on", "async: [true, false]": "true,false", "listen: {a: b}": "plain value",
	} {
		if _, err := parse(t, "--config", file(t, text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := parse(t, "--config", file(t, "")); err != nil {
		t.Errorf("an empty file: %v", err)
	}
}

// FuzzFile: a file of settings gives settings or an error, whatever is in it.
func FuzzFile(f *testing.F) {
	for _, text := range []string{"listen: 127.0.0.1:0\nroutes: [a, b]\n", "keys:\n", "a: &x [*x]", "samples: no\nmax-body: 0x10000", "? {a: b}\n: c", "---\n...\n---", "jwt-secret: !!binary AAAA"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parse(t, "--config", file(t, text))
		if err == nil && !c.Keyed() && !c.Insecure && !strings.HasPrefix(c.Listen, "127.") && !strings.Contains(c.Listen, "localhost") && !strings.Contains(c.Listen, "[") {
			t.Errorf("%q lets strangers reach an open gateway at %s", text, c.Listen)
		}
	})
}
