package config_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hark-push/hark/gateway/config"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestFolder: all files of a folder hold together, and no key stands in two of them.
func TestFolder(t *testing.T) {
	folder := t.TempDir()
	write(t, filepath.Join(folder, "10-limits.yaml"), "attempts: 4\n")
	write(t, filepath.Join(folder, "20-routes.yml"), "routes: [a, b]\n")
	write(t, filepath.Join(folder, "README"), "not: settings")
	write(t, filepath.Join(folder, ".hidden.yaml"), "attempts: 9\n")
	c, err := parse(t, "--config", folder)
	if err != nil || c.Attempts != 4 || !slices.Equal(c.Routes, []string{"a", "b"}) {
		t.Fatalf("%+v %v", c, err)
	}
	write(t, filepath.Join(folder, "30-more.yaml"), "attempts: 5\n")
	for _, want := range []string{"attempts", "10-limits.yaml", "30-more.yaml", "one file only"} {
		if _, err := parse(t, "--config", folder); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	if _, err := parse(t, "--config", t.TempDir()); err == nil || !strings.Contains(err.Error(), ".yaml or .yml") {
		t.Errorf("an empty folder: %v", err)
	}
}

// remote answers with settings, as somebody has set it.
type remote struct {
	*httptest.Server
	mu             sync.Mutex
	status         int
	text           string
	version, asked int // asked: with the tag that it has
}

func newRemote(t *testing.T, text string) *remote {
	r := &remote{text: text, status: 200}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		tag := fmt.Sprintf("%q", fmt.Sprint("v", r.version))
		switch {
		case r.status != 200:
			w.WriteHeader(r.status)
		case q.Header.Get("If-None-Match") == tag:
			r.asked++
			w.WriteHeader(http.StatusNotModified)
		default:
			w.Header().Set("ETag", tag)
			_, _ = io.WriteString(w, r.text)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *remote) set(status int, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status, r.text = status, text
	r.version++
}

// answer changes the status alone.
func (r *remote) answer(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = status
}

func (r *remote) unchanged() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}

// TestURL: settings come from a URL; one that does not answer is an error that says what to do,
// unless there is a copy; what is there and wrong has no copy in its stead.
func TestURL(t *testing.T) {
	r := newRemote(t, "attempts: 4\n")
	kept := filepath.Join(t.TempDir(), "hark.yaml")
	url := strings.Replace(r.URL, "http://", "http://me:secret@", 1) + "/hark.yaml?token=secret"
	c, err := parse(t, "--config", url, "--config-copy", kept)
	if err != nil || c.Attempts != 4 || c.FromCopy != nil {
		t.Fatalf("%+v %v", c, err)
	}
	if text, err := os.ReadFile(kept); err != nil || string(text) != "attempts: 4\n" {
		t.Errorf("%s %v", text, err)
	}
	if c, err = parse(t, "--config", url, "--attempts=6"); err != nil || c.Attempts != 6 {
		t.Errorf("a flag beats it: %d %v", c.Attempts, err)
	}
	r.set(200, "attempts: 0\n")
	if _, err := parse(t, "--config", url, "--config-copy", kept); err == nil || !strings.Contains(err.Error(), "attempts") {
		t.Errorf("wrong: %v", err)
	}
	for _, text := range []string{"", " \n", strings.Repeat("# long\n", 1<<18)} {
		r.set(200, text)
		if _, err := parse(t, "--config", url); err == nil || !strings.Contains(err.Error(), "config") {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	r.set(503, "attempts: 5\n")
	_, err = parse(t, "--config", url)
	for _, want := range []string{"/hark.yaml", "503", "--config-copy"} {
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q is not in %v, or what is secret is", want, err)
		}
	}
	c, err = parse(t, "--config", url, "--config-copy", kept)
	if err != nil || c.Attempts != 4 || c.FromCopy == nil || !strings.Contains(c.FromCopy.Error(), "503") {
		t.Errorf("%+v %v", c, err)
	}
	if _, err = parse(t, "--config", url, "--config-copy", kept+".none"); err == nil || !strings.Contains(err.Error(), "503") || !strings.Contains(err.Error(), "config-copy") {
		t.Errorf("without a copy yet: %v", err)
	}
	for _, args := range [][]string{
		{"--config=http://config.example/hark.yaml"},
		{"--config=https://"},
		{"--config-copy=x"},
		{"--config", file(t, "attempts: 4"), "--config-copy=x"},
		{"--config", file(t, "config-copy: x")},
		{"--config-interval=1ms"},
	} {
		if _, err := parse(t, args...); err == nil || !strings.Contains(err.Error(), "config") {
			t.Errorf("%v: %v", args, err)
		}
	}
}

// lines are what was logged.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// has waits until a part was logged so many times.
func (l *lines) has(t *testing.T, part string, times int) {
	t.Helper()
	eventually(t, part, func() bool { return l.count(part) >= times })
}

func (l *lines) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), part)
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not in time: " + what)
		}
	}
}

// TestFollow: what can be taken while the gateway runs is, from a file, a folder and a URL; the
// rest is told, once; what is wrong, or gone, changes nothing and is told.
func TestFollow(t *testing.T) {
	path := file(t, "attempts: 4\n")
	folder := t.TempDir()
	write(t, filepath.Join(folder, "a.yaml"), "attempts: 4\n")
	r, kept := newRemote(t, "attempts: 4\n"), filepath.Join(t.TempDir(), "copy.yaml")
	for name, s := range map[string]struct {
		args []string
		set  func(text string)
		// What is there is away, and is there again as it was.
		lose, find func()
	}{
		"file":   {[]string{"--config", path}, func(text string) { write(t, path, text) }, func() { _ = os.Rename(path, path+".away") }, func() { _ = os.Rename(path+".away", path) }},
		"folder": {[]string{"--config", folder}, func(text string) { write(t, filepath.Join(folder, "a.yaml"), text) }, func() { _ = os.Rename(folder, folder+".away") }, func() { _ = os.Rename(folder+".away", folder) }},
		"url": {
			[]string{"--config", r.URL, "--config-copy", kept, "--config-interval=1s"},
			func(text string) { r.set(200, text) }, func() { r.answer(500) }, func() { r.answer(200) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			args := append(s.args, "--retention=3h")
			c, err := parse(t, args...)
			if err != nil {
				t.Fatal(err)
			}
			var log lines
			var mu sync.Mutex
			took := []config.Config{}
			f, err := config.Follow(args, c, func(c config.Config) {
				mu.Lock()
				defer mu.Unlock()
				took = append(took, c)
			}, slog.New(slog.NewTextHandler(&log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				f.Run(ctx)
			}()
			defer func() {
				cancel()
				<-ended
			}()
			last := func() (c config.Config, n int) {
				mu.Lock()
				defer mu.Unlock()
				if n = len(took); n > 0 {
					c = took[n-1]
				}
				return c, n
			}

			s.set("attempts: 7\nlog-level: warn,hub=debug\nretention: 9h\nroute-concurrency: images=2\nheartbeat: 5s\nmax-body: 9999\n")
			eventually(t, "it is taken", func() bool { _, n := last(); return n == 1 })
			if c, _ := last(); c.Attempts != 7 || c.LogLevel != "warn,hub=debug" || c.Levels().Of("hub") != slog.LevelDebug || c.Retention != 3*time.Hour || !slices.Equal(c.RouteConcurrency, []string{"images=2"}) || c.Heartbeat != 25*time.Second {
				t.Errorf("%+v", c)
			}
			log.has(t, "started again", 1)
			log.has(t, "heartbeat", 1)
			if name == "url" {
				if text, err := os.ReadFile(kept); err != nil || !strings.Contains(string(text), "attempts: 7") {
					t.Errorf("the copy is %s, %v", text, err)
				}
				before := r.unchanged()
				eventually(t, "it is asked whether it has changed", func() bool { return r.unchanged() > before })
			}
			s.set("attempts: 700\n")
			log.has(t, "700", 1)
			s.set("attempts: 8\nheartbeat: 5s\nmax-body: 9999\n")
			eventually(t, "it is taken again", func() bool { _, n := last(); return n == 2 })
			if c, _ := last(); c.Attempts != 8 || c.LogLevel != "info" || len(c.RouteConcurrency) != 0 {
				t.Errorf("%+v", c)
			}
			log.has(t, "can be read again", 1)
			s.lose()
			log.has(t, "hold on", 2) // the first time it was wrong
			s.find()
			log.has(t, "can be read again", 2)
			if _, n := last(); n != 2 {
				t.Errorf("taken %d times", n)
			}
			if n := log.count("started again"); n != 1 {
				t.Errorf("told %d times", n)
			}
		})
	}
	if f, err := config.Follow(nil, config.Config{}, nil, nil); f != nil || err != nil {
		t.Errorf("%v %v", f, err)
	}
}
