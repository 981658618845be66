// Package page shows what load tests have measured as a page of charts and tables that needs no
// network.
package page

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"github.com/hark-push/hark/loadtest/bench"
)

//go:embed page.html
var layout string

// script is Apache ECharts; see NOTICE.
//
//go:embed echarts.common.min.js.gz
var script []byte

// view is what the layout shows.
type view struct {
	*bench.Results
	Summary []string // sentences
	Flags   string
	Scenes  []section
	Charts  []*chart // of all scenes
	Targets []bench.Verdict
	Kept    string
	ECharts template.JS
}

// section is a scene with its wires.
type section struct {
	Title, Settings string
	Bars, Curves    []*chart
	Tables          []bench.Table
	Run             *bench.Run // of which all figures are shown, if it has no tables
}

// Render writes the page.
func Render(w io.Writer, r *bench.Results) error {
	t, err := template.New("page").Funcs(template.FuncMap{"number": bench.Number}).Parse(layout)
	if err != nil {
		return err
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(script))
	if err != nil {
		return err
	}
	echarts, err := io.ReadAll(unpacked)
	if err != nil {
		return err
	}
	v := &view{Results: r, Summary: summary(r), Flags: strings.Join(r.Args, " "), ECharts: template.JS(echarts)}
	if r.Rounds > 0 {
		v.Targets = r.Targets()
		v.Kept = bench.Kept(v.Targets)
	}
	if v.Scenes, err = sections(r); err != nil {
		return err
	}
	for _, s := range v.Scenes {
		v.Charts = append(append(v.Charts, s.Bars...), s.Curves...)
	}
	for i, c := range v.Charts {
		c.ID = fmt.Sprint("chart", i+1)
	}
	return t.Execute(w, v)
}

// sections returns all scenes: those with tables, then the others.
func sections(r *bench.Results) (all []section, err error) {
	for _, wires := range r.ByScene() {
		s := section{Title: wires[0].Name(), Settings: wires[0].Settings, Tables: wires}
		if wires[0].Scene == "growth" {
			s.Curves, err = growth(wires[0])
		} else if s.Bars, err = bars(wires); err == nil {
			s.Curves, err = percentiles(wires)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	for _, run := range r.Merged() {
		if bench.HasTable(run.Scene) {
			continue
		}
		s := section{Title: run.Scene + ": " + run.Target, Run: run}
		if s.Curves, err = times(run); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// summary says in a few sentences, the first of which stands for all, what came out.
func summary(r *bench.Results) (said []string) {
	var servers []string
	failed := 0
	for _, run := range r.Merged() {
		if !slices.Contains(servers, run.Target) && run.Failed == "" {
			servers = append(servers, run.Target)
		}
		if run.Server == "hark" && run.Failed != "" {
			failed++
		}
	}
	first := fmt.Sprintf("%d runs of %d servers.", len(r.Runs), len(servers))
	if failed > 0 {
		first += fmt.Sprintf(" Hark failed %d of its own.", failed)
	}
	if r.Rounds > 0 {
		first += " Of the targets, " + bench.Kept(r.Targets())
	}
	said = append(said, first)
	for _, t := range r.Tables() {
		if t.Scene != "broadcast" && t.Scene != "unicast" || t.Wire != "sse" {
			continue
		}
		var beside []string
		for _, row := range t.Rows {
			if i := slices.IndexFunc(t.Columns, func(c bench.Column) bool { return c.Compared }); row.Failed == "" && i >= 0 && row.Run.Server != "bare" {
				beside = append(beside, fmt.Sprintf("%s %s %s", row.Name, bench.Number(row.Cells[i].Value), t.Columns[i].Unit))
			}
		}
		if len(beside) > 1 {
			said = append(said, fmt.Sprintf("%s, %s: %s.", t.Heading(), t.Columns[0].Head, strings.Join(beside, "; ")))
		}
	}
	return said
}
