package bench

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Print writes all tables, the targets and what was skipped, for a terminal.
func (r *Results) Print(w io.Writer) error {
	var out strings.Builder
	fmt.Fprintf(&out, "%s\n", r.Machine)
	for _, t := range r.Tables() {
		fmt.Fprintf(&out, "\n%s", t.Heading())
		if t.Settings != "" {
			fmt.Fprintf(&out, " (%s)", t.Settings)
		}
		out.WriteString("\n")
		t.print(&out)
	}
	if r.compares() {
		out.WriteString("\n(×: how many times Hark's it is, with the same behind it)\n\nTargets\n")
		if r.Quick {
			out.WriteString("  (the sizes were small, and what is fixed is shared by few: these are not the figures to judge by)\n")
		}
		for _, v := range r.Targets() {
			fmt.Fprintf(&out, "  %-12s %s: %s\n", v.State, v.Promise, v.Figures)
		}
	}
	for i, s := range r.Skipped {
		if i == 0 {
			out.WriteString("\nSkipped\n")
		}
		fmt.Fprintf(&out, "  %s: %s\n", s.What, s.Why)
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// compares says whether the runs are those of a comparison.
func (r *Results) compares() bool { return r.Rounds > 0 }

func (t *Table) print(out *strings.Builder) {
	grid := make([][]string, 1, len(t.Rows)+1)
	grid[0] = []string{""}
	for _, c := range t.Columns {
		grid[0] = append(grid[0], c.Label())
	}
	for _, row := range t.Rows {
		line := []string{row.Name}
		for _, c := range row.Cells {
			line = append(line, c.String())
		}
		grid = append(grid, line)
	}
	widths := make([]int, len(grid[0]))
	for _, line := range grid {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for i, line := range grid {
		fmt.Fprintf(out, "  %-*s", widths[0], line[0])
		if i > 0 && t.Rows[i-1].Failed != "" {
			out.WriteString("  failed: " + t.Rows[i-1].Failed + "\n")
			continue
		}
		for j, cell := range line[1:] {
			fmt.Fprintf(out, "  %*s", widths[j+1], cell)
		}
		out.WriteString("\n")
	}
}
