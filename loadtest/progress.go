package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress tells where a run is: by a bar on a terminal, else by a line for each phase. The zero value says nothing.
type progress struct {
	out      io.Writer
	terminal bool
	name     string // of the run

	steps atomic.Int64 // of the phase, made so far
	drawn chan struct{}
	draws sync.WaitGroup
}

// redraw is how often a bar is drawn. Nothing else looks at the steps meanwhile, so that a step costs no more than its counting.
const redraw = 200 * time.Millisecond

// show tells it on standard error.
func (p *progress) show(name string) {
	p.out, p.terminal, p.name = os.Stderr, term.IsTerminal(int(os.Stderr.Fd())), name
}

// phase begins a part of the run of so many steps, zero if they are not counted, and ends the part before.
// Not to be called concurrently.
func (t *target) phase(name string, steps int) {
	p := &t.progress
	p.steps.Store(0)
	p.begin(name, int64(steps), p.steps.Load)
}

// step counts a step of the phase. It may be called concurrently.
func (t *target) step() { t.progress.steps.Add(1) }

// timed is phase, for a part that takes as long as is said.
func (t *target) timed(name string, d time.Duration) {
	began := time.Now()
	t.progress.begin(name, d.Milliseconds(), func() int64 { return time.Since(began).Milliseconds() })
}

// settle waits for the connections and the memory to come to rest.
func (t *target) settle(d time.Duration) {
	t.timed("settling", d)
	time.Sleep(d)
}

// begin draws a part until the next one begins.
func (p *progress) begin(name string, total int64, at func() int64) {
	p.end()
	if p.out == nil {
		return
	}
	title := p.name + ": " + name
	if !p.terminal {
		_, _ = fmt.Fprintln(p.out, title)
		return
	}
	if total <= 0 {
		total = -1 // something turns
	}
	bar := progressbar.NewOptions64(total, progressbar.OptionSetWriter(p.out), progressbar.OptionSetDescription(title),
		progressbar.OptionSetWidth(30), progressbar.OptionSetPredictTime(false), progressbar.OptionClearOnFinish(),
		progressbar.OptionSetSpinnerChangeInterval(0)) // else it has a goroutine that nobody can end
	drawn := make(chan struct{})
	p.drawn = drawn
	p.draws.Go(func() {
		tick := time.NewTicker(redraw)
		defer tick.Stop()
		for {
			if total < 0 {
				_ = bar.Add(1)
			} else {
				_ = bar.Set64(min(at(), total))
			}
			select {
			case <-tick.C:
			case <-drawn:
				_ = bar.Clear()
				return
			}
		}
	})
}

// note says something between two parts.
func (p *progress) note(line string) {
	p.end()
	if p.out != nil {
		_, _ = fmt.Fprintln(p.out, line)
	}
}

// end ends the drawing and leaves an empty line to whoever writes next.
func (p *progress) end() {
	if p.drawn != nil {
		close(p.drawn)
		p.draws.Wait()
		p.drawn = nil
	}
}
