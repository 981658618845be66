package bench

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// made returns a run as a scene leaves it.
func made(scene, wire, server, backends string, figures map[string]float64) Run {
	r := Run{Target: server + " " + backends, Server: server, Backends: backends, Scene: scene, Settings: map[string]string{"wire": wire, "followers": "9"}}
	for name, v := range figures {
		r.Figures = append(r.Figures, Figure{name, v, "µs"})
	}
	return r
}

func broadcast(server string, cpu, p99, bytes float64) Run {
	return made("broadcast", "sse", server, "embedded", map[string]float64{perDelivery: cpu, latencyP99: p99, bytesDelivered: bytes})
}

func TestMediansOfRounds(t *testing.T) {
	r := &Results{}
	for i, cpu := range []float64{30, 10, 20} {
		run := broadcast("hark", cpu, 1, 200)
		run.Series = []Series{
			{Name: "steps", Points: []Point{{1, cpu}, {2, -cpu}}},
			{Name: "latency", Points: []Point{{float64(i), cpu}}},
		}
		r.Runs = append(r.Runs, run)
	}
	merged := r.Merged()
	if len(merged) != 1 {
		t.Fatal(len(merged))
	}
	if v, ok := merged[0].Figure(perDelivery); !ok || v != 20 {
		t.Error(v)
	}
	if s, _ := merged[0].Curve("steps"); !reflect.DeepEqual(s.Points, []Point{{1, 20}, {2, -20}}) {
		t.Error(s.Points)
	}
	if s, _ := merged[0].Curve("latency"); !reflect.DeepEqual(s.Points, []Point{{2, 20}}) {
		t.Error(s.Points)
	}
	r.Runs[1].Failed = "lost"
	if r.Merged()[0].Failed == "" {
		t.Error("a round failed and the run has not")
	}
}

func TestTables(t *testing.T) {
	lifecycle := made("lifecycle", "sse", "hark", "shared", map[string]float64{
		completed: 100, "asynq": 250, "CPU per completed, redis": 1, "CPU per completed, gateway": 2,
		"floor": 175, "floor: CPU per completed, redis": 0.25, "floor: CPU per completed, worker": 0.5, "floor: POST to pushed success p50": 5,
	})
	lost := broadcast("nchan", 0, 0, 0)
	lost.Failed, lost.Figures = "message 3 after 1", nil
	r := &Results{Header: Header{Rounds: 1, Skipped: []Skipped{{"mercure", "not on PATH"}}}, Runs: []Run{broadcast("hark", 10, 4, 1000), lost, broadcast("bare", 15, 2, 1000), lifecycle}}
	var out bytes.Buffer
	if err := r.Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"10 (1.00×)", "15 (1.50×)", "2 (0.50×)", "failed: message 3 after 1", "250 (2.50×)", "the floor: a bare gateway and worker", "175 (1.75×)", "0.75 (0.25×)", "the floor: 175 /s (1.75×)", "mercure: not on PATH", "(followers 9)"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, &out)
		}
	}
	if cell := r.Tables()[1].Rows[0].Cells[1]; cell.Value != 3 {
		t.Errorf("CPU of all processes is %v", cell)
	}
	if cells := r.Tables()[1].Rows[2].Cells; cells[2].Value != 5 || cells[3].Known {
		t.Errorf("the floor's latencies are %v", cells[2:])
	}
}

func TestTargets(t *testing.T) {
	net := func(last float64) Run {
		r := made("growth", "sse", "hark", "embedded", nil)
		for _, kind := range growthKinds {
			r.Series = append(r.Series,
				Series{Name: "CPU per delivery without publishing, " + kind, Points: []Point{{1, 99}, {10, 8}, {100, 8}, {1000, last}}},
				Series{Name: "median deviation of that, " + kind, Points: []Point{{1, 0}, {10, 1}, {100, 1}, {1000, 1}}})
		}
		return r
	}
	for _, c := range []struct {
		promise string
		runs    []Run
		want    State
	}{
		{"15 % more", []Run{broadcast("hark", 11.4, 1, 1000), broadcast("bare", 10, 1, 1001)}, Met},
		{"15 % more", []Run{broadcast("hark", 11.6, 1, 1000), broadcast("bare", 10, 1, 1001)}, Missed},
		{"15 % more", []Run{broadcast("hark", 11.4, 1, 1000), broadcast("bare", 10, 1, 200)}, NotMeasured},
		{"11 µs", []Run{broadcast("hark", 11, 1, 1000)}, Met},
		{"nchan", []Run{broadcast("hark", 1, 7, 1000), broadcast("nchan", 1, 7, 200)}, Missed},
		{"nchan", []Run{{Scene: "broadcast", Server: "hark", Backends: "embedded", Settings: map[string]string{"wire": "sse"}, Failed: "x"}}, Missed},
		{"asynq", []Run{made("lifecycle", "sse", "hark", "shared", map[string]float64{completed: 9, "asynq": 10})}, Missed},
		{"asynq", []Run{made("lifecycle", "sse", "hark", "shared", map[string]float64{completed: 9})}, NotMeasured},
		{"slow followers", []Run{made("slow", "sse", "hark", "embedded", map[string]float64{movesBy: 19})}, Met},
		{"restart", []Run{made("storm", "", "hark", "embedded", map[string]float64{"streams": 5, "came back without loss": 5, "store reads per stream": 2})}, Missed},
		{"one channel", []Run{net(10.9)}, Met},
		{"one channel", []Run{net(11.1)}, Missed},
		{"memory, SSE", []Run{made("unicast", "sse", "hark", "embedded", map[string]float64{perSecond: 3}), made("unicast", "sse", "centrifuge", "embedded", map[string]float64{perSecond: 2})}, Met},
	} {
		found := false
		for _, v := range (&Results{Runs: c.runs}).Targets() {
			if strings.Contains(v.Promise, c.promise) && !found {
				found = true
				if v.State != c.want {
					t.Errorf("%s: %s (%s), want %s", v.Promise, v.State, v.Figures, c.want)
				}
			}
		}
		if !found {
			t.Errorf("no promise has %q", c.promise)
		}
	}
}

func TestResultsAreReadAsWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.json")
	want := &Results{Header: Here(), Runs: []Run{broadcast("hark", 1, 2, 3), broadcast("bare", 1, 2, 3)}}
	if err := want.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	got, err := Read(path)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if joined, err := Read(path, path); err != nil || len(joined.Runs) != 4 {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); err == nil {
		t.Error("a file without runs is taken")
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 1234.5: "1,234", -1234567: "-1,234,567", 5: "5", -2.5: "-2.50"} {
		if got := Number(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}
