package attack

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/hark-push/hark/loadtest/bench"
	"github.com/hark-push/hark/loadtest/measure"
)

// What an attack may do to an honest caller, and to the memory of the gateway.
const (
	mostSlower = 5         // times what the slowest hundredth of calls took before
	mostPeak   = 256 << 20 // bytes above what was held before
	mostLeft   = 10 << 20  // bytes above that, after the rest
	// A call of a millisecond may take some more for reasons that are no attack's: another
	// process's turn on a core.
	unnoticed = 20 // milliseconds

	// An attack that slows callers down is made so often if the disk stood still meanwhile, for
	// longer than a gateway that writes makes it: it is shared with all that runs on the machine.
	mostTurns  = 3
	standstill = 100 // milliseconds
)

// attackRow is what came of one attack.
type attackRow struct {
	Name           string
	Before, During *hdrhistogram.Histogram // from POST to the result
	Disk           *hdrhistogram.Histogram // syncs of a page of a file beside, during it
	Failed         int64                   // calls during it
	Why            error                   // the first of them did
	Memory         struct{ Before, Peak, After float64 }
	Alive          bool // and serves, after the rest
	Met            map[string]int
}

// slower returns how many times longer the slowest hundredth takes.
func (r *attackRow) slower() float64 {
	return measure.Millis(r.During, 99) / max(measure.Millis(r.Before, 99), 0.001)
}

// late reports whether the slowest hundredth of calls takes longer than it should.
func (r *attackRow) late() bool {
	return r.slower() > mostSlower && measure.Millis(r.During, 99) > unnoticed
}

// disturbed reports whether calls were late, and the disk may have been why.
func (r *attackRow) disturbed() bool {
	still := measure.Millis(r.Disk, 100)
	return r.late() && still >= standstill && still >= measure.Millis(r.During, 99)/2
}

// wrong says what is not as it should be.
func (r *attackRow) wrong() (all []string) {
	if !r.Alive {
		all = append(all, "the gateway has ended, or serves no more")
	}
	if r.Failed > 0 {
		all = append(all, fmt.Sprintf("%d calls failed: %v", r.Failed, r.Why))
	}
	if r.late() {
		all = append(all, fmt.Sprintf("p99 is %.1f times that before", r.slower()))
	}
	if more := r.Memory.Peak - r.Memory.Before; more > mostPeak {
		all = append(all, fmt.Sprintf("%.0f MB more memory at the peak", more/(1<<20)))
	}
	if more := r.Memory.After - r.Memory.Before; more > mostLeft {
		all = append(all, fmt.Sprintf("%.0f MB more memory after the rest", more/(1<<20)))
	}
	return all
}

const attackHeader = "                                  POST → result, ms           p99      disk   calls   memory, MB\n" +
	"                                  before         during       slower     ms   failed  before   peak  after  verdict   the attack met\n" +
	"                                  p50    p99     p50    p99"

// line is a row of the table.
func (r *attackRow) line() string {
	verdict := "ok"
	if len(r.wrong()) > 0 {
		verdict = "NOT"
	}
	var met []string
	for _, what := range slices.Sorted(maps.Keys(r.Met)) {
		met = append(met, fmt.Sprintf("%s: %d", what, r.Met[what]))
	}
	const mb = 1 << 20
	return fmt.Sprintf("%-31s %6.1f %6.1f  %6.1f %6.1f %8.1fx %6.0f %8d %7.0f %6.0f %6.0f  %-8s  %s", r.Name, measure.Millis(r.Before, 50), measure.Millis(r.Before, 99),
		measure.Millis(r.During, 50), measure.Millis(r.During, 99), r.slower(), measure.Millis(r.Disk, 100), r.Failed, r.Memory.Before/mb, r.Memory.Peak/mb, r.Memory.After/mb, verdict, strings.Join(met, ", "))
}

// attackTable is what came of all.
type attackTable []attackRow

func (t attackTable) wrong() (all []string) {
	for i := range t {
		for _, what := range t[i].wrong() {
			all = append(all, t[i].Name+": "+what)
		}
	}
	return all
}

// results returns the table, also as figures for a results file.
func (t attackTable) results() measure.Results {
	r := measure.Results{Table: t.print}
	const mb = 1 << 20
	for i := range t {
		row := &t[i]
		alive := 0.0
		if row.Alive {
			alive = 1
		}
		for _, f := range []bench.Figure{
			measure.Figure("p50 before", measure.Millis(row.Before, 50), "ms"), measure.Figure("p99 before", measure.Millis(row.Before, 99), "ms"),
			measure.Figure("p50 during", measure.Millis(row.During, 50), "ms"), measure.Figure("p99 during", measure.Millis(row.During, 99), "ms"),
			measure.Figure("longest sync of the disk", measure.Millis(row.Disk, 100), "ms"), measure.Figure("calls failed", float64(row.Failed), ""),
			measure.Figure("memory before", row.Memory.Before/mb, "MB"), measure.Figure("memory at the peak", row.Memory.Peak/mb, "MB"),
			measure.Figure("memory after", row.Memory.After/mb, "MB"), measure.Figure("alive", alive, ""),
		} {
			f.Name = row.Name + ": " + f.Name
			r.Figures = append(r.Figures, f)
		}
	}
	return r
}

func (t attackTable) print(out io.Writer) {
	_, _ = fmt.Fprintln(out, attackHeader)
	for i := range t {
		_, _ = fmt.Fprintln(out, t[i].line())
	}
	bad := 0
	for i := range t {
		if len(t[i].wrong()) > 0 {
			bad++
		}
	}
	_, _ = fmt.Fprintf(out, "%d attacks, %d not as they should be: no call fails, p99 is at most %d times that before (or %d ms), "+
		"memory at most %d MB above that before, and %d MB after the rest, and the process lives\n",
		len(t), bad, mostSlower, unnoticed, mostPeak>>20, mostLeft>>20)
	for _, what := range t.wrong() {
		_, _ = fmt.Fprintln(out, "  "+what)
	}
}
