package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/hark-push/hark/loadtest/bench"
)

// What an attack may do to an honest caller, and to the memory of the gateway.
const (
	mostSlower = 5         // times what the slowest hundredth of calls took before
	mostPeak   = 256 << 20 // bytes above what was held before
	mostLeft   = 10 << 20  // bytes above that, after the rest
	// A call of a millisecond may take some more for reasons that are no attack's: another
	// process's turn on a core.
	unnoticed = 20 // milliseconds
)

// attackRow is what came of one attack.
type attackRow struct {
	Name           string
	Before, During *hdrhistogram.Histogram // from POST to the result
	Failed         int64                   // calls during it
	Why            error                   // the first of them did
	Memory         struct{ Before, Peak, After float64 }
	Alive          bool // and serves, after the rest
	Met            map[string]int
}

// slower returns how many times longer the slowest hundredth takes.
func (r *attackRow) slower() float64 { return millis(r.During, 99) / max(millis(r.Before, 99), 0.001) }

// wrong says what is not as it should be.
func (r *attackRow) wrong() (all []string) {
	if !r.Alive {
		all = append(all, "the gateway has ended, or serves no more")
	}
	if r.Failed > 0 {
		all = append(all, fmt.Sprintf("%d calls failed: %v", r.Failed, r.Why))
	}
	if ratio := r.slower(); ratio > mostSlower && millis(r.During, 99) > unnoticed {
		all = append(all, fmt.Sprintf("p99 is %.1f times that before", ratio))
	}
	if more := r.Memory.Peak - r.Memory.Before; more > mostPeak {
		all = append(all, fmt.Sprintf("%.0f MB more memory at the peak", more/(1<<20)))
	}
	if more := r.Memory.After - r.Memory.Before; more > mostLeft {
		all = append(all, fmt.Sprintf("%.0f MB more memory after the rest", more/(1<<20)))
	}
	return all
}

const attackHeader = "                                  POST → result, ms           p99      calls   memory, MB\n" +
	"                                  before         during       slower   failed  before   peak  after  verdict   the attack met\n" +
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
	return fmt.Sprintf("%-31s %6.1f %6.1f  %6.1f %6.1f %8.1fx %8d %7.0f %6.0f %6.0f  %-8s  %s", r.Name, millis(r.Before, 50), millis(r.Before, 99),
		millis(r.During, 50), millis(r.During, 99), r.slower(), r.Failed, r.Memory.Before/mb, r.Memory.Peak/mb, r.Memory.After/mb, verdict, strings.Join(met, ", "))
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
func (t attackTable) results() results {
	r := results{table: t.print}
	const mb = 1 << 20
	for i := range t {
		row := &t[i]
		alive := 0.0
		if row.Alive {
			alive = 1
		}
		for _, f := range []bench.Figure{
			figure("p50 before", millis(row.Before, 50), "ms"), figure("p99 before", millis(row.Before, 99), "ms"),
			figure("p50 during", millis(row.During, 50), "ms"), figure("p99 during", millis(row.During, 99), "ms"),
			figure("calls failed", float64(row.Failed), ""),
			figure("memory before", row.Memory.Before/mb, "MB"), figure("memory at the peak", row.Memory.Peak/mb, "MB"),
			figure("memory after", row.Memory.After/mb, "MB"), figure("alive", alive, ""),
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
