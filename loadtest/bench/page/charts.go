package page

import (
	"encoding/json"
	"html/template"
	"slices"
	"strings"

	"github.com/go-echarts/go-echarts/v2/charts"
	"github.com/go-echarts/go-echarts/v2/opts"

	"github.com/hark-push/hark/loadtest/bench"
)

// chart is one picture.
type chart struct {
	ID      string
	Title   string
	Caption string      // what the title says beside the heading above it
	Height  int         // pixels
	Option  template.JS // for ECharts
}

// Colors that can be told apart without telling red from green (Okabe and Ito).
var palette = []string{"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#555555"}

// drawing is a chart of any kind.
type drawing interface {
	Validate()
	JSON() map[string]any
}

// newChart takes what ECharts is told. In JSON nothing looks like the end of a script, whatever the
// names are that come from files; only functions, which are put between marks, stand there as they
// are: by their names in the layout.
func newChart(title, caption string, height int, d drawing) (*chart, error) {
	d.Validate()
	option, err := json.Marshal(d.JSON())
	if err != nil {
		return nil, err
	}
	text := strings.NewReplacer(`"__f__`, "", `__f__"`, "").Replace(string(option))
	return &chart{Title: title, Caption: caption, Height: height, Option: template.JS(text)}, nil
}

// Functions of the layout: how numbers are written, and 1/(1-q) as a percentile, 1,000 as 99.9 %.
var (
	writeNumber     = string(opts.FuncOpts("writeNumber"))
	writePercentile = opts.FuncOpts("writePercentile")
)

// common is what all charts share.
func common(title string, legend bool) []charts.GlobalOpts {
	return []charts.GlobalOpts{
		charts.WithAnimation(false),
		charts.WithColorsOpts(palette),
		charts.WithAriaOpts(&opts.Aria{Enabled: opts.Bool(true), Label: &opts.AriaLabel{Enabled: opts.Bool(true), Description: title}}),
		charts.WithTooltipOpts(opts.Tooltip{Show: opts.Bool(true), Trigger: "axis"}),
		charts.WithLegendOpts(opts.Legend{Show: opts.Bool(legend), Top: "0", Left: "center"}),
	}
}

// bars returns a chart for each figure by which servers are compared, with a bar for each server
// and wire.
func bars(wires []bench.Table) (all []*chart, err error) {
	for column, c := range wires[0].Columns {
		if !c.Compared {
			continue
		}
		names := known(wires, column)
		better := "less is better"
		if c.Unit == "/s" {
			better = "more is better"
		}
		caption := c.Label() + ", " + better
		title := wires[0].Name() + ": " + caption
		b := charts.NewBar()
		b.SetGlobalOptions(append(common(title, len(wires) > 1),
			charts.WithGridOpts(opts.Grid{Left: "8", Right: "70", Top: "30", Bottom: "30", ContainLabel: opts.Bool(true)}),
			charts.WithXAxisOpts(opts.XAxis{Type: "value", Name: c.Unit, AxisLabel: &opts.AxisLabel{HideOverlap: opts.Bool(true)}}),
			charts.WithYAxisOpts(opts.YAxis{Type: "category", Data: names, Inverse: opts.Bool(true), AxisLabel: &opts.AxisLabel{}}),
		)...)
		for _, t := range wires {
			var data []opts.BarData
			for _, name := range names {
				value := any("-") // nothing
				for _, row := range t.Rows {
					if row.Name == name && row.Cells[column].Known {
						value = row.Cells[column].Value
					}
				}
				data = append(data, opts.BarData{Value: value})
			}
			name := bench.WireName(t.Wire)
			if name == "" {
				name = c.Head
			}
			b.AddSeries(name, data, charts.WithLabelOpts(opts.Label{Show: opts.Bool(true), Position: "right", Formatter: writeNumber}))
		}
		drawn, err := newChart(title, caption, 80+len(names)*(14+18*len(wires)), b)
		if err != nil {
			return nil, err
		}
		all = append(all, drawn)
	}
	return all, nil
}

// known returns the names of rows that have a figure in a column.
func known(wires []bench.Table, column int) []string {
	return slices.DeleteFunc(bench.RowNames(wires), func(name string) bool {
		return !slices.ContainsFunc(wires, func(t bench.Table) bool {
			return slices.ContainsFunc(t.Rows, func(row bench.Row) bool { return row.Name == name && row.Cells[column].Known })
		})
	})
}

// percentiles returns, for each wire, the latencies of all servers, over percentiles that get finer
// towards the end.
func percentiles(wires []bench.Table) (all []*chart, err error) {
	for _, t := range wires {
		l := charts.NewLine()
		caption := ""
		for _, row := range t.Rows {
			for _, s := range row.Run.Series {
				if s.X.Name != "percentile" {
					continue
				}
				var data []opts.LineData
				for _, p := range s.Points {
					if x := 1 / (1 - p[0]/100); p[0] > 0 && p[0] < 100 && x <= 10_000 && p[1] > 0 {
						data = append(data, opts.LineData{Value: bench.Point{x, p[1]}})
					}
				}
				caption = s.Name + " (" + s.Y.Unit + ") by percentile"
				line(l, row.Name, data)
			}
		}
		if caption == "" {
			continue
		}
		if t.Wire != "" {
			caption += ", " + bench.WireName(t.Wire)
		}
		title := t.Name() + ": " + caption
		l.SetGlobalOptions(append(common(title, true),
			charts.WithGridOpts(opts.Grid{Left: "60", Right: "40", Top: "70", Bottom: "50"}),
			charts.WithXAxisOpts(opts.XAxis{Type: "log", Name: "percentile", NameLocation: "middle", NameGap: 30, Min: 1, Max: 10_000, AxisLabel: &opts.AxisLabel{Formatter: writePercentile}}),
			charts.WithYAxisOpts(opts.YAxis{Type: "log", Name: "ms"}),
		)...)
		drawn, err := newChart(title, caption, 420, l)
		if err != nil {
			return nil, err
		}
		all = append(all, drawn)
	}
	return all, nil
}

func line(l *charts.Line, name string, data []opts.LineData) {
	l.AddSeries(name, data, charts.WithLineChartOpts(opts.LineChart{ShowSymbol: opts.Bool(len(data) < 12), SymbolSize: 6}), charts.WithLineStyleOpts(opts.LineStyle{Width: 2}))
}

// growth shows what a delivery costs, whole and without publishing, step by step.
func growth(t bench.Table) ([]*chart, error) {
	const caption = "CPU per delivery (µs)"
	title := t.Title + ": " + caption
	l := charts.NewLine()
	x := ""
	for _, s := range t.Rows[0].Run.Series {
		if !strings.HasPrefix(s.Name, "CPU per delivery") || !strings.HasSuffix(t.Title, strings.SplitN(s.Name, ", ", 2)[1]) {
			continue
		}
		x = s.X.Name
		var data []opts.LineData
		for _, p := range s.Points {
			data = append(data, opts.LineData{Value: p})
		}
		line(l, strings.SplitN(s.Name, ", ", 2)[0], data)
	}
	if x == "" {
		return nil, nil
	}
	l.SetGlobalOptions(append(common(title, true),
		charts.WithGridOpts(opts.Grid{Left: "60", Right: "40", Top: "50", Bottom: "50"}),
		charts.WithXAxisOpts(opts.XAxis{Type: "log", Name: x, NameLocation: "middle", NameGap: 30}),
		charts.WithYAxisOpts(opts.YAxis{Type: "value", Name: "µs"}),
	)...)
	drawn, err := newChart(title, caption, 360, l)
	return []*chart{drawn}, err
}

// times returns the curves of a run over time, those of one unit together.
func times(r *bench.Run) (all []*chart, err error) {
	type group struct {
		unit   string
		curves []bench.Series
	}
	var groups []group
	for _, s := range r.Series {
		if s.X.Name != "time" || len(s.Points) == 0 {
			continue
		}
		if n := len(groups); n > 0 && s.Y.Unit != "" && groups[n-1].unit == s.Y.Unit {
			groups[n-1].curves = append(groups[n-1].curves, s)
		} else {
			groups = append(groups, group{s.Y.Unit, []bench.Series{s}})
		}
	}
	for _, g := range groups {
		caption := g.curves[0].Y.Label() + " over time"
		if len(g.curves) > 1 {
			caption = "what the processes hold (" + g.unit + ") over time"
		}
		title := r.Scene + ": " + caption
		l := charts.NewLine()
		l.SetGlobalOptions(append(common(title, true),
			charts.WithGridOpts(opts.Grid{Left: "80", Right: "40", Top: "50", Bottom: "50"}),
			charts.WithXAxisOpts(opts.XAxis{Type: "value", Name: "time (s)", NameLocation: "middle", NameGap: 30}),
			charts.WithYAxisOpts(opts.YAxis{Type: "value", Name: g.unit, Min: 0}),
		)...)
		for _, s := range g.curves {
			var data []opts.LineData
			for _, p := range s.Points {
				data = append(data, opts.LineData{Value: p})
			}
			line(l, s.Name, data)
		}
		drawn, err := newChart(title, caption, 340, l)
		if err != nil {
			return nil, err
		}
		all = append(all, drawn)
	}
	return all, nil
}
