package docs

import (
	"regexp"
	"strings"
	"testing"
)

// Series is a row of the table of metrics.md.
type Series struct {
	Labels []string
	By     string // who tells it: gateway, worker or both, and with what
}

var (
	seriesRow   = regexp.MustCompile("(?m)^\\| `(hark_\\w+)` \\| (.*?) ?\\| (.*?) \\| .* \\|$")
	seriesLabel = regexp.MustCompile("`(\\w+)`")
)

// AllSeries returns the table of metrics.md by the names of the series.
func AllSeries(t testing.TB) map[string]Series {
	t.Helper()
	all := make(map[string]Series)
	for _, m := range seriesRow.FindAllStringSubmatch(Read(t, "docs/metrics.md"), -1) {
		row := Series{By: m[3]}
		for _, l := range seriesLabel.FindAllStringSubmatch(m[2], -1) {
			row.Labels = append(row.Labels, l[1])
		}
		if _, twice := all[m[1]]; twice {
			t.Errorf("docs/metrics.md lists %s twice", m[1])
		}
		all[m[1]] = row
	}
	if len(all) < 60 {
		t.Fatalf("docs/metrics.md has %d rows", len(all))
	}
	return all
}

// SeriesOf returns the names of all that is Hark's in an answer of /metrics, as text.
func SeriesOf(text string) (names []string) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "# TYPE hark_"); ok {
			name, _, _ := strings.Cut(rest, " ")
			names = append(names, "hark_"+name)
		}
	}
	return names
}
