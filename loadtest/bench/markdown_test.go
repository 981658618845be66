package bench

import (
	"os"
	"strings"
	"testing"
)

// What docs/performance.md says is what was measured.
func TestDocumentIsWrittenFromWhatWasMeasured(t *testing.T) {
	measured, err := Read("../measured.json")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	want, err := measured.Rewrite(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if want != string(text) {
		t.Error("docs/performance.md says something else than loadtest/measured.json: " +
			"go run ./loadtest performance loadtest/measured.json")
	}
	if info, err := os.Stat("../measured.json"); err != nil || info.Size() > 200_000 {
		t.Errorf("measured.json is too large: %d bytes, %v", info.Size(), err)
	}
}

func TestRewrite(t *testing.T) {
	ws := broadcast("hark", 20, 8, 1000)
	ws.Settings = map[string]string{"wire": "ws", "followers": "9"}
	lost := broadcast("nchan", 0, 0, 0)
	lost.Failed, lost.Figures = "lost", nil
	r := &Results{Header: Header{Rounds: 3, Args: []string{"--rounds=3"}, Commit: "abc"}, Runs: []Run{broadcast("hark", 10, 4, 1000), ws, lost}}
	got, err := r.Rewrite("before\n" + beginMark + "\nold\n" + endMark + "\nafter\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"before\n", "\nafter\n", "10 (1.00×) · 20 (1.00×)", "| nchan embedded | failed · – |", "`abc`", "medians", "--rounds=3", "SSE · WebSocket", "**not met**", "not measured"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if strings.Contains(got, "old") {
		t.Error("the old section is still there")
	}
	if again, err := r.Rewrite(got); err != nil || again != got {
		t.Error("rewritten again it differs")
	}
	if _, err := r.Rewrite("no marks"); err == nil {
		t.Error("a document without marks is taken")
	}
}

func TestWrap(t *testing.T) {
	words := strings.Repeat("größer ", 40)
	table := "| " + words + "|\n"
	got := wrap(words + "\n\n" + table)
	if strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(words+table), " ") {
		t.Errorf("other words: %s", got)
	}
	if !strings.HasSuffix(got, "\n\n"+table) {
		t.Errorf("the table is another: %s", got)
	}
	// 14 words of six characters and the spaces between them are 97 characters, and more bytes.
	if first, _, _ := strings.Cut(got, "\n"); first != strings.TrimSpace(strings.Repeat("größer ", 14)) {
		t.Errorf("the first line is %q", first)
	}
}

func TestThin(t *testing.T) {
	run := broadcast("hark", 1.23456789, 1, 1)
	var points []Point
	for i := range 1000 {
		points = append(points, Point{100 - 100/float64(i+1), float64(i) + 0.123456})
	}
	run.Series = []Series{{Name: "latency", Points: points}, {Name: "short", Points: points[:3]}}
	thin := (&Results{Header: Header{Rounds: 1}, Runs: []Run{run}}).Thin()
	kept := thin.Runs[0]
	if v, _ := kept.Figure(perDelivery); v != 1.235 {
		t.Error(v)
	}
	curve := kept.Series[0].Points
	if len(curve) != 30 || len(kept.Series[1].Points) != 3 || curve[0][0] != 0 || curve[29] != (Point{99.9, 999.1}) {
		t.Error(curve)
	}
	if points[1][1] != 1.123456 {
		t.Error("what was thinned has changed")
	}
}
