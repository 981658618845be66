package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/hark-push/hark/loadtest/bench"
	"github.com/hark-push/hark/loadtest/peer"
)

// compare plays scenes on all servers that there are, with the same settings, and holds them beside
// each other. Each run is a process of this program, with a server of its own. Where speed is
// compared the servers of a table take turns, because a shared machine is not always as fast;
// medians count.
type compare struct {
	Quick   bool     `help:"Small sizes: to see that it works, in less than two minutes."`
	Scenes  []string `placeholder:"NAME" help:"Only these: idle, broadcast, unicast, lifecycle, slow, storm, growth."`
	Servers []string `placeholder:"NAME" help:"Only these: hark, base (another version of it, which needs --base and is not among all), nchan, centrifugo, centrifuge, mercure, bare."`
	Rounds  int      `help:"How often the servers take turns in broadcast, unicast and lifecycle: 3 times if not given, with --quick once. The other scenes compare no speed, or have rounds of their own."`
}

// comparison is a comparison under way.
type comparison struct {
	ctx     context.Context //nolint:containedctx // lives as long as the call
	folder  string          // temporary
	results *bench.Results
	base    string         // folder of the programs of another version
	bytes   map[string]int // of a delivery of Hark's, by wire
}

// Run plays everything. It fails if Hark fails a scene.
func (s *compare) Run(o *options) error {
	if slices.Contains(s.Servers, "base") != (o.Base != "") {
		return errors.New("--base and base among --servers go together: --servers=hark,base --base=FOLDER")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	folder, err := os.MkdirTemp("", "hark-loadtest-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	peer.Programs = filepath.Join(folder, "programs")
	if err := os.Mkdir(peer.Programs, 0o700); err != nil {
		return err
	}
	c := &comparison{ctx: ctx, folder: folder, results: &bench.Results{Header: bench.Here()}, base: o.Base, bytes: make(map[string]int)}
	c.results.Args = slices.DeleteFunc(withoutOutput(os.Args[1:]), func(arg string) bool { return arg == "compare" })
	c.results.Rounds, c.results.Quick = s.Rounds, s.Quick
	switch {
	case s.Rounds > 0:
	case s.Quick:
		c.results.Rounds = 1
	default:
		c.results.Rounds = 3
	}
	fmt.Fprintln(os.Stderr, "building")
	absent, err := peer.Prepare()
	if err != nil {
		return err
	}
	runs, err := plan(s.Scenes, s.Servers, s.Quick, absent)
	if err != nil {
		return err
	}
	c.results.Versions = peer.Versions(absent)
	c.results.Skipped = peer.Skipped(absent, s.Servers)
	out := o.Out
	if out == "" {
		out = "bench"
	}
	if err := os.MkdirAll(out, 0o750); err != nil {
		return err
	}
	failed := c.play(runs)
	if len(c.results.Runs) == 0 {
		return errors.Join(failed, errors.New("nothing was run"))
	}
	return errors.Join(failed, c.results.Print(os.Stdout), c.results.WriteFile(filepath.Join(out, "results.json")), writePage(filepath.Join(out, "report.html"), c.results))
}

// play plays runs, those of a table in turns, and says which of Hark's have failed.
func (c *comparison) play(runs []planned) (failed error) {
	began, number, all := time.Now(), 0, 0
	for _, p := range runs {
		all += p.rounds(c.results.Rounds)
	}
	for len(runs) > 0 {
		table := 1
		for table < len(runs) && runs[table].same(runs[0]) {
			table++
		}
		for range runs[0].rounds(c.results.Rounds) {
			for _, p := range runs[:table] {
				number++
				fmt.Fprintf(os.Stderr, "%s, %d of %d: %v\n", time.Since(began).Round(time.Second), number, all, p)
				err := c.one(p)
				if c.ctx.Err() != nil {
					return errors.Join(failed, errors.New("interrupted"))
				}
				if err != nil && p.server == "hark" {
					failed = errors.Join(failed, fmt.Errorf("%v: %w", p, err))
				}
			}
		}
		runs = runs[table:]
	}
	return failed
}

// one plays one run, and keeps what it measured, or why it failed.
func (c *comparison) one(p planned) error {
	args := append([]string{p.scene, "--on=" + p.server}, p.args...)
	if p.wire != "" {
		args = append(args, "--wire="+p.wire)
	}
	if p.shared {
		args = append(args, "--backends=shared")
	}
	if p.server == "base" {
		args = append(args, "--base="+c.base)
	}
	if p.floor {
		if c.bytes[p.wire] == 0 {
			return nil // Hark failed
		}
		args = append(args, "--message-bytes="+strconv.Itoa(c.bytes[p.wire]))
	}
	path := filepath.Join(c.folder, "run.json")
	_ = os.Remove(path)
	failed := c.exec(append(args, "--out="+path, "--programs="+peer.Programs))
	if err := c.ctx.Err(); err != nil {
		return err
	}
	r, err := bench.Read(path)
	if err != nil { // it did not get so far
		if failed == nil {
			failed = err
		}
		c.results.Runs = append(c.results.Runs, bench.Run{
			Target: p.server, Server: p.server, Backends: backendsOf(p.shared), Scene: p.scene, Settings: map[string]string{"wire": p.wire}, Args: withoutOutput(args), Failed: failed.Error(),
		})
		return failed
	}
	c.results.Runs = append(c.results.Runs, r.Runs...)
	if r.Runs[0].Failed != "" {
		return errors.New(r.Runs[0].Failed)
	}
	if n, ok := r.Runs[0].Figure(bench.BytesPerDelivery); ok && p.server == "hark" && p.scene == "broadcast" {
		c.bytes[p.wire] = int(math.Round(n))
	}
	return failed
}

// tooLong is when a run is given up.
const tooLong = 15 * time.Minute

// exec runs this program again. All that it starts is ended with it if it is interrupted or takes
// too long.
func (c *comparison) exec(args []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.ctx, tooLong)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append(os.Environ(), "TMPDIR="+c.folder)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	return cmd.Run()
}

func backendsOf(shared bool) string {
	if shared {
		return "shared"
	}
	return "embedded"
}
