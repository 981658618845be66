package page

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/hark-push/hark/loadtest/bench"
)

const evil = `</script><script>alert("x")</script>`

// results returns what a comparison and a soak might leave.
func results() *bench.Results {
	run := func(target, server, scene, wire string) bench.Run {
		return bench.Run{
			Target: target, Server: server, Backends: "embedded", Scene: scene, Settings: map[string]string{"wire": wire},
			Figures: []bench.Figure{{Name: "server CPU per delivery", Value: 12.5, Unit: "µs"}, {Name: "latency p99", Value: 40, Unit: "ms"}},
			Series:  []bench.Series{{Name: "latency", X: bench.Axis{Name: "percentile", Unit: "%"}, Y: bench.Axis{Name: "latency", Unit: "ms"}, Points: []bench.Point{{0, 1}, {50, 2}, {99.9, 7}, {100, 9}}}},
		}
	}
	lost := run("nchan", "nchan", "broadcast", "sse")
	lost.Failed, lost.Figures, lost.Series = "message 3 after 1 "+evil, nil, nil
	grown := run("Hark, embedded", "hark", "growth", "sse")
	grown.Series = []bench.Series{{Name: "CPU per delivery, one channel", X: bench.Axis{Name: "followers"}, Y: bench.Axis{Name: "server CPU", Unit: "µs"}, Points: []bench.Point{{1, 90}, {10, 20}}}}
	soaked := run("Hark, embedded", "hark", "soak", "")
	soaked.Series = []bench.Series{
		{Name: "memory, gateways", X: bench.Axis{Name: "time", Unit: "s"}, Y: bench.Axis{Name: "memory, gateways", Unit: "MB"}, Points: []bench.Point{{1, 90}, {2, 91}}},
		{Name: "memory, redis", X: bench.Axis{Name: "time", Unit: "s"}, Y: bench.Axis{Name: "memory, redis", Unit: "MB"}, Points: []bench.Point{{1, 9}, {2, 9}}},
		{Name: "goroutines", X: bench.Axis{Name: "time", Unit: "s"}, Y: bench.Axis{Name: "goroutines"}, Points: []bench.Point{{1, 300}, {2, 300}}},
	}
	return &bench.Results{
		Header: bench.Header{Rounds: 1, Commit: "abc", Versions: map[string]string{"nginx": "1.2"}, Skipped: []bench.Skipped{{What: "mercure", Why: "not on PATH"}}},
		Runs: []bench.Run{
			run("Hark, embedded", "hark", "broadcast", "sse"), run("Hark, embedded", "hark", "broadcast", "ws"),
			lost, run("other "+evil, "bare", "broadcast", "sse"), run(evil, "centrifugo", "broadcast", "ws"), grown, soaked,
		},
	}
}

func rendered(t *testing.T) string {
	t.Helper()
	var out bytes.Buffer
	if err := Render(&out, results()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestPageNeedsNoNetwork(t *testing.T) {
	page := rendered(t)
	for _, what := range []string{`(?i)\b(src|href|srcset|action|data)\s*=`, `(?i)@import`, `(?i)<(link|img|iframe|object)\b`} {
		// In the script of ECharts there are assignments to properties of such names, but no
		// address.
		markup := regexp.MustCompile(`(?s)<script>.*?</script>`).ReplaceAllString(page, "")
		if found := regexp.MustCompile(what).FindString(markup); found != "" {
			t.Errorf("the page has %q", found)
		}
	}
	for _, what := range []string{`(?i)\b(src|href)\s*=\s*["'\x60]?\s*(https?:)?//`, `(?i)url\(\s*["']?(https?:)?//`, `(?i)\b(fetch|importScripts|XMLHttpRequest|WebSocket|EventSource)\(`} {
		if found := regexp.MustCompile(what).FindString(page); found != "" {
			t.Errorf("the page has %q", found)
		}
	}
	if !strings.Contains(page, "Apache Software Foundation") || len(page) < 500_000 {
		t.Error("ECharts is not in the page")
	}
}

func TestPageShowsEverything(t *testing.T) {
	page := rendered(t)
	for _, want := range []string{
		"7 runs of 3 servers", "One channel with many followers", "failed: message 3 after 1", "Growth of one channel", "soak: Hark, embedded", "mercure: not on PATH",
		"nginx 1.2", "✗ not met", "latency (ms) by percentile, WebSocket", "what the processes hold (MB) over time", "goroutines over time", "CPU per delivery (µs), less is better",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not in the page", want)
		}
	}
	if strings.Contains(page, evil) {
		t.Error("what comes from a file can end a script")
	}
	drawn := regexp.MustCompile(`drawn\.push\(\["(chart\d+)", (.*)\]\);`).FindAllStringSubmatch(page, -1)
	if len(drawn) != 7 { // two figures, two wires, growth, memory and goroutines
		t.Errorf("%d charts", len(drawn))
	}
	for _, d := range drawn {
		option := strings.NewReplacer(`:writeNumber`, `:null`, `:writePercentile`, `:null`).Replace(d[2])
		if !json.Valid([]byte(option)) {
			t.Errorf("%s: %.200s", d[1], option)
		}
		if !strings.Contains(page, `id="`+d[1]+`"`) {
			t.Errorf("%s has no place", d[1])
		}
	}
}
