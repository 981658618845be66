package logs

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// TestParse: what a level is for, and what is wrong with what is none.
func TestParse(t *testing.T) {
	for text, want := range map[string]map[string]slog.Level{
		"info":                          {"hub": slog.LevelInfo, "": slog.LevelInfo},
		"error,hub=debug":               {"hub": slog.LevelDebug, "lifecycle": slog.LevelError, "gateway/hub": slog.LevelError},
		"hub=debug":                     {"hub": slog.LevelDebug, "lifecycle": slog.LevelInfo},
		"store=warn, store/redis=debug": {"store": slog.LevelWarn, "store/codec": slog.LevelWarn, "store/redis": slog.LevelDebug, "store/redis/link": slog.LevelDebug, "storeroom": slog.LevelInfo},
		"warn,gateway=info":             {"gateway": slog.LevelInfo, "gateway/api/problem": slog.LevelInfo, "": slog.LevelWarn},
	} {
		l, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		for pkg, level := range want {
			if got := l.Of(pkg); got != level {
				t.Errorf("%s: %q from %v on, want %v", text, pkg, got, level)
			}
		}
	}
	for text, says := range map[string]string{
		"": `"" is no level`, "loud": `"loud" is no level`, "INFO": `"INFO" is no level`, "info,": `"" is no level`, "hub=": `"" is no level`,
		"info,hob=debug": `"hob" is no package that logs: those are backends`, "info,warn": `"warn" is there twice`, "=info": `"" is no package`,
		"hub=info,hub=warn": `"hub=warn" is there twice`, "info,hub=4": `"4" is no level`,
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %s", text, err, says)
		}
	}
}

// TestHandler: lines have the package that they are of, and are written from its level on, which
// changes while the log is in use.
func TestHandler(t *testing.T) {
	var out bytes.Buffer
	set := func(text string) Levels {
		l, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	log, handler := New(&out, set("info"))
	log = log.With(slog.String("config", "x"))
	said := func(want bool, parts ...string) {
		t.Helper()
		if got := out.Len() > 0; got != want {
			t.Errorf("said %q", &out)
		}
		for _, part := range parts {
			if !strings.Contains(out.String(), part) {
				t.Errorf("no %s in %s", part, &out)
			}
		}
		out.Reset()
	}
	log.Info("first", slog.Int("n", 1))
	said(true, `"level":"INFO"`, `"msg":"first"`, `"n":1`, `"config":"x"`, `"package":"logs"`)
	log.Debug("quiet")
	said(false)
	handler.Set(set("error,hub=debug"))
	log.Debug("another package is heard")
	log.Warn("this one is not")
	said(false)
	log.Error("third")
	said(true, "third")
	if !log.Enabled(t.Context(), slog.LevelDebug) {
		t.Error("nothing below an error is heard")
	}
	handler.Set(set("debug"))
	log.Debug("fourth")
	said(true, "fourth")

	// Of a URL the password is left out, wherever it stands, and nothing else is.
	const secret = "s3cr3t"
	cause := fmt.Errorf("dial: %w", errors.New("amqp://me:"+secret+"@host:5672/: refused, see https://example.org/@me"))
	log.Error("lost redis://:"+secret+"@h:6379/0", slog.Any("error", cause), slog.String("url", "https://u:"+secret+"@x/y?z=1"))
	if strings.Contains(out.String(), secret) {
		t.Errorf("%s", &out)
	}
	said(true, "amqp://***@host:5672/: refused, see https://example.org/@me", "https://***@x/y?z=1", "redis://***@h:6379/0")
}

// TestPackageAt: a place in the program is in the package of its function.
func TestPackageAt(t *testing.T) {
	for _, c := range []struct{ function, file, want string }{
		{"github.com/hark-push/hark/hub.(*Hub).Wait", "/src/hub/hub.go", "hub"},
		{"github.com/hark-push/hark/store/redis.(*Store).Get.func1", "/src/store/redis/read.go", "store/redis"},
		{"github.com/hark-push/hark/store/redis/link.New[...]", "/src/x.go", "store/redis/link"},
		{"main.run", "/src/gateway/main.go", "gateway"},
		{"main.main", "/home/me/mine/main.go", ""},
		{"github.com/redis/go-redis/v9.New", "/x.go", ""},
		{"", "", ""},
	} {
		if got := packageAt(c.function, c.file); got != c.want {
			t.Errorf("%s in %s: %q, want %q", c.function, c.file, got, c.want)
		}
	}
}
