package config

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/hark-push/hark/gateway/filewatch"
	"github.com/hark-push/hark/settings"
)

// mostSettings is how large a file of settings may be, in bytes.
const mostSettings = 1 << 20

// source is where settings stand besides flags and variables: in a file, in all files of a folder,
// or at a URL. It is not for concurrent use.
type source struct {
	where string
	copy  string // file of what was read last from the URL, "" for none
	http  *http.Client
	etag  string

	seen  map[string]*filewatch.File // of a file or a folder
	parts []part                     // as they were read last
}

// part is one file.
type part struct {
	name string
	text []byte
}

// openSource returns the source that arguments and environment name, nil if none.
func openSource(args []string) (*source, error) {
	where := early(args, "HARK_CONFIG", "--config", "-c")
	copied := early(args, "HARK_CONFIG_COPY", "--config-copy")
	if where == "" {
		if copied != "" {
			return nil, settings.NotAllowed("config-copy", copied, "--config beside it, with a URL: it is a copy of what is read there")
		}
		return nil, nil //nolint:nilnil // there need be none
	}
	s := &source{where: where, copy: copied, seen: make(map[string]*filewatch.File)}
	if !s.remote() {
		if copied != "" {
			return nil, settings.NotAllowed("config-copy", copied, "nothing beside a --config that is a file or a folder: it is there anyhow")
		}
		return s, nil
	}
	u, err := url.Parse(where)
	if err != nil || u.Host == "" || u.Fragment != "" {
		return nil, settings.NotAllowed("config", s.shown(), "a file, a folder, or a URL like https://config.example.org/hark.yaml")
	}
	if u.Scheme != "https" && !Loopback(u.Hostname()) {
		return nil, settings.NotAllowed("config", s.shown(), "https: whoever stands between could open the gateway to everybody (http only from this machine)")
	}
	s.http = &http.Client{Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return s, nil
}

// early finds a flag before the rest is read, because what it names ranks below flags and
// environment.
func early(args []string, env string, flags ...string) string {
	for i, arg := range args {
		for _, flag := range flags {
			if value, ok := strings.CutPrefix(arg, flag+"="); ok {
				return value
			}
			if arg == flag && i+1 < len(args) {
				return args[i+1]
			}
		}
	}
	return os.Getenv(env)
}

func (s *source) remote() bool {
	return strings.HasPrefix(s.where, "https://") || strings.HasPrefix(s.where, "http://")
}

// shown is where it is, without what proves who may read it.
func (s *source) shown() string {
	u, err := url.Parse(s.where)
	if !s.remote() || err == nil && u.User == nil && u.RawQuery == "" {
		return s.where
	}
	if err != nil {
		return "(hidden)"
	}
	return u.Scheme + "://" + u.Host + u.EscapedPath()
}

// open reads it for a start. The copy stands in for a URL that does not answer, and why says so;
// for what is there and wrong it does not.
func (s *source) open(ctx context.Context) (why, err error) {
	_, err = s.read(ctx)
	if err == nil || s.copy == "" {
		return nil, err
	}
	text, copyErr := os.ReadFile(s.copy)
	if copyErr != nil {
		return nil, errors.Join(err, settings.NotAllowed("config-copy", s.copy, "a copy that can be read, which is written once the URL was: "+copyErr.Error()))
	}
	s.parts = []part{{s.copy, text}}
	return err, nil
}

// read reads it again, and reports whether it may have changed.
func (s *source) read(ctx context.Context) (changed bool, err error) {
	if s.remote() {
		return s.fetch(ctx)
	}
	names := []string{s.where}
	info, err := os.Stat(s.where)
	if err == nil && info.IsDir() {
		names, err = filesOf(s.where)
	}
	if err != nil {
		return false, settings.NotAllowed("config", s.where, "a YAML file that can be read, or a folder of them: "+err.Error())
	}
	changed = len(names) != len(s.seen)
	seen := make(map[string]*filewatch.File, len(names))
	for _, name := range names {
		if seen[name] = s.seen[name]; seen[name] == nil {
			seen[name] = new(filewatch.New(name))
			changed = true
		}
		again, err := seen[name].Changed()
		if err != nil {
			return false, settings.NotAllowed("config", name, "a YAML file that can be read: "+err.Error())
		}
		changed = changed || again
	}
	if s.seen = seen; !changed {
		return false, nil
	}
	var parts []part
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			clear(s.seen)
			return false, settings.NotAllowed("config", name, "a YAML file that can be read: "+err.Error())
		}
		parts = append(parts, part{name, text})
	}
	s.parts = parts
	return true, nil
}

// filesOf returns the files of a folder that have settings, by name.
func filesOf(folder string) ([]string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		// Kubernetes has the files behind links, beside folders that begin with two dots.
		if ending := filepath.Ext(e.Name()); !strings.HasPrefix(e.Name(), ".") && (ending == ".yaml" || ending == ".yml") {
			names = append(names, filepath.Join(folder, e.Name()))
		}
	}
	if len(names) == 0 {
		return nil, errors.New("there is no file in it whose name ends with .yaml or .yml")
	}
	return names, nil
}

// fetch reads the URL. Errors say nothing of what proves who may.
func (s *source) fetch(ctx context.Context) (changed bool, err error) {
	refused := func(why string) error {
		return settings.NotAllowed("config", s.shown(), "a URL that answers with settings in YAML: "+why+
			". Have it answer, or name a file with --config-copy, from which the last ones are taken when it does not")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.where, nil)
	if err != nil {
		return false, refused("it is no URL")
	}
	r.Header.Set("Accept", "application/yaml, */*;q=0.5")
	if s.etag != "" {
		r.Header.Set("If-None-Match", s.etag)
	}
	answer, err := s.http.Do(r)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok { // whose words have the URL
			err = e.Err
		}
		return false, refused(err.Error())
	}
	defer func() { _ = answer.Body.Close() }()
	switch {
	case answer.StatusCode == http.StatusNotModified && s.etag != "":
		return false, nil
	case answer.StatusCode != http.StatusOK:
		return false, refused("it answers with " + answer.Status)
	}
	if kind, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type")); err == nil && kind == "text/html" {
		return false, refused("it answers with a page (text/html)")
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, mostSettings+1))
	switch {
	case err != nil:
		return false, refused("its answer ends too early: " + err.Error())
	case len(text) > mostSettings:
		return false, refused(fmt.Sprintf("its answer has more than %d bytes", mostSettings))
	case len(bytes.TrimSpace(text)) == 0:
		return false, refused("its answer is empty")
	}
	s.etag = answer.Header.Get("ETag")
	if len(s.parts) == 1 && bytes.Equal(s.parts[0].text, text) {
		return false, nil
	}
	s.parts = []part{{s.shown(), text}}
	return true, nil
}

// forget has what was read last read again: it could not be taken.
func (s *source) forget() { s.etag, s.parts = "", nil; clear(s.seen) }

// keep writes what was read to the copy, whole or not at all.
func (s *source) keep() error {
	if s.copy == "" || len(s.parts) == 0 {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(s.copy), filepath.Base(s.copy)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(s.parts[0].text)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), s.copy)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// resolver gives kong the values of what was read.
func (s *source) resolver() (*fileResolver, error) {
	r := &fileResolver{from: make(map[string]string), values: make(map[string]yaml.Node)}
	for _, p := range s.parts {
		values, err := readSettings(p.name, p.text)
		if err != nil {
			return nil, err
		}
		for _, key := range slices.Sorted(maps.Keys(values)) {
			if other, twice := r.from[key]; twice {
				return nil, settings.NotAllowed("config", key, "each key in one file only: it stands in "+other+" and in "+p.name)
			}
			r.from[key], r.values[key] = p.name, values[key]
		}
	}
	return r, nil
}
