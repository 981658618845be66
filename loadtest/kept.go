package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/loadtest/bench"
)

// keptScene says what requests cost that have ended and are kept: bytes where they are stored, and
// how long a gateway takes to start and to stop with them.
type keptScene struct {
	Requests int `default:"200000" help:"How many."`
	Bytes    int `default:"800" help:"Bytes of the content of each; its result has as many."`
	Callers  int `default:"64" help:"Calls at the same time."`
}

func (s *keptScene) run(t *target) (results, error) {
	h, ok := t.peer.(*hark)
	if !ok {
		return results{}, errors.New("only Hark has this scene")
	}
	body := map[string]any{"route": "echo", "content": strings.Repeat("x", s.Bytes)}
	submit := func(n int) error {
		return together(s.Callers, func(caller int) error {
			for i := caller; i < n; i += s.Callers {
				if err := h.post("/v1/requests", body); err != nil {
					return err
				}
				t.step()
			}
			return nil
		})
	}
	const warm = 1000 // what is there once for all
	t.phase("warming up", warm)
	if err := submit(warm); err != nil {
		return results{}, err
	}
	before, err := s.stored(h)
	if err != nil {
		return results{}, err
	}
	t.phase("requests", s.Requests)
	began := time.Now()
	if err := submit(s.Requests); err != nil {
		return results{}, err
	}
	took := time.Since(began)
	t.settle(settle) // the log goes into the file
	after, err := s.stored(h)
	if err != nil {
		return results{}, err
	}
	memory, err := t.memory()
	if err != nil {
		return results{}, err
	}
	r := results{Figures: []bench.Figure{
		figure("requests kept", float64(s.Requests), ""),
		figure("content and result of each", float64(2*s.Bytes), "bytes"),
		figure("ended per second", float64(s.Requests)/took.Seconds(), "/s"),
	}}
	for i, what := range after {
		r.Figures = append(r.Figures, figure(what.Name, what.Value, what.Unit), figure(what.Name+", each", (what.Value-before[i].Value)/float64(s.Requests), what.Unit))
	}
	t.phase("stop and start", 0)
	began = time.Now()
	if err := h.stop(); err != nil {
		return results{}, err
	}
	stopped := time.Since(began)
	began = time.Now()
	if err := h.start(t); err != nil {
		return results{}, err
	}
	started := time.Since(began)
	again, err := t.memory()
	r.Figures = append(r.Figures,
		figure("memory of the processes", memory, "bytes"), figure("memory after a start", again, "bytes"),
		figure("time to stop", stopped.Seconds(), "s"), figure("time to start", started.Seconds(), "s"))
	return r, err
}

// stored is what the store holds.
func (s *keptScene) stored(h *hark) ([]bench.Figure, error) {
	if h.redis == "" {
		size, err := folderSize(h.data())
		return []bench.Figure{figure("on disk", size, "bytes")}, err
	}
	o, err := goredis.ParseURL(h.redis)
	if err != nil {
		return nil, err
	}
	c := goredis.NewClient(o)
	defer func() { _ = c.Close() }()
	info, err := c.Info(context.Background(), "memory").Result()
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(info) {
		if number, ok := strings.CutPrefix(strings.TrimSpace(line), "used_memory:"); ok {
			n, err := strconv.ParseFloat(number, 64)
			return []bench.Figure{figure("in Redis", n, "bytes")}, err
		}
	}
	return nil, errors.New("the server does not tell its memory")
}

// folderSize returns the bytes that the files in a folder take on disk, or would.
func folderSize(dir string) (sum float64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, os.ErrNotExist) {
			return nil // it was there a moment ago
		}
		if err != nil {
			return fmt.Errorf("size of the store: %w", err)
		}
		sum += float64(info.Size())
		return nil
	})
	return sum, err
}
