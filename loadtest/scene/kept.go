package scene

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
	"github.com/hark-push/hark/loadtest/measure"
	"github.com/hark-push/hark/loadtest/peer"
)

// Kept says what requests cost that have ended and are kept: bytes where they are stored, how
// long a gateway takes to start and to stop with them, and what a page of an admin's list takes the
// more there are.
type Kept struct {
	Requests int `default:"200000" help:"How many."`
	Bytes    int `default:"800" help:"Bytes of the content of each; its result has as many."`
	Callers  int `default:"64" help:"Calls at the same time."`
}

// Run puts the load on a target and returns what was measured.
func (s *Kept) Run(t *peer.Target) (measure.Results, error) {
	h, ok := t.Peer.(*peer.Hark)
	if !ok {
		return measure.Results{}, errors.New("only Hark has this scene")
	}
	body := map[string]any{"route": "echo", "content": strings.Repeat("x", s.Bytes)}
	submit := func(n int) error {
		return together(s.Callers, func(caller int) error {
			for i := caller; i < n; i += s.Callers {
				if err := h.Post("/v1/requests", body); err != nil {
					return err
				}
				t.Step()
			}
			return nil
		})
	}
	const warm = 1000 // what is there once for all
	t.Phase("warming up", warm)
	if err := submit(warm); err != nil {
		return measure.Results{}, err
	}
	before, err := s.stored(h)
	if err != nil {
		return measure.Results{}, err
	}
	lists := newPages()
	if err := lists.measure(h, warm); err != nil {
		return measure.Results{}, err
	}
	t.Phase("requests", s.Requests)
	var took time.Duration
	var part int
	for done := 0; done < s.Requests; done += part {
		if part = s.Requests - done; done == 0 && s.Requests > halfway {
			part = halfway
		}
		began := time.Now()
		if err := submit(part); err != nil {
			return measure.Results{}, err
		}
		took += time.Since(began)
		if err := lists.measure(h, warm+done+part); err != nil {
			return measure.Results{}, err
		}
	}
	t.Settle(settle) // the log goes into the file
	after, err := s.stored(h)
	if err != nil {
		return measure.Results{}, err
	}
	memory, err := t.Memory()
	if err != nil {
		return measure.Results{}, err
	}
	r := measure.Results{Figures: []bench.Figure{
		measure.Figure("requests kept", float64(s.Requests), ""),
		measure.Figure("content and result of each", float64(2*s.Bytes), "bytes"),
		measure.Figure("ended per second", float64(s.Requests)/took.Seconds(), "/s"),
	}}
	for i, what := range after {
		r.Figures = append(r.Figures, measure.Figure(what.Name, what.Value, what.Unit), measure.Figure(what.Name+", each", (what.Value-before[i].Value)/float64(s.Requests), what.Unit))
	}
	r.Figures = append(r.Figures, lists.figures...)
	t.Phase("stop and start", 0)
	began := time.Now()
	if err := h.Stop(); err != nil {
		return measure.Results{}, err
	}
	stopped := time.Since(began)
	began = time.Now()
	if err := h.Start(t); err != nil {
		return measure.Results{}, err
	}
	started := time.Since(began)
	again, err := t.Memory()
	r.Figures = append(r.Figures,
		measure.Figure("memory of the processes", memory, "bytes"), measure.Figure("memory after a start", again, "bytes"),
		measure.Figure("time to stop", stopped.Seconds(), "s"), measure.Figure("time to start", started.Seconds(), "s"))
	return r, err
}

// halfway is how many are kept when lists are read for the second time, if there will be more.
const halfway = 100_000

// pages reads lists as an admin does, and compares what they take with the first time.
type pages struct {
	first   time.Time          // when they were first read, before which few requests were made
	before  map[string]float64 // by list: milliseconds, the first time
	figures []bench.Figure
}

func newPages() *pages { return &pages{before: make(map[string]float64)} }

// measure reads each list some times, one after the other, when so many requests are kept.
func (p *pages) measure(h *peer.Hark, kept int) error {
	if p.first.IsZero() {
		p.first = time.Now().UTC()
	}
	for _, list := range []struct{ name, query string }{
		{"of all", ""},
		{"of a route", "&route=echo"},
		{"of what runs", "&status=processing"},
		{"of what was first", "&until=" + p.first.Format(time.RFC3339Nano)},
		{"that finds nothing in one call", "&topic=none"},
	} {
		const calls = 101
		took := measure.NewHistogram()
		for range calls {
			began := time.Now()
			if err := h.Get("/v1/requests?owner=*&limit=50" + list.query); err != nil {
				return err
			}
			measure.Record(took, time.Since(began))
		}
		now := measure.Millis(took, 50)
		name := fmt.Sprintf("page %s, %d kept", list.name, kept)
		p.figures = append(p.figures, measure.Figure(name, now, "ms"))
		if before, ok := p.before[list.name]; ok {
			p.figures = append(p.figures, measure.Figure(name+", to the first time", now/before, "×"))
		} else {
			p.before[list.name] = now
		}
	}
	return nil
}

// stored is what the store holds.
func (s *Kept) stored(h *peer.Hark) ([]bench.Figure, error) {
	if h.Redis == "" {
		size, err := folderSize(h.Data())
		return []bench.Figure{measure.Figure("on disk", size, "bytes")}, err
	}
	o, err := goredis.ParseURL(h.Redis)
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
			return []bench.Figure{measure.Figure("in Redis", n, "bytes")}, err
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
