package bench

import (
	"fmt"
	"slices"
	"strings"
)

// Table holds servers beside each other in one scene.
type Table struct {
	Scene string
	Wire  string
	// Whether the servers have Redis behind them, in a scene where others have nothing.
	OnRedis  bool
	Title    string // without these
	Settings string // how much it was
	Columns  []Column
	Rows     []Row
}

// Name returns the title with the backends.
func (t *Table) Name() string {
	if t.OnRedis {
		return t.Title + ", on Redis"
	}
	return t.Title
}

// Heading returns the title with backends and wire.
func (t *Table) Heading() string {
	heading := t.Name()
	if t.Wire != "" {
		heading += ", " + WireName(t.Wire)
	}
	return heading
}

// Column is the head of one figure.
type Column struct {
	Head, Unit string
	Compared   bool // whether servers are held beside each other by it
}

// Label returns the head with its unit.
func (c Column) Label() string { return Axis{c.Head, c.Unit}.Label() }

// Row is a server, or a step of what grows.
type Row struct {
	Name   string
	Run    *Run
	Failed string
	Cells  []Cell
}

// Cell is a figure, if there is one, and how many times Hark's it is, zero if that says nothing.
type Cell struct {
	Value, Ratio float64
	Known        bool
}

// String returns the figure as tables show it.
func (c Cell) String() string {
	switch {
	case !c.Known:
		return ""
	case c.Ratio == 0:
		return Number(c.Value)
	}
	return fmt.Sprintf("%s (%.2f×)", Number(c.Value), c.Ratio)
}

// Number writes a number with as many digits as say something.
func Number(v float64) string {
	switch a := max(v, -v); {
	case a >= 1000:
		text := fmt.Sprintf("%.0f", v)
		digits := strings.TrimPrefix(text, "-")
		for i := len(digits) - 3; i > 0; i -= 3 {
			digits = digits[:i] + "," + digits[i:]
		}
		return strings.Repeat("-", len(text)-len(strings.TrimPrefix(text, "-"))) + digits
	case a == float64(int(a)):
		return fmt.Sprintf("%.0f", v)
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// Tables returns all tables, rounds taken together.
func (r *Results) Tables() []Table {
	var tables []Table
	runs := r.Merged()
	for _, s := range scenes {
		for _, shared := range []bool{false, true} {
			for _, wire := range []string{"", "sse", "ws"} {
				var rows []*Run
				for _, run := range runs {
					if run.Scene == s.name && run.Wire() == wire && (run.Backends == "shared") == shared || !s.apart && !shared && run.Scene == s.name && run.Wire() == wire {
						rows = append(rows, run)
					}
				}
				if len(rows) == 0 || !s.apart && shared {
					continue
				}
				t := Table{Scene: s.name, Wire: wire, OnRedis: shared, Title: s.title, Settings: settings(rows[0], s.settings)}
				t.fill(rows, s.columns)
				tables = append(tables, t)
			}
		}
	}
	return append(tables, growthTables(runs)...)
}

// ByScene returns the tables with those that differ by wire only together. What grows has one for
// itself.
func (r *Results) ByScene() (scenes [][]Table) {
	tables := r.Tables()
	for len(tables) > 0 {
		n := 1
		for n < len(tables) && tables[n].Title == tables[0].Title && tables[n].OnRedis == tables[0].OnRedis && tables[n].Scene != "growth" {
			n++
		}
		scenes = append(scenes, tables[:n])
		tables = tables[n:]
	}
	return scenes
}

// fill adds rows. Figures are divided by those of Hark with the same behind it.
func (t *Table) fill(runs []*Run, columns []column) {
	for _, c := range columns {
		t.Columns = append(t.Columns, Column{c.head, c.unit, c.ratio})
	}
	hark := make(map[string]*Run) // by what is behind it
	for _, run := range slices.Backward(runs) {
		if run.Server == "hark" && run.Failed == "" {
			hark[run.Backends] = run
		}
	}
	for _, run := range withBaselines(runs) {
		row := Row{Name: nameOf(run, hark[run.Backends]), Run: run, Failed: run.Failed}
		for _, c := range columns {
			var cell Cell
			cell.Value, cell.Known = c.of(run)
			if base := hark[run.Backends]; c.ratio && base != nil && cell.Known {
				if b, ok := c.of(base); ok && b > 0 {
					cell.Ratio = cell.Value / b
				}
			}
			row.Cells = append(row.Cells, cell)
		}
		t.Rows = append(t.Rows, row)
	}
}

// nameOf returns the name of a run in its row. The floor is told by the length of its messages,
// which moves with Hark's.
func nameOf(r, hark *Run) string {
	switch {
	case r.Server != "bare":
		return r.Target
	case isFloor(r, hark):
		return "a bare loop of writes, as many bytes"
	case r.Settings["message-bytes"] == "":
		return "a bare loop of writes"
	}
	return "a bare loop of writes, " + r.Settings["message-bytes"] + " bytes"
}

// isFloor says whether a bare loop wrote as many bytes for each delivery as Hark.
func isFloor(r, hark *Run) bool {
	if hark == nil || r.Server != "bare" {
		return false
	}
	b, ok1 := r.Figure(bytesDelivered)
	h, ok2 := hark.Figure(bytesDelivered)
	return ok1 && ok2 && b > 0.98*h && b < 1.02*h
}

// baselines are what a run may have measured beside itself, by the names of their figures, and what
// they are called in tables. Further figures of a baseline have its name and a colon before theirs.
var baselines = []struct{ figure, name string }{
	{"RabbitMQ alone", "RabbitMQ alone"},
	{"asynq", "asynq"},
	{floor, "the floor: a bare gateway and worker"},
}

// withBaselines adds, behind a run that has measured baselines, those as runs of their own.
func withBaselines(runs []*Run) []*Run {
	var all []*Run
	for _, run := range runs {
		all = append(all, run)
		for _, b := range baselines {
			n, ok := run.Figure(b.figure)
			if !ok {
				continue
			}
			beside := &Run{Target: b.name, Backends: run.Backends, Scene: run.Scene, Settings: run.Settings, Figures: []Figure{{completed, n, "/s"}}}
			for _, f := range run.Figures {
				if name, of := strings.CutPrefix(f.Name, b.figure+": "); of {
					beside.Figures = append(beside.Figures, Figure{name, f.Value, f.Unit})
				}
			}
			all = append(all, beside)
		}
	}
	return all
}

// growthTables has what deliveries cost, step by step.
func growthTables(runs []*Run) (tables []Table) {
	for _, run := range runs {
		if run.Scene != "growth" {
			continue
		}
		if run.Failed != "" {
			tables = append(tables, Table{Scene: "growth", Wire: run.Wire(), Title: "Growth", Rows: []Row{{Name: run.Target, Run: run, Failed: run.Failed}}})
			continue
		}
		for _, kind := range growthKinds {
			t := Table{Scene: "growth", Wire: run.Wire(), Title: "Growth of " + kind, Settings: settings(run, []string{"deliveries", "rate", "rounds"})}
			for _, g := range growthSeries {
				curve, ok := run.Curve(g.name + ", " + kind)
				if !ok {
					continue
				}
				t.Columns = append(t.Columns, Column{Head: g.head, Unit: "µs"})
				for i, p := range curve.Points {
					if len(t.Rows) <= i {
						t.Rows = append(t.Rows, Row{Name: counted(p[0], curve.X.Name), Run: run})
					}
					t.Rows[i].Cells = append(t.Rows[i].Cells, Cell{Value: p[1], Known: true})
				}
			}
			if len(t.Rows) > 0 {
				tables = append(tables, t)
			}
		}
	}
	return tables
}

// counted says how many there are of something.
func counted(n float64, plural string) string {
	if n == 1 {
		plural = strings.TrimSuffix(plural, "s")
	}
	return Number(n) + " " + plural
}

// settings says some of a run's settings.
func settings(r *Run, names []string) string {
	var said []string
	for _, name := range names {
		if value := r.Settings[name]; value != "" {
			said = append(said, name+" "+value)
		}
	}
	return strings.Join(said, ", ")
}

// WireName returns the name of a wire for people.
func WireName(wire string) string {
	switch wire {
	case "sse":
		return "SSE"
	case "ws":
		return "WebSocket"
	}
	return wire
}
