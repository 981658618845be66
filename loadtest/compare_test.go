package main

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/hark-push/hark/loadtest/bench"
	"github.com/hark-push/hark/loadtest/measure"
)

func TestPlan(t *testing.T) {
	absent := map[string]string{"centrifugo": "away", "mercure": "away", "redis": "away", "asynq": "away"}
	runs, err := plan([]string{"broadcast", "unicast", "lifecycle"}, nil, true, absent)
	if err != nil {
		t.Fatal(err)
	}
	first := make(map[string]bool)
	for _, p := range runs {
		if _, away := absent[p.server]; away || p.shared {
			t.Errorf("%v cannot run", p)
		}
		if p.floor && !first["hark"+p.wire] {
			t.Errorf("%v comes before Hark", p)
		}
		if p.scene == "lifecycle" && !slices.Contains(p.args, "--no-asynq") {
			t.Errorf("%v wants asynq", p)
		}
		first[p.server+p.wire] = true
	}
	if !first["centrifugews"] || !first["baresse"] || first["mercurews"] {
		t.Error(first)
	}
	if brief, _ := plan([]string{"unicast"}, []string{"hark"}, true, nil); len(brief) != 2 {
		t.Error(brief)
	}
	if _, err := plan([]string{"nonsense"}, nil, true, nil); err == nil {
		t.Error("an unknown scene is taken")
	}
	if _, err := plan(nil, []string{"nonsense"}, true, nil); err == nil {
		t.Error("an unknown server is taken")
	}
	if runs, _ := plan([]string{"unicast"}, []string{"hark"}, false, nil); len(runs) != 4 || !runs[2].shared || runs[2].rounds(3) != 3 {
		t.Error(runs)
	}
	if runs, _ := plan([]string{"unicast"}, []string{"hark", "base"}, false, nil); len(runs) != 8 || runs[1].server != "base" || !runs[1].same(runs[0]) {
		t.Error(runs)
	}
	if runs, _ := plan([]string{"lifecycle"}, nil, false, nil); slices.ContainsFunc(runs, func(p planned) bool { return p.server == "base" }) {
		t.Error("the other version is among all")
	}
	// It has rounds of its own.
	if runs, _ := plan([]string{"growth"}, nil, false, nil); len(runs) != 1 || runs[0].rounds(3) != 1 {
		t.Error(runs)
	}
}

func TestReportIsAResultsFile(t *testing.T) {
	r := &report{Target: "a server", Scene: "idle", Server: "hark", Backends: "shared", Settings: map[string]string{"wire": "ws"}, Results: measure.Results{
		Figures: []bench.Figure{measure.Figure("memory per connection", 1.5, "KB")},
		Series:  []bench.Series{{Name: "curve", X: measure.Axis("time", "s"), Y: measure.Axis("memory", "MB"), Points: []bench.Point{{1, 2}}}},
	}}
	path := filepath.Join(t.TempDir(), "r.json")
	if err := r.say(&options{JSON: false, Out: path}); err != nil {
		t.Fatal(err)
	}
	read, err := bench.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	run := read.Runs[0]
	v, _ := run.Figure("memory per connection")
	curve, _ := run.Curve("curve")
	if v != 1.5 || run.Wire() != "ws" || run.Server != "hark" || run.Backends != "shared" || curve.X.Label() != "time (s)" || curve.Points[0] != (bench.Point{1, 2}) {
		t.Errorf("%+v", run)
	}
}

func TestArgsDoNotSayWhereItWasWritten(t *testing.T) {
	got := withoutOutput([]string{"idle", "--out=x", "--wire=ws", "--out", "y", "--json", "--programs=z"})
	if !slices.Equal(got, []string{"idle", "--wire=ws"}) {
		t.Error(got)
	}
}
