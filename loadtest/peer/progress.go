package peer

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

// Progress tells where a run is: by a bar on a terminal, else by a line for each phase. The zero
// value says nothing.
type Progress struct {
	out      io.Writer
	terminal bool
	name     string // of the run

	steps atomic.Int64 // of the phase, made so far
	drawn chan struct{}
	draws sync.WaitGroup
}

// redraw is how often a bar is drawn. Nothing else looks at the steps meanwhile, so that a step
// costs no more than its counting.
const redraw = 200 * time.Millisecond

// Show tells it on standard error.
func (p *Progress) Show(name string) {
	p.out, p.terminal, p.name = os.Stderr, term.IsTerminal(int(os.Stderr.Fd())), name
}

// Phase begins a part of the run of so many steps, zero if they are not counted, and ends the part
// before. Not to be called concurrently.
func (t *Target) Phase(name string, steps int) {
	p := &t.Progress
	p.steps.Store(0)
	p.begin(name, int64(steps), p.steps.Load)
}

// Step counts a step of the phase. It may be called concurrently.
func (t *Target) Step() { t.Progress.steps.Add(1) }

// Timed is phase, for a part that takes as long as is said.
func (t *Target) Timed(name string, d time.Duration) {
	began := time.Now()
	t.Progress.begin(name, d.Milliseconds(), func() int64 { return time.Since(began).Milliseconds() })
}

// Settle waits for the connections and the memory to come to rest.
func (t *Target) Settle(d time.Duration) {
	t.Timed("settling", d)
	time.Sleep(d)
}

// begin draws a part until the next one begins.
func (p *Progress) begin(name string, total int64, at func() int64) {
	p.End()
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
		// Otherwise it has a goroutine that nobody can end.
		progressbar.OptionSetSpinnerChangeInterval(0))
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

// Note says something between two parts.
func (p *Progress) Note(line string) {
	p.End()
	if p.out != nil {
		_, _ = fmt.Fprintln(p.out, line)
	}
}

// End ends the drawing and leaves an empty line to whoever writes next.
func (p *Progress) End() {
	if p.drawn != nil {
		close(p.drawn)
		p.draws.Wait()
		p.drawn = nil
	}
}
