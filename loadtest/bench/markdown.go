package bench

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// Marks in the document; what stands between them is written by Rewrite.
const (
	beginMark = "<!-- measured: written by `make bench-docs` from here -->"
	endMark   = "<!-- measured: to here -->"
)

// Rewrite returns a document with what these results say between its marks.
func (r *Results) Rewrite(document string) (string, error) {
	before, rest, ok1 := strings.Cut(document, beginMark)
	_, after, ok2 := strings.Cut(rest, endMark)
	if !ok1 || !ok2 {
		return "", errors.New("the document lacks its marks: " + beginMark + " and " + endMark)
	}
	return before + beginMark + "\n\n" + wrap(r.Markdown()) + "\n" + endMark + after, nil
}

// width is that of the documents' lines, in characters.
const width = 100

// wrap breaks lines of text that are longer than the documents' are. Tables stay as they are.
func wrap(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "|") {
			out.WriteString(line)
			continue
		}
		at := 0
		for word := range strings.FieldsSeq(line) {
			n := utf8.RuneCountInString(word)
			switch {
			case at == 0:
			case at+1+n > width:
				out.WriteByte('\n')
				at = 0
			default:
				out.WriteByte(' ')
				at++
			}
			out.WriteString(word)
			at += n
		}
		out.WriteByte('\n')
	}
	return out.String()
}

// Markdown says what was measured, on what, how to do it again, and which targets hold.
func (r *Results) Markdown() string {
	var out strings.Builder
	fmt.Fprintf(&out, "Measured on %s at commit `%s` by `%s`: %s, shared by the servers and the client. ", r.Date.Format("January 2, 2006"), r.Commit, r.command(), r.Machine)
	out.WriteString("The servers ran one after the other with equal settings, each in a process of its own that was new for each scene")
	switch {
	case r.Rounds > 1:
		fmt.Fprintf(&out, "; where speed is compared they took turns %d times, and these are the medians", r.Rounds)
	default:
		out.WriteString(", once")
	}
	out.WriteString(". ")
	if r.Quick {
		out.WriteString("**The sizes were small, and what is fixed is shared by few: these are figures to look at, not to judge by.** ")
	}
	out.WriteString("CPU and memory are those of all the server's processes; behind a figure stands how many times Hark's it is. ")
	out.WriteString("Hark stores a message before it pushes it, embedded with fsync, and its messages are longer than those of the others, which have 200 bytes and framing.\n\n")
	if len(r.Versions) > 0 {
		var said []string
		for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
			said = append(said, name+" "+r.Versions[name])
		}
		fmt.Fprintf(&out, "Versions: %s.\n\n", strings.Join(said, ", "))
	}
	for _, wires := range r.ByScene() {
		markdown(&out, wires)
	}
	r.markdownTargets(&out)
	for i, s := range r.Skipped {
		if i == 0 {
			out.WriteString("\nNot measured: ")
		} else {
			out.WriteString("; ")
		}
		fmt.Fprintf(&out, "%s (%s)", s.What, s.Why)
	}
	if len(r.Skipped) > 0 {
		out.WriteString(".\n")
	}
	return out.String()
}

// command is what was called to measure it.
func (r *Results) command() string {
	if len(r.Args) == 0 {
		return "make bench-peers"
	}
	return "make bench-peers PEERS=\"" + strings.Join(r.Args, " ") + "\""
}

// markdown writes the tables of a scene as one, with the wires beside each other in each cell.
func markdown(out *strings.Builder, wires []Table) {
	first := wires[0]
	fmt.Fprintf(out, "**%s** (%s", first.Name(), first.Settings)
	if len(wires) > 1 {
		out.WriteString("; SSE · WebSocket")
	} else if first.Wire != "" {
		out.WriteString("; " + WireName(first.Wire))
	}
	out.WriteString(")\n\n|")
	for _, c := range first.Columns {
		out.WriteString(" | " + c.Label())
	}
	out.WriteString(" |\n| ---" + strings.Repeat(" | ---:", len(first.Columns)) + " |\n")
	for _, name := range RowNames(wires) {
		out.WriteString("| " + name)
		for c := range first.Columns {
			out.WriteString(" | " + strings.Join(cells(wires, name, c), " · "))
		}
		out.WriteString(" |\n")
	}
	out.WriteString("\n")
}

// RowNames returns the names of all rows of tables, each once.
func RowNames(tables []Table) (names []string) {
	for _, t := range tables {
		for _, row := range t.Rows {
			if !slices.Contains(names, row.Name) {
				names = append(names, row.Name)
			}
		}
	}
	return names
}

// cells returns what tables have in a column of a row.
func cells(tables []Table, name string, column int) (said []string) {
	for _, t := range tables {
		i := slices.IndexFunc(t.Rows, func(row Row) bool { return row.Name == name })
		switch {
		case i < 0:
			said = append(said, "–")
		case t.Rows[i].Failed != "":
			said = append(said, "failed")
		case column < len(t.Rows[i].Cells) && t.Rows[i].Cells[column].Known:
			said = append(said, t.Rows[i].Cells[column].String())
		}
	}
	return said
}

func (r *Results) markdownTargets(out *strings.Builder) {
	verdicts := r.Targets()
	fmt.Fprintf(out, "**Targets**: %s\n\n| target | | measured |\n| --- | --- | --- |\n", Kept(verdicts))
	for _, v := range verdicts {
		state := string(v.State)
		if v.State == Missed {
			state = "**" + state + "**"
		}
		fmt.Fprintf(out, "| %s | %s | %s |\n", v.Promise, state, v.Figures)
	}
}
